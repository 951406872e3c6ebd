"""Confidence by drawing patients, not queries: a patient's queries resemble one another.

Every statistic is written so that all repetitions are a few matrix products: sums per patient, weighted by how often each was drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from training.protocol.columns import FAILURES, NEARLY_PERFECT, Columns, FloatArray, columns, rounded
from training.protocol.error_maps import counts_at, query_dsc
from training.protocol.ranking import pair_order
from training.records import Judged

REPETITIONS = 1000
Statistic = Callable[[Columns, FloatArray], FloatArray]
"""Values (repetition,) of a table under patient weights (repetition, patient)."""


def statistics(error_map_thresholds: Sequence[float] = ()) -> dict[str, Statistic]:
    """What is bootstrapped, by name. Failures and flags are at 0.75; the error map's DSC is that of `error_maps`."""
    return {
        "dsc_mae": _dsc_mae,
        "dsc_r": _dsc_r,
        "nsd_mae": _nsd_mae,
        "nsd_r": _nsd_r,
        "auroc": _auroc,
        "recall": _recall,
        "error_map_dsc": partial(_error_map_dsc, thresholds=tuple(error_map_thresholds)),
    }


def patient_draws(patients: int, repetitions: int, seed: int) -> FloatArray:
    """How often each patient is drawn, (repetition, patient): as many patients as there are, with replacement."""
    return np.random.default_rng(seed).multinomial(patients, np.full(patients, 1 / patients), size=repetitions).astype(float)


def bootstrap(table: Columns, chosen: Mapping[str, Statistic], *, repetitions: int = REPETITIONS, seed: int = 0) -> dict[str, Any]:
    """Value and 95 % percentile interval of each statistic; draws in which one is undefined (no failure drawn) are left out of it."""
    weights = patient_draws(table.patients, repetitions, seed)
    everyone = np.ones((1, table.patients))
    return {name: _summary(statistic(table, everyone)[0], statistic(table, weights)) for name, statistic in chosen.items()}


def paired_differences(
    first: Sequence[Judged],
    second: Sequence[Judged],
    *,
    error_map_thresholds: tuple[Sequence[float], Sequence[float]] = ((), ()),
    repetitions: int = REPETITIONS,
    seed: int = 0,
) -> dict[str, Any]:
    """Each statistic of `first` minus that of `second` on the queries (entry, index) that both judged, the same patients drawn for both.

    Per statistic: first, second, value (their difference) with its 95 % interval, and first_better: the share of draws in which `first`
    is better (lower MAE, higher otherwise; equal counts half). Raises ValueError where a query appears twice in one list or the truth of
    a query differs between them.
    """
    ours, theirs = matched(first, second)
    if not ours:
        return {"queries": 0, "patients": 0, "statistics": {}}
    one, other = columns(ours), columns(theirs)
    weights, everyone = patient_draws(one.patients, repetitions, seed), np.ones((1, one.patients))
    of_first, of_second = (statistics(cuts) for cuts in error_map_thresholds)
    result: dict[str, Any] = {}
    for name in of_first:
        difference = of_first[name](one, weights) - of_second[name](other, weights)
        a, b = of_first[name](one, everyone)[0], of_second[name](other, everyone)[0]
        gain = np.sign(-difference if name.endswith("mae") else difference)
        share = (1 + gain[~np.isnan(gain)].mean()) / 2 if not np.isnan(gain).all() else np.nan
        result[name] = {"first": rounded(a), "second": rounded(b), **_summary(a - b, difference), "first_better": rounded(share)}
    return {"queries": len(ours), "patients": one.patients, "statistics": result}


def matched(first: Sequence[Judged], second: Sequence[Judged]) -> tuple[list[Judged], list[Judged]]:
    """The records of the queries that both lists hold, in the order of the first."""
    theirs = {(r.entry, r.index): r for r in second}
    if len(theirs) != len(second) or len({(r.entry, r.index) for r in first}) != len(first):
        raise ValueError("a query appears twice in one list of records")
    pairs = [(r, theirs[r.entry, r.index]) for r in first if (r.entry, r.index) in theirs]
    for one, other in pairs:
        if one.patient != other.patient or abs(one.dsc - other.dsc) > 1e-6 or abs(one.nsd - other.nsd) > 1e-6:
            raise ValueError(f"query {one.index} of an entry is not the same in both lists")
    return [one for one, _ in pairs], [other for _, other in pairs]


