"""Generated queries: repeatable, in the quality range that training needs, and what they are called."""

import numpy as np
import pytest

from qcnode.assess import metrics
from training.queries import EDITS, KINDS, Edit, Plan, apply_plan, draw_plan
from training.targets import quality_targets, tissue_channels


@pytest.fixture(scope="module")
def reference():
    z, y, x = np.ogrid[:8, :96, :96]
    radius = np.hypot(y - 48, x - 52) + 0 * z
    labels = np.where(radius < 12, 3, np.where(radius < 18, 2, np.where(np.hypot(y - 48, x - 30) + 0 * z < 11, 1, 0))).astype(np.uint8)
    labels[[0, 7]] = 0
    return labels


def dsc(query, reference):
    return metrics.dsc(tissue_channels(query, 3), tissue_channels(reference, 3))


def test_plans_are_repeatable_and_leave_the_reference_alone(reference):
    before = reference.copy()
    for seed in range(30):
        plan = draw_plan(np.random.default_rng(seed), 6, 3)
        assert plan == draw_plan(np.random.default_rng(seed), 6, 3)
        first = apply_plan(plan, reference, np.roll(reference, 5, 2))
        np.testing.assert_array_equal(first, apply_plan(plan, reference, np.roll(reference, 5, 2)))
        assert first.dtype == np.uint8
        assert first.shape == reference.shape
        assert first.max() <= 3
    np.testing.assert_array_equal(reference, before)


def test_every_kind_and_the_whole_range_of_quality_occur(reference):
    rng = np.random.default_rng(0)
    plans = [draw_plan(rng, 6, 3) for _ in range(300)]
    assert {p.kind for p in plans} == set(KINDS)
    values = [dsc(apply_plan(p, reference, np.roll(reference, 5, 2)), reference) for p in plans]
    assert (np.histogram(values, np.linspace(0, 1.0001, 11))[0] > 0).all()


@pytest.mark.parametrize(
    ("edit", "low", "high"),
    [
        (Edit("similarity", (0.0, 1.0, 0.0, 0.0)), 1.0, 1.0),
        (Edit("similarity", (10.0, 1.1, 2.0, -3.0)), 0.4, 0.85),
        (Edit("deform", (1.0, 8.0), 3), 0.8, 0.999),
        (Edit("lose", (2.0, 0.0, 0.0), 1), 0.75, 0.85),
        (Edit("slide", (1.0,)), 0.8, 0.86),
        (Edit("swap", (1.0, 3.0)), 0.3, 0.7),
        (Edit("drop", (3.0, 0.0)), 0.6, 0.9),
        (Edit("empty"), 0.0, 0.0),
    ],
)
def test_edits(reference, edit, low, high):
    assert low <= dsc(apply_plan(Plan("test", (edit,)), reference), reference) <= high


def test_lost_basal_slices_are_the_first_filled(reference):
    query = apply_plan(Plan("slices", (Edit("lose", (2.0, 0.0, 0.0), 1),)), reference)
    assert np.flatnonzero(query.any((1, 2))).tolist() == [3, 4, 5, 6]


def test_every_edit_is_reachable():
    rng = np.random.default_rng(1)
    drawn = {e.name for _ in range(1500) for e in draw_plan(rng, 8, 3).edits}
    assert drawn == {*EDITS, "foreign"}


def test_targets_follow_the_outputs(reference):
    query = tissue_channels(apply_plan(Plan("structures", (Edit("drop", (1.0, 0.0)),)), reference), 3)
    found = quality_targets(query, tissue_channels(reference, 3), (8.0, 1.5, 1.5), 2.0)
    assert found[2:].tolist() == [0.0, 1.0, 1.0]
    assert 0 < found[0] < 1
    assert 0 < found[1] < 1
