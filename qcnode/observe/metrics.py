"""The node's figures as Prometheus reads them: what stands is asked of the store at each scrape, what happens is counted since the start.

Labels are names of config.yaml, states and codes: nothing of a patient, no UID, no AE title of a peer, and never more than a few dozen.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections import Counter as Tallied
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from qcnode.outcome import read_outcome
from qcnode.store.database import FILE_NAME, Database
from qcnode.store.happened import Follower, Happened, JudgedNow
from qcnode.store.new_rejections import NewRejections, TurnedAway
from qcnode.store.standing import Queue, Standing, read_standing

log = logging.getLogger(__name__)

Liveness = Callable[[], Mapping[str, bool]]
"""The node's workers by name, and whether each is alive and not stuck."""

_Key = TypeVar("_Key", bound=tuple[str, ...])
_LOOKS = 20  # as many batches at most are taken at a scrape; what is left is counted at the next
_STEPS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_ROAD = (1, 5, 10, 30, 60, 120, 300, 900, 3600, 14400, 86400)


class Tally:
    """Counts C-STORE responses by their status, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Tallied[int] = Tallied()

    def add(self, status: int) -> None:
        """One more."""
        with self._lock:
            self._counts[status] += 1

    def counts(self) -> dict[int, int]:
        """What was counted until now."""
        with self._lock:
            return dict(self._counts)


@dataclass(frozen=True, slots=True)
class Watched:
    """What the figures are read from. answered: the C-STORE responses since the start."""

    database: Database
    directory: Path
    answered: Tally
    liveness: Liveness
    now: Callable[[], datetime]
    version: str


def make_registry(watched: Watched) -> CollectorRegistry:
    """A registry of this node alone, to be given to one server."""
    registry = CollectorRegistry()
    _Road(watched, registry)
    return registry


class _Measures:
    """What is counted and measured of every event since the start."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._received = Counter("qcnode_objects_received", "Objects received, by what they are.", ["kind"], registry=registry)
        self._judged = Counter("qcnode_cases_judged", "Cases judged.", ["task", "verdict"], registry=registry)
        self._reasons = Counter("qcnode_case_reasons", "Reasons that verdicts give.", ["verdict", "reason"], registry=registry)
        self._devices = Counter("qcnode_cases_by_device", "Cases judged, by the device that did it.", ["device"], registry=registry)
        self._rejected = Counter("qcnode_callers_rejected", "Associations that were rejected.", ["listener", "reason"], registry=registry)
        self._to_verdict = _histogram(
            "qcnode_receive_to_verdict_seconds", "From a query's receipt to its verdict.", "task", _ROAD, registry
        )
        self._step = _histogram("qcnode_judging_step_seconds", "One step of judging a case.", "step", _STEPS, registry)
        self._judging = _histogram("qcnode_judging_seconds", "All steps of judging a case.", "task", _STEPS, registry)
        self._to_delivery = _histogram(
            "qcnode_verdict_to_delivery_seconds", "From a verdict or decision to its delivery.", "destination", _ROAD, registry
        )

    def add(self, happened: Happened) -> None:
        for kind, number in happened.indexed.items():
            self._received.labels(kind).inc(number)
        for case in happened.judged:
            self._add_case(case)
        for delivery in happened.delivered:
            self._to_delivery.labels(delivery.destination).observe(delivery.seconds)

    def add_rejections(self, turned_away: Iterable[TurnedAway]) -> None:
        for one in turned_away:
            self._rejected.labels(one.rejection.listener, one.rejection.reason).inc(one.count)

    def _add_case(self, case: JudgedNow) -> None:
        self._judged.labels(case.task, case.verdict).inc()
        for reason in case.reasons:
            self._reasons.labels(case.verdict, reason).inc()
        self._to_verdict.labels(case.task).observe(case.seconds)
        if case.device is not None:
            self._devices.labels(case.device).inc()
        try:
            timings_ms = read_outcome(case.directory).timings_ms
        except (OSError, ValueError):
            return  # its files are the business of `qcnode audit`
        for step, milliseconds in timings_ms.items():
            self._step.labels(step).observe(milliseconds / 1000)
        self._judging.labels(case.task).observe(sum(timings_ms.values()) / 1000)


