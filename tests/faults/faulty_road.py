"""The road from a received object to its destination, walked step by step by the test, with a predictor that says what it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from moved_clock import Clock
from pydicom import Dataset
from said_predictor import MARGIN, judge_that_says, prediction
from settled_node import receive

from qcnode.config import Matching, Retry
from qcnode.deliver.destination import Check, Destination
from qcnode.ingest.matching import ContrastRule, TaskRule
from qcnode.judging.here import JudgeHere
from qcnode.store.database import Database, open_database
from qcnode.store.inbox import Inbox
from qcnode.store.jobs import Jobs
from qcnode.store.outbox import Outbox
from qcnode.workers.assess import AssessStep
from qcnode.workers.deliver import DeliverStep
from qcnode.workers.guard import Guard
from qcnode.workers.match import MatchStep


@dataclass
class Taker:
    """A destination that takes everything, unless it is told to raise something first."""

    name: str = "pacs"
    told: list[Exception] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    attributes: Dataset | None = None
    on_send: Callable[[], object] = lambda: None

    def send(self, path: Path) -> None:
        if self.told:
            raise self.told.pop(0)
        self.sent.append(path.read_bytes())
        self.on_send()

    def check(self) -> list[Check]:
        return []

    def series_instance_count(self, study_instance_uid: str, series_instance_uid: str) -> int | None:
        return None

    def study_attributes(self, study_instance_uid: str) -> Dataset | None:
        return self.attributes


class Road:
    """One storage directory, and the steps of a node over it. `results`: elsewhere than in the storage directory, if given."""

    def __init__(self, directory: Path, destinations: Iterable[Destination] = (), results: Path | None = None) -> None:
        self.clock = Clock()
        self.directory = directory
        self.database: Database = open_database(directory)
        self.inbox, self.jobs, self.outbox = Inbox(self.database, directory, 0), Jobs(self.database), Outbox(self.database)
        judge = judge_that_says(prediction(0.4), MARGIN)
        card = judge.predictor.card
        contrasts = tuple(ContrastRule(c.name, c.series_rule.series_description, c.series_rule.exclude, None) for c in card.contrasts)
        rules = [TaskRule("cardiac-sax", card.structure_list(), card.tissue_list(), contrasts)]
        self.match = MatchStep(
            inbox=self.inbox, jobs=self.jobs, rules=rules, settings=Matching(), archive=None, now=self.clock, on_case=lambda: None
        )
        every = frozenset({"report", "error_map", "summary"})
        self.assess = AssessStep(
            jobs=self.jobs,
            judge=JudgeHere({"cardiac-sax": judge}, "test"),
            results=results or directory / "results",
            wanted_kinds={destination.name: every for destination in destinations},
            owner="w",
            now=self.clock,
            on_result=lambda: None,
            guard=Guard(self.inbox, self.clock),
        )
        retry = Retry(first_seconds=10, longest_seconds=60)
        self.deliver = {
            d.name: DeliverStep(self.outbox, d, True, directory / "outbox" / d.name, retry, "w", self.clock) for d in destinations
        }

    def receive(self, datasets: Iterable[Dataset]) -> None:
        for dataset in datasets:
            receive(self.inbox, dataset)

    def match_all(self) -> None:
        """As after the quiet time."""
        self.clock.pass_by(seconds=60)
        while self.match():
            pass

    def deliver_all(self, name: str = "pacs") -> None:
        while self.deliver[name]():
            pass

    def verdicts(self) -> dict[str, int]:
        return self.jobs.counts().verdicts

    def give_room(self, has_room: Callable[[], bool]) -> None:
        """What the assessing step is told of the disk."""
        self.assess = replace(self.assess, has_room=has_room)

    def deliver_to(self, folder: Path) -> None:
        """Where refreshed copies are kept."""
        self.deliver = {name: replace(step, folder=folder) for name, step in self.deliver.items()}
