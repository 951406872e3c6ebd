"""What the store gives to the look at drift."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from store_samples import at, case, put_item, result

from qcnode.case import Reason, ReasonCode, Verdict
from qcnode.store.database import open_database
from qcnode.store.drift_cases import judged_cases
from qcnode.store.jobs import Jobs


def test_what_is_known_of_a_settled_case(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    who = {"patient_id": "P-1", "patient_name": "DOE^JANE", "scanner": "Maker A", "segmenter": "net"}
    put_item(database, "1", Verdict.FAIL, 0.4, 10, **who)
    put_item(database, "2", Verdict.PASS, 0.9, 20, **who | {"patient_id": "P-2"}, blind=True)
    jobs = Jobs(database)
    for number, verdict in (("3", Verdict.PASS), ("4", Verdict.NOT_APPLICABLE)):
        jobs.put_case(case(number, query=f"2.25.{number}"), at(30))
        claimed = jobs.claim("w", at(30), timedelta(seconds=9))
        assert claimed is not None
        jobs.settle(claimed, result(claimed.case, verdict, 0.8), {}, at(30))
    found = judged_cases(database, at(5))
    assert [(c.at, c.task, c.scanner, c.segmenter, c.predicted_dsc, c.flagged, c.refused) for c in found] == [
        (at(10), "cardiac-sax", "Maker A", "net", 0.4, True, False),
        (at(20), "cardiac-sax", "Maker A", "net", 0.9, False, False),
        (at(30), "cardiac-sax", "", "", 0.8, False, False),
    ]
    assert len({c.patient for c in found}) == 3
    assert not [c for c in found if "P-" in c.patient]
    assert [c.predicted_dsc for c in judged_cases(database, at(15))] == [0.9, 0.8]


def test_a_refusal_is_known(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    jobs = Jobs(database)
    jobs.put_case(case("1"), at(0))
    claimed = jobs.claim("w", at(0), timedelta(seconds=9))
    assert claimed is not None
    refused = result(claimed.case, Verdict.UNASSESSABLE, None)
    reasons = (Reason(ReasonCode.IMAGE_NOVEL, "unlike"),)
    jobs.settle(claimed, replace(refused, outcome=replace(refused.outcome, reasons=reasons)), {}, at(0))
    (found,) = judged_cases(database, at(0))
    assert (found.refused, found.flagged, found.predicted_dsc) == (True, True, None)
