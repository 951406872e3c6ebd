"""Final readings of worklist items: kept for ever, in the order in which they were made. What stands is the newest one that settles."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, insert, select

from qcnode.regions import Mark
from qcnode.store.items import FOLLOWING, Decision, Stage, marks_of
from qcnode.store.schema import reading_table

_R = reading_table.c
_SAID = ("reader", "decision", "decision_reasons", "comment", "rating", "region_marks", "decided_at", "stage")
"""What an item and a reading have in common."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One reader's final judgement of an item. because: why an earlier decision was revised; settles: the item was decided by it."""

    reading_id: int
    item_id: int
    stage: Stage
    reader: str
    decision: Decision
    reasons: tuple[str, ...]
    comment: str | None
    rating: int | None
    marks: Mapping[int, Mark]
    because: str | None
    decided_at: datetime
    settles: bool


def readings_of(connection: Connection, item_id: int) -> list[Reading]:
    """The final readings of an item, oldest first."""
    rows = connection.execute(select(reading_table).where(_R.item_id == item_id).order_by(_R.reading_id))
    return [_reading(row) for row in rows]


def has_read(connection: Connection, item_id: int, reader: str) -> bool:
    """Whether a final reading of the item is this reader's, in whatever case the command line writes the name."""
    return connection.execute(select(_R.reading_id).where(_R.item_id == item_id, is_of(reader))).first() is not None


def is_of(reader: str) -> ColumnElement[bool]:
    """The condition that a reading is this reader's: names of accounts differ by more than case."""
    return func.lower(_R.reader) == func.lower(reader)


def keep_reading(connection: Connection, row: Any) -> Stage | None:
    """Keep the held decision of an item's row as a final reading. Returns the stage of the one that is needed next; None: it is decided."""
    said = {name: getattr(row, name) for name in _SAID}
    before = [reading.decision for reading in readings_of(connection, row.item_id)]
    agree = all(decision == row.decision for decision in before)
    following = FOLLOWING.get((Stage(row.stage), agree)) if row.read_twice else None
    connection.execute(insert(reading_table).values(said | {"item_id": row.item_id, "because": row.because, "settles": following is None}))
    return following


def standing(connection: Connection, item_id: int) -> dict[str, Any]:
    """The item's columns of the decision that stands."""
    columns = [_R[name] for name in _SAID]
    newest = select(*columns).where(_R.item_id == item_id, _R.settles).order_by(_R.reading_id.desc()).limit(1)
    return dict(connection.execute(newest).one()._mapping)


def _reading(row: Any) -> Reading:
    return Reading(
        reading_id=row.reading_id,
        item_id=row.item_id,
        stage=Stage(row.stage),
        reader=row.reader,
        decision=Decision(row.decision),
        reasons=tuple(json.loads(row.decision_reasons)),
        comment=row.comment,
        rating=row.rating,
        marks=marks_of(row.region_marks),
        because=row.because,
        decided_at=row.decided_at,
        settles=row.settles,
    )
