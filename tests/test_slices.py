import numpy as np
import pytest
from report_cases import OBLIQUE, heart, values

from qcnode.imaging.grid import Grid
from qcnode.report import colours
from qcnode.report.slices import MOST_SLICES, Layers, choose_slices, draw_slice, edge_letters, field_of_view, grey_window, slice_position_mm

AXIAL = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
CORONAL = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (1.0, 0.0, 0.0))
SAGITTAL = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))


def layers(size=(9, 40, 50), spacing=(8.0, 1.0, 1.0), tissues=1):
    grid = Grid(size, spacing, (0.0, 0.0, 0.0), AXIAL)
    return Layers(np.full(size, 100, np.float32), grid, np.zeros((tissues, *size), bool), np.zeros(size, bool))


@pytest.mark.parametrize(
    ("direction", "letters"),
    [
        (AXIAL, {"left": "R", "right": "L", "top": "A", "bottom": "P"}),
        (CORONAL, {"left": "R", "right": "L", "top": "H", "bottom": "F"}),
        (SAGITTAL, {"left": "A", "right": "P", "top": "H", "bottom": "F"}),
        (OBLIQUE.direction, {"left": "RAH", "right": "LPF", "top": "FA", "bottom": "HP"}),
    ],
)
def test_edges_are_named_by_the_direction_cosines(direction, letters):
    assert edge_letters(Grid((1, 1, 1), (1, 1, 1), (0, 0, 0), direction)) == letters


def test_nearly_axial_slices_have_one_letter():
    tilted = ((0.0, -0.1, 0.995), (0.0, 0.995, 0.1), (1.0, 0.0, 0.0))
    assert edge_letters(Grid((1, 1, 1), (1, 1, 1), (0, 0, 0), tilted))["top"] == "A"


def test_the_worst_slices_come_first():
    drawn = layers()
    for z in range(9):
        drawn.errors[z, 0, : z + 1] = True
    assert choose_slices(drawn) == (3, 4, 5, 6, 7, 8)


def test_without_errors_slices_are_spread_over_the_query():
    drawn = layers((30, 40, 50))
    drawn.query[0, 10:22] = True
    chosen = choose_slices(drawn)
    assert len(chosen) == MOST_SLICES
    assert all(10 <= z < 22 for z in chosen)
    assert max(np.diff(chosen)) <= 3


def test_few_errors_are_filled_up_with_the_query():
    drawn = layers()
    drawn.errors[8, 0, 0] = True
    drawn.query[0, 2:5] = True
    assert choose_slices(drawn) == (2, 3, 4, 8)


def test_an_empty_query_shows_the_volume():
    assert choose_slices(layers(tissues=0)) == choose_slices(layers())
    assert len(choose_slices(layers())) == MOST_SLICES
    assert choose_slices(layers((1, 40, 50))) == (0,)


def test_the_view_holds_query_and_errors_with_a_margin():
    drawn = layers((9, 400, 500), (8.0, 0.5, 0.5))
    drawn.query[0, 4, 100:300, 200:320] = True
    drawn.errors[2, 90:100, 200:210] = True
    centre_y, centre_x, side = field_of_view(drawn)
    assert (centre_y, centre_x) == (194.5, 259.5)
    assert side == pytest.approx(210 * 0.5 + 36)


def test_the_view_stays_in_the_slice():
    drawn = layers((9, 400, 500))
    drawn.query[0, 4, 0:20, 480:500] = True
    centre_y, centre_x, side = field_of_view(drawn)
    assert centre_y - side / 2 >= -1
    assert centre_x + side / 2 <= 501
    assert field_of_view(layers((9, 400, 500))) == (199.5, 249.5, 500)


def test_aspect_ratio_follows_the_spacing():
    drawn = layers((1, 100, 50), (5.0, 1.0, 2.0))
    drawn.query[0, 0, 20:80, 10:40] = True  # 60 mm by 60 mm
    view = field_of_view(drawn)
    picture = draw_slice(drawn, 0, view, (0, 200), 300)
    contour = (picture == colours.of_tissue(0)).all(axis=-1)
    rows, columns = np.flatnonzero(contour.any(axis=1)), np.flatnonzero(contour.any(axis=0))
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=3)
    assert np.ptp(rows) == pytest.approx(60 / view[2] * 300, abs=4)


def test_rows_run_downwards_and_columns_to_the_right():
    drawn = layers((1, 100, 100))
    drawn.values[0, :50, :50] = 0
    drawn.values[0, 80:, 80:] = 200
    picture = draw_slice(drawn, 0, (49.5, 49.5, 100), (0, 200), 100)
    assert picture[10, 10, 0] < 20
    assert picture[95, 95, 0] > 235
    assert 110 < picture[10, 95, 0] < 150


def test_errors_shine_through_and_contours_do_not():
    drawn = layers((1, 100, 100))
    drawn.errors[0, 10:30, 10:30] = True
    drawn.query[0, 0, 50:90, 50:90] = True
    picture = draw_slice(drawn, 0, (49.5, 49.5, 100), (0, 200), 200).astype(int)
    red, _, blue = picture[40, 40]
    assert red > 128 > blue
    assert tuple(picture[140, 101]) == colours.of_tissue(0)
    assert tuple(picture[140, 140]) == tuple(picture[140, 40])  # nothing is drawn inside a contour


def test_a_single_voxel_is_seen():
    drawn = layers((1, 100, 100))
    drawn.query[0, 0, 50, 50] = True
    assert (draw_slice(drawn, 0, field_of_view(drawn), (0, 200), 300) == colours.of_tissue(0)).all(axis=-1).any()


@pytest.mark.parametrize("value", [0, np.nan, np.inf])
def test_values_without_contrast_are_drawn(value):
    drawn = layers((3, 40, 50))
    drawn.values[:] = value
    view = field_of_view(drawn)
    low, high = grey_window(drawn, (0, 1, 2), view)
    assert low < high
    assert draw_slice(drawn, 1, view, (low, high), 50).shape == (50, 50, 3)


def test_the_window_is_the_organs():
    reference = heart()
    array = values(reference)
    array[:, :, :20] = 4000  # fat
    drawn = Layers(array, OBLIQUE, reference, np.zeros(array.shape, bool))
    low, high = grey_window(drawn, (3, 4), field_of_view(drawn))
    assert low < 70 < 240 < high < 600


def test_slice_position_is_along_the_stack():
    normal = np.array(OBLIQUE.direction[0])
    assert slice_position_mm(OBLIQUE, 3) == pytest.approx(float(normal @ np.array(OBLIQUE.origin)) + 24)
