"""What was delivered is proven: the destination has committed to it, or has given it back, or both.

A delivery is claimed for a look as it was claimed for sending. A transaction of Storage Commitment is kept before it is asked for, so
that a report finds it whenever it comes, after a restart too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import case, literal, select, update

from qcnode.commitment import CommitmentReport
from qcnode.store.columns import UtcDateTime
from qcnode.store.database import Database
from qcnode.store.delivery import DELIVERY_MOVES, UNASKED, Delivery, delivery_of, give_up, held_delivery
from qcnode.store.leases import LeaseLost, claim_columns, claimable, leave
from qcnode.store.notices import Announce, nobody
from qcnode.store.schema import delivery_table

ASKED, GIVEN, REFUSED, NOT_OFFERED = "ASKED", "GIVEN", "REFUSED", "NOT_OFFERED"
COMMITMENT_STATES = (ASKED, GIVEN, REFUSED, NOT_OFFERED)

_D = delivery_table.c


class Proofs:
    """The deliveries that a destination has taken, until they are proven."""

    def __init__(self, database: Database, announce: Announce = nobody) -> None:
        """`announce`: who is to be told when a destination turns out to hold something else."""
        self._database = database
        self._announce = announce

    def claim(self, destination: str, owner: str, now: datetime, lease: timedelta) -> Delivery | None:
        """Claim the delivery that has been due for a look for longest, or None."""
        due = claimable(delivery_table, waiting="DELIVERED", working="PROVING", now=now)
        oldest = (
            select(_D.delivery_id)
            .where(_D.destination == destination, due)
            .order_by(_D.next_attempt_at, _D.delivery_id)
            .limit(1)
            .scalar_subquery()
        )
        columns = claim_columns(delivery_table, working="PROVING", owner=owner, lease_until=now + lease)
        first = case((_D.proof_attempts == 0, literal(now, UtcDateTime())), else_=_D.proof_since)
        columns |= {"proof_attempts": _D.proof_attempts + 1, "proof_since": first}
        claim = update(delivery_table).where(_D.delivery_id == oldest).values(columns).returning(delivery_table)
        with self._database.begin() as connection:
            row = connection.execute(claim).one_or_none()
        return None if row is None else delivery_of(row, self._database)

    def ask(self, delivery: Delivery, transaction_uid: str, until: datetime) -> Delivery:
        """Keep a transaction before it is asked for. Raises LeaseLost."""
        return self._change(delivery, {"commitment": ASKED, "transaction_uid": transaction_uid, "commitment_until": until})

    def not_offered(self, delivery: Delivery) -> Delivery:
        """The destination knows no Storage Commitment. Raises LeaseLost."""
        return self._change(delivery, {**UNASKED, "commitment": NOT_OFFERED})

    def unanswered(self, delivery: Delivery) -> Delivery:
        """No report came in time; a later one is none of ours. Raises LeaseLost."""
        return self._change(delivery, UNASKED)

    def await_report(self, delivery: Delivery) -> None:
        """The request was taken: look again when the report is there, or overdue. Raises LeaseLost."""
        until = literal(delivery.commitment_until, UtcDateTime())
        due = case((_D.commitment == ASKED, until), else_=_D.next_attempt_at)  # the report may have come before this
        self._leave(delivery, {"state": "DELIVERED", "next_attempt_at": due, "last_error": None})

    def report(self, destinations: Collection[str], report: CommitmentReport, now: datetime) -> bool:
        """Keep what one of these destinations reports; the delivery is looked at next. False where none was asked for this transaction."""
        known = (_D.transaction_uid == report.transaction_uid) & _D.destination.in_(destinations)
        with self._database.begin() as connection:
            row = connection.execute(select(_D.delivery_id, _D.sop_instance_uid).where(known)).one_or_none()
            if row is None:
                return False
            columns: dict[str, Any] = {"next_attempt_at": now}
            if row.sop_instance_uid in report.committed:
                columns |= {"commitment": GIVEN, "last_error": None}
            elif row.sop_instance_uid in report.failed:
                reason = f"the destination does not commit to it: failure reason {report.failed[row.sop_instance_uid]:04X}H"
                columns |= {"commitment": REFUSED, "last_error": reason}
            else:
                return True  # a report must name everything that was asked for; this one says nothing
            is_open = (_D.delivery_id == row.delivery_id) & (_D.commitment == ASKED)
            connection.execute(update(delivery_table).where(is_open).values(columns))
        return True

    def proven(self, delivery: Delivery, proof: str, now: datetime) -> None:
        """The destination has it. Raises LeaseLost."""
        self._leave(delivery, {"state": "PROVEN", "proof": proof, "proven_at": now, "last_error": None})

    def look_again(self, delivery: Delivery, *, next_attempt_at: datetime, error: str) -> None:
        """Nothing could be found out for now. `error` holds no patient data. Raises LeaseLost."""
        self._leave(delivery, {"state": "DELIVERED", "next_attempt_at": next_attempt_at, "last_error": error})

    def send_again(self, delivery: Delivery, *, next_attempt_at: datetime, error: str) -> None:
        """The destination does not have it; its age as a delivery counts from then. Raises LeaseLost."""
        again = {"state": "PENDING", "created_at": next_attempt_at, "next_attempt_at": next_attempt_at, "delivered_at": None}
        again |= {"times_missing": _D.times_missing + 1, "last_error": error}
        self._leave(delivery, {**UNASKED, **again})

    def unproven(self, delivery: Delivery, error: str) -> None:
        """The destination took it and can not be asked. Raises LeaseLost."""
        self._leave(delivery, {"state": "UNPROVEN", "last_error": error})

    def dead(self, delivery: Delivery, error: str, now: datetime) -> None:
        """The destination holds other content under this UID, or loses it again and again: a person must act. Raises LeaseLost."""
        with self._database.begin() as connection:
            give_up(connection, delivery, "PROVING", error, now, self._announce)

    def _change(self, delivery: Delivery, columns: Mapping[str, Any]) -> Delivery:
        change = update(delivery_table).where(held_delivery(delivery, "PROVING")).values(columns).returning(delivery_table)
        with self._database.begin() as connection:
            row = connection.execute(change).one_or_none()
        if row is None:
            raise LeaseLost(f"delivery {delivery.delivery_id} is no longer ours")
        return delivery_of(row, self._database)

    def _leave(self, delivery: Delivery, columns: Mapping[str, Any]) -> None:
        with self._database.begin() as connection:
            leave(connection, delivery_table, DELIVERY_MOVES, held_delivery(delivery, "PROVING"), columns)
