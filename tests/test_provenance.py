from dataclasses import replace

import pytest
from pydicom.uid import UID
from report_cases import build

from qcnode.case import Verdict, Weights
from qcnode.report.provenance import SOP_CLASSES, algorithm_parameters, result_uid, series_description, series_number, uid_for

KEYS = {"case_id": "c", "weights": Weights("w", "1", "ab"), "judging_digest": "j", "version": "0.1.0"}


def test_the_same_inputs_give_the_same_uid():
    assert (
        result_uid("report", **KEYS) == "2.25.18505533671538075574869690559647440542"
    )  # a change of this number makes every archive receive every answer anew


@pytest.mark.parametrize(
    "change",
    [
        {"case_id": "d"},
        {"weights": Weights("w", "2", "ab")},
        {"weights": Weights("w", "1", "cd")},
        {"weights": None},
        {"judging_digest": "k"},
        {"version": "0.1.1"},
        {"entity": "series"},
    ],
)
def test_every_input_changes_the_uid(change):
    assert result_uid("report", **{**KEYS, **change}) != result_uid("report", **KEYS)


def test_parts_are_not_run_together():
    assert result_uid("report", **{**KEYS, "judging_digest": "j0", "version": ".1.0"}) != result_uid("report", **KEYS)


def test_uids_are_valid_and_differ_by_kind():
    found = {result_uid(kind, **KEYS) for kind in SOP_CLASSES}
    assert len(found) == len(SOP_CLASSES)
    assert all(UID(uid).is_valid and len(uid) <= 44 for uid in found)
    version_and_variant = [(int(uid.removeprefix("2.25.")) >> 76 & 15, int(uid.removeprefix("2.25.")) >> 62 & 3) for uid in found]
    assert version_and_variant == [(8, 2)] * len(found)


def test_the_order_of_segments_and_files_does_not_change_uids():
    inputs = build()
    assert uid_for(inputs, "report") == uid_for(replace(inputs, sources=inputs.sources[::-1]), "report")


@pytest.mark.parametrize(("written", "number"), [("7", 792), ("", 9992), ("-3", 9992), ("99999999", 9992), ("seven", 9992)])
def test_series_number_follows_the_query(written, number):
    inputs = build()
    del inputs.query.SeriesNumber
    inputs.query.add_new(0x00200011, "LO", written)
    assert series_number(inputs, "error_map") == number


def test_series_description_carries_verdict_and_predicted_dsc():
    assert series_description(build(), "summary") == "QC FAIL 0.47 predicted DSC"
    assert series_description(build(Verdict.UNASSESSABLE, images=False), "report") == "QC UNASSESSABLE not assessed report"
    for verdict in (Verdict.PASS, Verdict.FAIL, Verdict.REVIEW, Verdict.UNASSESSABLE):
        descriptions = {series_description(build(verdict), kind) for kind in SOP_CLASSES}
        assert len(descriptions) == len(SOP_CLASSES)
        assert all(len(d) <= 64 and verdict in d for d in descriptions)


def test_the_algorithm_names_weights_limits_and_tolerance():
    parameters = "\n".join(algorithm_parameters(build()))
    for part in ("ab" * 32, "d" * 64, "2 mm", "FAIL below predicted DSC 0.70", "0.1.0"):
        assert part in parameters
