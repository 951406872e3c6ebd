"""Let a predictor judge queries of the library, as the node would judge them, and put the truth beside what it said."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import numpy.typing as npt

from qcnode.assess.inference import Looked, QCPredictor
from qcnode.assess.inputs import Groups
from training.library import Entry, load_entry
from training.records import ERROR_THRESHOLDS, Judged
from training.targets import tissue_channels

Chosen = Sequence[tuple[str, int]]
"""Queries as (entry, index)."""
Segmentation = npt.NDArray[np.bool_]


def judge_chosen(
    predictor: QCPredictor, folder: Path, chosen: Iterable[tuple[str, int]], groups: Groups, *, fold: int, done: Callable[[int], None]
) -> list[Judged]:
    """Records of the chosen queries, whose entries lie in `folder`. done: called after each entry with the number of queries judged."""
    records: list[Judged] = []
    for name, indices in by_entry(chosen).items():
        entry = load_entry(folder / f"{name}.npz")
        looked = look_at(predictor, entry)
        records += [judge_query(predictor, looked, entry, index, groups, fold) for index in indices]
        done(len(records))
    return records


def by_entry(chosen: Iterable[tuple[str, int]]) -> dict[str, list[int]]:
    """Indices of the chosen queries by entry, both sorted."""
    result: dict[str, list[int]] = defaultdict(list)
    for name, index in sorted(chosen):
        result[name].append(index)
    return result


def look_at(predictor: QCPredictor, entry: Entry) -> Looked:
    """What the predictor makes of an entry's volumes."""
    names = (c.name for c in predictor.card.contrasts)
    return predictor.look(dict(zip(names, entry.volumes(), strict=True)))


def judge_query(predictor: QCPredictor, looked: Looked, entry: Entry, index: int, groups: Groups, fold: int) -> Judged:
    """The record of one query."""
    query = tissue_channels(entry.queries[index].on(entry.grid.size), groups)
    reference = tissue_channels(entry.labels, groups)
    start = perf_counter()
    estimates = predictor.estimate(looked, query)
    prediction = predictor.combine(looked, query, estimates)
    latency = 1000 * (perf_counter() - start)
    agreements = [e.agreement or (float("nan"), float("nan")) for e in estimates]
    origin, target = entry.origins[index], entry.targets[index].astype(float)
    return Judged(
        patient=entry.patient,
        volume=entry.volume,
        entry=entry.name,
        index=index,
        fold=fold,
        group=origin.group,
        family=origin.family,
        stage=origin.stage,
        degraded=entry.degraded,
        dsc=float(target[0]),
        nsd=float(target[1]),
        dsc_per_tissue=tuple(target[2:].tolist()),
        predicted_dsc=prediction.predicted_dsc,
        predicted_nsd=prediction.predicted_nsd,
        predicted_dsc_per_tissue=tuple(prediction.per_tissue_dsc.values()),
        agreement_dsc=float(np.mean([a[0] for a in agreements])),
        agreement_nsd=float(np.mean([a[1] for a in agreements])),
        spread_features=tuple(np.mean([e.spread_features for e in estimates], 0).tolist()),
        error_counts=error_counts(np.mean([e.on_source() for e in estimates], 0), query ^ reference),
        dsc_interval=prediction.dsc_interval,
        nsd_interval=prediction.nsd_interval,
        image_p=prediction.image_p_value,
        query_p=prediction.query_p_value,
        latency_ms=latency,
    )


def error_counts(wrong: npt.NDArray[np.float32], true: Segmentation) -> tuple[tuple[tuple[int, int, int], ...], ...]:
    """True positive, false positive and false negative voxels of an error map, per threshold of ERROR_THRESHOLDS and tissue."""
    edges = [-np.inf, *ERROR_THRESHOLDS, np.inf]
    result = []
    for probability, is_wrong in zip(wrong, true, strict=True):
        hits, alarms = (np.histogram(probability[part], edges)[0][::-1].cumsum()[::-1] for part in (is_wrong, ~is_wrong))
        result.append([(int(h), int(a), int(hits[0] - h)) for h, a in zip(hits[1:], alarms[1:], strict=True)])
    return tuple(zip(*result, strict=True))
