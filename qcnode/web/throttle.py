"""Sign-in attempts: after a few failures each further one must wait, twice as long every time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class _Failures:
    number: int
    last_at: datetime


class Throttle:
    """Counts failures by key (an account's name, a peer's address) in memory; safe for several threads.

    The first `free` failures cost nothing. After that the wait is `first`, doubled with each failure up to `longest`; a key is forgotten
    when nothing failed for twice `longest`. At most `keys` keys are kept, so that invented names can not fill the memory.
    """

    def __init__(
        self,
        free: int = 4,
        first: timedelta = timedelta(seconds=2),
        longest: timedelta = timedelta(minutes=15),
        keys: int = 10_000,
    ) -> None:
        self._free, self._first, self._longest, self._keys = free, first, longest, keys
        self._failures: OrderedDict[str, _Failures] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, key: str, now: datetime) -> timedelta:
        """How long `key` must still wait before the next attempt counts; zero when it need not."""
        with self._lock:
            failures = self._failures.get(key)
        if failures is None or failures.number <= self._free:
            return timedelta(0)
        # the exponent is bounded before the shift: a patient attacker must not make us compute 2 ** 100000
        pause = min(self._longest, self._first * 2 ** min(failures.number - self._free - 1, 20))
        left: timedelta = failures.last_at + pause - now
        return max(timedelta(0), left)

    def attempted(self, key: str, now: datetime) -> None:
        """One more attempt of `key`, taken for a failure until it succeeded: many at the same time are slowed down, too."""
        with self._lock:
            before = self._failures.pop(key, None)
            forgotten = before is None or now - before.last_at > 2 * self._longest
            self._failures[key] = _Failures(1 if before is None or forgotten else before.number + 1, now)
            while len(self._failures) > self._keys:
                self._failures.popitem(last=False)

    def succeeded(self, key: str) -> None:
        """`key` is who it says: its failures are forgotten."""
        with self._lock:
            self._failures.pop(key, None)

    def withdraw(self, key: str) -> None:
        """The last attempt of `key` was none of its failures; those before it stay."""
        with self._lock:
            failures = self._failures.get(key)
            if failures is not None:
                self._failures[key] = _Failures(failures.number - 1, failures.last_at)
