"""From out-of-fold records to plain numbers in the model card: intervals, the review point, error-map thresholds, novelty.

Everything is clustered by patient: a patient weighs 1, spread evenly over its queries or volumes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from qcnode.assess.calibration import intervals, spread
from qcnode.assess.model_card import CalibrationFacts, FeatureGroup, IntervalFacts, NoveltyFacts, NoveltyTest
from qcnode.assess.novelty import scores
from training.records import ERROR_THRESHOLDS, Judged

FloatArray = npt.NDArray[np.float64]
Patients = Sequence[str]

_PARTS = 10  # into which patients are dealt, so that a spread is never judged on patients that it was fitted on
_FLOOR, _CAP = 0.005, 0.5  # of a spread
_DRAWS = 2000  # bootstrap
_STEPS = 60  # of the reweighted fit
_LEAST_DEVIATION = 0.02  # of a novelty feature: one that never changed in training must not decide by a hair
_LEAST_VARIANCE = 1e-3  # of a component of such features, each brought to deviation 1
_LEAST_TYPICAL = 1.0  # distance of a group, in deviations
_COMPONENTS = 40  # of a novelty group
_POINTS = 200  # of a stored distribution


class ReviewPoint(NamedTuple):
    """See CalibrationFacts."""

    flag_below: float | None
    recall: float | None
    recall_bound: float | None
    review_rate: float | None


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """Feature vectors (row, feature) with the patient of each row."""

    names: tuple[str, ...]
    patients: tuple[str, ...]
    rows: FloatArray


def calibrate(
    records: Sequence[Judged],
    image_vectors: FeatureTable,
    query_vectors: FeatureTable,
    *,
    spread_names: Sequence[str],
    image_cut: float,
    query_cut: float,
    level: float = 0.9,
    failure_below: float = 0.75,
    wanted_recall: float = 0.95,
    seed: int = 0,
) -> tuple[CalibrationFacts, NoveltyFacts]:
    """The card's calibration and novelty out of out-of-fold records and features of training volumes and library queries.

    Intervals hold for queries mixed as `records` are. spread_names: what Judged.spread_features holds. image_cut, query_cut: p-values that
    make a novelty; the query's is the larger because a library holds so many bad queries that good ones lie far inside.
    """
    patients = [r.patient for r in records]
    features = np.array([r.spread_features for r in records], float)
    predicted = np.array([(r.predicted_dsc, r.predicted_nsd) for r in records])
    true = np.array([(r.dsc, r.nsd) for r in records])
    dsc, nsd = (fit_interval(predicted[:, i], true[:, i], features, patients, level=level, seed=seed) for i in (0, 1))
    point = review_point(predicted[:, 0], true[:, 0] < failure_below, patients, wanted_recall=wanted_recall, seed=seed)
    calibration = CalibrationFacts(
        level=level,
        spread_features=tuple(spread_names),
        dsc=dsc,
        nsd=nsd,
        failure_below=failure_below,
        **point._asdict(),
        error_map_thresholds=error_map_thresholds(records),
        patients=len(set(patients)),
        queries=len(records),
    )
    novelty = NoveltyFacts(image=fit_novelty(image_vectors, cut=image_cut), query=fit_novelty(query_vectors, cut=query_cut))
    return calibration, novelty


def patient_weights(patients: Patients) -> FloatArray:
    """Weights (row,), which add up to 1: every patient's rows together weigh the same."""
    _, which, counts = np.unique(np.asarray(patients), return_inverse=True, return_counts=True)
    return np.asarray(1.0 / (len(counts) * counts[which]))


def dealt(patients: Patients, parts: int, seed: int) -> npt.NDArray[np.int_]:
    """The part (row,) of each row's patient, patients dealt in a seeded order."""
    known, which = np.unique(np.asarray(patients), return_inverse=True)
    place = np.random.default_rng([seed, 31]).permutation(len(known))
    return np.asarray(place[which] % min(parts, len(known)))


def conformal_quantile(values: FloatArray, patients: Patients, level: float) -> float | None:
    """The value that a new patient's stay below with probability `level`; None where there are too few patients to say (8 at 0.9)."""
    count = len(set(patients))
    wanted = level * (count + 1) / count
    order = np.argsort(values)
    reached = np.cumsum(patient_weights(patients)[order])
    place = int(np.searchsorted(reached, wanted - 1e-9))
    return None if wanted > 1 or place >= len(values) else float(values[order[place]])


