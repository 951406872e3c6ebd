"""How near predicted values are to true ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import stats

from training.protocol.columns import BINS, FloatArray, bin_name, bin_of, deviation, mean, rounded


def regression(true: FloatArray, predicted: FloatArray) -> dict[str, Any]:
    """Figures of predicted values (query,) against true ones, both between 0 and 1. Differences are predicted - true.

    mae, sd_of_absolute_errors; rmse; r (Pearson), spearman (mean ranks of ties); bias: mean difference; limits_of_agreement: bias -+ 1.96
    SD of the differences (Bland and Altman, Lancet 1986); sd_of_true, mae_by_sd: MAE / SD of the true values; per_bin: by true value;
    mae_mean_over_bins: unweighted mean of the filled bins' MAE; mae_below_half, mae_from_half: true value below 0.5, at least 0.5. SDs
    are with n - 1.
    """
    difference = predicted - true
    absolute = np.abs(difference)
    bins = per_bin(true, predicted)
    bias, spread = mean(difference), deviation(difference)
    return {
        "mae": rounded(mean(absolute)),
        "sd_of_absolute_errors": rounded(deviation(absolute)),
        "rmse": rounded(math.sqrt(mean(difference**2))),
        "r": rounded(correlation(true, predicted)),
        "spearman": rounded(correlation(stats.rankdata(true), stats.rankdata(predicted))),
        "bias": rounded(bias),
        "limits_of_agreement": [rounded(bias - 1.96 * spread), rounded(bias + 1.96 * spread)],
        "sd_of_true": rounded(deviation(true)),
        "mae_by_sd": rounded(mean(absolute) / deviation(true)) if deviation(true) > 0 else None,
        "mae_mean_over_bins": rounded(mean(np.array([absolute[bin_of(true) == i].mean() for i in np.unique(bin_of(true))]))),
        "mae_below_half": rounded(mean(absolute[true < 0.5])),
        "mae_from_half": rounded(mean(absolute[true >= 0.5])),
        "per_bin": bins,
    }


def per_bin(true: FloatArray, predicted: FloatArray) -> list[dict[str, Any]]:
    """Queries, MAE and bias of each of the ten bins of the true value."""
    place = bin_of(true)
    result = []
    for i in range(BINS):
        difference = (predicted - true)[place == i]
        row = {"bin": bin_name(i), "queries": len(difference), "mae": rounded(mean(np.abs(difference))), "bias": rounded(mean(difference))}
        result.append(row)
    return result


def correlation(first: FloatArray, second: FloatArray) -> float:
    """Pearson's r, NaN where it is undefined (below three values, or all alike)."""
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    return float(np.corrcoef(first, second)[0, 1])
