"""A final decision becomes one document in the study, whatever happens in between."""

import json
import os
import signal
from dataclasses import asdict, replace
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path

import pydicom
import pytest
from decided_items import QUERY, WANTED, decide, settle_case
from store_samples import at
from validators import PROGRAMS, problems_of_all

from qcnode.config import Observers, Reader
from qcnode.decisions import DecisionReporting
from qcnode.errors import Retryable
from qcnode.regions import ErrorRegion, Mark
from qcnode.store.database import Database, open_database
from qcnode.store.decision_reports import DecisionReports
from qcnode.store.items import Decision, Item, Judgement
from qcnode.store.outbox import Delivery, Outbox
from qcnode.store.worklist import Worklist

NOBODY = Observers()
JANE = Observers(organization="St. Elsewhere", verified=True, readers=(Reader(reader="jane", person_name="Doe^Jane"),))


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(tmp_path)


def reporting(database: Database, observers: Observers = NOBODY) -> DecisionReporting:
    return DecisionReporting(DecisionReports(database), WANTED, observers, "0.1.0")


def queued(database: Database) -> list[Delivery]:
    return [d for d in Outbox(database).list() if d.kind == "decision"]


def test_the_document_lies_in_the_case_and_is_queued(database: Database) -> None:
    directory = settle_case(database, "a", at(0))
    item = decide(database, 10)
    assert reporting(database).report(item, at(11))
    (delivery,) = queued(database)
    document = pydicom.dcmread(directory / "decision-1.dcm")
    assert (delivery.path, delivery.sop_instance_uid) == (directory / "decision-1.dcm", document.SOPInstanceUID)
    assert document.SeriesDescription == "QC REJECT by reader"
    assert document.VerificationFlag == "UNVERIFIED"
    decided = at(10).astimezone()
    assert document.ContentDate + document.ContentTime == decided.strftime("%Y%m%d%H%M%S.%f")


def test_calling_it_twice_gives_one_object(database: Database) -> None:
    settle_case(database, "a", at(0))
    item = decide(database, 10)
    assert reporting(database).report(item, at(11))
    before = queued(database)[0].path.read_bytes()
    assert not reporting(database, JANE).report(item, at(12)), "what was sent is never made again, whatever is configured since"
    assert [d.path.read_bytes() for d in queued(database)] == [before]


def _die_between(directory: Path, item: Item, step: str) -> None:
    """In a process of its own: killed where the file is written and not queued, or queued and not known to the worklist."""
    database = open_database(directory)
    if step == "written":
        DecisionReports.queue = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
    reporting(database).report(item, at(11))
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(("step", "queued_before"), [("written", 0), ("queued", 1)])
def test_killed_between_the_steps_it_is_repeated_without_a_second_object(database: Database, step: str, queued_before: int) -> None:
    directory = settle_case(database, "a", at(0))
    item = decide(database, 10)
    dying = get_context("spawn").Process(target=_die_between, args=(database.directory, item, step))
    dying.start()
    dying.join(60)
    assert dying.exitcode == -signal.SIGKILL
    first = (directory / "decision-1.dcm").read_bytes()
    assert len(queued(database)) == queued_before
    (again,) = Worklist(database).finalise_due(at(60))
    assert again.item_id == item.item_id, "what was not passed on comes again"
    reporting(database).report(again, at(60))
    assert len(queued(database)) == 1
    assert (directory / "decision-1.dcm").read_bytes() == first
    assert [p.name for p in directory.glob("decision-*")] == ["decision-1.dcm"]


def test_a_listed_reader_verifies_and_another_one_does_not(database: Database) -> None:
    settle_case(database, "a", at(0))
    item = decide(database, 10)
    assert reporting(database, JANE).report(item, at(11))
    document = pydicom.dcmread(queued(database)[0].path)
    assert document.VerificationFlag == "VERIFIED"
    assert document.VerifyingObserverSequence[0].VerifyingObserverName == "Doe^Jane"


