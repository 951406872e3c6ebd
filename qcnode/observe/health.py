"""Is the node alive, and is it ready? Each answer with its reasons, which hold numbers and names of config.yaml, nothing of a patient."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from qcnode.store.database import Database, DatabaseBusy
from qcnode.store.delivery import UNDELIVERED
from qcnode.store.standing import Standing, read_standing

State = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. warning: somebody should look, and the node goes on."""

    name: str
    state: State
    detail: str


@dataclass(frozen=True, slots=True)
class Health:
    """Looks when it is asked.

    liveness: the workers by name, and whether each is alive and not stuck; listeners: the same of what takes associations.
    minimum_free_bytes: of the storage directory; oldest_case: how long a case may wait before it is a warning.
    """

    database: Database
    liveness: Callable[[], Mapping[str, bool]]
    listeners: Callable[[], Mapping[str, bool]]
    minimum_free_bytes: int
    oldest_case: timedelta
    now: Callable[[], datetime]

    def alive(self) -> list[Finding]:
        """What a restart would mend: a worker that has ended or is stuck."""
        return [_running("worker", name, is_well, "has ended, or is stuck") for name, is_well in self.liveness().items()]

    def ready(self) -> list[Finding]:
        """Whether everything is there that is needed to take objects, judge them and deliver."""
        found = [*self.alive(), *(_running("listener", name, it, "takes no associations") for name, it in self.listeners().items())]
        free = shutil.disk_usage(self.database.directory).free
        detail = f"{free // 2**20} MB free, {self.minimum_free_bytes // 2**20} MB kept free"
        found.append(Finding("disk", "ok" if free > self.minimum_free_bytes else "failed", detail))
        writable = self._writable()
        found.append(writable)
        if writable.state == "ok":
            found.extend(self._waiting(read_standing(self.database)))
        return found

    def _writable(self) -> Finding:
        try:
            self.database.check_writable()
        except DatabaseBusy:
            return Finding("database", "warning", "busy")
        except Exception as error:  # noqa: BLE001  whatever is wrong with it: the node is not ready
            return Finding("database", "failed", f"can not be written: {type(error).__name__}")
        return Finding("database", "ok", "can be written")

    def _waiting(self, standing: Standing) -> Iterator[Finding]:
        oldest = standing.cases.oldest
        waits = timedelta(0) if oldest is None else self.now() - oldest
        late: State = "warning" if waits > self.oldest_case else "ok"
        yield Finding("cases", late, f"the oldest that is not judged waits since {waits.total_seconds():.0f} s" if oldest else "none waits")
        for destination, queue in standing.deliveries.items():
            dead, unproven = queue.by_state.get("DEAD", 0), queue.by_state.get("UNPROVEN", 0)
            undelivered = sum(queue.by_state.get(state, 0) for state in UNDELIVERED)
            detail = f"{dead} given up, {unproven} not proven, {undelivered} on their way"
            yield Finding(f"destination {destination}", "warning" if dead or unproven else "ok", detail)


def is_well(findings: list[Finding]) -> bool:
    """Whether nothing has failed."""
    return all(finding.state != "failed" for finding in findings)


def _running(kind: str, name: str, is_running: bool, problem: str) -> Finding:
    return Finding(f"{kind} {name}", "ok" if is_running else "failed", "running" if is_running else problem)
