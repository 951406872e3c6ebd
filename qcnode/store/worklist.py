"""What a radiologist should look at, worst first, and what was decided. A decision judges the query segmentation."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection, case, func, or_, select, update
from sqlalchemy.dialects.sqlite import insert

from qcnode.case import Reason, Verdict
from qcnode.errors import QCNodeError
from qcnode.outcome import CaseResult, Predicted
from qcnode.store import audit
from qcnode.store.database import Database
from qcnode.store.schema import Moves, case_table, item_table, states_before

ITEM_MOVES: Moves = {
    "OPEN": frozenset({"CLAIMED", "SUPERSEDED"}),
    "CLAIMED": frozenset({"OPEN", "DECIDED", "SUPERSEDED"}),
    "DECIDED": frozenset(),
    "SUPERSEDED": frozenset(),
}
REASONS = TypeAdapter(tuple[Reason, ...])


class WorklistError(QCNodeError):
    """The item does not allow this; the text says why and what would be allowed."""


class Decision(StrEnum):
    """What a reader says of the query segmentation."""

    ACCEPT = "ACCEPT"
    REJECT = "REJECT"
    NEEDS_CORRECTION = "NEEDS_CORRECTION"


@dataclass(frozen=True, slots=True)
class Item:
    """One query segmentation to look at. Patient attributes are there so that the reader can be sure of the patient.

    dsc_low ... nsd_high: the intervals of the predicted numbers at interval_level; None where there are none.
    """

    item_id: int
    case_id: str
    study_instance_uid: str
    query_series_instance_uid: str
    query_sop_instance_uid: str
    task: str
    patient_name: str
    patient_id: str
    accession_number: str
    study_date: str
    verdict: Verdict
    predicted_dsc: float | None
    predicted_nsd: float | None
    dsc_low: float | None
    dsc_high: float | None
    nsd_low: float | None
    nsd_high: float | None
    interval_level: float | None
    reasons: tuple[Reason, ...]
    preview_path: Path | None
    created_at: datetime
    state: str
    reader: str | None
    claimed_at: datetime | None
    decision: Decision | None
    comment: str | None
    decided_at: datetime | None
    superseded_by_case_id: str | None


class Worklist:
    """Reading and moving worklist items; each move is audited in its own transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self, state: str | Iterable[str] | None = ("OPEN", "CLAIMED")) -> list[Item]:
        """Items, worst first: UNASSESSABLE and FAIL by predicted_dsc (unknown first), then REVIEW; then the oldest. None: any state."""
        group = case((item_table.c.verdict.in_((Verdict.FAIL, Verdict.UNASSESSABLE)), 0), else_=1)
        order = (group, item_table.c.predicted_dsc.asc().nulls_first(), item_table.c.created_at, item_table.c.item_id)
        query = select(item_table).order_by(*order)
        if state is not None:
            query = query.where(item_table.c.state.in_((state,) if isinstance(state, str) else tuple(state)))
        with self._database.read() as connection:
            return [self._item(row) for row in connection.execute(query)]

    def show(self, item_id: int) -> Item:
        """One item. Raises WorklistError when there is none with this number."""
        with self._database.read() as connection:
            return self._item(_row(connection, item_id))

    def claim(self, item_id: int, reader: str, now: datetime) -> Item:
        """`reader` takes the item, so that nobody else reads it at the same time. Claiming one's own item again changes nothing."""
        with self._database.begin() as connection:
            row = _row(connection, item_id)
            if row.state != "CLAIMED" or row.reader != reader:
                self._move(connection, row, "CLAIMED", "claim", reader, now, {"reader": reader, "claimed_at": now})
        return self.show(item_id)

    def release(self, item_id: int, reader: str, now: datetime) -> Item:
        """`reader` gives the item back undecided."""
        with self._database.begin() as connection:
            row = _row(connection, item_id)
            _require_reader(row, reader)
            self._move(connection, row, "OPEN", "release", reader, now, {"reader": None, "claimed_at": None})
        return self.show(item_id)

    def decide(self, item_id: int, reader: str, decision: Decision, comment: str, now: datetime) -> Item:
        """`reader`, who has claimed the item, judges the query segmentation."""
        columns = {"decision": Decision(decision).value, "comment": comment, "decided_at": now}
        with self._database.begin() as connection:
            row = _row(connection, item_id)
            _require_reader(row, reader)
            self._move(connection, row, "DECIDED", "decide", reader, now, columns, decision=columns["decision"], comment=comment)
        return self.show(item_id)

    def counts(self) -> dict[str, int]:
        """state -> number of items."""
        query = select(item_table.c.state, func.count().label("number")).group_by(item_table.c.state)
        with self._database.read() as connection:
            return {row.state: row.number for row in connection.execute(query)}

    def _move(
        self, connection: Connection, row: Any, state: str, action: str, reader: str, now: datetime, columns: dict[str, Any], **details: Any
    ) -> None:
        if state not in ITEM_MOVES[row.state]:
            allowed = ", ".join(sorted(ITEM_MOVES[row.state])) or "nothing"
            holder = f" by {row.reader}" if row.state == "CLAIMED" else ""
            raise WorklistError(f"item {row.item_id} is {row.state}{holder}; from there it can become {allowed}, not {state}")
        connection.execute(update(item_table).where(item_table.c.item_id == row.item_id).values(state=state, **columns))
        _audit(connection, row.item_id, action, reader, now, case_id=row.case_id, verdict=row.verdict, **details)

    def _item(self, row: Any) -> Item:
        columns = {field.name: getattr(row, field.name) for field in fields(Item)}
        return Item(
            **columns
            | {
                "verdict": Verdict(row.verdict),
                "reasons": REASONS.validate_json(row.reasons),
                "preview_path": None if row.preview_path is None else self._database.absolute(row.preview_path),
                "decision": None if row.decision is None else Decision(row.decision),
            }
        )