@pytest.mark.parametrize("reader", ["joe", "joe^x=y\\z@site.example"])
def test_a_reader_who_is_not_listed_signs_nothing(database: Database, reader: str) -> None:
    settle_case(database, "a", at(0))
    item = decide(database, 10, reader=reader)
    assert reporting(database, JANE).report(item, at(11))
    document = pydicom.dcmread(queued(database)[0].path)
    assert document.VerificationFlag == "UNVERIFIED"
    (name,) = (i.PersonName for i in document.ContentSequence if i.ValueType == "PNAME")
    assert str(name).endswith("^")
    assert str(name).count("^") == 1


def test_a_later_decision_about_the_query_names_the_earlier_one(database: Database) -> None:
    settle_case(database, "a", at(0))
    first = decide(database, 10)
    reporting(database).report(first, at(11))
    Worklist(database).passed_on(first.item_id, at(11))
    settle_case(database, "b", at(20), predecessor="a")
    reporting(database).report(decide(database, 30), at(31))
    earlier, later = (pydicom.dcmread(d.path) for d in queued(database))
    (study,) = later.PredecessorDocumentsSequence
    assert study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == earlier.SOPInstanceUID
    assert "PredecessorDocumentsSequence" not in earlier


def test_a_changed_decision_on_the_same_result_is_a_second_document_that_names_the_first(database: Database) -> None:
    directory = settle_case(database, "a", at(0))
    item = decide(database, 10)
    reporting(database).report(item, at(11))
    assert reporting(database).report(replace(item, decision=Decision.ACCEPT, decided_at=at(100)), at(101))
    first, second = (pydicom.dcmread(directory / f"decision-{n}.dcm") for n in (1, 2))
    assert second.SeriesDescription == "QC ACCEPT by reader"
    (study,) = second.PredecessorDocumentsSequence
    assert study.ReferencedSeriesSequence[0].SeriesInstanceUID == first.SeriesInstanceUID
    outbox, sent = Outbox(database), []
    while (claimed := outbox.claim("pacs", "w", at(200), timedelta(minutes=1))) is not None:
        assert outbox.claim("pacs", "w", at(200), timedelta(minutes=1)) is None, "the second waits for the first"
        sent.append(claimed.sop_instance_uid)
        outbox.delivered(claimed, at(201))
    assert sent[-2:] == [first.SOPInstanceUID, second.SOPInstanceUID]


def texts(document: pydicom.Dataset, concept: str) -> list[str]:
    """What the document says under a concept of its qualitative evaluations."""
    container = document.ContentSequence[-1]
    found = (item for item in container.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == concept)
    return [str(item.PersonName if item.ValueType == "PNAME" else item.TextValue) for item in found]


def test_a_reopened_decision_is_reported_when_the_next_one_is_final_as_its_successor(database: Database) -> None:
    directory = settle_case(database, "a", at(0))
    worklist = Worklist(database)
    first = decide(database, 10)
    reporting(database).report(first, at(11))
    worklist.passed_on(first.item_id, at(11))
    worklist.reopen(first.item_id, "chief", "the base is right", at(20), at(80), of_anybody=True)
    with pytest.raises(ValueError, match="CLAIMED"):
        reporting(database).report(worklist.show(first.item_id, at(21)), at(21))
    worklist.release(first.item_id, "chief", at(22))
    assert not reporting(database).report(worklist.show(first.item_id, at(23)), at(23)), "given up: nothing new to tell"
    worklist.reopen(first.item_id, "chief", "the base is right", at(30), at(90), of_anybody=True)
    decide(database, 40, Judgement(Decision.ACCEPT), "chief")
    (due,) = worklist.finalise_due(at(41))
    assert reporting(database).report(due, at(41))
    earlier, later = (pydicom.dcmread(directory / f"decision-{n}.dcm") for n in (1, 2))
    (study,) = later.PredecessorDocumentsSequence
    assert study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == earlier.SOPInstanceUID
    assert (earlier.SeriesDescription, later.SeriesDescription) == ("QC REJECT by reader", "QC ACCEPT by reader")
    assert (texts(earlier, "revision-reason"), texts(later, "revision-reason")) == ([], ["the base is right"])
    assert [d.sop_instance_uid for d in queued(database)] == [earlier.SOPInstanceUID, later.SOPInstanceUID]


