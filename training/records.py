"""What is true and what was predicted of one query: the rows that calibration and evaluation work on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

ERROR_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Probabilities at which error maps are counted."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One query of one volume (or of a degraded copy of it).

    entry, index: where the query lies in the library. group: "segmenter", "seggen", "structured" or "site"; family: the segmenter or the
    kind of failure ("dynunet-2d", "lose" ...); stage: how far its segmenter was trained, 0 to 1 (1 where that has no meaning).
    degraded: what was done to the images ("" for nothing).
    spread_features: see qcnode.assess.calibration. error_counts: (true positive, false positive, false negative) voxels of the predicted
    error map, per threshold of ERROR_THRESHOLDS, per tissue. image_p, query_p: conformal p-values of novelty, None before calibration.
    agreement_dsc, agreement_nsd: of the query with the pseudo-reference alone.
    """

    patient: str
    volume: str
    entry: str
    index: int
    fold: int
    group: str
    family: str
    stage: float
    degraded: str
    dsc: float
    nsd: float
    dsc_per_tissue: tuple[float, ...]
    predicted_dsc: float
    predicted_nsd: float
    predicted_dsc_per_tissue: tuple[float, ...]
    agreement_dsc: float
    agreement_nsd: float
    spread_features: tuple[float, ...]
    error_counts: tuple[tuple[tuple[int, int, int], ...], ...]
    dsc_interval: tuple[float, float] | None = None
    nsd_interval: tuple[float, float] | None = None
    image_p: float | None = None
    query_p: float | None = None
    latency_ms: float = 0.0


_ADAPTER = TypeAdapter(list[Judged])


def write_records(records: Iterable[Judged], path: Path) -> None:
    """Write records as JSON, beside the file first, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".part")
    fresh.write_bytes(_ADAPTER.dump_json(list(records)))
    fresh.replace(path)


def read_records(path: Path) -> list[Judged]:
    """Records as `write_records` wrote them."""
    return _ADAPTER.validate_json(path.read_bytes())
