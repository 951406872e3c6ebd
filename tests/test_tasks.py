"""What the configuration asks and what the weights know of their certainty together make the limits."""

import pytest

from qcnode.assess.model_card import CalibrationFacts, IntervalFacts
from qcnode.assess.verdict import Limit, Limits
from qcnode.config import Task, Threshold
from qcnode.tasks import limits_of

INTERVAL = IntervalFacts(below=(0.1,), above=(0.1,), floor=0.01, cap=1.0, factor=1.0)
FACTS = CalibrationFacts(
    level=0.9,
    spread_features=(),
    dsc=INTERVAL,
    nsd=INTERVAL,
    failure_below=0.75,
    flag_below=0.81,
    recall=0.97,
    recall_bound=0.95,
    review_rate=0.2,
    error_map_thresholds=(0.5,),
    patients=70,
    queries=4000,
)


def task(dsc: Threshold | None = None, nsd: Threshold | None = None) -> Task:
    return Task(weights="cardiac-sax", predicted_dsc=dsc or Threshold(), predicted_nsd=nsd)


def test_weights_without_calibration_have_a_margin() -> None:
    assert limits_of(task(nsd=Threshold(value=0.6)), None) == Limits(Limit(0.75, 0.05), Limit(0.6, 0.05))


def test_calibrated_weights_have_their_interval_and_their_review_point() -> None:
    assert limits_of(task(), FACTS) == Limits(Limit(0.75, level=0.9, review_below=0.81))


def test_the_review_point_belongs_to_one_threshold_of_the_dsc() -> None:
    limits = limits_of(task(Threshold(value=0.7), Threshold(value=0.75)), FACTS)
    assert limits == Limits(Limit(0.7, level=0.9), Limit(0.75, level=0.9))


@pytest.mark.parametrize("calibration", [None, FACTS])
def test_a_configured_margin_stands_for_interval_and_review_point(calibration: CalibrationFacts | None) -> None:
    assert limits_of(task(Threshold(margin=0.0)), calibration) == Limits(Limit(0.75, 0.0))


def test_weights_that_found_no_failure_have_no_review_point() -> None:
    assert limits_of(task(), FACTS.model_copy(update={"flag_below": None})) == Limits(Limit(0.75, level=0.9))


def test_a_review_point_under_the_threshold_says_nothing_more() -> None:
    assert limits_of(task(), FACTS.model_copy(update={"flag_below": 0.75})) == Limits(Limit(0.75, level=0.9))
