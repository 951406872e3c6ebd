"""How results come onto the worklist: what an item says, and where it stands."""

from dataclasses import replace
from pathlib import Path

import pytest
from store_samples import case, put_item, result

from qcnode.case import Verdict
from qcnode.outcome import Predicted
from qcnode.store.database import Database, open_database
from qcnode.store.worklist import Stage, Worklist


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(tmp_path)


def test_worst_first(database: Database) -> None:
    put_item(database, "1", Verdict.REVIEW, 0.74, 1)
    put_item(database, "2", Verdict.FAIL, 0.5, 2)
    put_item(database, "3", Verdict.FAIL, 0.1, 3)
    put_item(database, "4", Verdict.UNASSESSABLE, None, 4)
    put_item(database, "5", Verdict.FAIL, 0.5, 5)
    put_item(database, "6", Verdict.REVIEW, 0.71, 6)
    put_item(database, "7", Verdict.UNASSESSABLE, 0.3, 7)
    put_item(database, "8", Verdict.REVIEW, None, 8)
    assert [item.case_id for item in Worklist(database).list()] == ["4", "3", "7", "2", "5", "8", "6", "1"]


def test_an_item_says_whose_study_it_is(database: Database) -> None:
    directory = database.directory / "results/1"
    (directory / "viewer").mkdir(parents=True)
    (directory / "preview.png").write_bytes(b"png")
    made = {"birth_date": "19700101", "institution": "Hospital", "scanner": "Phantom MR, MR2", "segmenter": "hasty"}
    item = put_item(database, "1", **made)
    assert (item.patient_name, item.patient_id, item.accession_number, item.study_date) == ("TEST^ONLY", "T1", "A1", "20260504")
    assert (item.birth_date, item.institution, item.scanner, item.segmenter) == ("19700101", "Hospital", "Phantom MR, MR2", "hasty")
    assert (item.query_sop_instance_uid, item.query_series_instance_uid, item.study_instance_uid) == ("2.25.1", "2.25.8", "2.25.1")
    assert (item.verdict, item.predicted_dsc, item.predicted_nsd, item.blind) == (Verdict.FAIL, 0.4, 0.5, False)
    assert [reason.code for reason in item.reasons] == ["below-threshold"]
    assert (item.preview_path, item.viewer_path) == (directory / "preview.png", directory / "viewer")
    other = put_item(database, "2")
    assert (other.preview_path, other.viewer_path) == (None, None)


def test_an_item_knows_the_intervals_of_its_numbers(database: Database) -> None:
    without = put_item(database, "1")
    assert (without.dsc_low, without.dsc_high, without.nsd_low, without.nsd_high, without.interval_level) == (None,) * 5
    predicted = Predicted(0.81, 0.7, 2.0, {}, (0.72, 0.88), (0.5, 0.9), 0.9)
    outcome = replace(result(case("2", query="2.25.2"), Verdict.REVIEW).outcome, predicted=predicted)
    item = put_item(database, "2", outcome=outcome)
    assert (item.dsc_low, item.dsc_high, item.nsd_low, item.nsd_high, item.interval_level) == (0.72, 0.88, 0.5, 0.9, 0.9)


def test_a_pass_comes_only_where_it_was_drawn(database: Database) -> None:
    put_item(database, "1", Verdict.FAIL, 0.1)
    with pytest.raises(StopIteration):
        put_item(database, "2", Verdict.PASS, 0.9)
    assert put_item(database, "3", Verdict.PASS, 0.9, blind=True).blind


def test_a_blind_item_stands_anywhere_among_the_failures(database: Database) -> None:
    for n in range(40):
        put_item(database, f"f{n}".encode().hex(), Verdict.FAIL, n / 40, n)
    for n in range(20):
        put_item(database, f"p{n}".encode().hex(), Verdict.PASS, 0.95, 100 + n, blind=True)
    put_item(database, "ff", Verdict.REVIEW, 0.7, 200)
    items = Worklist(database).list()
    places = [place for place, item in enumerate(items) if item.blind]
    assert min(places) < 15
    assert max(places) > 45
    assert items[-1].verdict is Verdict.REVIEW
    assert [i.item_id for i in Worklist(open_database(database.directory)).list()] == [i.item_id for i in items]


def test_the_place_of_a_blind_item_does_not_tell_its_verdict(tmp_path: Path) -> None:
    orders = []
    for verdict, predicted_dsc in ((Verdict.PASS, 0.95), (Verdict.FAIL, 0.1), (Verdict.REVIEW, 0.78)):
        database = open_database(tmp_path / verdict)
        for n in range(9):
            put_item(database, f"f{n}".encode().hex(), Verdict.FAIL, n / 9, n)
        for n in range(6):
            put_item(database, f"b{n}".encode().hex(), verdict, predicted_dsc, 100 + n, blind=True)
        orders.append([item.case_id for item in Worklist(database).list()])
    assert orders[0] == orders[1] == orders[2]


def test_how_an_item_is_reviewed_is_kept_with_it(database: Database) -> None:
    item = put_item(database, "1", Verdict.PASS, 0.9, blind=True, read_twice=True, sampling_probability=0.05)
    assert (item.stage, item.read_twice, item.sampling_probability) == (Stage.FIRST, True, 0.05)
    assert put_item(database, "2").sampling_probability == 1
