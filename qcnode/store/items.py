"""What a worklist item is, which moves it can make, and what a reader may say of it. A decision judges the query segmentation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from qcnode.case import Reason, Verdict
from qcnode.errors import QCNodeError
from qcnode.regions import Mark
from qcnode.store.database import Database
from qcnode.store.moves import Moves

ITEM_MOVES: Moves = {
    "OPEN": frozenset({"CLAIMED", "SUPERSEDED"}),
    # to itself: by another reader, after reassigning or a lease's end; to DECIDED: a revision that is given up, the decision before stands
    "CLAIMED": frozenset({"CLAIMED", "OPEN", "HELD", "DECIDED", "SUPERSEDED"}),
    "HELD": frozenset({"CLAIMED", "OPEN", "DECIDED", "SUPERSEDED"}),  # to OPEN: released, or another reader is needed
    "DECIDED": frozenset({"CLAIMED"}),  # reopened
    "SUPERSEDED": frozenset(),
}
WAITING = ("OPEN", "CLAIMED")
"""The states in which an item still needs a reader."""
REASONS = TypeAdapter(tuple[Reason, ...])
RATINGS = range(1, 7)

ErrorCode = Literal[
    "gone",
    "claimed-by-another",
    "not-claimed",
    "held",
    "not-held",
    "decided",
    "not-decided",
    "not-yours",
    "already-read",
    "superseded",
    "purged",
    "bad-judgement",
]


class WorklistError(QCNodeError):
    """The item does not allow this; the text says why and what would be allowed.

    code: "gone" (there is no such item), "claimed-by-another" (so is a held decision of another reader), "not-claimed" (claim it first),
    "held" (take the decision back first), "not-held" (there is none to take back), "decided" (too late), "not-decided" (nothing final is
    there to be reopened), "not-yours" (another reader's decision), "already-read" (it needs a reader who has not judged it yet),
    "superseded" (another segmentation or result replaced it), "purged" (its files were removed), "bad-judgement".
    """

    def __init__(self, text: str, code: ErrorCode) -> None:
        super().__init__(text)
        self.code: ErrorCode = code


class Decision(StrEnum):
    """What a reader says of the query segmentation."""

    ACCEPT = "ACCEPT"
    REJECT = "REJECT"
    NEEDS_CORRECTION = "NEEDS_CORRECTION"


class Stage(StrEnum):
    """Which reading an item is at. An item that is decided stays at the one that settled it."""

    FIRST = "FIRST"
    SECOND = "SECOND"
    ADJUDICATION = "ADJUDICATION"
    REVISION = "REVISION"


INDEPENDENT = (Stage.FIRST, Stage.SECOND)
"""The stages in which two readers know nothing of one another's judgement."""
FOLLOWING: dict[tuple[Stage, bool], Stage] = {
    (Stage.FIRST, True): Stage.SECOND,
    (Stage.SECOND, False): Stage.ADJUDICATION,
}
"""(stage of a final reading, whether all readings so far agree) -> the reading that an item which two are to read needs next."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A decision with what the reader says about it. rating: 1 (worst) to 6 (best) stars, or None. Raises WorklistError "bad-judgement".

    marks: of regions of predicted errors, by their number.
    """

    decision: Decision
    reasons: tuple[str, ...] = ()
    comment: str = ""
    rating: int | None = None
    marks: Mapping[int, Mark] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.decision not in list(Decision):
            raise WorklistError(f"{self.decision} is none of {', '.join(Decision)}", "bad-judgement")
        if self.rating is not None and self.rating not in RATINGS:
            raise WorklistError(f"a rating is {RATINGS[0]} to {RATINGS[-1]}, not {self.rating}", "bad-judgement")


@dataclass(frozen=True, slots=True)
class Item:
    """One query segmentation to look at. Patient attributes are there so that the reader can be sure of the patient.

    birth_date, study_date: as DICOM writes them (YYYYMMDD), "" where unknown. scanner: who made the images; segmenter: who made the query.
    verdict: None only where it is hidden from the reader, who then sees no predicted number and no reason either.
    dsc_low ... nsd_high: the intervals of the predicted numbers at interval_level; None where there are none.
    blind: drawn at random; what was predicted is hidden until the decision is final, so that it is not led by the prediction.
    sampling_probability: with which a case of this verdict became an item; None only where it is hidden.
    viewer_path: the directory of the case's pictures, which hold the error map too.
    lease_until: until when the claim holds. held_until: until when the decision can be taken back.
    decided_at: when the reader decided, not when it became final. reader: who claims it, holds a decision, or decided.
    read_twice: two readers judge it independently, and a third one where they differ. because: why a decision is being revised.
    purged_at: when the pictures and documents of a decided case were removed; None while they are there.
    """

    item_id: int
    case_id: str
    study_instance_uid: str
    query_series_instance_uid: str
    query_sop_instance_uid: str
    task: str
    patient_name: str
    patient_id: str
    birth_date: str
    accession_number: str
    study_date: str
    institution: str
    scanner: str
    segmenter: str
    verdict: Verdict | None
    predicted_dsc: float | None
    predicted_nsd: float | None
    dsc_low: float | None
    dsc_high: float | None
    nsd_low: float | None
    nsd_high: float | None
    interval_level: float | None
    reasons: tuple[Reason, ...]
    blind: bool
    preview_path: Path | None
    viewer_path: Path | None
    created_at: datetime
    state: str
    reader: str | None
    claimed_at: datetime | None
    lease_until: datetime | None
    held_until: datetime | None
    decision: Decision | None
    decision_reasons: tuple[str, ...]
    comment: str | None
    rating: int | None
    decided_at: datetime | None
    superseded_by_case_id: str | None
    stage: Stage
    read_twice: bool
    marks: Mapping[int, Mark]
    because: str | None
    sampling_probability: float | None
    purged_at: datetime | None

    @property
    def is_hidden(self) -> bool:
        """True where no reader may know what was predicted. A held decision can be taken back, so it changes nothing.

        Who revises a final decision has seen the prediction already.
        """
        return self.blind and self.state != "DECIDED" and self.stage is not Stage.REVISION

    @property
    def is_independent(self) -> bool:
        """True while two readers judge on their own: neither may know what the other one says, or said."""
        return self.read_twice and self.state != "DECIDED" and self.stage in INDEPENDENT


def person_words(*texts: str) -> str:
    """The words in a person's name or number as a text search compares them: without case, and without DICOM's ^ and = between parts."""
    return " ".join(" ".join(texts).translate(_PARTS).casefold().split())


_PARTS = str.maketrans("^=", "  ")
NO_CLAIM: dict[str, Any] = {"reader": None, "claimed_at": None, "lease_until": None}
NO_DECISION: dict[str, Any] = {
    "decision": None,
    "decision_reasons": "[]",
    "comment": None,
    "rating": None,
    "region_marks": "{}",
    "decided_at": None,
    "held_until": None,
}


def has_run_out(row: Any, now: datetime) -> bool:
    """True where the row is claimed and its reader has let the lease run out: it counts as OPEN.

    A revision does not: what was decided before stands again, as soon as the node ends the claim.
    """
    return bool(row.state == "CLAIMED" and row.lease_until < now and row.stage != Stage.REVISION)


def item_of(row: Any, database: Database, now: datetime) -> Item:
    """A row of the table as it counts at `now`, with absolute paths."""
    columns = {field.name: getattr(row, field.name) for field in fields(Item) if field.name != "marks"}
    if has_run_out(row, now):
        columns |= {"state": "OPEN"} | NO_CLAIM
    return Item(
        **columns
        | {
            "verdict": Verdict(row.verdict),
            "reasons": REASONS.validate_json(row.reasons),
            "preview_path": None if row.preview_path is None else database.absolute(row.preview_path),
            "viewer_path": None if row.viewer_path is None else database.absolute(row.viewer_path),
            "decision": None if row.decision is None else Decision(row.decision),
            "decision_reasons": tuple(json.loads(row.decision_reasons)),
            "stage": Stage(row.stage),
            "marks": marks_of(row.region_marks),
        }
    )


def marks_of(stored: str) -> dict[int, Mark]:
    """Marks of error regions as they are stored: JSON, region number -> mark."""
    return {int(number): Mark(mark) for number, mark in json.loads(stored).items()}


def stored_marks(marks: Mapping[int, Mark]) -> str:
    """The text that `marks_of` reads."""
    return json.dumps({str(number): mark.value for number, mark in sorted(marks.items())})
