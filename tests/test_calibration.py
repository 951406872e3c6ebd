"""Prediction intervals out of the model card's plain numbers."""

import numpy as np
import pytest

from qcnode.assess.calibration import interval, intervals, spread
from qcnode.assess.model_card import IntervalFacts

FACTS = IntervalFacts(below=(0.02, 0.5, 0.0), above=(0.01, 0.25, 0.1), floor=0.01, cap=0.4, factor=1.5)


def test_an_interval_by_hand():
    low, high = interval(FACTS, 0.8, (0.1, 0.2))
    assert low == pytest.approx(0.8 - 1.5 * (0.02 + 0.05))
    assert high == pytest.approx(0.8 + 1.5 * (0.01 + 0.025 + 0.02))


def test_it_is_wider_where_the_networks_disagree():
    widths = [high - low for low, high in (interval(FACTS, 0.6, (d, 0.0)) for d in (0.0, 0.05, 0.1, 0.3))]
    assert widths == sorted(widths)
    assert widths[-1] > 3 * widths[0]


@pytest.mark.parametrize("predicted", [0.0, 0.02, 0.98, 1.0])
def test_it_holds_the_prediction_and_stays_within_the_scale(predicted):
    low, high = interval(FACTS, predicted, (0.5, 0.5))
    assert 0.0 <= low <= predicted <= high <= 1.0


def test_too_few_patients_say_nothing():
    assert interval(FACTS.model_copy(update={"factor": None}), 0.8, (0.1, 0.2)) == (0.0, 1.0)


@pytest.mark.parametrize("strange", [np.nan, np.inf])
def test_a_feature_that_is_no_number_gives_the_widest_interval(strange):
    assert interval(FACTS, 0.5, (strange, 0.0)) == (0.0, 1.0)  # 1.5 times the cap on either side, cut


def test_spread_is_cut():
    features = np.array([[0.0], [0.1], [9.0]])
    assert spread((0.0, 1.0), 0.05, 0.4, features).tolist() == pytest.approx([0.05, 0.1, 0.4])


def test_many_at_once_are_the_same_as_one_by_one():
    rng = np.random.default_rng(1)
    predicted, features = rng.random(20), rng.random((20, 2)) * 0.3
    one_by_one = [interval(FACTS, p, f) for p, f in zip(predicted, features, strict=True)]
    np.testing.assert_allclose(intervals(FACTS, predicted, features), one_by_one)


def test_features_that_the_card_does_not_weigh_are_refused():
    with pytest.raises(ValueError, match="3 spread features"):
        interval(FACTS, 0.5, (0.1, 0.1, 0.1))


def test_the_card_keeps_every_digit_that_counts():
    again = IntervalFacts.model_validate_json(FACTS.model_dump_json())
    assert interval(again, 0.7, (0.1, 0.3)) == interval(FACTS, 0.7, (0.1, 0.3))
