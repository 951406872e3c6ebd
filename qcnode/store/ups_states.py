"""Unified Procedure Steps beside the worklist: a step's moves (PS3.4 CC.1.1), and how steps follow their item.

Each item that needs a reader, or whose decision is held, has exactly one step that is SCHEDULED or IN PROGRESS. What is to be done with it
depends on nothing but the item and its last step, so it does not matter when, how often or after which crash it is done:

    the item       no step alive     SCHEDULED step    IN PROGRESS, of     IN PROGRESS, of an      completed with
    counts as                                          this claim          earlier claim           this decision
    OPEN           schedule          -                 -                   cancel, schedule        -
    CLAIMED        schedule, begin   begin             -                   cancel, schedule, begin -
    HELD           schedule, begin   begin             note the decision   cancel, schedule, begin -
    DECIDED        -                 begin, complete   complete            cancel                  -
    SUPERSEDED     -                 begin, cancel     cancel              cancel                  -

What is begun here is begun under a Transaction UID that nobody is told, so no workstation can take it: a reader in the browser or on the
command line has the item. A step IN PROGRESS can not become SCHEDULED again, hence the successors: after release, a lease's end,
reassigning, and undo, after which the noted decision is not the item's any more ("an earlier claim"). A step that a workstation completed
with a decision stays so; if the decision is undone, the item is CLAIMED without a step alive. A step that is COMPLETED here was decided
elsewhere, and becomes so only when the decision is final.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Literal

from qcnode.store.items import has_run_out
from qcnode.store.moves import Moves


class StepState(StrEnum):
    """Procedure Step State (0074,1000)."""

    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"


STEP_MOVES: Moves = {
    "SCHEDULED": frozenset({"IN PROGRESS"}),
    "IN PROGRESS": frozenset({"COMPLETED", "CANCELED"}),
    "COMPLETED": frozenset(),
    "CANCELED": frozenset(),
}
ALIVE = (StepState.SCHEDULED, StepState.IN_PROGRESS)

Fit = Literal["none", "scheduled", "of this claim", "of an earlier claim", "completed"]


class Act(StrEnum):
    """What is done with an item's step."""

    SCHEDULE = "schedule"
    BEGIN = "begin"
    NOTE = "note"
    COMPLETE = "complete"
    CANCEL = "cancel"


_AFRESH = (Act.CANCEL, Act.SCHEDULE, Act.BEGIN)
_BEGUN = (Act.SCHEDULE, Act.BEGIN)
FOLLOW: Mapping[str, Mapping[Fit, tuple[Act, ...]]] = MappingProxyType(
    {
        "OPEN": {"none": (Act.SCHEDULE,), "of an earlier claim": (Act.CANCEL, Act.SCHEDULE)},
        "CLAIMED": {"none": _BEGUN, "scheduled": (Act.BEGIN,), "of an earlier claim": _AFRESH},
        "HELD": {"none": _BEGUN, "scheduled": (Act.BEGIN,), "of this claim": (Act.NOTE,), "of an earlier claim": _AFRESH},
        "DECIDED": {"scheduled": (Act.BEGIN, Act.COMPLETE), "of this claim": (Act.COMPLETE,), "of an earlier claim": (Act.CANCEL,)},
        "SUPERSEDED": {"scheduled": (Act.BEGIN, Act.CANCEL), "of this claim": (Act.CANCEL,), "of an earlier claim": (Act.CANCEL,)},
    }
)
"""The table above: the item's state -> how its last step fits it -> what is done, in this order."""

WHY_CANCELED: Mapping[str, str] = MappingProxyType(
    {
        "OPEN": "the reader's claim has ended",
        "CLAIMED": "claimed anew",
        "HELD": "claimed anew",
        "DECIDED": "decided under another claim",
        "SUPERSEDED": "replaced by another segmentation or result",
    }
)
"""The item's state -> Reason For Cancellation (0074,1238) of the step that is canceled for it."""


def counts_as(item: Any, now: datetime) -> str:
    """The item's state; a claim whose lease ran out is OPEN."""
    return "OPEN" if has_run_out(item, now) else str(item.state)


def fit_of(item: Any, step: Any | None, now: datetime) -> Fit:
    """How the last step (a row, or None) fits its item (a row)."""
    state = counts_as(item, now)
    if step is None:
        return "none"
    if step.state not in ALIVE:
        decided_by_it = step.state == StepState.COMPLETED and step.decided_at is not None
        return "completed" if decided_by_it and step.decided_at == item.decided_at else "none"
    if step.state == StepState.SCHEDULED:
        return "scheduled"
    same_claim = (step.reader, step.claimed_at) == (item.reader, item.claimed_at) and state not in ("OPEN", "SUPERSEDED")
    undone = step.decided_at is not None and step.decided_at != item.decided_at
    return "of this claim" if same_claim and not undone else "of an earlier claim"


def acts_for(item: Any, step: Any | None, now: datetime) -> tuple[Act, ...]:
    """What is to be done so that the item's last step fits it again; nothing where it does."""
    acts = FOLLOW[counts_as(item, now)].get(fit_of(item, step, now), ())
    if acts == (Act.NOTE,) and step is not None and step.decided_at == item.decided_at:
        return ()
    return acts
