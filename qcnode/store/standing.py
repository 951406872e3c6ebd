"""Where everything stands at one moment, as numbers: what monitoring asks for every few seconds.

Every query here is answered by an index, however many objects and cases there have been.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Column, Connection, Table, func, select

from qcnode.store.database import Database
from qcnode.store.delivery import UNDELIVERED
from qcnode.store.job_records import UNFINISHED
from qcnode.store.schema import IN_USE, case_table, delivery_table, item_table, notice_table, object_table, query_table, study_table
from qcnode.store.studies import IS_DIRTY


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits at one place. by_state: state -> how many; oldest: when the longest waiting one came, None where none waits."""

    by_state: Mapping[str, int]
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class Standing:
    """unindexed: received objects whose header is still to be read. deliveries, notices: by destination and channel."""

    unindexed: int
    unreadable: int
    dirty_studies: int
    queries: Mapping[str, int]
    cases: Queue
    worklist: Queue
    deliveries: Mapping[str, Queue]
    notices: Mapping[str, Queue]


def read_standing(database: Database) -> Standing:
    """Everything of one moment."""
    with database.read() as connection:
        state = object_table.c.state
        objects = select(state, func.count()).where(state.in_(("RECEIVED", "UNREADABLE")), IN_USE).group_by(state)
        received = {row[0]: row[1] for row in connection.execute(objects)}
        return Standing(
            unindexed=received.get("RECEIVED", 0),
            unreadable=received.get("UNREADABLE", 0),
            dirty_studies=connection.execute(select(func.count()).select_from(study_table).where(IS_DIRTY)).scalar_one(),
            queries=_by_state(connection, query_table),
            cases=Queue(_by_state(connection, case_table), _oldest(connection, case_table, UNFINISHED)),
            worklist=Queue(_by_state(connection, item_table), _oldest(connection, item_table, ("OPEN", "CLAIMED"))),
            deliveries=_queues(connection, delivery_table, delivery_table.c.destination, UNDELIVERED),
            notices=_queues(connection, notice_table, notice_table.c.channel, ("PENDING", "SENDING")),
        )


def _by_state(connection: Connection, table: Table) -> dict[str, int]:
    return {row[0]: row[1] for row in connection.execute(select(table.c.state, func.count()).group_by(table.c.state))}


def _oldest(connection: Connection, table: Table, states: tuple[str, ...]) -> datetime | None:
    oldest: datetime | None = connection.execute(select(func.min(table.c.created_at)).where(table.c.state.in_(states))).scalar_one()
    return oldest


def _queues(connection: Connection, table: Table, name: Column[str], waiting: tuple[str, ...]) -> dict[str, Queue]:
    found: dict[str, dict[str, int]] = {}
    for row in connection.execute(select(name, table.c.state, func.count()).group_by(name, table.c.state)):
        found.setdefault(row[0], {})[row[1]] = row[2]
    oldest = select(name, func.min(table.c.created_at)).where(name.in_(found), table.c.state.in_(waiting)).group_by(name)
    since = {row[0]: row[1] for row in connection.execute(oldest)}
    return {one: Queue(by_state, since.get(one)) for one, by_state in found.items()}
