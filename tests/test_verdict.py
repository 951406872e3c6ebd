import numpy as np
import pytest

from qcnode.assess.verdict import Limit, Limits, judge
from qcnode.case import Prediction, Reason, ReasonCode, Verdict


def predict(dsc: float, nsd: float = 0.9, *notes: Reason) -> Prediction:
    return Prediction(dsc, nsd, 2.0, {}, np.zeros((1, 2, 2, 2), bool), ("heart",), "cpu", notes=notes)


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
    said, reasons = judge(predict(dsc), Limits(Limit(0.75, 0.05)))
    assert said is verdict
    assert [r.code for r in reasons] == [code]


def test_the_worst_limit_decides_and_says_so() -> None:
    said, reasons = judge(predict(0.9, 0.3), Limits(Limit(0.75, 0.05), Limit(0.6, 0.05)))
    assert said is Verdict.FAIL
    assert "NSD 0.30" in reasons[0].text


def test_a_note_turns_pass_into_review_but_never_hides_a_fail() -> None:
    note = Reason(ReasonCode.PARTIAL_COVERAGE, "tissue outside of the box")
    assert judge(predict(0.95, 0.9, note), Limits(Limit(0.75, 0.05))) == (
        Verdict.REVIEW,
        (Reason(ReasonCode.ABOVE_THRESHOLD, "predicted DSC 0.95 is above 0.75"), note),
    )
    assert judge(predict(0.2, 0.9, note), Limits(Limit(0.75, 0.05)))[0] is Verdict.FAIL
