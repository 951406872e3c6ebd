"""Regions of predicted errors: connected, per tissue, large ones first, and read back as they were found."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from qcnode.imaging.grid import Grid
from qcnode.regions import DESCRIPTION_NAME, ErrorRegion, read_regions
from qcnode.report.regions import MOST_REGIONS, SMALLEST_VOXELS, error_regions

TISSUES = ("left ventricle", "myocardium")
# slices run to the feet, rows to the back, columns to the left
GRID = Grid((6, 40, 40), (8.0, 2.0, 1.0), (-10.0, 20.0, 100.0), ((0, 0, -1), (0, 1, 0), (1, 0, 0)))


@pytest.fixture
def errors() -> np.ndarray:
    return np.zeros((2, *GRID.size), bool)


def test_touching_voxels_of_a_tissue_are_one_region_and_the_largest_is_the_first(errors: np.ndarray) -> None:
    errors[0, 1, 2:4, 2:9] = True  # 14 voxels
    errors[1, 1, 2:4, 2:9] = True  # the same place in another tissue
    errors[1, 2, 4:8, 9:14] = True  # touches it by a corner: 20 more, in the next slice
    errors[1, 5, 30:32, 30:35] = True  # 10
    found = error_regions(errors, TISSUES, GRID)
    assert [(r.number, r.tissue, r.voxels, r.first_slice, r.last_slice, r.worst_slice) for r in found] == [
        (1, "myocardium", 34, 1, 2, 2),
        (2, "left ventricle", 14, 1, 1, 1),
        (3, "myocardium", 10, 5, 5, 5),
    ]
    assert found[0].volume_ml == pytest.approx(34 * 16 / 1000)
    assert found[1].centre_mm == (-10 + 5, 20 + 2.5 * 2, 100 - 8), "of gravity, in patient coordinates"


def test_small_regions_get_no_number(errors: np.ndarray) -> None:
    errors[0, 0, 0, :SMALLEST_VOXELS] = True
    errors[0, 2, 0, : SMALLEST_VOXELS - 1] = True
    assert [r.voxels for r in error_regions(errors, TISSUES, GRID)] == [SMALLEST_VOXELS]


def test_of_very_many_regions_the_largest_are_listed(errors: np.ndarray) -> None:
    for n in range(MOST_REGIONS + 5):
        errors[n // 15, n % 15 // 5 * 2, n % 5 * 8, : 10 + n] = True
    found = error_regions(errors, TISSUES, GRID)
    assert [r.number for r in found] == list(range(1, MOST_REGIONS + 1))
    assert [r.voxels for r in found] == sorted((10 + n for n in range(5, MOST_REGIONS + 5)), reverse=True)


def test_no_error_no_region(errors: np.ndarray) -> None:
    assert error_regions(errors, TISSUES, GRID) == ()


def test_regions_are_read_from_the_viewer_files(tmp_path: Path) -> None:
    region = ErrorRegion(1, "myocardium", 1, 2, 2, 34, 0.544, (1.0, -2.5, 3.0))
    written = json.dumps({"prediction": {"regions": [asdict(region)]}})
    (tmp_path / DESCRIPTION_NAME).write_text(written)
    assert read_regions(tmp_path) == (region,)


@pytest.mark.parametrize("content", [None, {"prediction": None}, {"prediction": {"worst_slice": None}}], ids=["no file", "hidden", "old"])
def test_where_nothing_is_known_there_are_no_regions(tmp_path: Path, content: object) -> None:
    if content is not None:
        (tmp_path / DESCRIPTION_NAME).write_text(json.dumps(content))
    assert read_regions(tmp_path) == ()
    assert read_regions(None) == ()
