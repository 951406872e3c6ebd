"""Claim, work, settle: what jobs, deliveries and notices have in common.

A row is claimed for a time; a crash lets the time pass and the row is claimed again. `attempts` grows with every claim and so
also says which claim a row belongs to.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, or_, update

from qcnode.errors import QCNodeError
from qcnode.store.database import Database
from qcnode.store.moves import Moves, states_before
from qcnode.store.schema import case_table, delivery_table, notice_table

_CLAIMS = (
    (case_table, "RUNNING", "PENDING"),
    (delivery_table, "SENDING", "PENDING"),
    (delivery_table, "PROVING", "DELIVERED"),
    (notice_table, "SENDING", "PENDING"),
)


class LeaseLost(QCNodeError):
    """The row was meanwhile claimed by another worker, settled or superseded: the work is to be thrown away."""


def claimable(table: Table, *, waiting: str, working: str, now: datetime) -> ColumnElement[bool]:
    """Rows that wait and whose time has come, and rows whose worker let its lease run out."""
    due = and_(table.c.state == waiting, table.c.next_attempt_at <= now)
    return or_(due, and_(table.c.state == working, table.c.lease_until < now))


def claim_columns(table: Table, *, working: str, owner: str, lease_until: datetime) -> dict[str, Any]:
    """What a claim writes into the row."""
    return {"state": working, "owner": owner, "lease_until": lease_until, "attempts": table.c.attempts + 1}


def held(table: Table, *, working: str, owner: str, attempts: int) -> ColumnElement[bool]:
    """The row still belongs to this claim. A lease that ran out unnoticed still counts: nobody else has begun the work."""
    return and_(table.c.state == working, table.c.owner == owner, table.c.attempts == attempts)


def leave(connection: Connection, table: Table, moves: Moves, ours: ColumnElement[bool], columns: Mapping[str, Any]) -> None:
    """End a claim: `columns` hold the state that the row goes to. Raises LeaseLost when no row is `ours` any more."""
    allowed = table.c.state.in_(states_before(moves, columns["state"]))
    change = update(table).where(ours, allowed).values(owner=None, lease_until=None, **columns)
    if connection.execute(change.returning(table.c.state)).first() is None:
        raise LeaseLost(f"a row of {table.name} is no longer ours")


def release_leases(database: Database) -> None:
    """Give back what a node that died was at. Only for a node that has just taken the storage directory's lock: nobody else works."""
    with database.begin() as connection:
        for table, working, waiting in _CLAIMS:
            connection.execute(update(table).where(table.c.state == working).values(state=waiting, owner=None, lease_until=None))
