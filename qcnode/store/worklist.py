"""What a radiologist should look at, worst first, and what was decided: how items move. Each move is audited in its own transaction.

Whoever changes an item does it through `qcnode.review`, which knows how long leases and holds last.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, func, select, update

from qcnode.drift import Drift, examine, first_moment
from qcnode.store import audit, item_queries
from qcnode.store.audit import AuditEntry
from qcnode.store.database import Database
from qcnode.store.drift_cases import judged_cases
from qcnode.store.final_decisions import DecisionFilters, FinalDecision, read_final_decisions
from qcnode.store.item_queries import Facets, Filters, Order
from qcnode.store.items import (
    INDEPENDENT,
    ITEM_MOVES,
    NO_CLAIM,
    NO_DECISION,
    WAITING,
    Decision,
    ErrorCode,
    Item,
    Judgement,
    Stage,
    WorklistError,
    has_run_out,
    item_of,
    stored_marks,
)
from qcnode.store.notices import Announce, Event, EventKind, add_notices, nobody
from qcnode.store.overview import Overview, read_overview
from qcnode.store.readings import Reading, has_read, keep_reading, readings_of, standing
from qcnode.store.refusals import require_held, require_reader, require_state, require_unread
from qcnode.store.schema import item_table

__all__ = [
    "ITEM_MOVES",
    "WAITING",
    "Decision",
    "Facets",
    "Filters",
    "Item",
    "Judgement",
    "Order",
    "Overview",
    "Reading",
    "Stage",
    "Worklist",
    "WorklistError",
]

_NONE: Mapping[str, Any] = MappingProxyType({})


class Worklist:
    """Reading and moving worklist items. `now` decides which leases have run out."""

    def __init__(self, database: Database, announce: Announce = nobody) -> None:
        """`announce`: who is to be told of a final decision."""
        self._database = database
        self._announce = announce

    def page(self, filters: Filters, order: Order, offset: int, limit: int, now: datetime) -> tuple[list[Item], int]:
        """At most `limit` items from `offset` on, and how many there are in all."""
        with self._database.read() as connection:
            rows = item_queries.rows_of_page(connection, filters, order, offset, limit, now)
            return [item_of(row, self._database, now) for row in rows], item_queries.total(connection, filters, now)

    def show(self, item_id: int, now: datetime) -> Item:
        """One item. Raises WorklistError "gone" when there is none with this number."""
        with self._database.read() as connection:
            return item_of(_row(connection, item_id), self._database, now)

    def neighbours(self, item_id: int, filters: Filters, order: Order, now: datetime) -> tuple[int | None, int | None]:
        """Numbers of the items before and after this one, which itself need not be among the chosen ones. Raises WorklistError "gone"."""
        with self._database.read() as connection:
            return item_queries.neighbours_of(connection, _row(connection, item_id), filters, order, now)

    def facets(self) -> Facets:
        """What the filters offer."""
        with self._database.read() as connection:
            return item_queries.facets(connection)

    def overview(self, now: datetime, days: int) -> Overview:
        """Figures of the last `days` days, today included."""
        with self._database.read() as connection:
            return read_overview(connection, now, days)

    def drift(self, now: datetime) -> Drift:
        """Whether the predictions of a scanner or a segmenter have shifted."""
        return examine(judged_cases(self._database, first_moment(now)), now)

    def history(self, item_id: int) -> list[AuditEntry]:
        """Everything that was done with the item, oldest first."""
        return audit.Audit(self._database).entries(audit.item_subject(item_id))

    def readings(self, item_id: int) -> list[Reading]:
        """The final readings of an item, oldest first; whoever shows them knows from `Item.is_independent` whether they may be seen."""
        with self._database.read() as connection:
            return readings_of(connection, item_id)

    def has_read(self, item_id: int, reader: str) -> bool:
        """Whether `reader` has a final reading of the item."""
        with self._database.read() as connection:
            return has_read(connection, item_id, reader)

    def read_by_one(self) -> frozenset[int]:
        """Numbers of the items about which one of two readers has said something that the other one must not know yet."""
        state, stage = item_table.c.state, item_table.c.stage
        said = (state == "HELD") | (stage == Stage.SECOND)
        undecided = state.in_((*WAITING, "HELD")) & item_table.c.read_twice & stage.in_(INDEPENDENT)
        with self._database.read() as connection:
            return frozenset(connection.execute(select(item_table.c.item_id).where(undecided, said)).scalars())

    def viewed(self, item_id: int, reader: str, now: datetime) -> None:
        """`reader` opened the case. Raises WorklistError "gone"."""
        with self._database.begin() as connection:
            row = _row(connection, item_id)
            _audit(connection, row, "view", reader, now)

    def claim(self, item_id: int, reader: str, now: datetime, lease_until: datetime) -> Item:
        """`reader` takes the item, so that nobody else reads it at the same time. Claiming one's own item again renews the lease."""
        with self._database.begin() as connection:
            row = _row(connection, item_id)
            if row.state == "CLAIMED" and row.reader == reader:
                _set(connection, row, lease_until=lease_until)
            else:
                row = _expire(connection, row, now) if has_run_out(row, now) else row
                require_state(row, ("OPEN",), "claimed")
                require_unread(connection, row, reader)
                _move(connection, row, "CLAIMED", "claim", reader, now, reader=reader, claimed_at=now, lease_until=lease_until)
        return self.show(item_id, now)

    def renew(self, item_id: int, reader: str, now: datetime, lease_until: datetime) -> Item:
        """`reader` is still at it. Nothing is audited: nothing changes hands."""
        with self._database.begin() as connection:
            row = _row(connection, item_id)
            require_reader(row, reader, "CLAIMED")
            _set(connection, row, lease_until=lease_until)
        return self.show(item_id, now)

    def release(self, item_id: int, reader: str, now: datetime) -> Item:
        """`reader` gives the item back undecided; a held decision is taken back with it."""
        with self._database.begin() as connection:
            row = _row(connection, item_id)
            require_reader(row, reader, "CLAIMED", "HELD")
            require_held(row, now)
            _give_up(connection, row, "release", reader, now)
        return self.show(item_id, now)

    def reassign(self, item_id: int, by: str, to: str, now: datetime, lease_until: datetime) -> Item:
        """`by` gives an open item, or one that anybody has claimed, to the reader `to`. Who may do so is the caller's concern."""
        with self._database.begin() as connection:
            row = _row(connection, item_id)
            require_state(row, WAITING, "given to another reader")
            require_unread(connection, row, to)
            columns = {"reader": to, "claimed_at": now, "lease_until": lease_until}
            _move(connection, row, "CLAIMED", "reassign", by, now, {"from": row.reader, "to": to}, **columns)
        return self.show(item_id, now)

    def hold(self, item_id: int, reader: str, judgement: Judgement, now: datetime, held_until: datetime) -> Item:
        """`reader`, who has claimed the item, judges the query segmentation; until `held_until` it can be taken back."""
        said: dict[str, Any] = {
            "decision": judgement.decision.value,
            "reasons": list(judgement.reasons),
            "comment": judgement.comment,
            "rating": judgement.rating,
        }
        columns: dict[str, Any] = {name: said[name] for name in ("decision", "comment", "rating")}
        columns |= {"decision_reasons": json.dumps(said["reasons"]), "region_marks": stored_marks(judgement.marks)}
        columns |= {"decided_at": now, "held_until": held_until, "lease_until": None}
        if judgement.marks:
            said["regions"] = {number: mark.value for number, mark in sorted(judgement.marks.items())}
        with self._database.begin() as connection:
            row = _row(connection, item_id)
            require_reader(row, reader, "CLAIMED")
            _move(connection, row, "HELD", "decide", reader, now, said, **columns)
        return self.show(item_id, now)

    def undo(self, item_id: int, reader: str, now: datetime, lease_until: datetime) -> Item:
        """`reader` takes the held decision back and has the item claimed again."""
        with self._database.begin() as connection:
            row = _row(connection, item_id)
            require_reader(row, reader, "HELD")
            require_held(row, now)
            _move(connection, row, "CLAIMED", "undo", reader, now, **NO_DECISION | {"lease_until": lease_until})
        return self.show(item_id, now)

    def reopen(self, item_id: int, reader: str, because: str, now: datetime, lease_until: datetime, *, of_anybody: bool) -> Item:
        """`reader` takes a decided item to revise what was decided, which stands until another decision about it is final.

        of_anybody: also a decision of another reader; who may do so is the caller's concern.
        """
        with self._database.begin() as connection:
            row = _row(connection, item_id)
            if row.state != "DECIDED":
                code: ErrorCode = "superseded" if row.state == "SUPERSEDED" else "not-decided"
                raise WorklistError(f"item {item_id} is {row.state}; only a final decision can be reopened", code)
            if row.purged_at is not None:
                raise WorklistError(f"the pictures and documents of item {item_id} were purged; its decision can not be revised", "purged")
            if row.reader != reader and not of_anybody:
                raise WorklistError(f"the decision about item {item_id} is {row.reader}'s; a supervisor can reopen it", "not-yours")
            columns = NO_DECISION | {"reader": reader, "claimed_at": now, "lease_until": lease_until}
            details = {"because": because, "decision": row.decision, "from": row.reader}
            _move(connection, row, "CLAIMED", "reopen", reader, now, details, **columns, stage=Stage.REVISION.value, because=because)
        return self.show(item_id, now)

    def finalise_due(self, now: datetime) -> list[Item]:
        """Held decisions whose time is over become final, claims whose lease ran out are given back.

        An item that needs another reading is open again, without the decision: the next reader must not know it.
        Returns what is decided and not yet `passed_on`, oldest decision first: after a crash, also what was final before.
        """
        state = item_table.c.state
        with self._database.begin() as connection:
            for row in connection.execute(select(item_table).where(state == "CLAIMED", item_table.c.lease_until < now)).all():
                _expire(connection, row, now)
            for row in connection.execute(select(item_table).where(state == "HELD", item_table.c.held_until <= now)).all():
                if _finalise(connection, row, now):
                    add_notices(connection, self._announce(_decided(row, now)), now)
            waiting = select(item_table).where(state == "DECIDED", item_table.c.passed_on_at.is_(None)).order_by(item_table.c.decided_at)
            return [item_of(row, self._database, now) for row in connection.execute(waiting)]

    def passed_on(self, item_id: int, now: datetime) -> None:
        """What follows from the final decision is queued: `finalise_due` returns the item no more."""
        with self._database.begin() as connection:
            _set(connection, _row(connection, item_id), passed_on_at=now)

    def final_decisions(self, filters: DecisionFilters, by: str, now: datetime, details: Mapping[str, Any] = _NONE) -> list[FinalDecision]:
        """Of each query the last final decision. That `by` took them out is audited; `details` say for what."""
        with self._database.begin() as connection:
            found = read_final_decisions(connection, self._database, filters, now)
            details = {"decisions": len(found), "task": filters.task} | dict(details)
            audit.record(connection, at=now, actor=by, action="export", subject="worklist", details=details)
        return found

    def counts(self) -> dict[str, int]:
        """state -> number of items."""
        query = select(item_table.c.state, func.count().label("number")).group_by(item_table.c.state)
        with self._database.read() as connection:
            return {row.state: row.number for row in connection.execute(query)}

    def list(self, state: str | Iterable[str] | None = WAITING) -> list[Item]:
        """All items as they are stored, whatever their leases say, worst first. None: any state."""
        query = select(item_table).order_by(item_table.c.rank, item_table.c.created_at, item_table.c.item_id)
        if state is not None:
            query = query.where(item_table.c.state.in_((state,) if isinstance(state, str) else tuple(state)))
        with self._database.read() as connection:
            # no lease has run out at a time before every claim
            return [item_of(row, self._database, row.created_at) for row in connection.execute(query)]


