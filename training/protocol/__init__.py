"""Protocol E: every figure by which predictions are judged, as pure numbers on records.

`evaluate_records` gives all of it for one set of queries; the modules beside it define the figures, one kind each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from training.protocol.bootstrap import REPETITIONS, bootstrap, by_agreement, paired_differences, statistics
from training.protocol.columns import FAILURES, Columns, FloatArray, Thresholds, columns, mean, rounded, tissue_names
from training.protocol.error_maps import error_maps
from training.protocol.filters import filters
from training.protocol.intervals import interval_figures
from training.protocol.ranking import ranking
from training.protocol.regression import correlation, regression
from training.records import Judged
from training.sets import KEPT_OUT

__all__ = ["HEADLINE", "Thresholds", "by_agreement", "evaluate_records", "figures", "groups", "paired_differences"]

HEADLINE = "segmenter"


def evaluate_records(
    name: str,
    records: Sequence[Judged],
    thresholds: Thresholds,
    *,
    tissues: Sequence[str] = (),
    seed: int = 0,
    repetitions: int = REPETITIONS,
) -> dict[str, Any]:
    """Protocol E of one set of queries as JSON, rounded to four digits, None where a figure is undefined.

    tissues: their names in the order of the channels. seed: of the bootstrap and of the draw of one query per patient. The result holds
    `groups`: `figures` of each of `groups(records)`. Raises ValueError without records.
    """
    rows = {
        group: figures(chosen, thresholds, tissues=tissues, seed=seed, repetitions=repetitions) for group, chosen in groups(records).items()
    }
    if not rows:
        raise ValueError("no records to judge")
    return {"name": name, "queries": len(records), "patients": len({r.patient for r in records}), "headline": HEADLINE, "groups": rows}


def groups(records: Sequence[Judged]) -> dict[str, list[Judged]]:
    """Records by group, empty ones left out.

    "segmenter" is the headline: the outputs of segmenters, on degraded images too where the set holds them; it stands again divided into
    "as acquired" and "degraded" where it holds both. The kept-out segmenter is in no group but its own and "all". Every other group of
    queries (generated, structured, a site's own) is a row of its own.
    """
    kept_out = [r for r in records if r.family == KEPT_OUT]
    others = [r for r in records if r.family != KEPT_OUT]
    headline = [r for r in others if r.group == HEADLINE]
    degraded = [r for r in headline if r.degraded]
    result = {HEADLINE: headline}
    if 0 < len(degraded) < len(headline):
        result["segmenter, as acquired"] = [r for r in headline if not r.degraded]
    result["segmenter, degraded"] = degraded
    result[f"kept out: {KEPT_OUT}"] = kept_out
    for group in sorted({r.group for r in others} - {HEADLINE}):
        result[group] = [r for r in others if r.group == group]
    result["all"] = list(records)
    return {name: chosen for name, chosen in result.items() if chosen}


def figures(
    records: Sequence[Judged],
    thresholds: Thresholds,
    *,
    tissues: Sequence[str] = (),
    seed: int = 0,
    repetitions: int = REPETITIONS,
) -> dict[str, Any]:
    """All figures of at least one record; each part's keys are explained by the function that makes it."""
    table = columns(records)
    return {
        "queries": len(records),
        "patients": table.patients,
        "failures": {f"{limit:.2f}": int((table.dsc < limit).sum()) for limit in FAILURES},
        "dsc": regression(table.dsc, table.predicted_dsc),
        "nsd": regression(table.nsd, table.predicted_nsd),
        "dsc_per_tissue": _per_tissue(records, tissues),
        "error_maps": error_maps(table, thresholds.error_map, tissues),
        "ranking": ranking(table.dsc, table.predicted_dsc),
        "filter": filters(table, thresholds),
        "intervals": {
            "dsc": interval_figures(table.dsc, table.predicted_dsc, table.dsc_interval, table.patient, seed=seed),
            "nsd": interval_figures(table.nsd, table.predicted_nsd, table.nsd_interval, table.patient, seed=seed),
        },
        "novelty": novelty(records, thresholds),
        "cost": cost(records),
        "pseudo_reference": _pseudo_reference(records, table, seed, repetitions),
        "bootstrap": bootstrap(table, statistics(thresholds.error_map), repetitions=repetitions, seed=seed),
    }


def novelty(records: Sequence[Judged], thresholds: Thresholds) -> dict[str, Any]:
    """Shares called novel. images: of the entries, each weighing 1; queries_on_novel_images and novel_queries: of the queries. None where
    no record holds the p-value."""
    entries: dict[str, list[bool]] = {}
    for record in records:
        if record.image_p is not None:
            entries.setdefault(record.entry, []).append(record.image_p < thresholds.novel_image_below)
    each = [flag for flags in entries.values() for flag in flags]
    query = [r.query_p < thresholds.novel_query_below for r in records if r.query_p is not None]
    return {
        "images_judged": len(entries),
        "novel_images": rounded(mean(np.array([np.mean(flags) for flags in entries.values()]))),
        "queries_on_novel_images": rounded(mean(np.array(each, float))),
        "novel_queries": rounded(mean(np.array(query, float))),
    }


def cost(records: Sequence[Judged]) -> dict[str, Any]:
    """Median and 95th percentile of the time per query in ms, of the records that were timed."""
    timed = np.array([r.latency_ms for r in records if r.latency_ms > 0])
    p50, p95 = np.percentile(timed, [50, 95]) if timed.size else (np.nan, np.nan)
    return {"timed": len(timed), "latency_ms_p50": rounded(p50), "latency_ms_p95": rounded(p95)}


def _per_tissue(records: Sequence[Judged], tissues: Sequence[str]) -> dict[str, Any]:
    """MAE, r and bias of predicted DSC of each tissue, where it is predicted."""
    true = np.array([r.dsc_per_tissue for r in records], float)
    predicted = np.array([r.predicted_dsc_per_tissue for r in records], float)
    if true.shape != predicted.shape or true.ndim != 2:
        return {}
    names = tissue_names(tissues, true.shape[1])
    result = {}
    for i, name in enumerate(names):
        known = ~np.isnan(true[:, i] + predicted[:, i])
        x, y = true[known, i], predicted[known, i]
        result[name] = {"mae": rounded(mean(np.abs(y - x))), "r": rounded(correlation(x, y)), "bias": rounded(mean(y - x))}
    return result


def _pseudo_reference(records: Sequence[Judged], table: Columns, seed: int, repetitions: int) -> dict[str, Any] | None:
    """The same queries judged by their agreement with the pseudo-reference alone, and where both err alike: a failure (true DSC below 0.75)
    on which they agree (0.75 or more). None where there is no pseudo-reference."""
    agreement = np.array([r.agreement_dsc for r in records], float)
    if np.isnan(agreement).any():
        return None
    alike = (table.dsc < FAILURES[0]) & (agreement >= FAILURES[0])
    return {
        "network_against_agreement": paired_differences(records, by_agreement(records), repetitions=repetitions, seed=seed),
        "err_alike": {
            "queries": int(alike.sum()),
            "agreement_mae": _mae(table.dsc[alike], agreement[alike]),
            "network_mae": _mae(table.dsc[alike], table.predicted_dsc[alike]),
            "network_recall": rounded(mean((table.predicted_dsc[alike] < FAILURES[0]).astype(float))),
        },
    }


def _mae(true: FloatArray, predicted: FloatArray) -> float | None:
    return rounded(mean(np.abs(predicted - true)))
