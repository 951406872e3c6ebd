"""Back-pressure: when a node takes nothing more for now, so that what it has taken can be finished.

Three marks are watched: free space, objects whose header is still to be read, and cases that wait. Each has a mark at which refusing
begins and another one at which it ends, so that it does not flicker between. Beside them, a storage that just failed to take an object is
left alone for some seconds. A peer learns of it by a transient rejection (PS3.8 9.3.4) or by C-STORE status A700H (PS3.4 B.2.3), and
sends again later; all of it ends by itself.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from qcnode.config import Listen, Storage
from qcnode.errors import Retryable
from qcnode.store.backlog import Load

_MEASURED_SECONDS = 1.0
_LEFT_ALONE_SECONDS = 5.0
_MB = 2**20

_log = logging.getLogger(__name__)


class Cause(StrEnum):
    """Why nothing is taken. DISK: little space is free; OBJECTS, CASES: too many wait; STORAGE: it failed to take the last object."""

    DISK = "disk"
    OBJECTS = "objects"
    CASES = "cases"
    STORAGE = "storage"


@dataclass(frozen=True, slots=True)
class Marks:
    """Where refusing begins and where it ends: free MB, unindexed objects, waiting cases."""

    minimum_free_mb: float
    resume_free_mb: float
    maximum_objects: int
    resume_objects: float
    maximum_cases: int
    resume_cases: float

    @classmethod
    def of(cls, listen: Listen, storage: Storage) -> Self:
        """The marks that config.yaml sets."""
        objects, cases, share = listen.maximum_unindexed_objects, listen.maximum_waiting_cases, listen.resume_share
        return cls(storage.minimum_free_mb, storage.resumes_at_mb, objects, objects * share, cases, cases * share)

    def causes(self, load: Load, before: frozenset[Cause] = frozenset()) -> frozenset[Cause]:
        """What keeps objects from being taken at this load; `before`: what did when last measured."""
        free_mb = load.free_bytes / _MB
        over = {
            Cause.DISK: free_mb < (self.resume_free_mb if Cause.DISK in before else self.minimum_free_mb),
            Cause.OBJECTS: load.unindexed_objects > (self.resume_objects if Cause.OBJECTS in before else self.maximum_objects),
            Cause.CASES: load.waiting_cases > (self.resume_cases if Cause.CASES in before else self.maximum_cases),
        }
        return frozenset(cause for cause, is_over in over.items() if is_over)


class BackPressure:
    """Says whether another object can be taken. Safe to use from several threads; cheap enough to be asked for every object."""

    def __init__(self, marks: Marks, measure: Callable[[], Load], monotonic: Callable[[], float] = time.monotonic) -> None:
        """`measure` is called once a second at most, and only when somebody asks; `monotonic` counts seconds."""
        self._marks = marks
        self._measure = measure
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._measured_at: float | None = None
        self._over: frozenset[Cause] = frozenset()
        self._left_alone_until: float | None = None
        self._failure: str | None = None

    def causes(self) -> frozenset[Cause]:
        """Why nothing is taken at the moment; empty where objects are taken."""
        with self._lock:
            now = self._monotonic()
            if self._measured_at is None or now - self._measured_at >= _MEASURED_SECONDS:
                self._measured_at = now
                self._look()
            is_left_alone = self._left_alone_until is not None and now < self._left_alone_until
            return self._over | {Cause.STORAGE} if is_left_alone else self._over

    def storage_failed(self, why: str) -> None:
        """An object could not be kept: the next seconds nothing is tried. Told to the log once, until `stored`."""
        with self._lock:
            self._left_alone_until = self._monotonic() + _LEFT_ALONE_SECONDS
            if self._failure != why:
                self._failure = why
                _log.error("objects are refused for now: %s", why)

    def stored(self) -> None:
        """An object was kept."""
        if self._failure is None:  # not worth the lock, which every object would take
            return
        with self._lock:
            self._failure = self._left_alone_until = None
            _log.warning("objects can be stored again")

    def _look(self) -> None:
        try:
            load = self._measure()
        except (OSError, Retryable):
            return  # what can not be measured can not be stored either: the next object says so
        over = self._marks.causes(load, self._over)
        if over != self._over:
            told = f"{load.free_bytes // _MB} MB free, {load.unindexed_objects} objects unindexed, {load.waiting_cases} cases waiting"
            begins = f"refused for now ({', '.join(sorted(over))})"
            _log.warning("objects are %s: %s", begins if over else "taken again", told)
        self._over = over
