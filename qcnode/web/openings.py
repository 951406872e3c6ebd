"""Which account has which case open, so that one opening is one line in the audit trail and not one for each picture."""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import datetime, timedelta


class Openings:
    """Remembers in memory who opened what, for `lasting`; safe for several threads. After a restart an open case is noted once more."""

    def __init__(self, lasting: timedelta = timedelta(hours=1), most: int = 10_000) -> None:
        self._lasting, self._most = lasting, most
        self._opened: OrderedDict[tuple[str, int], datetime] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, account: str, item_id: int, now: datetime) -> None:
        """`account` opens the case now."""
        with self._lock:
            self._opened.pop((account, item_id), None)
            self._opened[account, item_id] = now
            while len(self._opened) > self._most:
                self._opened.popitem(last=False)

    def is_open(self, account: str, item_id: int, now: datetime) -> bool:
        """Whether `account` opened the case within the last `lasting`."""
        with self._lock:
            at = self._opened.get((account, item_id))
        return at is not None and now - at <= self._lasting