def fit_interval(
    predicted: FloatArray, true: FloatArray, features: FloatArray, patients: Patients, *, level: float, seed: int
) -> IntervalFacts:
    """Prediction interval of one measure; arrays (query,) and (query, feature).

    Spreads are fitted on some patients, their factor comes from the others, in turn; coverage and width are of patients in neither.
    """
    part = dealt(patients, _PARTS, seed)
    off, sides = np.zeros(len(true)), []
    names = np.asarray(patients)
    for k in range(part.max() + 1):
        here, rest = part == k, part != k
        rest = rest if rest.any() else here  # a single patient: too few for a factor below
        sides.append(_fit_sides(predicted[rest], true[rest], features[rest], names[rest].tolist(), level))
        off[here] = _scaled(sides[k], predicted[here], true[here], features[here])
    covered, width = np.zeros(len(true)), np.zeros(len(true))
    for k, (below, above) in enumerate(sides):
        here, rest = part == k, part != k
        factor = conformal_quantile(off[rest], names[rest].tolist(), level) if rest.any() else None
        facts = IntervalFacts(below=below, above=above, floor=_FLOOR, cap=_CAP, factor=factor)
        low, high = intervals(facts, predicted[here], features[here]).T
        covered[here], width[here] = (low <= true[here]) & (true[here] <= high), high - low
    weights = patient_weights(patients)
    below, above = _fit_sides(predicted, true, features, patients, level)
    factor = conformal_quantile(off, patients, level)
    return IntervalFacts(
        below=below,
        above=above,
        floor=_FLOOR,
        cap=_CAP,
        factor=None if factor is None else _short(factor),
        coverage=round(float(weights @ covered), 4),
        width=round(float(weights @ width), 4),
    )


