"""A loop in a thread of its own, and what the steps that it calls share."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from qcnode.errors import Retryable, where
from qcnode.log_fields import log_scope
from qcnode.store.leases import LeaseLost

log = logging.getLogger(__name__)

Clock = Callable[[], datetime]

LEASE = timedelta(minutes=15)


class Worker(threading.Thread):
    """Calls `step` as long as it finds work, then sleeps until `wake` is set or `idle_seconds` are over.

    lease: the longest that a step may take.
    """

    def __init__(self, name: str, step: Callable[[], bool], *, idle_seconds: float = 1.0, lease: timedelta = LEASE) -> None:
        super().__init__(name=name, daemon=True)
        self.wake = threading.Event()
        self._step = step
        self._idle_seconds = idle_seconds
        self._lease = lease
        self._ended = threading.Event()
        self._step_began: float | None = None  # monotonic seconds; None between steps

    @property
    def is_well(self) -> bool:
        """Whether the thread is alive and its step has not taken longer than a lease, after which the work is somebody else's."""
        began = self._step_began
        return self.is_alive() and (began is None or time.monotonic() - began < self._lease.total_seconds())

    def run(self) -> None:
        """The loop; ends after the step during which `stop` was called."""
        told: str | None = None
        while not self._ended.is_set():
            self.wake.clear()
            self._step_began = time.monotonic()
            try:
                with log_scope():
                    busy = self._step()
                told = None
            except Exception as error:  # noqa: BLE001  the loop must go on, whatever one step met
                busy = False
                if where(error) != told:  # while a disk is full, say, it is the same every second
                    told = where(error)
                    log.error("%s: %s", self.name, told)
            self._step_began = None
            if not busy:
                self.wake.wait(self._idle_seconds)

    def stop(self) -> None:
        """Ask the loop to end; `join` waits for it."""
        self._ended.set()
        self.wake.set()


@dataclass(slots=True)
class Unsettled:
    """What a step could not settle or give back because the database failed: it must be told first, before anything else is claimed.

    Else the row would belong to nobody until its lease runs out, and what was done would be done again.
    """

    _endings: list[Callable[[], None]] = field(default_factory=list)

    def settle(self, ending: Callable[[], None]) -> None:
        """Call `ending`, now or, where the database can not be written for now, by `catch_up`. Raises what else it raises."""
        try:
            ending()
        except Retryable as error:
            log.warning("settled later: %s", error)
            self._endings.append(ending)

    def catch_up(self) -> None:
        """Call what is still to be called. Raises Retryable where the database still fails."""
        while self._endings:
            with suppress(LeaseLost):
                self._endings[0]()
            self._endings.pop(0)
