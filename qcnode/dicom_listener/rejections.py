"""Who was turned away, counted in memory, so that a flood of callers neither waits for the database nor fills it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from qcnode.dicom_listener.callers import Peer

OTHERS = "(others)"
"""Stands for the AE titles of an address that uses too many, and for the addresses when they are too many."""

_TITLES_OF_AN_ADDRESS = 10
_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Rejection:
    """How often somebody was turned away from a listener for one reason. AE titles are empty where none was said yet."""

    listener: str
    reason: str
    address: str
    calling_ae_title: str
    called_ae_title: str


@dataclass(frozen=True, slots=True)
class Times:
    """How often, when first and when last."""

    count: int
    first_at: datetime
    last_at: datetime


class Rejections:
    """Everything since the last `take`. Safe to use from several threads."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._found: dict[Rejection, Times] = {}
        self._titles: Counter[str] = Counter()

    def note(self, listener: str, reason: str, address: str, peer: Peer | None = None) -> bool:
        """One more. Whether it is the first of its kind since the last `take`: what is worth a line in the log."""
        calling, called = (peer.calling_ae_title, peer.called_ae_title) if peer is not None else ("", "")
        with self._lock:
            rejection, now = self._bounded(Rejection(listener, reason, address, calling, called)), self._now()
            before = self._found.get(rejection)
            if before is None:
                self._titles[address] += 1
            self._found[rejection] = Times(1, now, now) if before is None else replace(before, count=before.count + 1, last_at=now)
            return before is None

    def take(self) -> dict[Rejection, Times]:
        """What there is, which is forgotten here."""
        with self._lock:
            found, self._found, self._titles = self._found, {}, Counter()
            return found

    def _bounded(self, rejection: Rejection) -> Rejection:
        if rejection in self._found:
            return rejection
        if len(self._found) >= _AT_ONCE:
            return replace(rejection, address=OTHERS, calling_ae_title=OTHERS, called_ae_title=OTHERS)
        if self._titles[rejection.address] >= _TITLES_OF_AN_ADDRESS:
            return replace(rejection, calling_ae_title=OTHERS, called_ae_title=OTHERS)
        return rejection