def _decided(row: Any, now: datetime) -> Event:
    """A final decision, without what the reader has written and who it was."""
    facts = {name: getattr(row, name) for name in ("item_id", "case_id", "task", "verdict", "predicted_dsc", "blind", "decision", "rating")}
    facts |= {"decision_reasons": json.loads(row.decision_reasons), "decided_at": row.decided_at.isoformat(timespec="seconds")}
    filters = {name: getattr(row, name) for name in ("verdict", "task", "institution", "scanner", "segmenter")}
    return Event(EventKind.DECIDED, f"{row.case_id}/{row.decided_at.isoformat()}", now, facts, filters, row.study_instance_uid)


def _row(connection: Connection, item_id: int) -> Any:
    row = connection.execute(select(item_table).where(item_table.c.item_id == item_id)).one_or_none()
    if row is None:
        raise WorklistError(f"there is no worklist item {item_id}", "gone")
    return row


def _set(connection: Connection, row: Any, **columns: Any) -> None:
    connection.execute(update(item_table).where(item_table.c.item_id == row.item_id).values(columns))


def _move(
    connection: Connection, row: Any, state: str, action: str, actor: str, now: datetime, details: Mapping[str, Any] = _NONE, **columns: Any
) -> None:
    if state not in ITEM_MOVES[row.state]:
        raise ValueError(f"an item that is {row.state} does not become {state}")
    _set(connection, row, state=state, **columns)
    _audit(connection, row, action, actor, now, **details)