def _fit_sides(
    predicted: FloatArray, true: FloatArray, features: FloatArray, patients: Patients, level: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Weights of the spread below and above the prediction: each side leaves out half of what the interval may."""
    design = np.column_stack([np.ones(len(features)), features])
    weights = patient_weights(patients)
    below, above = (_quantile_fit(design, side, weights, (1 + level) / 2) for side in (predicted - true, true - predicted))
    return below, above


def _quantile_fit(design: FloatArray, values: FloatArray, weights: FloatArray, quantile: float) -> tuple[float, ...]:
    """Weights >= 0 (column,) whose sum of `design` (row, column) is the quantile of `values`, by iteratively reweighted least squares."""
    unit = np.maximum(np.sqrt(weights @ design**2), 1e-9)
    columns = design / unit
    found = np.zeros(design.shape[1])
    found[0] = max(float(np.quantile(values, quantile)), _FLOOR)
    for _ in range(_STEPS):
        rest = values - columns @ found
        pull = weights * np.where(rest > 0, quantile, 1 - quantile) / np.maximum(np.abs(rest), 1e-3)
        gram = (columns * pull[:, None]).T @ columns
        gram[np.diag_indices_from(gram)] += 1e-4 * np.trace(gram) / len(gram)
        root = np.linalg.cholesky(gram)
        found, _ = nnls(root.T, np.linalg.solve(root, columns.T @ (pull * values)))
    return tuple(_short(v) for v in found / unit)


def _scaled(
    sides: tuple[tuple[float, ...], tuple[float, ...]], predicted: FloatArray, true: FloatArray, features: FloatArray
) -> FloatArray:
    """How many spreads the truth lies from the prediction, (query,)."""
    below, above = (spread(w, _FLOOR, _CAP, features) for w in sides)
    return np.asarray(np.maximum((predicted - true) / below, (true - predicted) / above))


def review_point(
    predicted: FloatArray,
    failed: npt.NDArray[np.bool_] | FloatArray,
    patients: Patients,
    *,
    wanted_recall: float,
    seed: int,
    confidence: float = 0.9,
    weights: FloatArray | None = None,
) -> ReviewPoint:
    """The smallest prediction below which `wanted_recall` of the failures lie by its lower one-sided bound, bootstrapped over patients.

    failed: how many failures each query stands for; weights: how many queries (1 if None). Predictions are 0...1, so a point just above 1,
    where every query is looked at, is the last resort; None where nothing failed.
    """
    failed = np.asarray(failed, float)
    if not failed.any():
        return ReviewPoint(None, None, None, None)
    points = np.arange(1, 1002) / 1000.0
    known, which = np.unique(np.asarray(patients), return_inverse=True)
    caught = np.zeros((len(known), len(points)))
    np.add.at(caught, which, failed[:, None] * (predicted[:, None] < points))
    failures = np.bincount(which, failed, len(known))
    rng = np.random.default_rng([seed, 32])
    times = rng.multinomial(len(known), np.full(len(known), 1 / len(known)), _DRAWS)
    drawn = times @ failures
    recalls = (times @ caught)[drawn > 0] / drawn[drawn > 0, None]
    bounds = np.quantile(recalls, 1 - confidence, axis=0)
    chosen = int(np.argmax(bounds >= wanted_recall))
    recall = float(caught[:, chosen].sum() / failures.sum())
    rate = float(np.average(predicted < points[chosen], weights=weights))
    return ReviewPoint(float(points[chosen]), round(recall, 4), round(float(bounds[chosen]), 4), round(rate, 4))


def error_map_thresholds(records: Sequence[Judged], below: float = 0.95) -> tuple[float, ...]:
    """Per tissue, the probability that gives error maps the best mean DSC over queries whose true DSC is under `below`.

    A tissue without an error, true or predicted, is left out.
    """
    chosen = [r for r in records if r.dsc < below] or list(records)
    counts = np.array([r.error_counts for r in chosen], float)  # (query, threshold, tissue, 3)
    both, more, less = np.moveaxis(counts, -1, 0)
    counted = both + more + less > 0
    found = 2 * both / np.maximum(2 * both + more + less, 1)
    weights = patient_weights([r.patient for r in chosen])[:, None, None] * counted
    mean = (weights * found).sum(0) / np.maximum(weights.sum(0), 1e-12)
    return tuple(ERROR_THRESHOLDS[int(i)] for i in np.argmax(mean, 0))


def fit_novelty(table: FeatureTable, *, cut: float) -> NoveltyTest:
    """The test of one kind of input, out of in-distribution rows alone. `cut` is raised where fewer patients than it needs are at hand."""
    patients, names = table.patients, table.names
    kinds = list(dict.fromkeys(n.split("/")[0] for n in names))
    columns = {kind: [i for i, n in enumerate(names) if n.split("/")[0] == kind] for kind in kinds}
    part = dealt(patients, 100, 0)
    distances = np.zeros((len(patients), len(kinds)))
    for k in range(part.max() + 1):
        here, rest = part == k, part != k
        rest = rest if rest.any() else here
        for g, kind in enumerate(kinds):
            group = _fit_group(kind, table, columns[kind], rest)
            distances[here, g] = scores([group], names, table.rows[here])
    weights = patient_weights(patients)
    typical = [max(_weighted_quantile(distances[:, g], weights, 0.9), _LEAST_TYPICAL) for g in range(len(kinds))]
    whole = np.ones(len(patients), bool)
    fitted = [_fit_group(kind, table, columns[kind], whole) for kind in kinds]
    groups = [group.model_copy(update={"typical": _short(t)}) for group, t in zip(fitted, typical, strict=True)]
    points, tail = _distribution((distances / typical).mean(1), weights)
    count = len(set(patients))
    return NoveltyTest(groups=tuple(groups), scores=points, tail=tail, patients=count, cut=_short(max(cut, 1.01 / (count + 1))))


def _fit_group(name: str, table: FeatureTable, columns: Sequence[int], chosen: npt.NDArray[np.bool_]) -> FeatureGroup:
    """Centre and whitening of some features over the chosen rows; the covariance is shrunk after Ledoit and Wolf (2004)."""
    rows = table.rows[chosen][:, columns]
    patients = np.asarray(table.patients)[chosen].tolist()
    weights = patient_weights(patients)
    centre = weights @ rows
    unit = np.maximum(np.sqrt(weights @ (rows - centre) ** 2), _LEAST_DEVIATION)
    variances, axes = np.linalg.eigh(_shrunk_covariance((rows - centre) / unit, patients))
    kept = np.argsort(variances)[::-1][:_COMPONENTS]
    whitening = (axes[:, kept] / np.sqrt(np.maximum(variances[kept], _LEAST_VARIANCE))).T / unit
    return FeatureGroup(
        name=name,
        features=tuple(table.names[c] for c in columns),
        centre=tuple(_short(v) for v in centre),
        whitening=tuple(tuple(_short(v) for v in row) for row in whitening),
        typical=1.0,
    )


def _shrunk_covariance(rows: FloatArray, patients: Patients) -> FloatArray:
    """Covariance (feature, feature) of centred rows in units of their deviation, shrunk towards the identity; a patient is one draw.

    A feature that varied less than its unit counts as if it had varied by it.
    """
    names = np.asarray(patients)
    order = np.argsort(names, kind="stable")
    parts = np.split(rows[order], np.flatnonzero(names[order][1:] != names[order][:-1]) + 1)
    each = np.stack([part.T @ part / len(part) for part in parts])
    plain = each.mean(0)
    uncertain = float(((each - plain) ** 2).sum()) / len(each) ** 2
    plain[np.diag_indices_from(plain)] = 1.0
    goal = np.eye(len(plain))
    apart = float(((plain - goal) ** 2).sum())
    share = min(uncertain / apart, 1.0) if apart > 0 else 1.0
    return np.asarray(share * goal + (1 - share) * plain)


def _distribution(values: FloatArray, weights: FloatArray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Rising values and the share of weight at or above each; long lists are thinned, least at the top."""
    order = np.argsort(values)
    tail = np.cumsum(weights[order][::-1])[::-1]
    if len(values) > _POINTS:
        wanted = np.concatenate([np.linspace(1, 0.05, _POINTS // 2), np.linspace(0.05, 0, _POINTS // 2)])
        kept = np.unique(len(tail) - 1 - np.searchsorted(tail[::-1], wanted).clip(max=len(tail) - 1))
        order, tail = order[kept], tail[kept]
    return tuple(_short(v) for v in values[order]), tuple(_short(v) for v in tail)


def _weighted_quantile(values: FloatArray, weights: FloatArray, level: float) -> float:
    order = np.argsort(values)
    return float(values[order][min(int(np.searchsorted(np.cumsum(weights[order]), level)), len(values) - 1)])


def _short(value: float) -> float:
    """Rounded to what a card needs."""
    return float(f"{value:.6g}")
