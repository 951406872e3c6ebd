"""Notice that the clock was set back, so that nothing waits until it has caught up."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from qcnode.workers.worker import Clock

log = logging.getLogger(__name__)

_NOTICED = timedelta(seconds=5)
"""Less is what time servers correct in small steps, and what everything here bears."""


@dataclass(slots=True)
class ClockStep:
    """Compares the clock with one that only counts, `monotonic` seconds; `on_set_back` gets the new time.

    A clock that is set forward needs nothing: what is due then is done.
    """

    now: Clock
    monotonic: Callable[[], float]
    on_set_back: Callable[[datetime], None]
    _furthest: datetime | None = field(default=None)

    def __call__(self) -> bool:
        """Look once; there is never more to do at once."""
        now = self.now()
        started = now - timedelta(seconds=self.monotonic())  # when the count was 0, as this clock tells it
        if self._furthest is not None and started < self._furthest - _NOTICED:
            log.warning("the clock was set back by %.0f s", (self._furthest - started).total_seconds())
            self.on_set_back(now)
        self._furthest = started
        return False