@pytest.mark.parametrize(("second", "agreeing"), [(Decision.REJECT, ["ann^"]), (Decision.ACCEPT, [])], ids=["agree", "differ"])
def test_of_two_readers_only_what_is_settled_is_reported(database: Database, second: Decision, agreeing: list[str]) -> None:
    directory = settle_case(database, "a", at(0), read_twice=True)
    worklist = Worklist(database)
    decide(database, 10, Judgement(Decision.REJECT), "ann")
    assert worklist.finalise_due(at(11)) == []
    decided = decide(database, 20, Judgement(second), "bob")
    if decided.state != "DECIDED":
        assert worklist.finalise_due(at(21)) == []
        decided = decide(database, 30, Judgement(Decision.REJECT), "chief")
    assert reporting(database).report(decided, at(40))
    (delivery,) = queued(database)
    document = pydicom.dcmread(directory / "decision-1.dcm")
    assert delivery.sop_instance_uid == document.SOPInstanceUID
    assert document.SeriesDescription == "QC REJECT by reader"
    assert texts(document, "agreeing-reader") == agreeing


def test_marked_regions_are_in_the_document(database: Database) -> None:
    directory = settle_case(database, "a", at(0))
    (directory / "viewer").mkdir()
    regions = [asdict(ErrorRegion(n, "myocardium", n, n, n, 100 - n, 1.5, (1.0, 2.0, 3.0))) for n in (1, 2)]
    (directory / "viewer/viewer.json").write_text(json.dumps({"prediction": {"regions": regions}}))
    item = decide(database, 10, Judgement(Decision.REJECT, marks={2: Mark.NOT_REAL}))
    assert reporting(database).report(replace(item, viewer_path=directory / "viewer"), at(11))
    container = pydicom.dcmread(directory / "decision-1.dcm").ContentSequence[-1]
    (mark,) = (i for i in container.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "region-mark")
    assert mark.ConceptCodeSequence[0].CodeValue == "not-real"
    assert mark.ContentSequence[0].TextValue.startswith("Region 2: myocardium, slice 3, ")


def test_without_a_destination_that_wants_it_the_document_is_kept(database: Database) -> None:
    directory = settle_case(database, "a", at(0))
    item = decide(database, 10)
    assert replace(reporting(database), wanted_kinds={"web": frozenset({"report"})}).report(item, at(11))
    assert queued(database) == []
    assert (directory / "decision-1.dcm").is_file()


def test_a_report_that_can_not_be_read_is_tried_again_and_its_text_is_not_told(database: Database) -> None:
    directory = settle_case(database, "a", at(0))
    item = decide(database, 10)
    (directory / "report.dcm").rename(directory / "elsewhere.dcm")
    with pytest.raises(Retryable) as raised:
        reporting(database).report(item, at(11))
    assert str(directory) not in str(raised.value)
    (directory / "elsewhere.dcm").rename(directory / "report.dcm")
    assert reporting(database).report(item, at(12))


def test_only_what_is_final_is_reported(database: Database) -> None:
    settle_case(database, "a", at(0))
    (item,) = Worklist(database).list()
    assert item.query_sop_instance_uid == QUERY
    with pytest.raises(ValueError, match="nothing final"):
        reporting(database).report(item, at(1))
    assert queued(database) == []


@pytest.mark.peers
def test_validators_find_nothing(database: Database, require_peers) -> None:
    require_peers(*PROGRAMS)
    directory = settle_case(database, "a", at(0))
    reporting(database, JANE).report(decide(database, 10, reader="joe"), at(11))
    assert problems_of_all(directory.glob("decision-*.dcm")) == {}
