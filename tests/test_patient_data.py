"""What is of the patient stays in the objects, the worklist and the database's columns for it: not in logs, figures, errors or names."""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from time import monotonic, sleep

import pytest
from pydicom import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import Verification
from small_study import small_study
from store_samples import at

from qcnode.clock import utc_now
from qcnode.config import Config, Logging, Observers
from qcnode.decisions import DecisionReporting
from qcnode.deliver.opening import kinds_by_destination
from qcnode.demo.pacs import DemoPacs
from qcnode.node import Node
from qcnode.observe.logging import set_up_logging
from qcnode.review import Review
from qcnode.store.database import FILE_NAME, open_database
from qcnode.store.decision_reports import DecisionReports
from qcnode.store.inbox import Inbox
from qcnode.store.worklist import Decision, Judgement, Worklist
from qcnode.workers import match
from qcnode.workers.finalise import FinaliseStep

PRIVATE = {"PatientName": "Privaterson^Ada", "PatientID": "PID-7741", "PatientBirthDate": "19391107", "AccessionNumber": "ACC-9932"}
WORDS = ("privaterson", "ada^", "pid-7741", "19391107", "1939-11-07", "acc-9932")
ERRORS = ("last_error", "reason_text", "unreadable_reason", "reasons")


def private(dataset: Dataset) -> Dataset:
    for keyword, value in PRIVATE.items():
        setattr(dataset, keyword, value)
    return dataset


def settings(directory: Path, pacs: DemoPacs) -> Config:
    """One destination that takes everything and one that is away; one caller who is let in."""
    there = {"name": "pacs", "kind": "c-store", "ae_title": pacs.ae_title, "host": "127.0.0.1", "port": pacs.port}
    return Config.model_validate(
        {
            "listen": {"port": 0, "callers": [{"ae_title": pacs.ae_title}]},
            "storage": {"directory": str(directory), "minimum_free_mb": 1},
            "matching": {"quiet_seconds": 0.5},
            "tasks": {"cardiac-sax": {"weights": "cardiac-sax", "predicted_dsc": {"value": 0.99}}},
            "destinations": [there, there | {"name": "away", "port": 9}],
            "retry": {"first_seconds": 0.2},
            "review": {"hold_minutes": 0},
            "web": {"port": 0},
            "monitoring": {"enabled": True, "port": 0},
        }
    )


def wait_for(connection: sqlite3.Connection, query: str, seconds: float = 60) -> None:
    deadline = monotonic() + seconds
    while not connection.execute(query).fetchone()[0]:
        assert monotonic() < deadline, query
        sleep(0.05)


def column_texts(database: sqlite3.Connection) -> str:
    """Every text in which an error is kept, and every line of the audit but those that say who decided what."""
    tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = []
    for table in tables:
        columns = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
        found += [str(row) for column in columns & {*ERRORS} for row in database.execute(f"SELECT {column} FROM {table}")]
    return "\n".join([*found, *(str(row) for row in database.execute("SELECT * FROM audit"))])


@pytest.fixture
def _logging_as_it_was() -> Iterator[None]:
    root, hook = logging.getLogger(), threading.excepthook
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    threading.excepthook = hook
    for name in ("qcnode", "pynetdicom", "pydicom"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.mark.usefixtures("_logging_as_it_was")
def test_the_whole_road_says_nothing_of_the_patient(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = small_study("private")
    datasets = [private(dataset) for dataset in study.datasets]
    read, failed = match.read_header, []

    def read_header_that_fails_once(path: Path) -> object:
        if not failed:
            failed.append(path)
            raise ValueError(f"a library quotes what it read: {PRIVATE}")
        return read(path)

    monkeypatch.setattr(match, "read_header", read_header_that_fails_once)
    set_up_logging(Logging(level="DEBUG", json_lines=True))
    with DemoPacs(tmp_path / "pacs") as pacs:
        config = settings(tmp_path / "node", pacs)
        node = Node(config)
        node.start()
        try:
            database = open_database(config.storage.directory)
            raw = sqlite3.connect(config.storage.directory / FILE_NAME)
            stranger = AE("STRANGER")
            stranger.add_requested_context(Verification)
            assert not stranger.associate("127.0.0.1", node.port).is_established
            accept_unreadable(Inbox(database, config.storage.directory, 0), datasets[0])
            wait_for(raw, "SELECT count(*) FROM stored_object WHERE state = 'UNREADABLE'")
            for dataset in datasets:
                pacs.keep(dataset)
            pacs.forward(study.uid, "QCNODE", "127.0.0.1", node.port)
            wait_for(raw, "SELECT count(*) FROM judged_case WHERE state = 'DONE'")
            wait_for(raw, "SELECT count(*) FROM delivery WHERE destination = 'pacs' AND state = 'DELIVERED' AND kind = 'report'")
            wait_for(raw, "SELECT count(*) FROM delivery WHERE destination = 'away' AND last_error IS NOT NULL")
            review = Review(Worklist(database), config.review)
            (item,) = Worklist(database).list()
            review.claim(item.item_id, "jane", utc_now())
            review.decide(item.item_id, "jane", Judgement(Decision.REJECT), utc_now())
            reporting = DecisionReporting(DecisionReports(database), kinds_by_destination(config), Observers(), "test")
            FinaliseStep(review, reporting.report, utc_now)()
            wait_for(raw, "SELECT count(*) FROM decision_report")
            answers = "\n".join(get(node.monitoring_port or 0, path) for path in ("/metrics", "/health", "/ready"))
            kept = column_texts(raw)
        finally:
            node.stop()
    logged = capfd.readouterr().err
    names = "\n".join(str(path) for path in config.storage.directory.rglob("*"))
    for what, text in (("log", logged), ("monitoring", answers), ("database", kept), ("names of files", names)):
        assert text
        assert [word for word in WORDS if word in text.lower()] == [], what
    assert item.patient_name == PRIVATE["PatientName"], "the worklist knows whom it shows"
    check_lines([json.loads(line) for line in logged.splitlines()], item.case_id, study.uid)
    raw.close()
    database.close()


def check_lines(lines: list[dict[str, str]], case_id: str, study: str) -> None:
    """JSON lines say what they are about, in fields."""
    by_event = {line["event"]: line for line in lines}
    judged = by_event["case-judged"]
    assert (judged["case_id"], judged["study_instance_uid"], judged["thread"]) == (case_id, study, "assess")
    assert by_event["case-found"]["case_id"] == case_id
    assert (by_event["delivered"]["case_id"], by_event["delivered"]["destination"]) == (case_id, "pacs")
    assert (by_event["delivery-failed"]["destination"], by_event["delivery-failed"]["level"]) == ("away", "WARNING")
    assert "study_instance_uid" not in by_event["object-unreadable"], "of another study than the last one"
    assert any("ValueError at" in line["message"] for line in lines)


def accept_unreadable(inbox: Inbox, dataset: Dataset) -> None:
    """An object whose bytes are not what its transfer syntax says."""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    deflated = str(DeflatedExplicitVRLittleEndian)
    plain = str(dataset.file_meta.TransferSyntaxUID).encode()
    inbox.accept(
        buffer.getvalue().replace(plain + b"\0" * (len(plain) % 2), deflated.encode().ljust(len(plain) + len(plain) % 2, b"\0"), 1),
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid="2.25.4711",
        study_instance_uid="2.25.4712",
        series_instance_uid="2.25.4713",
        transfer_syntax_uid=deflated,
        calling_ae_title="PACS",
        peer_address="127.0.0.1",
        now=at(0),
    )


def get(port: int, path: str) -> str:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse().read().decode()
    connection.close()
    return answer