def supersede_items(connection: Connection, result: CaseResult, now: datetime) -> None:
    """Undecided items of the same query, or of the query that it corrects, are superseded by `result`, whatever its verdict."""
    of_query = item_table.c.query_sop_instance_uid == result.case.query.sop_instance_uid
    of_corrected = item_table.c.query_sop_instance_uid == result.case.corrects_query_uid
    undecided = item_table.c.state.in_(states_before(ITEM_MOVES, "SUPERSEDED"))
    others = item_table.c.case_id != result.case.case_id
    change = update(item_table).where(or_(of_query, of_corrected), undecided, others).returning(item_table.c.item_id)
    superseded = connection.execute(change.values(state="SUPERSEDED", superseded_by_case_id=result.case.case_id)).scalars().all()
    for item_id in superseded:
        _audit(connection, item_id, "supersede", audit.NODE, now, by_case_id=result.case.case_id, verdict=result.outcome.verdict)


def add_item(connection: Connection, result: CaseResult, preview_path: str | None, now: datetime) -> None:
    """Put a result before the radiologist, inside of the caller's transaction.

    When a correction of this query was judged already, the item is superseded from the start: the query is history.
    """
    corrected = case_table.c.corrects_query_uid == result.case.query.sop_instance_uid
    judged = select(case_table.c.case_id).where(corrected, case_table.c.state == "DONE", case_table.c.verdict != Verdict.NOT_APPLICABLE)
    correction = connection.execute(judged.limit(1)).scalar_one_or_none()
    columns = {
        "case_id": result.case.case_id,
        "study_instance_uid": result.case.study_instance_uid,
        "query_series_instance_uid": result.case.query.series_instance_uid,
        "query_sop_instance_uid": result.case.query.sop_instance_uid,
        "task": result.case.task,
        "patient_name": result.patient_name,
        "patient_id": result.patient_id,
        "accession_number": result.accession_number,
        "study_date": result.study_date,
        "verdict": result.outcome.verdict.value,
        **_numbers(result.outcome.predicted),
        "reasons": json.dumps(REASONS.dump_python(result.outcome.reasons)),
        "preview_path": preview_path,
        "created_at": now,
        "state": "OPEN" if correction is None else "SUPERSEDED",
        "superseded_by_case_id": correction,
    }
    item_id = connection.execute(insert(item_table).values(columns).returning(item_table.c.item_id)).scalar_one()
    _audit(connection, item_id, "create", audit.NODE, now, case_id=columns["case_id"], verdict=columns["verdict"], state=columns["state"])


def _numbers(predicted: Predicted | None) -> dict[str, float | None]:
    if predicted is None:
        return {}
    numbers = {"predicted_dsc": predicted.dsc, "predicted_nsd": predicted.nsd, "interval_level": predicted.interval_level}
    dsc_low, dsc_high = predicted.dsc_interval or (None, None)
    nsd_low, nsd_high = predicted.nsd_interval or (None, None)
    return numbers | {"dsc_low": dsc_low, "dsc_high": dsc_high, "nsd_low": nsd_low, "nsd_high": nsd_high}


def _row(connection: Connection, item_id: int) -> Any:
    row = connection.execute(select(item_table).where(item_table.c.item_id == item_id)).one_or_none()
    if row is None:
        raise WorklistError(f"there is no worklist item {item_id}")
    return row


def _require_reader(row: Any, reader: str) -> None:
    if row.state == "CLAIMED" and row.reader != reader:
        raise WorklistError(f"item {row.item_id} is claimed by {row.reader}, not by {reader}")
    if row.state == "OPEN":
        raise WorklistError(f"item {row.item_id} is OPEN; claim it first")


def _audit(connection: Connection, item_id: int, action: str, actor: str, now: datetime, **details: Any) -> None:
    audit.record(connection, at=now, actor=actor, action=action, subject=f"worklist-item/{item_id}", details=details)
