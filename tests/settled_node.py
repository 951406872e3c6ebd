"""A node's storage directory in which one study was received, judged, read and delivered: what `qcnode audit` is tested on."""

from __future__ import annotations

from datetime import timedelta
from io import BytesIO
from pathlib import Path

import yaml
from pydicom import Dataset
from said_predictor import MARGIN, judge_that_says, prediction
from small_study import SmallStudy
from store_samples import at

from qcnode.config import Config, Observers, load_config
from qcnode.decisions import DecisionReporting
from qcnode.deliver.opening import kinds_by_destination, open_destination
from qcnode.demo.pacs import DemoPacs
from qcnode.ingest.matching import ContrastRule, TaskRule
from qcnode.pipeline import assess_case
from qcnode.review import Review
from qcnode.store.database import Database, open_database
from qcnode.store.decision_reports import DecisionReports
from qcnode.store.inbox import Inbox
from qcnode.store.jobs import Jobs
from qcnode.store.outbox import Outbox
from qcnode.store.proofs import Proofs
from qcnode.store.worklist import Decision, Judgement, Worklist
from qcnode.workers.assess import settled_result
from qcnode.workers.deliver import DeliverStep
from qcnode.workers.finalise import FinaliseStep
from qcnode.workers.match import MatchStep
from qcnode.workers.prove import ProveStep

LATER = at(3600)


def write_config(path: Path, storage: Path, pacs: DemoPacs) -> Config:
    """A configuration file for a node that answers `pacs`."""
    destination = {"name": "pacs", "kind": "c-store", "ae_title": pacs.ae_title, "host": pacs.host, "port": pacs.port}
    destination |= {"summary_image": False}
    sections = {
        "storage": {"directory": str(storage), "minimum_free_mb": 1},
        "destinations": [destination],
        "review": {"hold_minutes": 0},
    }
    path.write_text(yaml.safe_dump(sections))
    return load_config(path)


def settle_study(config: Config, study: SmallStudy) -> None:
    """Take the study the whole road, up to the answers and a reader's decision in the archive."""
    database = open_database(config.storage.directory)
    inbox, jobs = Inbox(database, config.storage.directory, 0), Jobs(database)
    judge = judge_that_says(prediction(0.4), MARGIN)
    card = judge.predictor.card
    contrasts = tuple(ContrastRule(c.name, c.series_rule.series_description, c.series_rule.exclude, None) for c in card.contrasts)
    rules = [TaskRule("cardiac-sax", card.structure_list(), card.tissue_list(), contrasts)]
    for dataset in study.datasets:
        receive(inbox, dataset)
    match = MatchStep(inbox=inbox, jobs=jobs, rules=rules, settings=config.matching, archive=None, now=lambda: LATER, on_case=lambda: None)
    match()
    while (claimed := jobs.claim("w", LATER, timedelta(minutes=1))) is not None:
        directory = config.storage.directory / "results" / claimed.case.case_id[:2] / claimed.case.case_id
        outcome = assess_case(claimed.case, judge, directory, created=LATER, version="test")
        jobs.settle(claimed, settled_result(claimed.case, outcome, directory), kinds_by_destination(config), LATER)
    _decide(config, database)
    deliver(config, database)
    database.close()


def receive(inbox: Inbox, dataset: Dataset) -> None:
    """Accept an object as the Storage SCP does."""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    inbox.accept(
        buffer.getvalue(),
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        study_instance_uid=str(dataset.StudyInstanceUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        transfer_syntax_uid=str(dataset.file_meta.TransferSyntaxUID),
        calling_ae_title="PACS",
        peer_address="127.0.0.1",
        now=at(0),
    )


def deliver(config: Config, database: Database) -> None:
    """Send whatever is due, and prove it."""
    for settings in config.destinations:
        destination, folder = open_destination(settings, "QCNODE"), config.storage.directory / "outbox" / settings.name
        send = DeliverStep(Outbox(database), destination, True, folder, config.retry, "w", lambda: LATER)
        prove = ProveStep(Proofs(database), destination, True, None, timedelta(), config.retry, "w", lambda: LATER)
        for step in (send, prove):
            while step():
                pass


def _decide(config: Config, database: Database) -> None:
    review = Review(Worklist(database), config.review)
    for item in Worklist(database).list():
        review.claim(item.item_id, "jane", LATER)
        review.decide(item.item_id, "jane", Judgement(Decision.REJECT), LATER)
    reporting = DecisionReporting(DecisionReports(database), kinds_by_destination(config), Observers(), "test")
    FinaliseStep(review, reporting.report, lambda: LATER)()
