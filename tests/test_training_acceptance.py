"""The acceptance curve on decisions whose threshold is known, and what few decisions may claim."""

import numpy as np
import pytest
from scipy.special import expit

from qcnode.errors import ConfigurationError
from training.acceptance import SLIPS, Decisions, failure_mass, fit_acceptance, reliability
from training.calibrate import review_point


def made(seed: int, count: int = 400, threshold: float = 0.8, slips: float = 0.0, share: float = 1.0) -> Decisions:
    """Predictions 0.4...1, accepted as a logistic curve says; from 0.85 on they are drawn with the probability `share`."""
    rng = np.random.default_rng(seed)
    predicted = rng.uniform(0.4, 1.0, count)
    accepted = rng.random(count) < expit(60 * (predicted - threshold))
    accepted ^= rng.random(count) < slips
    passed = predicted >= 0.85
    seen = ~passed | (rng.random(count) < share)
    probability = np.where(passed, share, 1.0)
    names = tuple(f"p{i // 2}" for i in np.flatnonzero(seen))
    return Decisions(predicted[seen], accepted[seen], probability[seen], (passed & (share < 1))[seen], names)


def test_the_curve_is_the_one_that_was_drawn_from() -> None:
    curve, threshold = fit_acceptance(made(1, 4000), acceptance=0.5, seed=0)
    assert threshold.value == pytest.approx(0.8, abs=0.003)
    assert curve.slope == pytest.approx(60, rel=0.2)
    assert curve.at(np.array([threshold.value]))[0] == pytest.approx(0.5)
    assert curve.at(np.array([0.0, 1.0])) == pytest.approx([SLIPS, 1 - SLIPS], abs=1e-3)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    found = [fit_acceptance(made(seed, 200), acceptance=0.5, seed=0)[1] for seed in range(24)]
    held = sum(t.low <= 0.8 <= t.high for t in found)
    assert held >= 18  # 21.6 expected


def test_a_wanted_acceptance_lies_on_the_curve() -> None:
    decisions = made(2, 2000)
    half, most = (fit_acceptance(decisions, acceptance=share, seed=0)[1].value for share in (0.5, 0.8))
    assert most - half == pytest.approx(np.log(4) / 60, abs=0.01)


def test_slips_on_cases_that_are_seldom_drawn_do_not_move_the_threshold() -> None:
    shifts = [fit_acceptance(made(seed, 1200, slips=0.03, share=0.1), acceptance=0.5, seed=0)[1].value - 0.8 for seed in range(5)]
    assert abs(np.mean(shifts)) < 0.006
    assert np.max(np.abs(shifts)) < 0.025


def test_decisions_that_a_prediction_divides_have_a_threshold_between() -> None:
    predicted = np.concatenate([np.linspace(0.5, 0.7, 30), np.linspace(0.8, 0.95, 30)])
    ones = np.ones(60)
    decisions = Decisions(predicted, predicted > 0.75, ones, ones > 1, tuple(f"p{i}" for i in range(60)))
    _, threshold = fit_acceptance(decisions, acceptance=0.5, seed=0)
    assert 0.7 < threshold.value < 0.8
    assert 0.68 < threshold.low <= threshold.value <= threshold.high < 0.82


def test_a_threshold_outside_of_what_was_looked_at_is_refused() -> None:
    decisions = made(3, 400)
    low = decisions.predicted < 0.82
    few = Decisions(
        *(a[low] for a in (decisions.predicted, decisions.accepted, decisions.probability, decisions.blind)),
        decisions.patients[: low.sum()],
    )
    with pytest.raises(ConfigurationError, match="decisions on both sides of it are missing"):
        fit_acceptance(few, acceptance=0.95, seed=0)


def test_a_handful_of_accepted_passes_proves_little() -> None:
    """Nothing that was drawn is rejected; how far the review point must reach depends on what each of them stands for."""
    points = []
    for share in (0.1, 1.0):
        rng = np.random.default_rng(0)
        predicted = np.concatenate([rng.uniform(0.4, 0.75, 100), rng.uniform(0.85, 1.0, 50)])
        drawn = np.arange(150) >= 100
        decisions = Decisions(predicted, drawn, np.where(drawn, share, 1.0), drawn, tuple(f"p{i}" for i in range(150)))
        mass = failure_mass(decisions)
        assert mass.sum() == pytest.approx(100 + 1 / share)  # one more of the drawn
        points.append(
            review_point(predicted, mass, decisions.patients, wanted_recall=0.95, seed=0, weights=decisions.weights).flag_below or 0
        )
    assert points[0] > 0.88
    assert points[1] < 0.8


def test_the_table_weighs_decisions() -> None:
    predicted, accepted = np.array([0.9, 0.9, 0.6]), np.array([True, False, False])
    decisions = Decisions(predicted, accepted, np.array([1.0, 0.25, 1.0]), np.array([False, True, False]), ("a", "a", "b"))
    curve, _ = fit_acceptance(made(1), acceptance=0.5, seed=0)
    first, last = reliability(decisions, curve, (0.0, 0.5, 0.7, 1.001))
    assert (first.low, first.high, first.decisions, first.accepted) == (0.5, 0.7, 1, 0.0)
    assert (last.decisions, last.patients, last.accepted) == (2, 1, 0.2)
    assert last.curve > 0.9
