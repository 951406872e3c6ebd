"""Records as columns, and the words that all figures of the protocol share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.records import ERROR_THRESHOLDS, Judged

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

FAILURES = (0.75, 0.70)
"""True DSC below which a query is a failure; failed is the positive class."""
BINS = 10
"""Bins of width 0.1 over 0 to 1; the last includes 1."""
NEARLY_PERFECT = 0.95
"""Error maps are judged below this true DSC: above it there is next to nothing to find."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The cut-offs of the card's calibration, none of them chosen on the records that are judged with them.

    error_map: probability per tissue, each one of ERROR_THRESHOLDS; 0.5 for every tissue where empty. flag_below: predicted DSC under
    which a query is flagged. novel_image_below, novel_query_below: conformal p-values under which an input counts as novel.
    """

    error_map: tuple[float, ...] = ()
    flag_below: float | None = None
    novel_image_below: float = 0.05
    novel_query_below: float = 0.05


@dataclass(frozen=True, slots=True)
class Columns:
    """The fields of records, one row per query.

    patient: number of the patient, 0 to patients - 1. Intervals are (query, 2), NaN where a record has none. error_counts: (query,
    threshold, tissue, 3) voxels as in Judged; without thresholds where any record has none.
    """

    patients: int
    patient: IntArray
    dsc: FloatArray
    predicted_dsc: FloatArray
    nsd: FloatArray
    predicted_nsd: FloatArray
    dsc_interval: FloatArray
    nsd_interval: FloatArray
    error_counts: FloatArray


def columns(records: Sequence[Judged]) -> Columns:
    """The columns of at least one record. Raises ValueError where there is none."""
    if not records:
        raise ValueError("no records to judge")
    names, patient = np.unique([r.patient for r in records], return_inverse=True)
    counts = [r.error_counts for r in records]
    return Columns(
        patients=len(names),
        patient=np.asarray(patient, np.int64),
        dsc=np.array([r.dsc for r in records], float),
        predicted_dsc=np.array([r.predicted_dsc for r in records], float),
        nsd=np.array([r.nsd for r in records], float),
        predicted_nsd=np.array([r.predicted_nsd for r in records], float),
        dsc_interval=_intervals([r.dsc_interval for r in records]),
        nsd_interval=_intervals([r.nsd_interval for r in records]),
        error_counts=np.array(counts, float) if all(counts) else np.zeros((len(records), 0, 0, 3)),
    )


def bin_of(values: FloatArray) -> IntArray:
    """Bin of each value between 0 and 1; a value on an edge belongs to the upper bin, 1 to the last."""
    return np.clip(np.floor(values * BINS + 1e-9), 0, BINS - 1).astype(np.int64)


def bin_name(place: int) -> str:
    """Its edges, "0.3-0.4"."""
    return f"{place / BINS:.1f}-{(place + 1) / BINS:.1f}"


def error_threshold_rows(thresholds: Sequence[float], tissues: int) -> list[int]:
    """Row of ERROR_THRESHOLDS of each tissue. Raises ValueError for a threshold at which voxels were not counted."""
    wanted = tuple(thresholds) or (0.5,) * tissues
    if len(wanted) != tissues:
        raise ValueError(f"{len(wanted)} error-map thresholds for {tissues} tissues")
    rows = [min(range(len(ERROR_THRESHOLDS)), key=lambda i: abs(ERROR_THRESHOLDS[i] - t)) for t in wanted]
    for row, threshold in zip(rows, wanted, strict=True):
        if abs(ERROR_THRESHOLDS[row] - threshold) > 1e-6:
            raise ValueError(f"error-map threshold {threshold} is none of {ERROR_THRESHOLDS}")
    return rows


def tissue_names(names: Sequence[str], tissues: int) -> list[str]:
    """The names given, or numbers where none are. Raises ValueError where they are not as many as the tissues."""
    if names and len(names) != tissues:
        raise ValueError(f"{len(names)} names for {tissues} tissues")
    return list(names) or [str(i) for i in range(tissues)]


def rounded(value: float | np.floating) -> float | None:
    """A figure for JSON: four digits, None where it is undefined."""
    number = float(value)
    return round(number, 4) if math.isfinite(number) else None


def ratio(part: float, whole: float) -> float:
    """part / whole, NaN where the whole is 0."""
    return float(part) / float(whole) if whole else math.nan


def mean(values: FloatArray) -> float:
    """Mean, NaN of nothing."""
    return float(values.mean()) if values.size else math.nan


def deviation(values: FloatArray) -> float:
    """Standard deviation with n - 1, NaN below two values."""
    return float(values.std(ddof=1)) if values.size > 1 else math.nan


def _intervals(pairs: Sequence[tuple[float, float] | None]) -> FloatArray:
    return np.array([(math.nan, math.nan) if p is None else p for p in pairs], float).reshape(len(pairs), 2)
