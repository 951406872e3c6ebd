"""What is to be told to whom: one row for each event and channel, put in by the event's transaction, until the channel has taken it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.sqlite import insert

from qcnode.store.database import Database
from qcnode.store.leases import claim_columns, claimable, held, leave
from qcnode.store.moves import Moves
from qcnode.store.schema import notice_table

NOTICE_MOVES: Moves = {
    "PENDING": frozenset({"SENDING"}),
    "SENDING": frozenset({"SENDING", "PENDING", "SENT", "DEAD"}),  # to itself: claimed again after its lease ran out
    "SENT": frozenset(),
    "DEAD": frozenset(),
}
_N = notice_table.c


class EventKind(StrEnum):
    """What can happen that somebody may want to be told of."""

    FLAGGED = "flagged"
    DECIDED = "decided"
    GIVEN_UP = "given-up"
    OLDEST_OPEN = "oldest-open"
    OLDEST_DELIVERY = "oldest-delivery"
    DRIFT = "drift"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. subject: what makes it this event and no other.

    facts: numbers, codes and digests that may be told; nothing of a patient. filters: what rules choose by and nobody is told.
    study_instance_uid: told only where a channel is configured so.
    """

    kind: EventKind
    subject: str
    at: datetime
    facts: Mapping[str, Any]
    filters: Mapping[str, str] = field(default_factory=dict)
    study_instance_uid: str | None = None


@dataclass(frozen=True, slots=True)
class NewNotice:
    """An event as one channel is told of it. content: JSON that is sent as it is; idempotency_key: the same whenever the event is told."""

    channel: str
    idempotency_key: str
    event: EventKind
    content: str
    not_before: datetime


@dataclass(frozen=True, slots=True)
class Notice:
    """One notice on its way."""

    notice_id: int
    channel: str
    idempotency_key: str
    event: str
    content: str
    state: str
    created_at: datetime
    attempts: int
    next_attempt_at: datetime
    owner: str | None
    last_error: str | None

    @property
    def facts(self) -> dict[str, Any]:
        """The content, read."""
        found: dict[str, Any] = json.loads(self.content)
        return found


Announce = Callable[[Event], Iterable[NewNotice]]
"""Who is to be told of an event, and what. Called inside of the event's transaction: quick, and without any other effect."""


def nobody(_: Event) -> Iterable[NewNotice]:
    """Nobody is told."""
    return ()


def add_notices(connection: Connection, notices: Iterable[NewNotice], now: datetime) -> int:
    """Queue notices inside of the caller's transaction; how many were new. What was told or is queued already stays as it is."""
    added = 0
    for notice in notices:
        columns = {
            "channel": notice.channel,
            "idempotency_key": notice.idempotency_key,
            "event": notice.event.value,
            "content": notice.content,
            "state": "PENDING",
            "created_at": now,
            "attempts": 0,
            "next_attempt_at": notice.not_before,
        }
        added += connection.execute(insert(notice_table).values(columns).on_conflict_do_nothing()).rowcount
    return added


class Notices:
    """The notices of every channel."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, notices: Iterable[NewNotice], now: datetime) -> int:
        """Queue notices about what changes nothing in the database; how many were new."""
        with self._database.begin() as connection:
            return add_notices(connection, notices, now)

    def claim(self, channel: str, owner: str, now: datetime, lease: timedelta, limit: int) -> list[Notice]:
        """Claim up to `limit` notices that are due, oldest first."""
        due = claimable(notice_table, waiting="PENDING", working="SENDING", now=now)
        oldest = select(_N.notice_id).where(_N.channel == channel, due).order_by(_N.notice_id).limit(limit)
        columns = claim_columns(notice_table, working="SENDING", owner=owner, lease_until=now + lease)
        claim = update(notice_table).where(_N.notice_id.in_(oldest)).values(columns).returning(notice_table)
        with self._database.begin() as connection:
            return sorted(map(_notice, connection.execute(claim)), key=lambda notice: notice.notice_id)

    def sent(self, notices: Sequence[Notice], now: datetime) -> None:
        """The channel has taken them. Raises LeaseLost."""
        self._leave(notices, {"state": "SENT", "sent_at": now, "last_error": None})

    def retry(self, notices: Sequence[Notice], *, next_attempt_at: datetime, error: str) -> None:
        """It failed for now. Raises LeaseLost."""
        self._leave(notices, {"state": "PENDING", "next_attempt_at": next_attempt_at, "last_error": error})

    def dead(self, notices: Sequence[Notice], error: str) -> None:
        """They will not be sent any more. Raises LeaseLost."""
        self._leave(notices, {"state": "DEAD", "last_error": error})

    def list(self, channel: str | None = None, state: str | None = None) -> list[Notice]:
        """Notices, oldest first, of a channel or state where given."""
        query = select(notice_table).order_by(_N.notice_id)
        for column, wanted in ((_N.channel, channel), (_N.state, state)):
            query = query if wanted is None else query.where(column == wanted)
        with self._database.read() as connection:
            return [_notice(row) for row in connection.execute(query)]

    def counts(self) -> dict[str, dict[str, int]]:
        """channel -> state -> number of notices."""
        found: dict[str, dict[str, int]] = {}
        with self._database.read() as connection:
            counted = select(_N.channel, _N.state, func.count().label("number")).group_by(_N.channel, _N.state)
            for row in connection.execute(counted):
                found.setdefault(row.channel, {})[row.state] = row.number
        return found

    def _leave(self, notices: Sequence[Notice], columns: Mapping[str, Any]) -> None:
        with self._database.begin() as connection:
            for notice in notices:
                ours = held(notice_table, working="SENDING", owner=notice.owner or "", attempts=notice.attempts)
                leave(connection, notice_table, NOTICE_MOVES, (_N.notice_id == notice.notice_id) & ours, columns)


def _notice(row: Any) -> Notice:
    return Notice(**{field.name: getattr(row, field.name) for field in fields(Notice)})
