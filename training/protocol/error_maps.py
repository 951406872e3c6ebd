"""How much of the true errors the predicted error maps find.

All from voxel counts (true positive, false positive, false negative) of the predicted error map against the true one, query XOR reference.
A tissue without a voxel in either map says nothing and is left out (it would count 1 and flatter); one without a true error but with
predicted ones counts 0. Queries without any true error are judged apart, by the false alarms they raise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from training.protocol.columns import (
    BINS,
    NEARLY_PERFECT,
    BoolArray,
    Columns,
    FloatArray,
    bin_name,
    bin_of,
    error_threshold_rows,
    mean,
    rounded,
    tissue_names,
)


def error_maps(table: Columns, thresholds: Sequence[float], tissues: Sequence[str]) -> dict[str, Any] | None:
    """Figures at one threshold per tissue; None where no voxels were counted.

    mean_dsc: `query_dsc` averaged over queries with a true DSC below 0.95, `queries` of them; pooled_dsc: the same with the voxels of all
    tissues added up first. per_tissue: of those queries. per_bin: all queries with true errors by true DSC of the query. perfect: queries
    without any true error. error_free_tissues: tissues without a true error, in any query.
    """
    counts = counts_at(table, thresholds)
    if counts is None:
        return None
    wrong, below = has_errors(counts), table.dsc < NEARLY_PERFECT
    judged = below & wrong
    per_query = query_dsc(counts)
    names = tissue_names(tissues, counts.shape[1])
    counted = below & ~np.isnan(per_query)
    return {
        "thresholds": list(thresholds) or [0.5] * counts.shape[1],
        "queries": int(counted.sum()),
        "mean_dsc": rounded(mean(per_query[counted])),
        "pooled_dsc": rounded(_mean_of(dsc_of(counts.sum(1))[below])),
        "per_tissue": {name: tissue_figures(counts[judged, i]) for i, name in enumerate(names)},
        "per_bin": [_bin_row(counts, per_query, wrong & (bin_of(table.dsc) == i), names, i) for i in range(BINS)],
        "perfect": false_alarms(counts[~wrong].sum(1)[:, 1]),
        "error_free_tissues": false_alarms(counts[..., 1][counts[..., 0] + counts[..., 2] == 0]),
    }


def counts_at(table: Columns, thresholds: Sequence[float]) -> FloatArray | None:
    """Voxel counts (query, tissue, 3) at one threshold per tissue; None where no voxels were counted."""
    if not table.error_counts.shape[1]:
        return None
    rows = error_threshold_rows(thresholds, table.error_counts.shape[2])
    return np.stack([table.error_counts[:, row, i] for i, row in enumerate(rows)], axis=1)


def query_dsc(counts: FloatArray) -> FloatArray:
    """Mean over the tissues of the error map's DSC (query,) from counts (query, tissue, 3); NaN where no tissue counts."""
    each = dsc_of(counts)
    known = ~np.isnan(each)
    number = known.sum(1)
    return np.where(number > 0, np.where(known, each, 0).sum(1) / np.maximum(number, 1), np.nan)


def dsc_of(counts: FloatArray) -> FloatArray:
    """2 TP / (2 TP + FP + FN) of counts (..., 3); NaN where both maps are empty."""
    return _share(2 * counts[..., 0], 2 * counts[..., 0] + counts[..., 1] + counts[..., 2])


def has_errors(counts: FloatArray) -> BoolArray:
    """Queries (query,) with a true error in any tissue."""
    return np.asarray((counts[..., 0] + counts[..., 2]).sum(1) > 0)


def tissue_figures(counts: FloatArray) -> dict[str, Any]:
    """Means over queries of one tissue's DSC (not both empty), precision TP / (TP + FP) (something predicted) and recall TP / (TP + FN)
    (something wrong), from counts (query, 3)."""
    both = dsc_of(counts)
    return {
        "queries": int((~np.isnan(both)).sum()),
        "dsc": rounded(_mean_of(both)),
        "precision": rounded(_mean_of(_share(counts[:, 0], counts[:, 0] + counts[:, 1]))),
        "recall": rounded(_mean_of(_share(counts[:, 0], counts[:, 0] + counts[:, 2]))),
    }


def false_alarms(voxels: FloatArray) -> dict[str, Any]:
    """Predicted error voxels (case,) where nothing is wrong: number of cases, share with any voxel, mean, median and largest number."""
    return {
        "cases": len(voxels),
        "share_with_any": rounded(mean((voxels > 0).astype(float))),
        "mean_voxels": rounded(mean(voxels)),
        "median_voxels": rounded(np.median(voxels)) if voxels.size else None,
        "most_voxels": rounded(voxels.max()) if voxels.size else None,
    }


def _bin_row(counts: FloatArray, per_query: FloatArray, chosen: BoolArray, names: Sequence[str], place: int) -> dict[str, Any]:
    return {
        "bin": bin_name(place),
        "queries": int(chosen.sum()),
        "mean_dsc": rounded(_mean_of(per_query[chosen])),
        "per_tissue": {name: tissue_figures(counts[chosen, i]) for i, name in enumerate(names)},
    }


def _share(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _mean_of(values: FloatArray) -> float:
    return mean(values[~np.isnan(values)])
