"""Who was turned away, counted in memory, so that a flood of callers neither waits for the database nor fills it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from qcnode.dicom_listener.callers import Peer
from qcnode.errors import Retryable
from qcnode.rejection import OTHERS, Rejection, Times

_TITLES_OF_AN_ADDRESS = 10
_AT_ONCE = 200


class Rejections:
    """Everything since it was handed over last. Safe to use from several threads."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._found: dict[Rejection, Times] = {}
        self._titles: Counter[str] = Counter()

    def note(self, listener: str, reason: str, address: str, peer: Peer | None = None) -> bool:
        """One more. Whether it is the first of its kind since the last `hand_over`: what is worth a line in the log."""
        calling, called = (peer.calling_ae_title, peer.called_ae_title) if peer is not None else ("", "")
        now = self._now()
        with self._lock:
            return self._add(self._bounded(Rejection(listener, reason, address, calling, called)), Times(1, now, now))

    def hand_over(self, keep: Callable[[Mapping[Rejection, Times]], None]) -> None:
        """Give everything to `keep`, and forget it, unless `keep` raises Retryable: then it is there the next time."""
        with self._lock:
            found, self._found, self._titles = self._found, {}, Counter()
        if not found:
            return
        try:
            keep(found)
        except Retryable:
            with self._lock:
                for rejection, times in found.items():
                    self._add(self._bounded(rejection), times)

    def _add(self, rejection: Rejection, times: Times) -> bool:
        before = self._found.get(rejection)
        if before is None:
            self._titles[rejection.address] += 1
        self._found[rejection] = times if before is None else before.with_more(times)
        return before is None

    def _bounded(self, rejection: Rejection) -> Rejection:
        if rejection in self._found:
            return rejection
        if len(self._found) >= _AT_ONCE:
            return replace(rejection, address=OTHERS, calling_ae_title=OTHERS, called_ae_title=OTHERS)
        if self._titles[rejection.address] >= _TITLES_OF_AN_ADDRESS:
            return replace(rejection, calling_ae_title=OTHERS, called_ae_title=OTHERS)
        return rejection
