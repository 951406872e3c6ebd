"""Frames: what goes into the network, and the way back."""

import numpy as np
import pytest

from qcnode.imaging.grid import Grid
from qcnode.imaging.preprocess import Frame, Orientation, canvas_frame, field_frame, normalise, orientation_to, square_frame

AXES = {"z": (0.0, 0.0, 1.0), "y": (0.0, 1.0, 0.0), "x": (1.0, 0.0, 0.0)}


def grid(size, *names):
    directions = tuple(tuple(-v for v in AXES[n[1]]) if n[0] == "-" else AXES[n] for n in names)
    return Grid(size, (2.0, 1.0, 1.5), (0.0, 0.0, 0.0), directions)


@pytest.mark.parametrize("names", [("z", "y", "x"), ("-z", "x", "-y"), ("z", "-y", "-x"), ("-z", "-x", "y")])
def test_orientation_is_undone_exactly(names):
    array = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    orientation = orientation_to(grid((3, 4, 5), *names), [AXES["z"], AXES["y"], AXES["x"]], keep_stack=True)
    assert orientation.order[0] == 0
    np.testing.assert_array_equal(orientation.undo(orientation.apply(array)), array)


def test_orientation_turns_axes_to_the_target():
    found = orientation_to(grid((3, 4, 5), "x", "-z", "y"), [AXES["z"], AXES["y"], AXES["x"]], keep_stack=False)
    assert found == Orientation((1, 2, 0), (True, False, False))


def test_an_unresized_frame_is_exact_both_ways():
    array = np.random.default_rng(1).random((3, 6, 9, 7)) > 0.5
    frame = Frame((6, 9, 7), Orientation((0, 2, 1), (True, False, True)), ((0, 6), (-2, 10), (-1, 9)), (6, 12, 10))
    np.testing.assert_array_equal(frame.put_back(frame.take_nearest(array)), array)
    np.testing.assert_allclose(frame.take(array), frame.take_nearest(array).astype(np.float32))
    np.testing.assert_allclose(frame.put_back_linear(frame.take(array)), array)


def test_resizing_keeps_places():
    array = np.zeros((4, 60, 80), np.float32)
    array[:, 20:40, 30:50] = 1
    frame = field_frame((4, 60, 80), Orientation(), 40)
    small = frame.take(array)
    assert small.shape == (4, 40, 40)
    assert small[0, 16:24, 16:24].min() == pytest.approx(1, abs=1e-5)
    assert small.sum() == pytest.approx(array.sum() / 4, rel=1e-3)
    back = frame.put_back(frame.take_nearest(array))
    assert np.abs(back - array).mean() < 0.02
    enlarged = square_frame((4, 60, 80), Orientation(), array > 0, margin=0.1, side=96, most_slices=10)
    np.testing.assert_array_equal(enlarged.put_back(enlarged.take_nearest(array)), array)
    assert enlarged.scale == pytest.approx((1.0, 0.25, 0.25))


def test_the_square_covers_what_it_should_and_says_where():
    inside = np.zeros((40, 50, 60), bool)
    inside[5:12, 3:30, 40:58] = True
    frame = square_frame((40, 50, 60), Orientation(), inside, margin=0.1, side=64, most_slices=16)
    (z0, z1), (y0, y1), (x0, x1) = frame.box
    assert (y1 - y0) == (x1 - x0) >= 27 * 1.2
    assert z1 - z0 == 16
    assert frame.take_nearest(inside).sum() > 0
    seen = np.zeros(inside.shape, bool)
    seen[tuple(slice(a, b) for a, b in frame.source_box())] = True
    assert not (inside & ~seen).any()
    empty = square_frame((40, 50, 60), Orientation(), inside & False, margin=0.1, side=64, most_slices=99)
    assert empty.size == (40, 64, 64)


def test_canvas_pads_and_returns():
    inside = np.zeros((10, 20, 20), bool)
    inside[2:5, 4:9, 10:16] = True
    frame = canvas_frame((10, 20, 20), Orientation(), inside, (16, 16, 16))
    assert frame.size == (16, 16, 16)
    np.testing.assert_array_equal(frame.put_back(frame.take_nearest(inside)), inside)


def test_normalise_does_not_depend_on_the_scanners_units():
    values = np.random.default_rng(2).gamma(2, 50, (4, 30, 30))
    first, second = normalise(values), normalise(values * 13 + 200)
    np.testing.assert_allclose(first, second, atol=1e-3)
    assert first.min() == pytest.approx(0, abs=1e-6)
    assert first.std() == pytest.approx(1, abs=1e-3)
    assert not normalise(np.zeros((2, 3, 3))).any()
