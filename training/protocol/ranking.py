"""Does a lower prediction mean a worse query? Confidence is the predicted DSC, risk is 1 - true DSC."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from training.protocol.columns import FAILURES, BoolArray, FloatArray, mean, ratio, rounded


def ranking(dsc: FloatArray, predicted_dsc: FloatArray) -> dict[str, Any]:
    """Figures of predicted DSC (query,) as confidence.

    aurc; ideal_aurc: AURC* of the true DSC as confidence; random_aurc: mean risk, expected of a random order; e_aurc = AURC - AURC*;
    naurc = (AURC_random - AURC) / (AURC_random - AURC*), 1 for the ideal order and 0 for a random one; augrc. "0.75", "0.70": AUROC, AP
    and FPR@95TPR of finding a true DSC below that.
    """
    risk = 1 - dsc
    found, ideal, chance = aurc(risk, predicted_dsc), aurc(risk, dsc), mean(risk)
    return {
        "aurc": rounded(found),
        "ideal_aurc": rounded(ideal),
        "random_aurc": rounded(chance),
        "e_aurc": rounded(found - ideal),
        "naurc": rounded(ratio(chance - found, chance - ideal)),
        "augrc": rounded(augrc(risk, predicted_dsc)),
        **{f"{limit:.2f}": _failure_figures(dsc < limit, -predicted_dsc) for limit in FAILURES},
    }


def risk_coverage(risk: FloatArray, confidence: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Coverage k / n and selective risk, the mean risk of the k most confident, for k = 0 to n; at coverage 0 that of k = 1.

    Among queries of equal confidence the order is unknown, so each counts with their mean risk: the expectation over all orders.
    """
    cumulated = np.cumsum(_in_order(risk, confidence))
    selective = cumulated / np.arange(1, len(risk) + 1)
    return np.linspace(0, 1, len(risk) + 1), np.concatenate([selective[:1], selective])


def aurc(risk: FloatArray, confidence: FloatArray) -> float:
    """Area under the risk-coverage curve by trapezoids (Geifman et al., arXiv 1805.08206)."""
    coverage, selective = risk_coverage(risk, confidence)
    return float(np.trapezoid(selective, coverage))


def augrc(risk: FloatArray, confidence: FloatArray) -> float:
    """Area under the generalised risk, the cumulated risk over n, by trapezoids from (0, 0) (Traub et al., arXiv 2407.01032)."""
    generalised = np.concatenate([[0.0], np.cumsum(_in_order(risk, confidence)) / len(risk)])
    return float(np.trapezoid(generalised, dx=1 / len(risk)))


def auroc(failed: BoolArray, suspicion: FloatArray) -> float:
    """Share of pairs of a failed and a good query in which the failed one is the more suspect; ties count half. NaN without pairs."""
    return ratio(float(pair_order(suspicion[failed], suspicion[~failed]).sum()), int(failed.sum()) * int((~failed).sum()))


def pair_order(failed: FloatArray, good: FloatArray) -> FloatArray:
    """Per failed query (a,), how many good ones (b,) are less suspect, ties counting half."""
    ordered = np.sort(good)
    below, up_to = np.searchsorted(ordered, failed, "left"), np.searchsorted(ordered, failed, "right")
    return np.asarray((below + up_to) / 2, float)


def average_precision(failed: BoolArray, suspicion: FloatArray) -> float:
    """Sum over the distinct cut-offs of precision times the recall gained (no interpolation). NaN without failures."""
    found, flagged = _operating_points(failed, suspicion)
    if not failed.any():
        return math.nan
    gained = np.diff(np.concatenate([[0], found])) / failed.sum()
    return float((gained * found / flagged).sum())


def false_positive_rate(failed: BoolArray, suspicion: FloatArray, *, at_recall: float = 0.95) -> float:
    """Smallest share of good queries flagged by a cut-off that finds at least `at_recall` of the failures. NaN without pairs."""
    good = int((~failed).sum())
    if not failed.any() or not good:
        return math.nan
    found, flagged = _operating_points(failed, suspicion)
    reached = found >= at_recall * failed.sum() - 1e-9
    return float((flagged - found)[reached].min() / good)


def smallest_review(failed: BoolArray, predicted: FloatArray, *, recall: float = 0.95) -> tuple[float, float] | None:
    """Smallest review rate at which flagging every prediction at or below a cut-off finds `recall` of the failures, and that cut-off."""
    if not failed.any():
        return None
    found, flagged = _operating_points(failed, -predicted)
    first = int(np.argmax(found >= recall * failed.sum() - 1e-9))
    return float(flagged[first] / len(failed)), float(np.unique(predicted)[first])


def _failure_figures(failed: BoolArray, suspicion: FloatArray) -> dict[str, Any]:
    return {
        "queries": len(failed),
        "failed": int(failed.sum()),
        "auroc": rounded(auroc(failed, suspicion)),
        "ap": rounded(average_precision(failed, suspicion)),
        "fpr_at_95_tpr": rounded(false_positive_rate(failed, suspicion)),
    }


def _operating_points(failed: BoolArray, suspicion: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Failures found and queries flagged at every distinct cut-off, the most suspect first."""
    levels, place = np.unique(-suspicion, return_inverse=True)
    found = np.bincount(place, failed.astype(float), len(levels))
    return np.cumsum(found), np.cumsum(np.bincount(place, minlength=len(levels))).astype(float)


def _in_order(risk: FloatArray, confidence: FloatArray) -> FloatArray:
    """Risks, the most confident first; those of equal confidence are each their mean."""
    levels, place = np.unique(-confidence, return_inverse=True)
    average = np.bincount(place, risk, len(levels)) / np.bincount(place, minlength=len(levels))
    return np.asarray(average[np.sort(place)], float)
