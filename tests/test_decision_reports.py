"""Which document tells of which decision: each once, in order, naming the one that it replaces."""

from pathlib import Path

import pytest
from decided_items import WANTED, decide, settle_case
from store_samples import at

from qcnode.case import ResultObject
from qcnode.store.audit import Audit, item_subject
from qcnode.store.database import Database, open_database
from qcnode.store.decision_reports import DecisionReports, ReportedDecision
from qcnode.store.items import Item
from qcnode.store.outbox import Outbox
from qcnode.store.worklist import Worklist

SR = "1.2.840.10008.5.1.4.1.1.88.34"


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(tmp_path)


def queue(database: Database, item: Item, uid: str, seconds: float) -> None:
    reports = DecisionReports(database)
    unreported = reports.unreported(item)
    assert unreported is not None
    written = ResultObject("decision", SR, uid, unreported.path, "digest")
    reports.queue(item, unreported.number, written, f"{uid}.0", WANTED, at(seconds))


def test_a_decided_item_is_unreported_until_its_document_is_queued(database: Database) -> None:
    directory = settle_case(database, "a", at(0))
    item = decide(database, 10)
    unreported = DecisionReports(database).unreported(item)
    assert unreported is not None
    assert (unreported.report, unreported.path) == (directory / "report.dcm", directory / "decision-1.dcm")
    assert (unreported.number, unreported.predecessor) == (1, None)
    queue(database, item, "2.25.77", 11)
    assert DecisionReports(database).unreported(item) is None


def test_it_goes_to_who_wants_it_and_behind_the_report(database: Database) -> None:
    settle_case(database, "a", at(0))
    queue(database, decide(database, 10), "2.25.77", 11)
    assert [(d.destination, d.kind, d.state) for d in Outbox(database).list() if d.kind == "decision"] == [("pacs", "decision", "PENDING")]
    outbox, sent = Outbox(database), []
    while (claimed := outbox.claim("pacs", "w", at(20), at(80) - at(20))) is not None:
        assert outbox.claim("pacs", "w", at(20), at(80) - at(20)) is None, "the decision waits while the report is being sent"
        sent.append(claimed.kind)
        outbox.delivered(claimed, at(21))
    assert sent == ["report", "decision"]


def test_a_second_call_queues_nothing(database: Database) -> None:
    directory = settle_case(database, "a", at(0))
    item = decide(database, 10)
    queue(database, item, "2.25.77", 11)
    again = ResultObject("decision", SR, "2.25.78", directory / "decision-2.dcm", "digest")
    DecisionReports(database).queue(item, 2, again, "2.25.78.0", WANTED, at(12))
    assert [d.sop_instance_uid for d in Outbox(database).list() if d.kind == "decision"] == ["2.25.77"]


def test_the_decision_about_the_next_result_of_the_query_replaces_the_earlier_one(database: Database) -> None:
    settle_case(database, "a", at(0))
    item = decide(database, 10)
    queue(database, item, "2.25.77", 11)
    Worklist(database).passed_on(item.item_id, at(11))
    settle_case(database, "b", at(20), predecessor="a")
    later = decide(database, 30)
    unreported = DecisionReports(database).unreported(later)
    assert unreported is not None
    assert unreported.number == 1, "of its own case"
    assert unreported.predecessor == ReportedDecision(SR, "2.25.77", "2.25.77.0", item.study_instance_uid)


def test_it_is_audited_without_what_was_said(database: Database) -> None:
    settle_case(database, "a", at(0))
    item = decide(database, 10)
    queue(database, item, "2.25.77", 11)
    entry = Audit(database).entries(item_subject(item.item_id))[-1]
    assert (entry.actor, entry.action, entry.details) == ("qcnode", "report-decision", {"sop_instance_uid": "2.25.77", "case_id": "a"})
