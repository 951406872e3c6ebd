"""The phantom: repeatable, plausible, and with queries of known quality."""

import numpy as np
import pytest

from qcnode.assess import metrics
from qcnode.demo.phantom import TISSUES, bad_query_missing_base, bad_query_shifted, good_query, make_phantom


def test_a_seed_gives_the_same_phantom():
    first, second, other = make_phantom(4), make_phantom(4), make_phantom(5)
    np.testing.assert_array_equal(first.volume.array, second.volume.array)
    np.testing.assert_array_equal(good_query(first, 2), good_query(second, 2))
    assert first.volume.array.shape != other.volume.array.shape or (first.volume.array != other.volume.array).any()


@pytest.mark.parametrize("seed", [1, 2, 3, 1234])
def test_looks_like_a_short_axis_stack(seed):
    phantom = make_phantom(seed)
    grid = phantom.volume.grid
    assert phantom.reference.shape == (len(TISSUES), *grid.size)
    assert 9 <= grid.size[0] <= 12
    assert 7 < grid.spacing[0] < 10
    assert 1 < grid.spacing[1] == grid.spacing[2] < 2.1
    directions = np.asarray(grid.direction)
    np.testing.assert_allclose(directions @ directions.T, np.eye(3), atol=1e-9)
    assert directions[0] @ (0.6, -0.6, -0.5) > 0.9  # base to apex
    assert np.sort(np.abs(directions))[:, 1].min() > 0.05  # oblique
    assert (phantom.reference.sum(0) <= 1).all()
    right, wall, left = (phantom.volume.array[phantom.reference[i]].mean() for i in range(3))
    assert min(right, left) > 1.8 * wall


@pytest.mark.parametrize("seed", range(1, 10))
def test_queries_have_the_quality_they_are_named_after(seed):
    phantom = make_phantom(seed)
    assert 0.93 <= metrics.dsc(good_query(phantom), phantom.reference) <= 0.985
    assert 0.25 <= metrics.dsc(bad_query_shifted(phantom), phantom.reference) <= 0.65
    assert 0.25 <= metrics.dsc(bad_query_missing_base(phantom), phantom.reference) <= 0.65
