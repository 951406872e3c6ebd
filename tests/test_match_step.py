"""Indexing, comparing and matching go on behind an object that breaks whoever reads it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from settled_node import LATER, receive
from small_study import small_study

from qcnode.assess.model_card import load_card
from qcnode.config import Matching
from qcnode.headers import read_header
from qcnode.ingest.matching import ContrastRule, TaskRule, match_study
from qcnode.ingest.variants import compare
from qcnode.store.database import open_database
from qcnode.store.inbox import Inbox
from qcnode.store.jobs import Jobs
from qcnode.tasks import weights_directory
from qcnode.workers.match import MatchStep


@dataclass
class Receiving:
    """A node that has received, and its next round of matching."""

    inbox: Inbox
    jobs: Jobs
    match: MatchStep

    def round(self) -> None:
        self.match()

    @property
    def cases(self) -> int:
        return sum(self.jobs.counts().cases.values())


@pytest.fixture
def receiving(tmp_path: Path) -> Receiving:
    database = open_database(tmp_path)
    inbox, jobs = Inbox(database, tmp_path, 0), Jobs(database)
    card = load_card(weights_directory("cardiac-sax"))
    rule = TaskRule("cardiac-sax", card.structure_list(), card.tissue_list(), (ContrastRule("cine"),))
    step = MatchStep(inbox=inbox, jobs=jobs, rules=[rule], settings=Matching(), archive=None, now=lambda: LATER, on_case=lambda: None)
    return Receiving(inbox, jobs, step)


def failing(function: Callable[..., Any], when: Callable[..., bool]) -> Callable[..., Any]:
    """`function`, which breaks as nobody expected `when` it is called so."""

    def call(*arguments: Any, **named: Any) -> Any:
        if when(*arguments):
            raise AssertionError("PHANTOM^QCNODE")
        return function(*arguments, **named)

    return call


def receive_all(inbox: Inbox, *datasets: Dataset) -> None:
    for dataset in datasets:
        receive(inbox, dataset)


def test_an_object_that_breaks_its_reader_is_unreadable_and_the_others_go_on(
    receiving: Receiving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    study = small_study("bad header")
    receive_all(receiving.inbox, study.other, *study.images, *study.queries)
    first = receiving.inbox.unindexed(1)[0].path
    monkeypatch.setattr("qcnode.workers.match.read_header", failing(read_header, lambda path: path == first))
    with caplog.at_level(logging.INFO):
        receiving.round()
    assert receiving.inbox.unindexed(10) == []
    assert receiving.cases == 1
    assert "AssertionError at test_match_step.py" in caplog.text
    assert "PHANTOM" not in caplog.text


def test_a_variant_that_breaks_its_comparison_is_a_conflict_and_the_others_go_on(receiving: Receiving) -> None:
    study = small_study("bad variant")
    receive_all(receiving.inbox, *study.images, *study.queries)
    study.images[0].PatientID = "ANOTHER"
    receive_all(receiving.inbox, study.images[0])
    receiving.match.compare = failing(compare, lambda *_: True)
    receiving.round()
    assert receiving.inbox.variants_to_compare(10) == []
    claimed = receiving.jobs.claim("w", LATER, LATER - LATER.replace(hour=0))
    assert claimed is not None
    assert claimed.case.problem is not None
    assert claimed.case.problem.code == "conflicting-content"


def test_a_study_that_breaks_matching_waits_with_a_reason_and_the_others_go_on(
    receiving: Receiving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = small_study("bad study"), small_study("good study")
    receive_all(receiving.inbox, *bad.images, *bad.queries, *good.images, *good.queries)
    breaks = failing(match_study, lambda headers, _: headers[0].header.study_instance_uid == bad.uid)
    monkeypatch.setattr("qcnode.workers.match.match_study", breaks)
    receiving.round()
    assert receiving.cases == 1
    (waiting,) = receiving.jobs.queries("WAITING")
    assert waiting.study_instance_uid == bad.uid
    assert waiting.reason is not None
    assert waiting.reason.code == "assessment-failed"
    assert "PHANTOM" not in caplog.text
