"""Calibration on made records whose truth is known: what it promises must hold for patients that it has not seen."""

import numpy as np
import pytest

from qcnode.assess.calibration import intervals
from qcnode.assess.model_card import CalibrationFacts, NoveltyFacts
from qcnode.assess.novelty import p_value, query_features
from training.calibrate import (
    FeatureTable,
    calibrate,
    conformal_quantile,
    error_map_thresholds,
    fit_interval,
    fit_novelty,
    patient_weights,
    review_point,
)
from training.records import ERROR_THRESHOLDS, Judged


def made(seed, patients=70, queries=30, skewed=False):
    """(predicted, true, features, patients): errors as wide as the first feature says, some of them a patient's own."""
    rng = np.random.default_rng(seed)
    names = np.repeat([f"p{seed}-{i}" for i in range(patients)], queries)
    count = len(names)
    wide = rng.uniform(0.01, 0.12, count)
    own = np.repeat(rng.normal(0, 0.4, patients), queries)
    error = wide * (own + rng.normal(0, 0.9, count))
    if skewed:
        error = np.where(error > 0, 0.2 * error, 1.5 * error)
    true = rng.uniform(0.2, 0.95, count)
    predicted = np.clip(true - error, 0, 1)
    return predicted, true, np.column_stack([wide, rng.random(count), 1 - predicted]), names.tolist()


def held(facts, seed, **how):
    """Patient-weighted coverage and mean width on fresh patients."""
    predicted, true, features, patients = made(seed, **how)
    low, high = intervals(facts, predicted, features).T
    weights = patient_weights(patients)
    return float(weights @ ((low <= true) & (true <= high))), float(weights @ (high - low))


@pytest.mark.parametrize("skewed", [False, True])
def test_intervals_hold_for_fresh_patients(skewed):
    facts = fit_interval(*made(1, skewed=skewed), level=0.9, seed=0)
    coverage, width = held(facts, 2, patients=200, skewed=skewed)
    assert 0.87 <= coverage <= 0.93
    assert facts.coverage == pytest.approx(coverage, abs=0.03)
    assert facts.width == pytest.approx(width, rel=0.08)


def test_the_spread_makes_intervals_narrower_and_follows_the_feature():
    predicted, true, features, patients = made(1)
    facts = fit_interval(predicted, true, features, patients, level=0.9, seed=0)
    flat = fit_interval(predicted, true, np.zeros((len(true), 1)), patients, level=0.9, seed=0)
    assert facts.width < 0.9 * flat.width
    low, high = intervals(facts, np.full(2, 0.5), np.array([[0.02, 0.5, 0.5], [0.1, 0.5, 0.5]])).T
    assert (high - low)[1] > 3 * (high - low)[0]


def test_skewed_errors_give_a_skewed_interval():
    facts = fit_interval(*made(1, skewed=True), level=0.9, seed=0)
    low, high = intervals(facts, np.array([0.5]), np.array([[0.08, 0.5, 0.5]]))[0]
    assert 0.5 - low > 2 * (high - 0.5)  # the truth lies above by a fifth of the error, below by one and a half of it


@pytest.mark.parametrize(("patients", "bound"), [(1, False), (2, False), (8, False), (9, True)])
def test_nine_patients_at_least(patients, bound):
    facts = fit_interval(*made(1, patients=patients, queries=6), level=0.9, seed=0)
    assert (facts.factor is not None) == bound


def test_conformal_quantile_by_hand():
    names = [f"p{i}" for i in range(19)]
    values = np.arange(19.0)
    assert conformal_quantile(values, names, 0.9) == 17.0  # the 18th of 19: ceil(0.9 x 20)
    doubled = conformal_quantile(np.concatenate([values, values]), names + names, 0.9)
    assert doubled == 17.0
    crowded = conformal_quantile(np.concatenate([values, np.full(1000, 50.0)]), [*names, *["p0"] * 1000], 0.9)
    assert crowded in (17.0, 18.0)  # one patient's thousand queries weigh no more than another's one


