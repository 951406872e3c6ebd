"""The filter of Williams et al. (paper 001): flagged queries go to a person, the others pass unseen. Failed is positive.

The paper's own "precision" is specificity and its "recall" is negative predictive value; here the words mean what they usually mean. A
reduction of reviews is never given without the recall of failures beside it: where there is no failure to find, there is none of either.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from training.protocol.columns import FAILURES, BoolArray, Columns, FloatArray, Thresholds, mean, ratio, rounded
from training.protocol.ranking import smallest_review

RECALL_GOAL = 0.95
FURTHER_REVIEWS = 0.10
"""Reviews that may be spent beyond the failures themselves."""


def filters(table: Columns, thresholds: Thresholds) -> dict[str, Any]:
    """Per failure limit: the failure rate, a row of figures per operating point, and the smallest review rate that reaches the goal."""
    result = {}
    for limit in FAILURES:
        failed = table.dsc < limit
        result[f"{limit:.2f}"] = {
            "failure_rate": rounded(mean(failed.astype(float))),
            "points": [
                {"point": name, "flags_below": rounded(cut), **filter_figures(failed, flagged, table.dsc)}
                for name, cut, flagged in _points(table, thresholds, limit)
            ],
            "goal": goal(failed, table.predicted_dsc),
        }
    return result


def filter_figures(failed: BoolArray, flagged: BoolArray, dsc: FloatArray) -> dict[str, Any]:
    """Figures of one way to flag queries, all (query,).

    precision TP / (TP + FP), recall TP / (TP + FN), f1, specificity TN / (TN + FP), npv TN / (TN + FN); missed_per_1000: FN per 1000
    queries; review_rate: flagged share; reduction = 1 - review_rate, None where recall is; mean and median true DSC of all queries (before)
    and of those not flagged (after); reaches_goal: recall >= 0.95 at a review rate <= failure rate + 0.10.
    """
    hits, missed = int((failed & flagged).sum()), int((failed & ~flagged).sum())
    alarms, passed = int((~failed & flagged).sum()), int((~failed & ~flagged).sum())
    recall, review = ratio(hits, hits + missed), ratio(hits + alarms, len(failed))
    kept = dsc[~flagged]
    return {
        "precision": rounded(ratio(hits, hits + alarms)),
        "recall": rounded(recall),
        "f1": rounded(ratio(2 * hits, 2 * hits + alarms + missed)),
        "specificity": rounded(ratio(passed, passed + alarms)),
        "npv": rounded(ratio(passed, passed + missed)),
        "missed_per_1000": rounded(1000 * ratio(missed, len(failed))),
        "review_rate": rounded(review),
        "reduction": rounded(1 - review) if failed.any() else None,
        "mean_dsc_before": rounded(mean(dsc)),
        "mean_dsc_after": rounded(mean(kept)),
        "median_dsc_before": rounded(np.median(dsc)),
        "median_dsc_after": rounded(np.median(kept)) if kept.size else None,
        "reaches_goal": _reaches_goal(recall, review, failed) if failed.any() else None,
    }


def goal(failed: BoolArray, predicted_dsc: FloatArray) -> dict[str, Any] | None:
    """Smallest review rate with recall >= 0.95, its cut-off chosen on these very queries: what the ranking would allow, not a filter's
    result. reached: that rate is at most the failure rate + 0.10. None where nothing failed."""
    found = smallest_review(failed, predicted_dsc, recall=RECALL_GOAL)
    if found is None:
        return None
    review, cut = found
    return {
        "recall_at_least": RECALL_GOAL,
        "smallest_review_rate": rounded(review),
        "flags_at_or_below": rounded(cut),
        "review_rate_allowed": rounded(failed.mean() + FURTHER_REVIEWS),
        "reached": _reaches_goal(RECALL_GOAL, review, failed),
    }


def _points(table: Columns, thresholds: Thresholds, limit: float) -> Iterator[tuple[str, float, BoolArray]]:
    yield "prediction", limit, table.predicted_dsc < limit
    if not np.isnan(table.dsc_interval).any():
        yield "lower bound", limit, table.dsc_interval[:, 0] < limit
    if thresholds.flag_below is not None and limit == FAILURES[0]:
        yield "card's flag_below", thresholds.flag_below, table.predicted_dsc < thresholds.flag_below


def _reaches_goal(recall: float, review: float, failed: BoolArray) -> bool:
    return bool(recall >= RECALL_GOAL and review <= failed.mean() + FURTHER_REVIEWS + 1e-9)
