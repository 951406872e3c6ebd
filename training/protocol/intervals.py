"""Do the prediction intervals hold what they promise, and are they narrow enough to be of use?"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from training.protocol.columns import BINS, BoolArray, FloatArray, IntArray, bin_name, bin_of, mean, ratio, rounded

NOMINAL = 0.90
FEWEST = 10
"""Queries below which a bin's coverage is too coarse to count as the worst gap (one query more or less moves it by over 0.1)."""


def interval_figures(
    true: FloatArray, predicted: FloatArray, interval: FloatArray, patient: IntArray, *, seed: int = 0
) -> dict[str, Any] | None:
    """Figures of 90 % intervals (query, 2), closed at both ends; None where any record has none.

    coverage_by_patient: each patient weighs 1, spread over the patient's queries; coverage_plain: each query weighs 1. one_per_patient:
    coverage with one query per patient (drawn with `seed`), so that the draws are independent, and its 95 % Clopper-Pearson interval.
    mean_width. per_bin: by *predicted* value, with the mean prediction and mean truth for the reliability curve. worst_gap: the coverage
    of a bin of at least 10 queries that lies furthest from 0.90, minus 0.90.
    """
    if np.isnan(interval).any():
        return None
    inside = (interval[:, 0] <= true) & (true <= interval[:, 1])
    place = bin_of(predicted)
    bins = [_bin_row(true, predicted, interval, inside, place == i, i) for i in range(BINS)]
    gaps = [float(row["coverage"]) - NOMINAL for row in bins if row["queries"] >= FEWEST]
    return {
        "nominal": NOMINAL,
        "coverage_by_patient": rounded(patient_weighted(inside, patient)),
        "coverage_plain": rounded(mean(inside.astype(float))),
        "one_per_patient": one_per_patient(inside, patient, seed),
        "mean_width": rounded(mean(interval[:, 1] - interval[:, 0])),
        "worst_gap": rounded(max(gaps, key=abs)) if gaps else None,
        "per_bin": bins,
    }


def patient_weighted(inside: BoolArray, patient: IntArray) -> float:
    """Mean over the patients of each one's share of True (query,)."""
    queries = np.bincount(patient)
    shares = np.bincount(patient, inside.astype(float))[queries > 0] / queries[queries > 0]
    return float(shares.mean())


def one_per_patient(inside: BoolArray, patient: IntArray, seed: int) -> dict[str, Any]:
    """Coverage with one drawn query per patient and its 95 % Clopper-Pearson interval."""
    order = np.random.default_rng(seed).permutation(len(patient))
    _, first = np.unique(patient[order], return_index=True)
    drawn = inside[order][first]
    low, high = clopper_pearson(int(drawn.sum()), len(drawn))
    return {"patients": len(drawn), "coverage": rounded(ratio(drawn.sum(), len(drawn))), "ci95": [rounded(low), rounded(high)]}


def clopper_pearson(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Exact confidence interval of a proportion (Clopper and Pearson, Biometrika 1934)."""
    tail = (1 - level) / 2
    low = float(stats.beta.ppf(tail, successes, trials - successes + 1)) if successes else 0.0
    high = float(stats.beta.ppf(1 - tail, successes + 1, trials - successes)) if successes < trials else 1.0
    return low, high


def _bin_row(
    true: FloatArray, predicted: FloatArray, interval: FloatArray, inside: BoolArray, chosen: BoolArray, place: int
) -> dict[str, Any]:
    return {
        "bin": bin_name(place),
        "queries": int(chosen.sum()),
        "coverage": rounded(mean(inside[chosen].astype(float))),
        "mean_width": rounded(mean(interval[chosen, 1] - interval[chosen, 0])),
        "mean_predicted": rounded(mean(predicted[chosen])),
        "mean_true": rounded(mean(true[chosen])),
    }
