"""What has happened since somebody last looked: what monitoring counts and measures. Reads only, and only what is new.

A follower keeps its places in memory and begins at the present: its counts are those of this run of the node.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, func, select

from qcnode.store.database import Database
from qcnode.store.left_outbox import LeftOutbox
from qcnode.store.schema import IN_USE, case_table, delivery_table, object_table

_BATCH = 500
_C, _D, _O = case_table.c, delivery_table.c, object_table.c


@dataclass(frozen=True, slots=True)
class JudgedNow:
    """A case that was settled. seconds: from the receipt of its query to its verdict; directory: of its result, verdict.json in it."""

    task: str
    verdict: str
    reasons: tuple[str, ...]
    device: str | None
    seconds: float
    directory: Path


@dataclass(frozen=True, slots=True)
class DeliveredNow:
    """An object that a destination has taken, so many seconds after the verdict or decision that it tells of."""

    destination: str
    kind: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Happened:
    """indexed: kind -> number of objects whose header was read ("unreadable": could not be; "variant": of an object that is there)."""

    indexed: Mapping[str, int]
    judged: tuple[JudgedNow, ...]
    delivered: tuple[DeliveredNow, ...]


class Follower:
    """Looks at what is new. Not to be used by two threads at the same time."""

    def __init__(self, database: Database) -> None:
        """What happens from now on is told."""
        self._database = database
        with database.read() as connection:
            self._object_id = connection.execute(select(func.coalesce(func.max(_O.object_id), 0))).scalar_one()
            self._settled_at = connection.execute(select(func.max(_C.settled_at))).scalar_one()
            self._left = LeftOutbox(connection)

    def look(self) -> Happened:
        """What is new since the last call; of very much, the oldest part."""
        with self._database.read() as connection:
            return Happened(self._indexed(connection), tuple(self._judged(connection)), tuple(self._delivered(connection)))

    def _indexed(self, connection: Connection) -> dict[str, int]:
        """Objects are indexed in the order in which they came: none is counted behind the first that still waits."""
        waits = (_O.state == "RECEIVED") & IN_USE
        query = (
            select(_O.object_id, _O.kind, _O.variant_of, waits.label("waits"))
            .where(_O.object_id > self._object_id)
            .order_by(_O.object_id)
            .limit(_BATCH)
        )
        found: Counter[str] = Counter()
        for row in connection.execute(query):
            if row.waits:
                break
            self._object_id = row.object_id
            found["variant" if row.variant_of is not None else row.kind or "unreadable"] += 1
        return dict(found)

    def _judged(self, connection: Connection) -> list[JudgedNow]:
        received = select(func.min(_O.received_at)).where(_O.sop_instance_uid == _C.query_sop_instance_uid).scalar_subquery()
        columns = (_C.task, _C.verdict, _C.reasons, _C.device, _C.created_at, _C.settled_at, _C.result_directory)
        query = select(*columns, received.label("received_at")).where(_C.settled_at.is_not(None)).order_by(_C.settled_at).limit(_BATCH)
        if self._settled_at is not None:
            query = query.where(_C.settled_at > self._settled_at)
        rows = connection.execute(query).all()
        if rows:
            self._settled_at = rows[-1].settled_at
        return [
            JudgedNow(
                row.task,
                row.verdict,
                tuple(reason["code"] for reason in json.loads(row.reasons or "[]")),
                row.device,
                _seconds(row.received_at or row.created_at, row.settled_at),
                self._database.absolute(row.result_directory),
            )
            for row in rows
        ]

    def _delivered(self, connection: Connection) -> list[DeliveredNow]:
        ended = self._left.look(connection, _BATCH)
        query = select(_D.destination, _D.kind, _D.created_at, _D.delivered_at)
        rows = connection.execute(query.where(_D.delivery_id.in_(ended), _D.delivered_at.is_not(None)).order_by(_D.delivery_id))
        return [DeliveredNow(row.destination, row.kind, _seconds(row.created_at, row.delivered_at)) for row in rows]


def _seconds(start: datetime, end: datetime) -> float:
    return max(0.0, (end - start).total_seconds())
