"""The workers of a node: each with its step, and what the steps share."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from qcnode.case import Verdict
from qcnode.clock import utc_now
from qcnode.config import Config, ReviewSettings
from qcnode.deliver.destination import Destination
from qcnode.deliver.opening import kinds_by_destination, open_destination
from qcnode.judging.opening import open_comparison, open_judge
from qcnode.judging.process import ComparingProcess, JudgingProcess
from qcnode.notify.rules import Rules
from qcnode.notify.step import NotifyStep, open_channel
from qcnode.review import Review
from qcnode.sampling import Sampling
from qcnode.store.database import Database
from qcnode.store.inbox import Inbox
from qcnode.store.jobs import Jobs
from qcnode.store.notices import Notices
from qcnode.store.outbox import Outbox
from qcnode.store.proofs import Proofs
from qcnode.store.worklist import Worklist
from qcnode.tasks import load_tasks
from qcnode.workers.assess import AssessStep
from qcnode.workers.clock import ClockStep
from qcnode.workers.deliver import DeliverStep
from qcnode.workers.guard import Guard
from qcnode.workers.match import MatchStep
from qcnode.workers.open_proving import open_proving
from qcnode.workers.worker import LEASE, Worker

LONGEST_COMPARISON_SECONDS = 120.0
"""Two files that take longer to compare are taken to be different."""
ROOM_FOR_A_RESULT = 64 * 2**20
"""Bytes that must be free before a case is judged: its result files, and the database's own growth."""


@dataclass(frozen=True, slots=True)
class Stores:
    """What is kept, as the parts of a node see it."""

    database: Database
    inbox: Inbox
    jobs: Jobs
    outbox: Outbox
    notices: Notices
    proofs: Proofs
    review: Review

    @classmethod
    def of(cls, config: Config, database: Database) -> Stores:
        """Over one database."""
        announce = Rules(config.notifications)
        return cls(
            database=database,
            inbox=Inbox(database, config.storage.directory, config.storage.minimum_free_mb * 2**20),
            jobs=Jobs(database, announce),
            outbox=Outbox(database, announce),
            notices=Notices(database),
            proofs=Proofs(database, announce),
            review=Review(Worklist(database, announce), config.review),
        )


@dataclass(frozen=True, slots=True)
class Crew:
    """The workers, in the order in which they start; `matching` is the one that `match` belongs to."""

    match: MatchStep
    matching: Worker
    workers: tuple[Worker, ...]
    processes: tuple[JudgingProcess | ComparingProcess, ...]

    def start(self) -> None:
        """Let every worker begin."""
        for worker in self.workers:
            worker.start()

    def stop(self) -> None:
        """Ask every worker to end, end what they wait for, and wait for them."""
        for worker in self.workers:
            worker.stop()
        for process in self.processes:
            process.stop()
        for worker in self.workers:
            worker.join()


def gather_crew(config: Config, stores: Stores, on_clock_set_back: Callable[[datetime], None], further: Iterable[Worker] = ()) -> Crew:
    """Every worker that the configuration asks for, and `further` ones; none of them has begun.

    Raises ConfigurationError where weights or another key can not work.
    """
    owner = f"{os.getpid()}"
    destinations = {d.name: open_destination(d, config.listen.ae_title) for d in config.destinations}
    delivering = _delivering(config, stores.outbox, destinations, owner)
    judge = JudgingProcess(
        partial(open_judge, config), deadline_seconds=config.inference.deadline_seconds, memory_mb=config.inference.memory_mb
    )
    compare = ComparingProcess(partial(open_comparison, config.logging), deadline_seconds=LONGEST_COMPARISON_SECONDS)

    def wake_delivery() -> None:
        for worker in delivering:
            worker.wake.set()

    assessing = _assessing(config, stores, judge, owner, wake_delivery)
    match = MatchStep(
        inbox=stores.inbox,
        jobs=stores.jobs,
        rules=[task.rule for task in load_tasks(config).values()],
        settings=config.matching,
        archive=destinations[config.matching.archive] if config.matching.archive else None,
        now=utc_now,
        on_case=assessing.wake.set,
        compare=compare,
    )
    matching = Worker("match", match)
    clock = Worker("clock", ClockStep(utc_now, time.monotonic, on_clock_set_back))
    proving = open_proving(config, stores.proofs, owner, utc_now)
    workers = (matching, assessing, *delivering, *_notifying(config, stores.notices, owner), *proving, clock, *further)
    return Crew(match, matching, workers, (judge, compare))


def _delivering(config: Config, outbox: Outbox, destinations: dict[str, Destination], owner: str) -> list[Worker]:
    """One worker per destination: one that is away holds up no other."""
    folder = config.storage.directory / "outbox"
    return [
        Worker(
            f"deliver {d.name}",
            DeliverStep(outbox, destinations[d.name], d.refresh_attributes, folder / d.name, config.retry, owner, utc_now),
        )
        for d in config.destinations
    ]


def _assessing(config: Config, stores: Stores, judge: JudgingProcess, owner: str, on_result: Callable[[], None]) -> Worker:
    lease = timedelta(seconds=config.inference.deadline_seconds) + LEASE
    step = AssessStep(
        jobs=stores.jobs,
        judge=judge,
        results=config.storage.directory / "results",
        wanted_kinds=kinds_by_destination(config),
        owner=owner,
        now=utc_now,
        on_result=on_result,
        sampling=_sampling(config.review),
        has_room=lambda: stores.inbox.free_bytes() > ROOM_FOR_A_RESULT,
        guard=Guard(stores.inbox, utc_now),
        lease=lease,
    )
    return Worker("assess", step, lease=lease)


def _notifying(config: Config, notices: Notices, owner: str) -> list[Worker]:
    """One worker per channel: a receiver that is away holds up neither another one nor the road."""
    channels = [open_channel(settings) for settings in config.notifications.channels]
    return [Worker(f"notify {c.name}", NotifyStep(notices, c, config.retry, owner, utc_now)) for c in channels]


def _sampling(review: ReviewSettings) -> Sampling:
    second, blind_share = review.second_reader, review.random_blind_share
    return Sampling(
        pass_share=review.random_pass_share,
        blind_share=review.random_pass_share if blind_share is None else blind_share,
        second_share=second.share,
        second_verdicts=frozenset(Verdict(verdict) for verdict in second.verdicts),
        second_tasks=frozenset(second.tasks),
    )
