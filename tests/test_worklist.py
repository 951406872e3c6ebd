"""The worklist: worst first, one reader at a time, every move audited."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from store_samples import EVERYTHING, at, case, result

from qcnode.case import Verdict
from qcnode.outcome import Predicted
from qcnode.store.audit import Audit
from qcnode.store.database import Database, open_database
from qcnode.store.jobs import Jobs
from qcnode.store.worklist import Decision, Item, Worklist, WorklistError


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(tmp_path)


@pytest.fixture
def worklist(database: Database) -> Worklist:
    return Worklist(database)


def _add(database: Database, case_id: str, verdict: Verdict = Verdict.FAIL, predicted_dsc: float | None = 0.4, seconds: float = 0) -> Item:
    jobs = Jobs(database)
    jobs.put_case(case(case_id, query=f"2.25.{case_id}"), at(seconds))
    claimed = jobs.claim("w", at(seconds), timedelta(seconds=9))
    assert claimed is not None
    jobs.settle(claimed, result(claimed.case, verdict, predicted_dsc, database.directory / "results"), EVERYTHING, at(seconds))
    return next(item for item in Worklist(database).list(None) if item.case_id == case_id)


def test_worst_first(database: Database, worklist: Worklist) -> None:
    _add(database, "1", Verdict.REVIEW, 0.74, 1)
    _add(database, "2", Verdict.FAIL, 0.5, 2)
    _add(database, "3", Verdict.FAIL, 0.1, 3)
    _add(database, "4", Verdict.UNASSESSABLE, None, 4)
    _add(database, "5", Verdict.FAIL, 0.5, 5)
    _add(database, "6", Verdict.REVIEW, 0.71, 6)
    _add(database, "7", Verdict.UNASSESSABLE, 0.3, 7)
    assert [item.case_id for item in worklist.list()] == ["4", "3", "7", "2", "5", "6", "1"]


def test_an_item_says_whose_study_it_is(database: Database, worklist: Worklist) -> None:
    preview = database.directory / "results/1/preview.png"
    preview.parent.mkdir(parents=True)
    preview.write_bytes(b"png")
    item = _add(database, "1")
    assert (item.patient_name, item.patient_id, item.accession_number, item.study_date) == ("TEST^ONLY", "T1", "A1", "20260504")
    assert (item.query_sop_instance_uid, item.query_series_instance_uid, item.study_instance_uid) == ("2.25.1", "2.25.8", "2.25.1")
    assert (item.verdict, item.predicted_dsc, item.predicted_nsd) == (Verdict.FAIL, 0.4, 0.5)
    assert [reason.code for reason in item.reasons] == ["below-threshold"]
    assert item.preview_path == preview
    assert _add(database, "2").preview_path is None


def test_an_item_knows_the_intervals_of_its_numbers(database: Database, worklist: Worklist) -> None:
    without = _add(database, "1")
    assert (without.dsc_low, without.dsc_high, without.nsd_low, without.nsd_high, without.interval_level) == (None,) * 5
    jobs = Jobs(database)
    jobs.put_case(case("2", query="2.25.2"), at(0))
    claimed = jobs.claim("w", at(0), timedelta(seconds=9))
    assert claimed is not None
    plain = result(claimed.case, Verdict.REVIEW, 0.81)
    predicted = Predicted(0.81, 0.7, 2.0, {}, (0.72, 0.88), (0.5, 0.9), 0.9)
    jobs.settle(claimed, replace(plain, outcome=replace(plain.outcome, predicted=predicted)), EVERYTHING, at(0))
    (item,) = [i for i in worklist.list() if i.case_id == "2"]
    assert (item.dsc_low, item.dsc_high, item.nsd_low, item.nsd_high, item.interval_level) == (0.72, 0.88, 0.5, 0.9, 0.9)


def test_claim_and_decide(database: Database, worklist: Worklist) -> None:
    number = _add(database, "1").item_id
    claimed = worklist.claim(number, "ann", at(1))
    assert (claimed.state, claimed.reader, claimed.claimed_at) == ("CLAIMED", "ann", at(1))
    assert worklist.claim(number, "ann", at(2)) == claimed
    decided = worklist.decide(number, "ann", Decision.NEEDS_CORRECTION, "the apex is missing", at(3))
    assert (decided.state, decided.decision, decided.comment) == ("DECIDED", Decision.NEEDS_CORRECTION, "the apex is missing")
    assert decided.decided_at == at(3)
    assert worklist.list() == []
    assert worklist.list("DECIDED") == [decided]
    assert worklist.counts() == {"DECIDED": 1}
    entries = Audit(database).entries(f"worklist-item/{number}")
    assert [(entry.actor, entry.action, entry.at) for entry in entries] == [
        ("qcnode", "create", at(0)),
        ("ann", "claim", at(1)),
        ("ann", "decide", at(3)),
    ]
    assert entries[-1].details == {"case_id": "1", "comment": "the apex is missing", "decision": "NEEDS_CORRECTION", "verdict": "FAIL"}


def test_release(database: Database, worklist: Worklist) -> None:
    number = _add(database, "1").item_id
    worklist.claim(number, "ann", at(1))
    with pytest.raises(WorklistError, match="claimed by ann, not by bob"):
        worklist.release(number, "bob", at(2))
    assert worklist.release(number, "ann", at(3)).state == "OPEN"
    assert worklist.claim(number, "bob", at(4)).reader == "bob"
    assert [entry.action for entry in Audit(database).entries()] == ["create", "claim", "release", "claim"]


def test_forbidden_moves_say_what_is_wrong(database: Database, worklist: Worklist) -> None:
    number = _add(database, "1").item_id
    with pytest.raises(WorklistError, match="claim it first"):
        worklist.decide(number, "ann", Decision.ACCEPT, "", at(1))
    worklist.claim(number, "ann", at(1))
    with pytest.raises(WorklistError, match="CLAIMED by ann"):
        worklist.claim(number, "bob", at(2))
    with pytest.raises(WorklistError, match="claimed by ann, not by bob"):
        worklist.decide(number, "bob", Decision.ACCEPT, "", at(2))
    with pytest.raises(ValueError, match="MAYBE"):
        worklist.decide(number, "ann", "MAYBE", "", at(2))  # type: ignore[arg-type]
    worklist.decide(number, "ann", Decision.ACCEPT, "", at(3))
    for move in (lambda: worklist.claim(number, "bob", at(4)), lambda: worklist.decide(number, "ann", Decision.REJECT, "", at(4))):
        with pytest.raises(WorklistError, match="is DECIDED; from there it can become nothing"):
            move()
    with pytest.raises(WorklistError, match="no worklist item 99"):
        worklist.show(99)
    assert worklist.show(number).decision is Decision.ACCEPT


def test_a_superseded_item_is_not_decided_any_more(database: Database, worklist: Worklist) -> None:
    number = _add(database, "1").item_id
    worklist.claim(number, "ann", at(1))
    jobs = Jobs(database)
    jobs.put_case(case("later", query="2.25.1"), at(2))
    claimed = jobs.claim("w", at(2), timedelta(seconds=9))
    assert claimed is not None
    jobs.settle(claimed, result(claimed.case, Verdict.PASS, 0.9), EVERYTHING, at(3))
    with pytest.raises(WorklistError, match="SUPERSEDED"):
        worklist.decide(number, "ann", Decision.REJECT, "", at(4))
    last = Audit(database).entries(f"worklist-item/{number}")[-1]
    assert (last.actor, last.action, last.details) == ("qcnode", "supersede", {"by_case_id": "later", "verdict": "PASS"})
