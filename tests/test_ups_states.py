"""The table: every state that an item and its step can be in together leads to one step alive, or to none where nobody is needed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import pytest
from store_samples import at

from qcnode.store.items import ITEM_MOVES
from qcnode.store.ups_states import ALIVE, FOLLOW, STEP_MOVES, WHY_CANCELED, Act, StepState, acts_for, counts_as, fit_of


@dataclass(frozen=True)
class Row:
    """As much of an item or of a step as decides what follows."""

    state: str
    reader: str | None = None
    claimed_at: datetime | None = None
    decided_at: datetime | None = None
    lease_until: datetime | None = None
    stage: str = "FIRST"


NOW = at(100)
ITEMS = {
    "OPEN": Row("OPEN"),
    "CLAIMED": Row("CLAIMED", "ann", at(10), None, at(200)),
    "HELD": Row("HELD", "ann", at(10), at(20)),
    "DECIDED": Row("DECIDED", "ann", at(10), at(20)),
    "SUPERSEDED": Row("SUPERSEDED", "ann", at(10)),
}
STEPS = {
    "none": None,
    "canceled": Row("CANCELED", "ann", at(10)),
    "completed, undecided": Row("COMPLETED", "ann", at(10)),
    "completed": Row("COMPLETED", "ann", at(10), at(20)),
    "completed, undone": Row("COMPLETED", "ann", at(10), at(15)),
    "scheduled": Row("SCHEDULED"),
    "this claim": Row("IN PROGRESS", "ann", at(10)),
    "this decision": Row("IN PROGRESS", "ann", at(10), at(20)),
    "undone": Row("IN PROGRESS", "ann", at(10), at(15)),
    "another's": Row("IN PROGRESS", "bob", at(10)),
    "earlier": Row("IN PROGRESS", "ann", at(5)),
}
NONE_ALIVE = "DECIDED", "SUPERSEDED"


def test_every_state_of_an_item_has_its_line() -> None:
    assert set(FOLLOW) == set(WHY_CANCELED) == set(ITEM_MOVES)


def test_steps_move_as_the_standard_lets_them() -> None:
    assert STEP_MOVES["SCHEDULED"] == {"IN PROGRESS"}
    assert STEP_MOVES["IN PROGRESS"] == {"COMPLETED", "CANCELED"}
    assert not STEP_MOVES["COMPLETED"] | STEP_MOVES["CANCELED"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("state", ITEMS)
def test_following_ends_with_what_fits(state: str, step: str) -> None:
    item, row = ITEMS[state], STEPS[step]
    for act in acts_for(item, row, NOW):
        after = {Act.SCHEDULE: "SCHEDULED", Act.BEGIN: "IN PROGRESS", Act.COMPLETE: "COMPLETED", Act.CANCEL: "CANCELED"}
        if act is Act.SCHEDULE:
            assert row is None or row.state not in ALIVE, "two steps alive"
            row = Row("SCHEDULED")
        elif act is Act.NOTE:
            assert row is not None
            row = Row(row.state, row.reader, row.claimed_at, item.decided_at)
        else:
            assert row is not None
            assert after[act] in STEP_MOVES[row.state]
            performer = (
                (item.reader, item.claimed_at, item.decided_at) if act is Act.BEGIN else (row.reader, row.claimed_at, row.decided_at)
            )
            row = Row(after[act], *performer)
    assert acts_for(item, row, NOW) == (), "following again changes something"
    alive = row is not None and row.state in ALIVE
    if fit_of(item, row, NOW) == "completed":
        assert state in ("HELD", "DECIDED")
    else:
        assert alive is (state not in NONE_ALIVE)
    if alive:
        assert row is not None
        assert row.state == (StepState.SCHEDULED if state == "OPEN" else StepState.IN_PROGRESS)


def test_a_lease_that_ran_out_counts_as_open() -> None:
    claimed = ITEMS["CLAIMED"]
    assert counts_as(claimed, at(201)) == "OPEN"
    assert acts_for(claimed, STEPS["this claim"], at(201)) == (Act.CANCEL, Act.SCHEDULE)


def test_undo_has_a_successor() -> None:
    assert acts_for(ITEMS["CLAIMED"], STEPS["this decision"], NOW) == (Act.CANCEL, Act.SCHEDULE, Act.BEGIN)
    assert acts_for(ITEMS["CLAIMED"], STEPS["completed"], NOW) == (Act.SCHEDULE, Act.BEGIN)
