"""Why an item can not be had, or not by this reader: what each move asks for first. Every function raises WorklistError."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from qcnode.store.items import ErrorCode, Stage, WorklistError
from qcnode.store.readings import has_read

_TAKEN: dict[str, ErrorCode] = {"CLAIMED": "claimed-by-another", "HELD": "held", "DECIDED": "decided", "SUPERSEDED": "superseded"}
"""Why an item can not be had."""
_REFUSALS: dict[str, tuple[str, ErrorCode]] = {
    "CLAIMED": ("there is no decision to take back", "not-held"),
    "HELD": ("take the decision back first", "held"),
    "DECIDED": ("the decision is final", "decided"),
    "SUPERSEDED": ("another segmentation or result has replaced it", "superseded"),
}
"""Why the reader who has an item can not do this with it."""


def require_unread(connection: Connection, row: Any, reader: str) -> None:
    """The second and the third reading are another reader's. A revision is anybody's whom the caller lets."""
    if row.stage in (Stage.SECOND, Stage.ADJUDICATION) and has_read(connection, row.item_id, reader):
        raise WorklistError(f"{reader} has judged item {row.item_id} already; it needs another reader", "already-read")


def require_state(row: Any, states: tuple[str, ...], act: str) -> None:
    """The item is in one of the states; `act` says what can not be done to it otherwise."""
    if row.state not in states:
        by = f" by {row.reader}" if row.reader else ""
        raise WorklistError(f"item {row.item_id} is {row.state}{by} and can not be {act}", _TAKEN[row.state])


def require_reader(row: Any, reader: str, *states: str) -> None:
    """The item is in one of the states, and it is `reader` who has it.

    A lease that ran out unnoticed still counts, for nobody else has begun.
    """
    if row.state in ("CLAIMED", "HELD") and row.reader != reader:
        what = "is claimed" if row.state == "CLAIMED" else "has a decision held"
        raise WorklistError(f"item {row.item_id} {what} by {row.reader}, not by {reader}", "claimed-by-another")
    if row.state == "OPEN":
        raise WorklistError(f"item {row.item_id} is OPEN; claim it first", "not-claimed")
    if row.state not in states:
        hint, code = _REFUSALS[row.state]
        raise WorklistError(f"item {row.item_id} is {row.state}; {hint}", code)


def require_held(row: Any, now: datetime) -> None:
    """A decision that is held can still be taken back; `finalise_due` may be late."""
    if row.state == "HELD" and row.held_until <= now:
        raise WorklistError(f"item {row.item_id}: the decision is final, its time to be taken back is over", "decided")
