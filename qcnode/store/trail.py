"""What the audit trail tells of, as the tables hold it: objects received and sent, items and accounts. Reads only, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import func, select

from qcnode.store.database import Database
from qcnode.store.left_outbox import LeftOutbox
from qcnode.store.schema import case_table, delivery_table, item_table, object_table

_BATCH = 500
_O, _D = object_table.c, delivery_table.c


@dataclass(frozen=True, slots=True)
class ReceivedObject:
    """An object that a peer has sent."""

    object_id: int
    study_instance_uid: str
    sop_class_uid: str
    calling_ae_title: str
    peer_address: str
    received_at: datetime
    path: Path


@dataclass(frozen=True, slots=True)
class SentObject:
    """An object that a destination has taken, or refused for good (delivered_at is None)."""

    destination: str
    study_instance_uid: str
    sop_class_uid: str
    delivered_at: datetime | None
    path: Path


@dataclass(frozen=True, slots=True)
class ItemOfPatient:
    """Whose study a worklist item shows."""

    study_instance_uid: str
    patient_id: str
    patient_name: str


class Trail:
    """Reads what is new."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.read() as connection:
            self._left = LeftOutbox(connection)

    def last_object_id(self) -> int:
        """The number of the newest object; 0 where there is none."""
        with self._database.read() as connection:
            newest: int | None = connection.execute(select(func.max(_O.object_id))).scalar_one()
        return newest or 0

    def received(self, after: int, before: datetime) -> list[ReceivedObject]:
        """The oldest objects behind number `after` that came before `before`."""
        columns = (_O.object_id, _O.study_instance_uid, _O.sop_class_uid, _O.calling_ae_title, _O.peer_address, _O.received_at, _O.path)
        query = select(*columns).where(_O.object_id > after).order_by(_O.object_id).limit(_BATCH)
        found = []
        with self._database.read() as connection:
            for row in connection.execute(query):
                if row.received_at >= before:
                    break
                found.append(ReceivedObject(*row[:-1], self._database.absolute(row.path)))
        return found

    def sent(self) -> list[SentObject]:
        """What has left the outbox since the last call, or since the start."""
        columns = (_D.destination, case_table.c.study_instance_uid, _D.sop_class_uid, _D.delivered_at, _D.path)
        query = select(*columns).join(case_table, case_table.c.case_id == _D.case_id).order_by(_D.delivery_id)
        with self._database.read() as connection:
            rows = connection.execute(query.where(_D.delivery_id.in_(self._left.look(connection, _BATCH)))).all()
        return [SentObject(*row[:-1], self._database.absolute(row.path)) for row in rows]

    def items(self, item_ids: Iterable[int]) -> dict[int, ItemOfPatient]:
        """item -> whose study it is."""
        columns = (item_table.c.item_id, item_table.c.study_instance_uid, item_table.c.patient_id, item_table.c.patient_name)
        with self._database.read() as connection:
            rows = connection.execute(select(*columns).where(item_table.c.item_id.in_(list(item_ids)))).all()
        return {row[0]: ItemOfPatient(*row[1:]) for row in rows}
