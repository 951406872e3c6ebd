"""What is to be delivered where: one row for each result object and destination, until the destination has taken it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, case, exists, func, select, type_coerce, update
from sqlalchemy.dialects.sqlite import insert

from qcnode.case import ResultObject
from qcnode.store import audit
from qcnode.store.columns import UtcDateTime
from qcnode.store.database import Database
from qcnode.store.delivery import DELIVERY_MOVES, KIND_ORDER, UNASKED, UNDELIVERED, Delivery, delivery_of, give_up, held_delivery, is_open
from qcnode.store.leases import LeaseLost, claim_columns, claimable, leave
from qcnode.store.notices import Announce, nobody
from qcnode.store.schema import delivery_table

__all__ = ["Delivery", "LeaseLost", "Outbox", "add_deliveries"]

_D = delivery_table.c
_TAKEN = ("DELIVERED", "PROVING", "UNPROVEN")


@dataclass(frozen=True, slots=True)
class OpenDeliveries:
    """How many deliveries are open, and since when the oldest of them has been on its way, or been taken without proof."""

    number: int
    oldest: datetime


class Outbox:
    """The deliveries of every destination."""

    def __init__(self, database: Database, announce: Announce = nobody) -> None:
        """`announce`: who is to be told when a delivery is given up."""
        self._database = database
        self._announce = announce

    def claim(self, destination: str, owner: str, now: datetime, lease: timedelta) -> Delivery | None:
        """Claim the oldest delivery that is due, or None. A case's later kinds wait for its earlier ones, unless those are dead."""
        earlier = delivery_table.alias("earlier")
        goes_before = (earlier.c.kind_order < delivery_table.c.kind_order) | (
            (earlier.c.kind_order == delivery_table.c.kind_order) & (earlier.c.delivery_id < delivery_table.c.delivery_id)
        )
        blocked = exists().where(
            earlier.c.case_id == delivery_table.c.case_id,
            earlier.c.destination == delivery_table.c.destination,
            goes_before,
            earlier.c.state.in_(UNDELIVERED),
        )
        due = claimable(delivery_table, waiting="PENDING", working="SENDING", now=now)
        oldest = (
            select(delivery_table.c.delivery_id)
            .where(delivery_table.c.destination == destination, due, ~blocked)
            .order_by(delivery_table.c.created_at, delivery_table.c.kind_order, delivery_table.c.delivery_id)
            .limit(1)
            .scalar_subquery()
        )
        columns = claim_columns(delivery_table, working="SENDING", owner=owner, lease_until=now + lease)
        claim = update(delivery_table).where(delivery_table.c.delivery_id == oldest).values(columns).returning(delivery_table)
        with self._database.begin() as connection:
            row = connection.execute(claim).one_or_none()
        return None if row is None else delivery_of(row, self._database)

    def replace_file(self, delivery: Delivery, path: Path, sha256: str) -> Delivery:
        """Settle the bytes before the first send: `path` holds them, refreshed or not. Raises LeaseLost.

        Once settled, the first file stays, whatever is given: every send of a SOP Instance UID carries the same digest.
        """
        columns = {"path": self._database.relative(path), "sha256": sha256, "file_settled": True}
        unsettled = delivery_table.c.file_settled.is_(False)
        with self._database.begin() as connection:
            connection.execute(update(delivery_table).where(held_delivery(delivery, "SENDING"), unsettled).values(columns))
            row = connection.execute(select(delivery_table).where(held_delivery(delivery, "SENDING"))).one_or_none()
        if row is None:
            raise LeaseLost(f"delivery {delivery.delivery_id} is no longer ours")
        return delivery_of(row, self._database)

    def delivered(self, delivery: Delivery, now: datetime) -> None:
        """The destination has taken it; whether it has it is for store.proofs to find out, at once. Raises LeaseLost."""
        taken = {"state": "DELIVERED", "delivered_at": now, "next_attempt_at": now, "proof_attempts": 0, "last_error": None}
        self._leave(delivery, taken | {"proof_since": now})

    def retry(self, delivery: Delivery, *, next_attempt_at: datetime, error: str) -> None:
        """It failed for now. `error` holds no patient data. Raises LeaseLost."""
        self._leave(delivery, {"state": "PENDING", "next_attempt_at": next_attempt_at, "last_error": error})

    def dead(self, delivery: Delivery, error: str, now: datetime) -> None:
        """It will not be tried again by itself. Raises LeaseLost."""
        with self._database.begin() as connection:
            give_up(connection, delivery, "SENDING", error, now, self._announce)

    def try_now(self, delivery_id: int, actor: str, now: datetime) -> bool:
        """An administrator asks for another try, or another look where it was taken: at once, and its age counts from now.

        False where there is nothing to try: it is proven, being worked on, unknown, or its file is gone.
        """
        sent = {"state": "PENDING", "created_at": now, "times_missing": 0, **UNASKED}
        looked_at = {"state": "DELIVERED", "proof_attempts": 0, "proof_since": now, **UNASKED}
        changes = dict.fromkeys(("PENDING", "DEAD", "DROPPED"), sent) | dict.fromkeys(("DELIVERED", "UNPROVEN"), looked_at)
        delivery = self.get(delivery_id)
        if delivery is None or not delivery.path.is_file():
            return False
        return self._act(delivery_id, actor, "retry-delivery", {s: c | {"next_attempt_at": now} for s, c in changes.items()}, now)

    def drop(self, delivery_id: int, actor: str, now: datetime) -> bool:
        """An administrator gives a delivery up; `try_now` takes that back. False where it is neither waiting nor dead."""
        columns: dict[str, Any] = {"state": "DROPPED"}
        return self._act(delivery_id, actor, "drop-delivery", {"PENDING": columns, "DEAD": columns}, now)

    def get(self, delivery_id: int) -> Delivery | None:
        """One delivery, by its number."""
        with self._database.read() as connection:
            row = connection.execute(select(delivery_table).where(_D.delivery_id == delivery_id)).one_or_none()
        return None if row is None else delivery_of(row, self._database)

    def open_deliveries(self, taken_is_enough: Collection[str]) -> dict[str, OpenDeliveries]:
        """destination -> what it does not provably have, the dead and the unproven included; destinations without any are left out.

        taken_is_enough: destinations that are not asked for proof (deliver.opening.unproven_by_choice).
        """
        since = case((_D.state.in_(_TAKEN), func.coalesce(_D.proof_since, _D.delivered_at)), else_=_D.created_at)
        query = select(_D.destination, func.count().label("number"), type_coerce(func.min(since), UtcDateTime()).label("oldest"))
        query = query.where(is_open(taken_is_enough)).group_by(_D.destination)
        with self._database.read() as connection:
            return {row.destination: OpenDeliveries(row.number, row.oldest) for row in connection.execute(query)}

    def list(self, *, state: str | None = None, destination: str | None = None, case_id: str | None = None) -> list[Delivery]:
        """Deliveries, oldest first, of a state, destination or case where given."""
        query = select(delivery_table).order_by(delivery_table.c.created_at, delivery_table.c.kind_order, delivery_table.c.delivery_id)
        for column, wanted in (("state", state), ("destination", destination), ("case_id", case_id)):
            if wanted is not None:
                query = query.where(delivery_table.c[column] == wanted)
        with self._database.read() as connection:
            return [delivery_of(row, self._database) for row in connection.execute(query)]

    def counts(self) -> dict[str, dict[str, int]]:
        """destination -> state -> number of deliveries."""
        query = select(delivery_table.c.destination, delivery_table.c.state, func.count().label("number"))
        found: dict[str, dict[str, int]] = {}
        with self._database.read() as connection:
            for row in connection.execute(query.group_by(delivery_table.c.destination, delivery_table.c.state)):
                found.setdefault(row.destination, {})[row.state] = row.number
        return found

    def _leave(self, delivery: Delivery, columns: Mapping[str, Any]) -> None:
        with self._database.begin() as connection:
            leave(connection, delivery_table, DELIVERY_MOVES, held_delivery(delivery, "SENDING"), columns)

    def _act(self, delivery_id: int, actor: str, action: str, changes: Mapping[str, Mapping[str, Any]], now: datetime) -> bool:
        """Apply the change of the delivery's present state, and say so in the audit table, in one transaction."""
        with self._database.begin() as connection:
            row = connection.execute(select(delivery_table).where(_D.delivery_id == delivery_id)).one_or_none()
            if row is None or row.state not in changes:
                return False
            connection.execute(update(delivery_table).where(_D.delivery_id == delivery_id).values(changes[row.state]))
            details = {name: getattr(row, name) for name in ("destination", "kind", "case_id", "state", "last_error")}
            audit.record(connection, at=now, actor=actor, action=action, subject=f"delivery/{delivery_id}", details=details)
        return True


def add_deliveries(
    connection: Connection,
    case_id: str,
    objects: Mapping[str, tuple[ResultObject, str]],
    destinations: Mapping[str, frozenset[str]],
    now: datetime,
) -> None:
    """Queue a case's objects inside of the caller's transaction; what is already queued stays as it is.

    `objects`: kind -> (object, its path as stored). `destinations`: name -> the kinds that it wants.
    """
    for destination, kinds in destinations.items():
        for kind in kinds & objects.keys():
            written, path = objects[kind]
            columns = {
                "destination": destination,
                "case_id": case_id,
                "kind": kind,
                "kind_order": KIND_ORDER[kind],
                "sop_class_uid": written.sop_class_uid,
                "sop_instance_uid": written.sop_instance_uid,
                "path": path,
                "sha256": written.sha256,
                "file_settled": False,
                "state": "PENDING",
                "created_at": now,
                "attempts": 0,
                "next_attempt_at": now,
            }
            connection.execute(insert(delivery_table).values(columns).on_conflict_do_nothing())