def _expire(connection: Connection, row: Any, now: datetime) -> Any:
    """The row as it is when its lease has run out."""
    _give_up(connection, row, "expire", audit.NODE, now, {"reader": row.reader})
    return _row(connection, row.item_id)


def _give_up(connection: Connection, row: Any, action: str, actor: str, now: datetime, details: Mapping[str, Any] = _NONE) -> None:
    """The reader leaves the item undecided: it is open again, or what was decided before stands again."""
    if row.stage == Stage.REVISION:
        columns = NO_CLAIM | NO_DECISION | standing(connection, row.item_id) | {"because": None}
        _move(connection, row, "DECIDED", action, actor, now, details, **columns)
    else:
        _move(connection, row, "OPEN", action, actor, now, details, **NO_CLAIM, **NO_DECISION)


def _finalise(connection: Connection, row: Any, now: datetime) -> bool:
    """Keep a reading; True where it settles the item, False where another reader follows."""
    following = keep_reading(connection, row)
    if following is None:
        _move(connection, row, "DECIDED", "finalise", audit.NODE, now, held_until=None, because=None, passed_on_at=None)
    else:
        columns = NO_CLAIM | NO_DECISION | {"stage": following.value}
        _move(connection, row, "OPEN", "finalise", audit.NODE, now, {"next": following.value}, **columns)
    return following is None


def _audit(connection: Connection, row: Any, action: str, actor: str, now: datetime, **details: Any) -> None:
    details = {"case_id": row.case_id, "verdict": row.verdict} | details
    audit.record(connection, at=now, actor=actor, action=action, subject=audit.item_subject(row.item_id), details=details)
