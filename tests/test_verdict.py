from dataclasses import replace

import numpy as np
import pytest

from qcnode.assess.verdict import Limit, Limits, judge
from qcnode.case import Prediction, Reason, ReasonCode, Verdict

MARGIN = Limits(Limit(0.75, 0.05))
CALIBRATED = Limits(Limit(0.75, review_below=0.8, level=0.9))


def predict(dsc: float, nsd: float = 0.9, *notes: Reason) -> Prediction:
    return Prediction(dsc, nsd, 2.0, {}, np.zeros((1, 2, 2, 2), bool), ("heart",), "cpu", notes=notes)


def calibrated(dsc: float, low: float, high: float, **changes: object) -> Prediction:
    nsd = (0.85, 0.95)
    return replace(predict(dsc), dsc_interval=(low, high), nsd_interval=nsd, interval_level=0.9, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("dsc", "verdict", "code"),
    [
        (0.90, Verdict.PASS, ReasonCode.ABOVE_THRESHOLD),
        (0.801, Verdict.PASS, ReasonCode.ABOVE_THRESHOLD),
        (0.79, Verdict.REVIEW, ReasonCode.NEAR_THRESHOLD),
        (0.71, Verdict.REVIEW, ReasonCode.NEAR_THRESHOLD),
        (0.69, Verdict.FAIL, ReasonCode.BELOW_THRESHOLD),
        (0.0, Verdict.FAIL, ReasonCode.BELOW_THRESHOLD),
    ],
)
def test_bands(dsc: float, verdict: Verdict, code: ReasonCode) -> None:
    said, reasons = judge(predict(dsc), MARGIN)
    assert said is verdict
    assert [r.code for r in reasons] == [code]


@pytest.mark.parametrize(
    ("dsc", "low", "high", "verdict", "code", "text"),
    [
        (0.91, 0.84, 0.95, Verdict.PASS, "above-threshold", "predicted DSC 0.91, 90 % interval 0.84-0.95, is above 0.75"),
        (0.85, 0.75, 0.95, Verdict.PASS, "above-threshold", "predicted DSC 0.85, 90 % interval 0.75-0.95, is above 0.75"),
        (0.81, 0.72, 0.88, Verdict.REVIEW, "interval-straddles-threshold", "predicted DSC 0.81, 90 % interval 0.72-0.88, straddles 0.75"),
        (0.85, 0.7499, 0.9, Verdict.REVIEW, "interval-straddles-threshold", "interval 0.7499-0.90, straddles 0.75"),
        (0.75, 0.70, 0.80, Verdict.REVIEW, "interval-straddles-threshold", "predicted DSC 0.75, 90 % interval 0.70-0.80, straddles"),
        (0.79, 0.76, 0.82, Verdict.REVIEW, "below-review-point", "is below the review point 0.80: below it too many"),
        (0.74, 0.70, 0.80, Verdict.FAIL, "below-threshold", "predicted DSC 0.74, 90 % interval 0.70-0.80, is below 0.75"),
        (0.7499, 0.70, 0.80, Verdict.FAIL, "below-threshold", "predicted DSC 0.7499, 90 % interval 0.70-0.80, is below 0.75"),
    ],
)
def test_the_interval_decides_what_is_certain(dsc: float, low: float, high: float, verdict: Verdict, code: str, text: str) -> None:
    said, (reason,) = judge(calibrated(dsc, low, high), CALIBRATED)
    assert (said, reason.code) == (verdict, code)
    assert text in reason.text


def test_a_margin_takes_the_place_of_the_interval() -> None:
    said, (reason,) = judge(calibrated(0.81, 0.5, 0.95), MARGIN)
    assert said is Verdict.PASS
    assert reason.text == "predicted DSC 0.81, 90 % interval 0.50-0.95, is above 0.75"


def test_nothing_passes_by_an_interval_that_is_not_there() -> None:
    said, (reason,) = judge(predict(0.99), CALIBRATED)
    assert (said, reason.code) == (Verdict.REVIEW, ReasonCode.INTERVAL_STRADDLES)


