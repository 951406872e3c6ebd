"""The Unified Procedure Steps of the worklist, as rows: following their items, and the moves that workstations make.

`ups_states` says what follows from what. Moves of workstations are audited with their AE title, under the item's subject; what follows from
a move of the item is not, for that move is.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, and_, insert, or_, select, true, update

from qcnode.errors import QCNodeError
from qcnode.store import audit
from qcnode.store.database import Database
from qcnode.store.items import Item, item_of
from qcnode.store.schema import item_table, result_object_table, ups_step_table
from qcnode.store.ups_states import ALIVE, STEP_MOVES, WHY_CANCELED, Act, StepState, acts_for, counts_as

BATCH = 200
"""Items whose steps are moved in one transaction: what is received must not wait long for its own."""

_I, _S = item_table.c, ups_step_table.c
_IS_ALIVE = _S.state.in_(ALIVE)


class StepMoved(QCNodeError):
    """The step is not any more what the caller took it for; look again."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step. The columns of `schema.ups_step_table` say more."""

    sop_instance_uid: str
    item_id: int
    number: int
    state: StepState
    transaction_uid: str | None
    ae_title: str | None
    reader: str | None
    claimed_at: datetime | None
    decided_at: datetime | None
    created_at: datetime
    changed_at: datetime
    begun_at: datetime | None
    ended_at: datetime | None
    performed: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Performer:
    """A workstation, and the reader whom it stands for."""

    ae_title: str
    reader: str


class UpsSteps:
    """Reading and moving steps. `new_uid`: of an item's case, its creation and the step's number -> a SOP Instance UID."""

    def __init__(self, database: Database, new_uid: Callable[[str, datetime, int], str]) -> None:
        self._database = database
        self._new_uid = new_uid

    def follow(self, now: datetime, item_id: int | None = None) -> int:
        """Bring the steps of all items, or of one, to where their items are; how many items that took. Doing it again changes nothing."""
        with self._database.read() as connection:
            behind = [row.item_id for row in _to_look_at(connection, item_id) if acts_for(row, _last_step(connection, row.item_id), now)]
        for start in range(0, len(behind), BATCH):
            with self._database.begin() as connection:
                for number in behind[start : start + BATCH]:
                    self._follow_item(connection, number, now)
        return len(behind)

    def find(
        self,
        now: datetime,
        *,
        sop_instance_uids: Iterable[str] = (),
        states: Iterable[str] = (),
        study_instance_uids: Iterable[str] = (),
    ) -> list[tuple[Step, Item]]:
        """Steps with their items as they count at `now`, the worst item first; a condition without values does not matter."""
        conditions = [
            column.in_(tuple(values))
            for column, values in (
                (_S.sop_instance_uid, sop_instance_uids),
                (_S.state, states),
                (_I.study_instance_uid, study_instance_uids),
            )
            if values
        ]
        query = select(ups_step_table).join(item_table, _I.item_id == _S.item_id).where(*conditions)
        order = (_I.rank, _I.created_at, _S.item_id, _S.number)
        with self._database.read() as connection:
            steps = [_step(row) for row in connection.execute(query.order_by(*order))]
            wanted = select(item_table).where(_I.item_id.in_(query.with_only_columns(_S.item_id)))
            items = {row.item_id: item_of(row, self._database, now) for row in connection.execute(wanted)}
        return [(step, items[step.item_id]) for step in steps]

    def report_path(self, item: Item) -> Path:
        """Where the report of the item's case lies."""
        table = result_object_table.c
        with self._database.read() as connection:
            query = select(table.path).where(table.case_id == item.case_id, table.kind == "report")
            return self._database.absolute(connection.execute(query).scalar_one())

    def intend(self, step: Step, by: Performer, transaction_uid: str, now: datetime) -> None:
        """Note on a SCHEDULED step that the workstation is about to claim its item at `now`: if that is all that happens before a crash,
        the step is found to be the workstation's. Raises StepMoved.
        """
        columns = {"transaction_uid": transaction_uid, "ae_title": by.ae_title, "reader": by.reader, "claimed_at": now}
        with self._database.begin() as connection:
            _set(connection, _current(connection, step), columns)

    def begin(self, step: Step, by: Performer, now: datetime) -> None:
        """The workstation of `intend` has claimed the item. Raises StepMoved."""
        with self._database.begin() as connection:
            row = _current(connection, step)
            _move(connection, row, StepState.IN_PROGRESS, now, begun_at=now)
            _audit(connection, row, "workstation-claim", by, now)

    def perform(self, step: Step, performed: str, now: datetime) -> None:
        """Keep what the performer has set. Raises StepMoved."""
        with self._database.begin() as connection:
            _set(connection, _current(connection, step), {"performed": performed, "changed_at": now})

    def complete(self, step: Step, by: Performer, performed: str, decided_at: datetime | None, now: datetime) -> None:
        """The performer has completed the step; `decided_at`: of the decision that came of it, or None. Raises StepMoved."""
        with self._database.begin() as connection:
            row = _current(connection, step)
            _move(connection, row, StepState.COMPLETED, now, ended_at=now, performed=performed, decided_at=decided_at)
            _audit(connection, row, "workstation-complete", by, now)

    def cancel(self, step: Step, by: Performer, reason: str, now: datetime) -> None:
        """The performer, or whoever may ask for it while the step is SCHEDULED, has canceled the step. Raises StepMoved."""
        with self._database.begin() as connection:
            row = _current(connection, step)
            if row.state == StepState.SCHEDULED:  # PS3.4 CC.1.1: by way of IN PROGRESS
                _move(connection, row, StepState.IN_PROGRESS, now, begun_at=now)
                row = _row(connection, step)
            _move(connection, row, StepState.CANCELED, now, ended_at=now, reason=reason)
            _audit(connection, row, "workstation-cancel", by, now)

    def _follow_item(self, connection: Connection, item_id: int, now: datetime) -> None:
        item = connection.execute(select(item_table).where(_I.item_id == item_id)).one()
        for act in acts_for(item, _last_step(connection, item_id), now):
            self._act(connection, item, _last_step(connection, item_id), act, now)

    def _act(self, connection: Connection, item: Any, step: Any, act: Act, now: datetime) -> None:
        if act is Act.SCHEDULE:
            number = 1 if step is None else step.number + 1
            columns = {"sop_instance_uid": self._new_uid(item.case_id, item.created_at, number), "item_id": item.item_id, "number": number}
            columns |= {"state": StepState.SCHEDULED, "created_at": now, "changed_at": now}
            connection.execute(insert(ups_step_table).values(columns))
        elif act is Act.BEGIN:
            _move(connection, step, StepState.IN_PROGRESS, now, **_performer(item, step), decided_at=item.decided_at, begun_at=now)
        elif act is Act.NOTE:
            _set(connection, step, {"decided_at": item.decided_at})
        elif act is Act.COMPLETE:
            _move(connection, step, StepState.COMPLETED, now, ended_at=now, decided_at=item.decided_at)
        else:
            _move(connection, step, StepState.CANCELED, now, ended_at=now, reason=WHY_CANCELED[counts_as(item, now)])