class _Road(Collector):
    """Asks the store when Prometheus asks."""

    def __init__(self, watched: Watched, registry: CollectorRegistry) -> None:
        self._watched = watched
        registry.register(self)  # before the measures, which it brings up to date: collectors are asked in this order
        self._measures = _Measures(registry)
        self._follower = Follower(watched.database)
        self._rejections = NewRejections(watched.database)
        self._one_scrape = threading.Lock()

    def describe(self) -> Iterable[Metric]:
        """Nothing: the store is not asked before somebody wants to know."""
        return []

    def collect(self) -> Iterator[Metric]:
        """What stands at this moment; before that, what has happened is added to the measures."""
        watched = self._watched
        with self._one_scrape:
            self._measures.add_rejections(self._rejections.look())
            for _ in range(_LOOKS):
                happened = self._follower.look()
                self._measures.add(happened)
                if not (happened.indexed or happened.judged or happened.delivered):
                    break
        standing = read_standing(watched.database)
        yield from _of_standing(standing, watched.now())
        yield _gauge("qcnode_disk_free_bytes", "Free space where the node stores.", {(): shutil.disk_usage(watched.directory).free})
        size = (watched.directory / FILE_NAME).stat().st_size
        yield _gauge("qcnode_database_bytes", "Size of the database file.", {(): size})
        alive = {(name,): int(is_well) for name, is_well in watched.liveness().items()}
        yield _gauge("qcnode_worker_up", "1: the worker is alive and not stuck.", alive, "worker")
        answers = CounterMetricFamily("qcnode_store_responses", "C-STORE responses by status; 0000 is success.", labels=["status"])
        for status, number in sorted(watched.answered.counts().items()):
            answers.add_metric([f"{status:04X}"], number)
        yield answers
        yield _gauge("qcnode_build_info", "Always 1; the version is the label.", {(watched.version,): 1}, "version")


def _of_standing(standing: Standing, now: datetime) -> Iterator[Metric]:
    yield _gauge("qcnode_objects_unindexed", "Received objects whose header is still to be read.", {(): standing.unindexed})
    yield _gauge("qcnode_objects_unreadable", "Received objects that could not be read.", {(): standing.unreadable})
    yield _gauge("qcnode_studies_to_match", "Studies that changed since they were matched.", {(): standing.dirty_studies})
    queries = {(state,): number for state, number in standing.queries.items()}
    yield _gauge("qcnode_queries", "Segmentations by state.", queries, "state")
    yield from _queue("qcnode_cases", "Cases", standing.cases, "case that is not judged", now)
    yield from _queue("qcnode_worklist_items", "Worklist items", standing.worklist, "item that nobody has decided", now)
    yield from _queues("qcnode_deliveries", "Deliveries", "destination", standing.deliveries, now)
    yield from _queues("qcnode_notices", "Notices", "channel", standing.notices, now)


def _queue(name: str, what: str, queue: Queue, waiting: str, now: datetime) -> Iterator[Metric]:
    yield _gauge(name, f"{what} by state.", {(state,): number for state, number in queue.by_state.items()}, "state")
    yield _gauge(f"{name}_oldest_seconds", f"Age of the oldest {waiting}; 0 without one.", {(): _age(queue, now)})


def _queues(name: str, what: str, label: str, queues: Mapping[str, Queue], now: datetime) -> Iterator[Metric]:
    states = {(one, state): number for one, queue in queues.items() for state, number in queue.by_state.items()}
    yield _gauge(name, f"{what} by {label} and state.", states, label, "state")
    ages = {(one,): _age(queue, now) for one, queue in queues.items()}
    yield _gauge(f"{name}_oldest_seconds", "Age of the oldest that still goes on; 0 without one.", ages, label)


def _age(queue: Queue, now: datetime) -> float:
    return 0.0 if queue.oldest is None else max(0.0, (now - queue.oldest).total_seconds())


def _gauge(name: str, text: str, values: Mapping[_Key, float], *labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _histogram(name: str, text: str, label: str, buckets: tuple[float, ...], registry: CollectorRegistry) -> Histogram:
    return Histogram(name, text, [label], buckets=buckets, registry=registry)
