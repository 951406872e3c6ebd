"""From predicted numbers, their intervals and novelty to a verdict, with the reasons for it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from qcnode.case import Prediction, Reason, ReasonCode, Verdict

UNCALIBRATED_MARGIN = 0.05
"""How near the threshold is too near to call for weights without calibrated intervals."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What a predicted DSC or NSD (0...1) needs.

    With a margin: PASS at or above value + margin, FAIL below value - margin, REVIEW between. Without: FAIL below value, REVIEW where the
    prediction's interval begins below value or the prediction is below `review_below`, else PASS; without an interval nothing passes.
    level: of the interval, for the description.
    """

    value: float
    margin: float | None = None
    review_below: float | None = None
    level: float | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """The thresholds of one task; `predicted_nsd` is optional."""

    predicted_dsc: Limit
    predicted_nsd: Limit | None = None

    def describe(self) -> str:
        """The thresholds in words, for the report; limits that differ are described differently."""
        parts = [_describe("DSC", self.predicted_dsc)]
        if self.predicted_nsd is not None:
            parts.append(_describe("NSD", self.predicted_nsd))
        return "; ".join(parts)


def judge(prediction: Prediction, limits: Limits) -> tuple[Verdict, tuple[Reason, ...]]:
    """Verdict of one prediction.

    UNASSESSABLE where the images are unlike the training data, whatever was predicted, or where no number came out. Else the worst that any
    limit says; the prediction's notes and a query unlike any segmentation turn a PASS into a REVIEW, and are told beside FAIL and REVIEW.
    """
    if prediction.image_is_novel:
        return Verdict.UNASSESSABLE, (_novel_image(prediction),)
    level = prediction.interval_level
    judged = [(_Estimate("DSC", prediction.predicted_dsc, prediction.dsc_interval, level), limits.predicted_dsc)]
    if limits.predicted_nsd is not None:
        judged.append((_Estimate("NSD", prediction.predicted_nsd, prediction.nsd_interval, level), limits.predicted_nsd))
    if not all(math.isfinite(estimate.predicted) for estimate, _ in judged):
        return Verdict.UNASSESSABLE, (Reason(ReasonCode.ASSESSMENT_FAILED, "the network gave no number"),)
    found = [_apply(estimate, limit) for estimate, limit in judged]
    order = (Verdict.FAIL, Verdict.REVIEW, Verdict.PASS)
    verdict = min((v for v, _ in found), key=order.index)
    reasons = tuple(reason for v, reason in found if v is verdict)
    doubts = (*prediction.notes, _novel_query(prediction)) if prediction.query_is_novel else prediction.notes
    if verdict is Verdict.PASS and doubts:
        verdict = Verdict.REVIEW
    return verdict, (*reasons, *doubts)


@dataclass(frozen=True, slots=True)
class _Estimate:
    """One predicted number with its interval."""

    metric: str
    predicted: float
    interval: tuple[float, float] | None
    level: float | None

    def words(self, value: float) -> str:
        """The number as it stands before "is below `value`"."""
        text = f"predicted {self.metric} {_beside(self.predicted, value)}"
        if self.interval is None:
            return text
        level = "" if self.level is None else f"{100 * self.level:g} % "
        return f"{text}, {level}interval {_beside(self.interval[0], value)}-{_beside(self.interval[1], value)},"


def _apply(estimate: _Estimate, limit: Limit) -> tuple[Verdict, Reason]:
    doubt = _by_interval(estimate, limit) if limit.margin is None else _by_margin(estimate, limit.value, limit.margin)
    if doubt is not None:
        return Verdict.REVIEW, doubt
    text, value = estimate.words(limit.value), _exact(limit.value)
    if estimate.predicted < limit.value:
        return Verdict.FAIL, Reason(ReasonCode.BELOW_THRESHOLD, f"{text} is below {value}")
    return Verdict.PASS, Reason(ReasonCode.ABOVE_THRESHOLD, f"{text} is above {value}")


def _by_margin(estimate: _Estimate, value: float, margin: float) -> Reason | None:
    if not value - margin <= estimate.predicted < value + margin:
        return None
    return Reason(ReasonCode.NEAR_THRESHOLD, f"{estimate.words(value)} is within {_exact(margin)} of {_exact(value)}")


def _by_interval(estimate: _Estimate, limit: Limit) -> Reason | None:
    """Why a prediction above the threshold is not certain enough; without an interval nothing is known of it."""
    if estimate.predicted < limit.value:
        return None
    text = estimate.words(limit.value)
    if estimate.interval is None or estimate.interval[0] < limit.value:
        ending = "has no interval that clears" if estimate.interval is None else "straddles"
        return Reason(ReasonCode.INTERVAL_STRADDLES, f"{text} {ending} {_exact(limit.value)}")
    if limit.review_below is not None and estimate.predicted < limit.review_below:
        point = f"the review point {_exact(limit.review_below)}: below it too many poor segmentations were missed in calibration"
        return Reason(ReasonCode.BELOW_REVIEW_POINT, f"{text} is below {point}")
    return None


def _novel_image(prediction: Prediction) -> Reason:
    text = "the images look unlike those that the network has learned from, so its numbers could not be trusted"
    return Reason(ReasonCode.IMAGE_NOVEL, text + _p_value(prediction.image_p_value))


def _novel_query(prediction: Prediction) -> Reason:
    text = "the segmentation looks unlike any, good or bad, that the network has learned to judge"
    return Reason(ReasonCode.QUERY_NOVEL, text + _p_value(prediction.query_p_value))


def _p_value(value: float | None) -> str:
    return "" if value is None else f" (p = {value:.2g})"


def _describe(metric: str, limit: Limit) -> str:
    if limit.margin is not None:
        low, high = limit.value - limit.margin, limit.value + limit.margin
        return f"FAIL below predicted {metric} {_exact(low)}, PASS from {_exact(high)}, REVIEW between"
    level = "" if limit.level is None else f"{100 * limit.level:g} % "
    point = "" if limit.review_below is None else f" or the number itself lies below {_exact(limit.review_below)}"
    return f"FAIL below predicted {metric} {_exact(limit.value)}, REVIEW where its {level}interval begins below that{point}, else PASS"


def _exact(value: float) -> str:
    """Two decimals, or as many more as there are: thresholds that differ never read the same."""
    whole, decimals = f"{value:.6f}".split(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"


def _beside(value: float, threshold: float) -> str:
    """Two decimals, or four where two would show the threshold itself."""
    text = f"{value:.2f}"
    return text if text != f"{threshold:.2f}" or value == threshold else f"{value:.4f}"