def _to_look_at(connection: Connection, item_id: int | None) -> list[Any]:
    """The items that may have left their steps behind: those that plainly wait with a SCHEDULED step are most, and left out."""
    scheduled = select(_S.item_id).where(_S.state == StepState.SCHEDULED)
    waiting = and_(_I.state.in_(("OPEN", "CLAIMED", "HELD")), ~and_(_I.state == "OPEN", _I.item_id.in_(scheduled)))
    alive = select(_S.item_id).where(_IS_ALIVE)
    over = and_(_I.state.in_(("DECIDED", "SUPERSEDED")), _I.item_id.in_(alive))
    one = _I.item_id == item_id if item_id is not None else true()
    return list(connection.execute(select(item_table).where(or_(waiting, over), one).order_by(_I.item_id)))


def _last_step(connection: Connection, item_id: int) -> Any | None:
    query = select(ups_step_table).where(_S.item_id == item_id).order_by(_S.number.desc()).limit(1)
    return connection.execute(query).one_or_none()


def _performer(item: Any, step: Any) -> dict[str, Any]:
    """Whose step it becomes: of the workstation that was about to make this very claim, or else nobody's that could tell the UID."""
    claim = {"reader": item.reader, "claimed_at": item.claimed_at}
    if step.transaction_uid is not None and (step.reader, step.claimed_at) == (item.reader, item.claimed_at):
        return claim
    return claim | {"transaction_uid": f"2.25.{uuid.uuid4().int}", "ae_title": None}


def _row(connection: Connection, step: Step) -> Any:
    return connection.execute(select(ups_step_table).where(_S.sop_instance_uid == step.sop_instance_uid)).one()


def _current(connection: Connection, step: Step) -> Any:
    row = _row(connection, step)
    if row.state != step.state:
        raise StepMoved(f"step {step.number} of item {step.item_id} is {row.state}")
    return row


def _set(connection: Connection, row: Any, columns: dict[str, Any]) -> None:
    connection.execute(update(ups_step_table).where(_S.sop_instance_uid == row.sop_instance_uid).values(columns))


def _move(connection: Connection, row: Any, state: StepState, now: datetime, **columns: Any) -> None:
    if state not in STEP_MOVES[row.state]:
        raise ValueError(f"a step that is {row.state} does not become {state}")
    _set(connection, row, columns | {"state": state, "changed_at": now})


def _audit(connection: Connection, row: Any, action: str, by: Performer, now: datetime) -> None:
    details = {"ae_title": by.ae_title, "sop_instance_uid": row.sop_instance_uid}
    audit.record(connection, at=now, actor=by.reader, action=action, subject=audit.item_subject(row.item_id), details=details)


def _step(row: Any) -> Step:
    return Step(**{field.name: getattr(row, field.name) for field in fields(Step)} | {"state": StepState(row.state)})
