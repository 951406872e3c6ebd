"""From predicted numbers to a verdict, with the reasons for it."""

from __future__ import annotations

from dataclasses import dataclass

from qcnode.case import Prediction, Reason, ReasonCode, Verdict


@dataclass(frozen=True, slots=True)
class Limit:
    """PASS at or above value + margin, FAIL below value - margin, REVIEW between (all on a predicted DSC or NSD, 0...1)."""

    value: float
    margin: float


@dataclass(frozen=True, slots=True)
class Limits:
    """The thresholds of one task; `predicted_nsd` is optional."""

    predicted_dsc: Limit
    predicted_nsd: Limit | None = None

    def describe(self) -> str:
        """The thresholds in words, for the report."""
        parts = [_describe("DSC", self.predicted_dsc)]
        if self.predicted_nsd is not None:
            parts.append(_describe("NSD", self.predicted_nsd))
        return "; ".join(parts)


def judge(prediction: Prediction, limits: Limits) -> tuple[Verdict, tuple[Reason, ...]]:
    """Verdict of one prediction: the worst that any limit says; the prediction's own notes turn a PASS into a REVIEW."""
    found = [_apply("DSC", prediction.predicted_dsc, limits.predicted_dsc)]
    if limits.predicted_nsd is not None:
        found.append(_apply("NSD", prediction.predicted_nsd, limits.predicted_nsd))
    order = (Verdict.FAIL, Verdict.REVIEW, Verdict.PASS)
    verdict = min((v for v, _ in found), key=order.index)
    reasons = tuple(reason for v, reason in found if v is verdict)
    if verdict is Verdict.PASS and prediction.notes:
        verdict = Verdict.REVIEW
    return verdict, (*reasons, *prediction.notes)


def _apply(metric: str, predicted: float, limit: Limit) -> tuple[Verdict, Reason]:
    text = f"predicted {metric} {predicted:.2f}"
    if predicted < limit.value - limit.margin:
        return Verdict.FAIL, Reason(ReasonCode.BELOW_THRESHOLD, f"{text} is below {limit.value:.2f}")
    if predicted < limit.value + limit.margin:
        return Verdict.REVIEW, Reason(ReasonCode.NEAR_THRESHOLD, f"{text} is within {limit.margin:.2f} of {limit.value:.2f}")
    return Verdict.PASS, Reason(ReasonCode.ABOVE_THRESHOLD, f"{text} is above {limit.value:.2f}")


def _describe(metric: str, limit: Limit) -> str:
    low, high = limit.value - limit.margin, limit.value + limit.margin
    return f"FAIL below predicted {metric} {low:.2f}, PASS from {high:.2f}, REVIEW between"
