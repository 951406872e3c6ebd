"""Where the voxels of a volume lie in the patient: the one border to SimpleITK.

Array axes are (z, y, x), spacing is in mm in the same order. World coordinates are DICOM patient coordinates (LPS, mm), given as
(x, y, z).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

MOST_VOXELS = 2**27
"""Voxels of a volume that is read: 512 x 512 x 512, half a gigabyte as float32. Nothing larger is allocated."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A regular voxel grid.

    size: voxels along (z, y, x).
    spacing: mm along (z, y, x).
    origin: LPS position (x, y, z) in mm of the centre of voxel [0, 0, 0].
    direction: three LPS unit vectors, along the array axes z, y and x, in this order.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]

    @property
    def voxels(self) -> int:
        """How many voxels it has."""
        return math.prod(self.size)

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """4 x 4 matrix from array index (z, y, x, 1) to LPS (x, y, z, 1) in mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.asarray(self.direction, float).T * np.asarray(self.spacing, float)
        matrix[:3, 3] = self.origin
        return matrix

    def corners(self) -> npt.NDArray[np.float64]:
        """LPS positions (8, 3) of the centres of the corner voxels, array index order."""
        z, y, x = (n - 1 for n in self.size)
        index = np.array([(i, j, k, 1.0) for i in (0, z) for j in (0, y) for k in (0, x)])
        return np.asarray((self.affine @ index.T).T[:, :3])

    def same_as(self, other: Grid, tolerance_mm: float = 0.01) -> bool:
        """True where both grids hold the same voxels: sizes equal, no corner further apart than `tolerance_mm`."""
        return self.size == other.size and float(np.abs(self.corners() - other.corners()).max()) <= tolerance_mm

    def index_of(self, position: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Continuous array index (z, y, x) of LPS positions, shape (..., 3)."""
        points = np.asarray(position, float)
        inverse = np.linalg.inv(self.affine)
        return np.asarray(points @ inverse[:3, :3].T + inverse[:3, 3])

    def crop(self, box: tuple[tuple[int, int], ...]) -> Grid:
        """The grid of `array[z0:z1, y0:y1, x0:x1]`; starts may be negative (padding)."""
        starts = np.array([b[0] for b in box], float)
        origin = self.affine[:3, :3] @ starts + np.asarray(self.origin)
        z, y, x = (int(stop - start) for start, stop in box)
        return Grid((z, y, x), self.spacing, _triple(origin), self.direction)


@dataclass(frozen=True, slots=True)
class Volume:
    """Voxel values on a grid; `array` is (z, y, x)."""

    array: npt.NDArray[np.float32]
    grid: Grid


def to_sitk(array: npt.NDArray[np.generic], grid: Grid) -> sitk.Image:
    """SimpleITK image of an array (z, y, x) on `grid`."""
    plain = array.astype(np.uint8) if array.dtype == np.bool_ else array
    picture = sitk.GetImageFromArray(np.ascontiguousarray(plain))
    picture.SetSpacing([float(s) for s in reversed(grid.spacing)])
    picture.SetOrigin([float(o) for o in grid.origin])
    columns = np.asarray(grid.direction, float)[::-1].T
    picture.SetDirection([float(v) for v in columns.ravel()])
    return picture


def resample(array: npt.NDArray[np.generic], source: Grid, target: Grid, *, nearest: bool) -> npt.NDArray[np.generic]:
    """Values of `array` (z, y, x on `source`) at the voxels of `target`; 0 outside. Linear unless `nearest`."""
    method = sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear
    moved = sitk.Resample(to_sitk(array, source), to_sitk(np.zeros(target.size, np.uint8), target), sitk.Transform(), method, 0.0)
    values: npt.NDArray[np.generic] = sitk.GetArrayFromImage(moved)
    return values.astype(array.dtype)


def resampled(volume: Volume, grid: Grid) -> Volume:
    """The volume on another grid, linear, 0 outside; as it is where it lies on that grid already."""
    if volume.grid == grid:
        return volume
    return Volume(resample(volume.array, volume.grid, grid, nearest=False).astype(np.float32, copy=False), grid)


def _triple(values: npt.ArrayLike) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in np.asarray(values, float))
    return (x, y, z)