def judged(predicted, true, patient, **changes):
    counts = tuple(((10, 10, 10),) for _ in ERROR_THRESHOLDS)
    standing = {"volume": "v", "entry": "e", "index": 0, "fold": 0, "group": "segmenter", "family": "f", "stage": 1.0, "degraded": ""}
    told = {"dsc_per_tissue": (true,), "predicted_dsc_per_tissue": (predicted,), "agreement_dsc": 0.5, "agreement_nsd": 0.5}
    rest = {"spread_features": (0.05, 1 - predicted), "error_counts": counts, **changes}
    return Judged(patient=patient, dsc=true, nsd=true, predicted_dsc=predicted, predicted_nsd=predicted, **standing, **told, **rest)


def test_the_review_point_finds_failures_of_fresh_patients():
    predicted, true, _, patients = made(3)
    point = review_point(predicted, true < 0.75, patients, wanted_recall=0.95, seed=0)
    assert point.recall_bound >= 0.95
    assert point.recall >= point.recall_bound
    fresh, truth, _, _ = made(4, patients=200)
    assert (fresh[truth < 0.75] < point.flag_below).mean() >= 0.945
    assert point.review_rate == pytest.approx((fresh < point.flag_below).mean(), abs=0.03)
    lower = review_point(predicted - 0.001, true < 0.75, patients, wanted_recall=0.95, seed=0)
    assert lower.flag_below == pytest.approx(point.flag_below - 0.001)  # it is the smallest: it moves with the predictions


def test_the_review_point_at_its_ends():
    patients = [f"p{i}" for i in range(20)]
    assert review_point(np.full(20, 0.9), np.zeros(20, bool), patients, wanted_recall=0.95, seed=0) == (None,) * 4
    hopeless = review_point(np.ones(20), np.ones(20, bool), patients, wanted_recall=0.95, seed=0)
    assert hopeless == (1.001, 1.0, 1.0, 1.0)


def test_error_map_thresholds_by_hand():
    def counts(best):
        """Three tissues: `best` for the first, every threshold empty for the second but one false alarm, the last alike everywhere."""
        first = [(8, 2, 2) if t == best else (2, 8, 8) for t in ERROR_THRESHOLDS]
        second = [(0, 0, 0) if t > 0.5 else (0, 5, 0) for t in ERROR_THRESHOLDS]
        return tuple((f, s, (1, 1, 1)) for f, s in zip(first, second, strict=True))

    records = [judged(0.6, 0.6, "a", error_counts=counts(0.3))]
    records += [judged(0.6, 0.6, "b", error_counts=counts(0.7)) for _ in range(1)]
    records += [judged(0.6, 0.6, "c", error_counts=counts(0.7)) for _ in range(1)]
    records += [judged(0.6, 0.6, "a", error_counts=counts(0.3)) for _ in range(9)]  # the same patient again: no more weight
    records += [judged(0.99, 0.99, f"d{i}", error_counts=counts(0.9)) for i in range(20)]  # nearly perfect: not counted
    assert error_map_thresholds(records) == (0.7, 0.1, 0.1)


def spread_table(seed, patients, shift=0.0):
    """Two volumes a patient with correlated features in two groups."""
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(0).normal(size=(12, 12))
    own = np.repeat(rng.normal(size=(patients, 12)), 2, axis=0)
    rows = (own + 0.5 * rng.normal(size=own.shape) + shift) @ mix
    return FeatureTable(tuple(f"g{i // 6}/{i}" for i in range(12)), tuple(np.repeat([f"q{i}" for i in range(patients)], 2)), rows)


def test_novelty_p_values_are_uniform_inside_and_small_outside():
    test = fit_novelty(spread_table(1, 150), cut=0.02)
    inside, outside = spread_table(2, 200), spread_table(3, 20, shift=4.0)
    p = np.array([p_value(test, inside.names, row) for row in inside.rows])
    for level in (0.1, 0.3, 0.5, 0.8):
        assert (p <= level).mean() == pytest.approx(level, abs=0.1)
    assert (p < test.cut).mean() <= 0.05
    assert all(p_value(test, outside.names, row) < test.cut for row in outside.rows)


def test_few_patients_raise_the_cut_and_many_rows_are_thinned():
    few = fit_novelty(spread_table(1, 12), cut=0.02)
    assert 1 / 13 < few.cut < 2 / 13  # only what lies beyond every patient is novel
    assert p_value(few, spread_table(1, 12).names, np.full(12, 100.0)) < few.cut
    one = fit_novelty(spread_table(1, 1), cut=0.02)
    assert one.patients == 1
    many = fit_novelty(spread_table(1, 400), cut=0.02)
    assert len(many.scores) == len(many.tail) <= 200
    assert list(many.scores) == sorted(many.scores)
    whole = spread_table(5, 300)
    p = np.array([p_value(many, whole.names, row) for row in whole.rows])
    assert (p <= 0.1).mean() == pytest.approx(0.1, abs=0.04)