def test_the_nsd_is_judged_by_its_own_interval() -> None:
    good = calibrated(0.95, 0.9, 0.97)
    limits = replace(CALIBRATED, predicted_nsd=Limit(0.6, level=0.9))
    assert judge(good, limits)[0] is Verdict.PASS
    said, reasons = judge(replace(good, predicted_nsd=0.65, nsd_interval=(0.55, 0.7)), limits)
    assert said is Verdict.REVIEW
    assert [r.text for r in reasons] == ["predicted NSD 0.65, 90 % interval 0.55-0.70, straddles 0.60"]


def test_the_worst_limit_decides_and_says_so() -> None:
    said, reasons = judge(predict(0.9, 0.3), Limits(Limit(0.75, 0.05), Limit(0.6, 0.05)))
    assert said is Verdict.FAIL
    assert "NSD 0.30" in reasons[0].text


def test_a_note_turns_pass_into_review_but_never_hides_a_fail() -> None:
    note = Reason(ReasonCode.PARTIAL_COVERAGE, "tissue outside of the box")
    assert judge(predict(0.95, 0.9, note), MARGIN) == (
        Verdict.REVIEW,
        (Reason(ReasonCode.ABOVE_THRESHOLD, "predicted DSC 0.95 is above 0.75"), note),
    )
    assert judge(predict(0.2, 0.9, note), MARGIN)[0] is Verdict.FAIL


def test_images_unlike_the_training_data_are_not_assessed_however_good_the_number() -> None:
    said, (reason,) = judge(calibrated(0.97, 0.95, 0.99, image_is_novel=True, image_p_value=0.0123, query_is_novel=True), CALIBRATED)
    assert (said, reason.code) == (Verdict.UNASSESSABLE, ReasonCode.IMAGE_NOVEL)
    assert reason.text.endswith("(p = 0.012)")


@pytest.mark.parametrize(
    ("dsc", "verdict", "code"),
    [
        (0.95, Verdict.REVIEW, ReasonCode.ABOVE_THRESHOLD),
        (0.77, Verdict.REVIEW, ReasonCode.INTERVAL_STRADDLES),
        (0.1, Verdict.FAIL, ReasonCode.BELOW_THRESHOLD),
    ],
)
def test_a_query_unlike_any_does_not_pass_and_stays_a_fail(dsc: float, verdict: Verdict, code: ReasonCode) -> None:
    said, reasons = judge(calibrated(dsc, dsc - 0.04, dsc + 0.04, query_is_novel=True, query_p_value=0.004), CALIBRATED)
    assert said is verdict
    assert [r.code for r in reasons] == [code, ReasonCode.QUERY_NOVEL]
    assert "p = 0.004" in reasons[1].text


def test_p_values_alone_decide_nothing() -> None:
    said, reasons = judge(calibrated(0.95, 0.9, 0.97, image_p_value=0.001, query_p_value=0.001), CALIBRATED)
    assert said is Verdict.PASS
    assert len(reasons) == 1


@pytest.mark.parametrize("limits", [MARGIN, CALIBRATED])
def test_no_number_never_passes(limits: Limits) -> None:
    said, reasons = judge(predict(float("nan")), limits)
    assert said is Verdict.UNASSESSABLE
    assert [r.code for r in reasons] == [ReasonCode.ASSESSMENT_FAILED]


def test_limits_in_words() -> None:
    assert MARGIN.describe() == "FAIL below predicted DSC 0.70, PASS from 0.80, REVIEW between"
    assert Limits(Limit(0.75, level=0.9), Limit(0.6, 0.1)).describe() == (
        "FAIL below predicted DSC 0.75, REVIEW where its 90 % interval begins below that, else PASS; "
        "FAIL below predicted NSD 0.50, PASS from 0.70, REVIEW between"
    )
    assert CALIBRATED.describe().endswith("begins below that or the number itself lies below 0.80, else PASS")


def test_limits_that_differ_read_differently() -> None:
    different = [Limit(0.75), Limit(0.751), Limit(0.7501), Limit(0.75, 0.05), Limit(0.75, 0.051), Limit(0.75, review_below=0.8)]
    assert len({Limits(limit).describe() for limit in different}) == len(different)
