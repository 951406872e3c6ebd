"""What the jobs table gives out."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from qcnode.case import Case, Reason, ResultObject, Verdict, Weights
from qcnode.store.database import Database

UNFINISHED = ("PENDING", "RUNNING")
"""The states of a case that is still to be judged, or is being judged."""

QueryState = Literal["WAITING", "MATCHED", "NOT_APPLICABLE", "UNASSESSABLE", "RESULT", "LABELMAP"]


@dataclass(frozen=True, slots=True)
class Query:
    """One SEG and what has become of it."""

    sop_instance_uid: str
    study_instance_uid: str
    state: QueryState
    reason: Reason | None
    first_seen_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class ClaimedCase:
    """A case that one worker is at until `lease_until`. `attempts` counts the claims, this one included.

    last_error: how the last attempt that failed did so; None where none did, or where the node ended during it.
    """

    case: Case
    owner: str
    attempts: int
    lease_until: datetime
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class SettledCase:
    """What came out of a case; `objects` are the settled files as they were written.

    report_series_uid: Series Instance UID of a report whose file was purged; None while it is there.
    """

    case_id: str
    query_sop_instance_uid: str
    study_instance_uid: str
    task: str
    verdict: Verdict
    predicted_dsc: float | None
    predicted_nsd: float | None
    tolerance_mm: float | None
    reasons: tuple[Reason, ...]
    weights: Weights | None
    device: str | None
    directory: Path
    predecessor_case_id: str | None
    settled_at: datetime
    objects: tuple[ResultObject, ...]
    report_series_uid: str | None


@dataclass(frozen=True, slots=True)
class JobCounts:
    """Queries by state, cases by state, settled cases by verdict."""

    queries: dict[str, int]
    cases: dict[str, int]
    verdicts: dict[str, int]


_CASE = TypeAdapter(Case)


def case_content(case: Case, database: Database) -> str:
    """A case as JSON, its paths as the database keeps them."""
    return json.dumps(_CASE.dump_python(case), default=database.relative)


def case_of(content: str, database: Database) -> Case:
    """A case from its JSON, with absolute paths again."""
    case, absolute = _CASE.validate_json(content), database.absolute
    contrasts = {
        name: replace(stack, frames=tuple(replace(frame, path=absolute(frame.path)) for frame in stack.frames))
        for name, stack in case.contrasts.items()
    }
    return replace(case, query=replace(case.query, path=absolute(case.query.path)), contrasts=contrasts)
