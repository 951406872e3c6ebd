"""What the database says that must be there: the rows that `qcnode audit` holds against the disk and the archives.

Only reading. What belongs to a case is read in one transaction, so that a settlement is seen as a whole or not at all; between batches
the node may go on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, String, Table, and_, cast, exists, func, literal, or_, select

from qcnode.case import ResultObject
from qcnode.store import audit
from qcnode.store.database import Database
from qcnode.store.delivery import UNDELIVERED
from qcnode.store.job_records import UNFINISHED
from qcnode.store.schema import (
    IN_USE,
    audit_table,
    case_table,
    decision_report_table,
    delivery_table,
    item_table,
    object_table,
    query_table,
    result_object_table,
    study_table,
)
from qcnode.store.studies import IS_DIRTY

OBJECTS_AT_ONCE = 2000
CASES_AT_ONCE = 200

_NOT_TAKEN = (*UNDELIVERED, "DEAD", "DROPPED")


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """A received object that is to lie on the disk. `path` is absolute, `sha256` the digest of the file."""

    object_id: int
    sop_instance_uid: str
    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class DeliveryEntry:
    """One object on its way to one destination. `state`: delivery.DELIVERY_MOVES."""

    delivery_id: int
    destination: str
    kind: str
    sop_instance_uid: str
    path: Path
    sha256: str
    state: str
    last_error: str | None

    @property
    def was_taken(self) -> bool:
        """The destination said that it has it."""
        return self.state not in _NOT_TAKEN


@dataclass(frozen=True, slots=True)
class ItemEntry:
    """The worklist item of a case. preview_path, viewer_path: pictures that it shows, None where it has none."""

    item_id: int
    state: str
    decided_at: datetime | None
    passed_on_at: datetime | None
    preview_path: Path | None
    viewer_path: Path | None


@dataclass(frozen=True, slots=True)
class DocumentEntry:
    """The document about a final decision."""

    number: int
    decided_at: datetime
    sop_instance_uid: str
    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class CaseEntry:
    """A case with everything that hangs on it. `results`, `deliveries` and `documents` are empty until it is settled.

    results_purged_at: when the files of all of these were removed, for they had served.
    """

    case_id: str
    study_instance_uid: str
    query_sop_instance_uid: str
    state: str
    verdict: str | None
    weights: str | None  # JSON
    directory: Path | None
    settled_at: datetime | None
    results_purged_at: datetime | None
    item: ItemEntry | None
    results: tuple[ResultObject, ...]
    deliveries: tuple[DeliveryEntry, ...]
    documents: tuple[DocumentEntry, ...]


class Ledger:
    """Reads the tables. Each iterator gives its entries in batches, in a fixed order."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def number_of_objects(self) -> int:
        """How many received objects are to lie on the disk."""
        return self._count(object_table, object_table.c.purged_at.is_(None))

    def number_of_cases(self) -> int:
        """How many cases there are, whatever their state."""
        return self._count(case_table, None)

    def under_way(self, unproven_by_choice: Collection[str] = ()) -> dict[str, int]:
        """What the node still has to do, by name; nothing that is zero. unproven_by_choice: destinations that are not asked for proof."""
        taken = or_(delivery_table.c.state == "PROVING", delivery_table.c.state == "DELIVERED")
        item_waits = and_(item_table.c.state == "DECIDED", item_table.c.passed_on_at.is_(None))
        counted = {
            "objects to index": self._count(object_table, and_(object_table.c.state == "RECEIVED", IN_USE)),
            "studies to match": self._count(study_table, IS_DIRTY),
            "segmentations that wait for images": self._count(query_table, query_table.c.state == "WAITING"),
            "cases to judge": self._count(case_table, case_table.c.state.in_(UNFINISHED)),
            "decisions to pass on": self._count(item_table, item_waits),
            "deliveries to make": self._count(delivery_table, delivery_table.c.state.in_(UNDELIVERED)),
            "deliveries to prove": self._count(delivery_table, taken & delivery_table.c.destination.not_in(unproven_by_choice)),
            "deliveries that could not be proven": self._count(delivery_table, delivery_table.c.state == "UNPROVEN"),
        }
        return {name: number for name, number in counted.items() if number}

    def objects(self) -> Iterator[list[ObjectEntry]]:
        """The received objects that are to lie on the disk."""
        last = 0
        columns = (object_table.c.object_id, object_table.c.sop_instance_uid, object_table.c.path, object_table.c.sha256)
        alive = select(*columns).where(object_table.c.purged_at.is_(None)).order_by(object_table.c.object_id).limit(OBJECTS_AT_ONCE)
        while True:
            with self._database.read() as connection:
                rows = connection.execute(alive.where(object_table.c.object_id > last)).all()
            if not rows:
                return
            last = rows[-1].object_id
            yield [ObjectEntry(r.object_id, r.sop_instance_uid, self._database.absolute(r.path), r.sha256) for r in rows]

    def paths_without_row(self, paths: Iterable[str]) -> set[str]:
        """Those of the files, given as they are stored, that belong to no object."""
        unknown = set(paths)
        with self._database.read() as connection:
            for chunk in _chunks(sorted(unknown), OBJECTS_AT_ONCE):
                needed = select(object_table.c.path).where(object_table.c.path.in_(chunk), object_table.c.purged_at.is_(None))
                unknown.difference_update(connection.execute(needed).scalars())
        return unknown

    def lost_objects(self) -> list[str]:
        """SOP Instance UIDs of objects whose file a start of the node found missing, and that were not sent again since."""
        subject = literal(audit.object_subject("")).concat(cast(object_table.c.object_id, String))
        noticed = exists().where(
            audit_table.c.subject == subject, audit_table.c.action == audit.LOSE_OBJECT, audit_table.c.at == object_table.c.purged_at
        )
        return self._uids(object_table.c.sop_instance_uid, noticed)

    def unread_and_purged(self) -> list[str]:
        """SOP Instance UIDs of objects that are gone before anybody knew what they were."""
        return self._uids(object_table.c.sop_instance_uid, and_(object_table.c.purged_at.is_not(None), object_table.c.state == "RECEIVED"))

    def segmentations_without_query(self) -> list[str]:
        """SOP Instance UIDs of SEGs whose study was matched, and of which no outcome is known."""
        study = object_table.c.study_instance_uid
        dirty = exists().where(study_table.c.study_instance_uid == study, IS_DIRTY)
        known = exists().where(query_table.c.sop_instance_uid == object_table.c.sop_instance_uid)
        judged = object_table.c.kind.in_(("seg", "labelmap", "qcnode-result"))
        return self._uids(object_table.c.sop_instance_uid, and_(judged, object_table.c.state == "INDEXED", IN_USE, ~dirty, ~known))

    def matched_without_case(self) -> list[str]:
        """SOP Instance UIDs of queries that are said to be matched, and have no case."""
        live = exists().where(
            case_table.c.query_sop_instance_uid == query_table.c.sop_instance_uid, case_table.c.state.in_((*UNFINISHED, "DONE"))
        )
        return self._uids(query_table.c.sop_instance_uid, and_(query_table.c.state.in_(("MATCHED", "UNASSESSABLE")), ~live))

    def queries_in_work_twice(self) -> list[str]:
        """SOP Instance UIDs of queries with more than one case that waits or is worked on."""
        query = case_table.c.query_sop_instance_uid
        return self._repeated(select(query).where(case_table.c.state.in_(UNFINISHED)).group_by(query))

    def queries_answered_twice(self) -> list[str]:
        """SOP Instance UIDs of queries with two answers neither of which replaces the other: they name the same predecessor, or none."""
        query, answered = case_table.c.query_sop_instance_uid, case_table.c.verdict != "NOT_APPLICABLE"
        return self._repeated(select(query).where(case_table.c.state == "DONE", answered).group_by(query, case_table.c.predecessor_case_id))

    def deliveries_since(self) -> dict[tuple[str, str], datetime]:
        """(destination, kind) -> when the first object of this kind was queued for it: cases from before were not wanted there."""
        first = func.min(delivery_table.c.created_at, type_=delivery_table.c.created_at.type).label("first")
        query = select(delivery_table.c.destination, delivery_table.c.kind, first)
        with self._database.read() as connection:
            rows = connection.execute(query.group_by(delivery_table.c.destination, delivery_table.c.kind)).all()
        return {(row.destination, row.kind): row.first for row in rows}

    def cases(self) -> Iterator[list[CaseEntry]]:
        """Every case with what hangs on it."""
        last = ""
        while True:
            with self._database.read() as connection:
                after = select(case_table).where(case_table.c.case_id > last).order_by(case_table.c.case_id).limit(CASES_AT_ONCE)
                rows = connection.execute(after).all()
                entries = self._entries(connection, rows)
            if not rows:
                return
            last = rows[-1].case_id
            yield entries

    def not_sent_to(self, destination: str, sop_instance_uids: set[str]) -> set[str]:
        """Those of the objects that were never queued for the destination."""
        with self._database.read() as connection:
            sent = select(delivery_table.c.sop_instance_uid).where(
                delivery_table.c.destination == destination, delivery_table.c.sop_instance_uid.in_(sop_instance_uids)
            )
            return sop_instance_uids.difference(connection.execute(sent).scalars())

    def number_of_deliveries(self) -> int:
        """How many objects were queued for any destination."""
        return self._count(delivery_table, None)

    def cases_in_work(self) -> set[str]:
        """The cases that wait or are worked on."""
        with self._database.read() as connection:
            return set(connection.execute(select(case_table.c.case_id).where(case_table.c.state.in_(UNFINISHED))).scalars())

    def _entries(self, connection: Connection, rows: Iterable[Any]) -> list[CaseEntry]:
        ids = [row.case_id for row in rows]
        results = self._of_cases(connection, result_object_table, ids, ResultObject)
        deliveries = self._of_cases(connection, delivery_table, ids, DeliveryEntry)
        documents = self._of_cases(connection, decision_report_table, ids, DocumentEntry)
        items = self._of_cases(connection, item_table, ids, ItemEntry)
        return [
            CaseEntry(
                case_id=row.case_id,
                study_instance_uid=row.study_instance_uid,
                query_sop_instance_uid=row.query_sop_instance_uid,
                state=row.state,
                verdict=row.verdict,
                weights=row.weights,
                directory=self._absolute(row.result_directory),
                settled_at=row.settled_at,
                results_purged_at=row.results_purged_at,
                item=next(iter(items[row.case_id]), None),
                results=tuple(results[row.case_id]),
                deliveries=tuple(deliveries[row.case_id]),
                documents=tuple(documents[row.case_id]),
            )
            for row in rows
        ]

    def _of_cases(self, connection: Connection, table: Table, case_ids: list[str], entry: type[Any]) -> defaultdict[str, list[Any]]:
        """case -> its rows in a table, each as an `entry`, whose fields are named like the columns."""
        found: defaultdict[str, list[Any]] = defaultdict(list)
        names = [field.name for field in fields(entry)]
        for row in connection.execute(select(table).where(table.c.case_id.in_(case_ids)).order_by(*table.primary_key.columns)):
            columns = {name: getattr(row, name) for name in names}
            columns |= {name: self._absolute(path) for name, path in columns.items() if name == "path" or name.endswith("_path")}
            found[row.case_id].append(entry(**columns))
        return found

    def _absolute(self, stored: str | None) -> Path | None:
        return None if stored is None else self._database.absolute(stored)

    def _count(self, table: Table, condition: ColumnElement[bool] | None) -> int:
        query = select(func.count()).select_from(table)
        with self._database.read() as connection:
            return connection.execute(query if condition is None else query.where(condition)).scalar_one()

    def _uids(self, column: ColumnElement[str], condition: ColumnElement[bool]) -> list[str]:
        with self._database.read() as connection:
            return list(connection.execute(select(column).where(condition).order_by(column)).scalars())

    def _repeated(self, grouped: Any) -> list[str]:
        with self._database.read() as connection:
            return sorted(set(connection.execute(grouped.having(func.count() > 1)).scalars()))


def _chunks(values: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
