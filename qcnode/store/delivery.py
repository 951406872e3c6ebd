"""One result object on its way to one destination, and the states that it goes through."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Connection

from qcnode.store.database import Database
from qcnode.store.leases import held, leave
from qcnode.store.moves import Moves
from qcnode.store.notices import Announce, Event, EventKind, add_notices
from qcnode.store.schema import delivery_table

DELIVERY_MOVES: Moves = {
    "PENDING": frozenset({"SENDING", "DROPPED"}),
    "SENDING": frozenset({"SENDING", "PENDING", "DELIVERED", "DEAD"}),  # to itself: claimed again after its lease ran out
    "DELIVERED": frozenset({"PROVING"}),  # taken; the last state where the destination is not asked for proof
    # asked later; proven; nothing can be known; sent again, for it is not there; other content is there
    "PROVING": frozenset({"PROVING", "DELIVERED", "PROVEN", "UNPROVEN", "PENDING", "DEAD"}),
    "PROVEN": frozenset(),
    "UNPROVEN": frozenset({"DELIVERED"}),  # an administrator asks for another look
    "DEAD": frozenset({"PENDING", "DROPPED"}),  # an administrator asks for another try, or gives it up
    "DROPPED": frozenset({"PENDING"}),
}
UNASKED: Mapping[str, Any] = MappingProxyType({"commitment": None, "transaction_uid": None, "commitment_until": None})
"""The columns of a delivery whose destination is to be asked for a commitment anew."""

UNDELIVERED = ("PENDING", "SENDING")
"""The states in which the destination does not have it yet, and it still goes on by itself."""
KIND_ORDER = {"error_map": 0, "summary": 1, "report": 2, "key_object": 3, "decision": 4}
"""Within a case and destination what refers to others goes behind them; decisions also behind those that they replace."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One result object on its way to one destination. `file_settled`: its bytes are fixed and are only ever sent again.

    commitment: of proofs.COMMITMENT_STATES, None where it was not asked for; it is waited for until `commitment_until`.
    proof: "commitment", "read-back" or both, once it is PROVEN. proof_attempts: looks since it was delivered, the first of them at
    `proof_since`. times_missing: how often it was sent again because the destination did not have what it had taken.
    """

    delivery_id: int
    destination: str
    case_id: str
    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    path: Path
    sha256: str
    file_settled: bool
    state: str
    created_at: datetime
    attempts: int
    next_attempt_at: datetime
    owner: str | None
    lease_until: datetime | None
    last_error: str | None
    delivered_at: datetime | None
    proof_attempts: int
    times_missing: int
    proof_since: datetime | None
    commitment: str | None
    transaction_uid: str | None
    commitment_until: datetime | None
    proof: str | None
    proven_at: datetime | None


def delivery_of(row: Any, database: Database) -> Delivery:
    """A row of the table."""
    columns = {field.name: getattr(row, field.name) for field in fields(Delivery)}
    return Delivery(**columns | {"path": database.absolute(row.path)})


def held_delivery(delivery: Delivery, working: str) -> ColumnElement[bool]:
    """The row still belongs to the claim that gave `delivery`."""
    ours = held(delivery_table, working=working, owner=delivery.owner or "", attempts=delivery.attempts)
    return (delivery_table.c.delivery_id == delivery.delivery_id) & ours


def give_up(connection: Connection, delivery: Delivery, working: str, error: str, now: datetime, announce: Announce) -> None:
    """It goes no further by itself, and whoever `announce` names is told. `error` holds no patient data. Raises LeaseLost."""
    columns = {**UNASKED, "state": "DEAD", "last_error": error}
    leave(connection, delivery_table, DELIVERY_MOVES, held_delivery(delivery, working), columns)
    # its attempts are part of the subject: revived, it can be given up, and told of, once more
    subject = f"delivery/{delivery.delivery_id}/{delivery.attempts}"
    facts = {"destination": delivery.destination, "kind": delivery.kind, "case_id": delivery.case_id}
    add_notices(connection, announce(Event(EventKind.GIVEN_UP, subject, now, facts)), now)


def is_open(taken_is_enough: Collection[str]) -> ColumnElement[bool]:
    """The destination does not provably have it, and nobody has dropped it; what is dead or unproven is open until somebody acts.

    taken_is_enough: destinations that are not asked for proof (deliver.opening.unproven_by_choice).
    """
    columns = delivery_table.c
    enough = columns.state.in_(("DELIVERED", "PROVING")) & columns.destination.in_(taken_is_enough)
    return columns.state.not_in(("PROVEN", "DROPPED")) & ~enough