def test_a_feature_that_never_changed_does_not_decide_by_a_hair():
    table = spread_table(1, 40)
    still = FeatureTable((*table.names, "g2/still"), table.patients, np.column_stack([table.rows, np.full(80, 0.3)]))
    test = fit_novelty(still, cut=0.05)
    centre = still.rows.mean(0)
    assert p_value(test, still.names, centre + np.eye(13)[12] * 0.01) > 0.5
    assert p_value(test, still.names, centre + np.eye(13)[12] * 0.5) < 0.05


def heart(rng):
    """A segmentation (3, 8, 64, 64): a cavity in a ring with a chamber beside it, tapering."""
    y, x = np.mgrid[:64, :64]
    cy, cx, radius, wall, reach = rng.uniform((26, 26, 6, 3, 0.9), (38, 38, 10, 5, 1.2))
    first, last = rng.integers(0, 2), 8 - rng.integers(0, 3)
    result = np.zeros((3, 8, 64, 64), bool)
    for k in range(first, last):
        cy, cx = np.array((cy, cx)) + rng.normal(0, 0.3, 2)
        inner = radius * np.sqrt(1 - 0.8 * (k / 8) ** 2)
        cavity, ring = np.hypot(y - cy, x - cx) < inner, np.hypot(y - cy, x - cx) < inner + wall
        result[2, k], result[1, k] = cavity, ring & ~cavity
        result[0, k] = (np.hypot(y - cy, (x - cx + reach * (inner + wall)) * 1.3) < inner) & ~ring
    return result


def known_kinds(rng):
    """Queries good and bad, of kinds that a library holds."""
    drawn = heart(rng)
    missing = drawn.copy()
    missing[:, : rng.integers(2, 6)] = False
    down, right = rng.integers(-15, 15, 2)
    lost = drawn & (np.arange(3) != rng.integers(3))[:, None, None, None]
    return drawn, missing, lost, np.roll(drawn, (down, right), (2, 3)), drawn[rng.permutation(3)]


def test_queries_of_known_kinds_are_no_novelty_and_nonsense_is():
    rng = np.random.default_rng(5)
    rows, patients = [], []
    for i in range(60):
        for query in known_kinds(rng):
            names, row = query_features(query)
            rows.append(row)
            patients.append(f"q{i}")
    test = fit_novelty(FeatureTable(names, tuple(patients), np.stack(rows)), cut=0.02)
    known = [p_value(test, *query_features(q)) < test.cut for _ in range(20) for q in known_kinds(rng)]
    assert np.mean(known) <= 0.06
    fresh = heart(rng)
    speckle, half = rng.random(fresh.shape) < 0.2, np.zeros(fresh.shape, bool)
    half[1, :, :32] = True
    salted = fresh ^ ((rng.random(fresh.shape) < 0.2) & fresh.any(0))
    for nonsense in (speckle, np.ones(fresh.shape, bool), half, salted):
        assert p_value(test, *query_features(nonsense)) < test.cut


def test_a_whole_calibration_fits_a_card():
    predicted, true, features, patients = made(1, patients=40, queries=10)
    rows = zip(predicted.tolist(), true.tolist(), patients, features.tolist(), strict=True)
    records = [judged(p, t, who, spread_features=tuple(f)) for p, t, who, f in rows]
    table = spread_table(1, 40)
    settings = {"spread_names": ("wide", "noise", "distance"), "image_cut": 0.02, "query_cut": 0.05, "seed": 4}
    first, again = (calibrate(records, table, table, **settings) for _ in range(2))
    assert first == again
    calibration, novelty = first
    assert (calibration.patients, calibration.queries) == (40, 400)
    assert calibration.spread_features == ("wide", "noise", "distance")
    assert CalibrationFacts.model_validate_json(calibration.model_dump_json()) == calibration
    assert NoveltyFacts.model_validate_json(novelty.model_dump_json()) == novelty
    assert len(calibration.model_dump_json(indent=2) + novelty.model_dump_json(indent=2)) < 300_000
