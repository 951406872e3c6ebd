"""Which callers were turned away since somebody last looked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from qcnode.rejection import Rejection
from qcnode.store.database import Database
from qcnode.store.rejected_callers import RejectedCallers


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """How often somebody was turned away since the last look, and when last."""

    rejection: Rejection
    count: int
    last_at: datetime


class NewRejections:
    """Remembers the counts of the last look."""

    def __init__(self, database: Database) -> None:
        """Who is turned away from now on is told."""
        self._callers = RejectedCallers(database)
        self._counts: dict[Rejection, int] = {}
        self.look()

    def look(self) -> list[TurnedAway]:
        """What is new since the last call. A row that was dropped as one of too many, and came back, counts anew."""
        before, rows = self._counts, self._callers.list()
        self._counts = {rejection: times.count for rejection, times in rows}
        new = [(rejection, times, times.count - before.get(rejection, 0)) for rejection, times in rows]
        return [TurnedAway(rejection, more if more > 0 else times.count, times.last_at) for rejection, times, more in new if more]