def by_agreement(records: Sequence[Judged]) -> list[Judged]:
    """The same queries as the pseudo-reference alone would judge them: its agreement with the query is the prediction; no error maps."""
    return [
        replace(r, predicted_dsc=r.agreement_dsc, predicted_nsd=r.agreement_nsd, error_counts=(), dsc_interval=None, nsd_interval=None)
        for r in records
    ]


def _summary(value: float, draws: FloatArray) -> dict[str, Any]:
    defined = draws[~np.isnan(draws)]
    low, high = np.percentile(defined, [2.5, 97.5]) if defined.size > 1 else (np.nan, np.nan)
    return {"value": rounded(value), "ci95": [rounded(low), rounded(high)]}


def _dsc_mae(table: Columns, weights: FloatArray) -> FloatArray:
    return _average(table, np.abs(table.predicted_dsc - table.dsc), weights)


def _nsd_mae(table: Columns, weights: FloatArray) -> FloatArray:
    return _average(table, np.abs(table.predicted_nsd - table.nsd), weights)


def _dsc_r(table: Columns, weights: FloatArray) -> FloatArray:
    return _correlation(table, table.dsc, table.predicted_dsc, weights)


def _nsd_r(table: Columns, weights: FloatArray) -> FloatArray:
    return _correlation(table, table.nsd, table.predicted_nsd, weights)


def _recall(table: Columns, weights: FloatArray) -> FloatArray:
    flagged = (table.predicted_dsc < FAILURES[0]).astype(float)
    return _average(table, np.where(table.dsc < FAILURES[0], flagged, np.nan), weights)


def _error_map_dsc(table: Columns, weights: FloatArray, *, thresholds: Sequence[float]) -> FloatArray:
    counts = counts_at(table, thresholds)
    if counts is None:
        return np.full(len(weights), np.nan)
    return _average(table, np.where(table.dsc < NEARLY_PERFECT, query_dsc(counts), np.nan), weights)


def _auroc(table: Columns, weights: FloatArray) -> FloatArray:
    """Ordered pairs per pair of patients first: then a draw weighs a pair by how often both patients were drawn."""
    failed = table.dsc < FAILURES[0]
    ordered = np.zeros((table.patients, table.patients))
    for other in np.unique(table.patient[~failed]):
        good = table.predicted_dsc[~failed & (table.patient == other)]
        ordered[:, other] = np.bincount(table.patient[failed], pair_order(-table.predicted_dsc[failed], -good), table.patients)
    pairs = _drawn(table, failed, weights) * _drawn(table, ~failed, weights)
    return _divided(((weights @ ordered) * weights).sum(1), pairs)


def _drawn(table: Columns, values: FloatArray | np.ndarray[Any, np.dtype[np.bool_]], weights: FloatArray) -> FloatArray:
    """Sum of values (query,) in each repetition."""
    return weights @ np.bincount(table.patient, np.asarray(values, float), table.patients)


def _average(table: Columns, values: FloatArray, weights: FloatArray) -> FloatArray:
    """Mean of the values (query,) that are not NaN."""
    known = ~np.isnan(values)
    return _divided(_drawn(table, np.where(known, values, 0), weights), _drawn(table, known, weights))


def _correlation(table: Columns, x: FloatArray, y: FloatArray, weights: FloatArray) -> FloatArray:
    x, y = x - x.mean(), y - y.mean()  # the moments below would lose digits far from 0
    n = _drawn(table, np.ones_like(x), weights)
    sums = [_drawn(table, v, weights) for v in (x, y, x * x, y * y, x * y)]
    sx, sy, xx, yy, xy = sums
    spread = (n * xx - sx**2) * (n * yy - sy**2)
    return _divided(n * xy - sx * sy, np.sqrt(np.where(spread > 1e-18, spread, 0)))


def _divided(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)
