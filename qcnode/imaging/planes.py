"""Parallel image planes -> a regular grid, or the reason why they are none. Positions decide, spacing tags do not: they lie.

Image plane attributes: PS3.3, C.7.6.2. Everything is LPS mm; grid axes are (z, y, x), z along the slice normal in increasing order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qcnode.case import FrameHeader, ReasonCode
from qcnode.errors import Rejected
from qcnode.imaging.grid import Grid

Points = npt.NDArray[np.float64]

SAME_POSITION_MM = 0.02
SAME_COSINE = 1e-3  # 0.06 degrees; makers write between 4 and 16 digits
_UNIT_VECTOR = 0.01  # how far row and column cosines may be from unit length and from a right angle
_EVEN_SPACING = 0.02  # part of the slice spacing
_IN_PLANE_SHIFT = 0.1  # part of a pixel
_FARTHEST_MM = 1e5  # from the origin of any patient coordinate system
_PIXEL_MM = (1e-3, 1e3)


@dataclass(frozen=True, slots=True)
class Plane:
    """One image plane: its header and its matrix."""

    header: FrameHeader
    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class PlaneStack:
    """`groups[z]` are the indices of the planes that lie at slice z of `grid`: one each, unless positions repeat."""

    groups: tuple[tuple[int, ...], ...]
    grid: Grid


def axes_of(header: FrameHeader) -> Points:
    """Unit vectors (3, 3) of a plane: normal, column cosines (y, down the rows), row cosines (x). Raises Rejected(NO_GEOMETRY)."""
    if header.image_position is None or header.image_orientation is None or header.pixel_spacing is None:
        raise Rejected(ReasonCode.NO_GEOMETRY, "a plane lacks its position, orientation or pixel spacing")
    near = max(abs(value) for value in header.image_position) <= _FARTHEST_MM
    if not near or min(header.pixel_spacing) < _PIXEL_MM[0] or max(header.pixel_spacing) > _PIXEL_MM[1]:
        raise Rejected(ReasonCode.NO_GEOMETRY, "a plane's position or pixel spacing is out of all bounds")
    row, column = np.asarray(header.image_orientation[:3]), np.asarray(header.image_orientation[3:])
    lengths = np.array([np.linalg.norm(row), np.linalg.norm(column)])
    if np.abs(lengths - 1).max() > _UNIT_VECTOR or abs(float(row @ column)) > _UNIT_VECTOR:
        raise Rejected(ReasonCode.NO_GEOMETRY, "row and column cosines are not two perpendicular unit vectors")
    return _orthonormal(row, column)


def _orthonormal(row: Points, column: Points) -> Points:
    x = row / np.linalg.norm(row)
    y = column - (column @ x) * x
    y /= np.linalg.norm(y)
    return np.stack([np.cross(x, y), y, x])


def common_axes(planes: Sequence[Plane]) -> Points:
    """Axes (3, 3) of planes that share orientation, matrix and pixel spacing.

    Raises Rejected with NO_GEOMETRY, SEVERAL_ORIENTATIONS or DIFFERING_MATRIX.
    """
    axes = np.stack([axes_of(plane.header) for plane in planes])
    if np.abs(axes - axes[0]).max() > SAME_COSINE:
        raise Rejected(ReasonCode.SEVERAL_ORIENTATIONS, "the planes are not parallel, as in a localizer")
    if len({(plane.rows, plane.columns) for plane in planes}) > 1:
        raise Rejected(ReasonCode.DIFFERING_MATRIX, "the planes have different numbers of rows or columns")
    spacings = np.array([plane.header.pixel_spacing for plane in planes], float)
    if np.abs(spacings / spacings[0] - 1).max() > SAME_COSINE:
        raise Rejected(ReasonCode.DIFFERING_MATRIX, "the planes have different pixel spacings")
    mean = axes.mean(axis=0)
    return _orthonormal(mean[2], mean[1])


def stack_planes(planes: Sequence[Plane]) -> PlaneStack:
    """The regular grid that `planes`, in any order, lie on.

    Raises Rejected with NO_GEOMETRY, SEVERAL_ORIENTATIONS, DIFFERING_MATRIX, SINGLE_SLICE, MISSING_SLICE or UNEVEN_SPACING.
    """
    axes = common_axes(planes)
    positions = positions_of(planes)
    groups = group_positions(positions @ axes[0])
    centres = np.stack([positions[list(group)].mean(axis=0) for group in groups])
    if len(groups) == 1:
        raise Rejected(ReasonCode.SINGLE_SLICE, "all planes lie at one position: one slice is not a volume")
    pixel_spacing = _pixel_spacing(planes)
    heights = centres @ axes[0]
    spacing = even_spacing(heights)
    check_in_line(positions, axes, min(pixel_spacing))
    grid = Grid(
        size=(len(groups), planes[0].rows, planes[0].columns),
        spacing=(spacing, *pixel_spacing),
        origin=triple(centres[0]),
        direction=(triple(axes[0]), triple(axes[1]), triple(axes[2])),
    )
    return PlaneStack(groups, grid)


def positions_of(planes: Sequence[Plane]) -> Points:
    """Centres of the first voxels, (plane, 3)."""
    return np.array([plane.header.image_position for plane in planes], float)


def group_positions(heights: Points) -> tuple[tuple[int, ...], ...]:
    """Indices of equal heights along the normal, groups in increasing order."""
    groups: list[list[int]] = []
    for index in (int(i) for i in np.argsort(heights, kind="stable")):
        if groups and heights[index] - heights[groups[-1][0]] <= SAME_POSITION_MM:
            groups[-1].append(index)
        else:
            groups.append([index])
    return tuple(tuple(group) for group in groups)


def even_spacing(heights: Points) -> float:
    """Spacing in mm of at least two increasing heights. Raises Rejected with MISSING_SLICE or UNEVEN_SPACING."""
    gaps = np.diff(heights)
    spacing = float(gaps.mean())
    if np.abs(gaps - spacing).max() <= max(SAME_POSITION_MM, _EVEN_SPACING * spacing):
        return spacing
    smallest = float(gaps.min())
    if are_multiples(gaps, smallest):
        missing = int(np.rint(gaps / smallest).sum()) - len(gaps)
        raise Rejected(ReasonCode.MISSING_SLICE, f"{missing} slice(s) are missing inside the stack")
    raise Rejected(ReasonCode.UNEVEN_SPACING, f"slice spacing varies between {smallest:.2f} and {gaps.max():.2f} mm")


def are_multiples(gaps: Points, spacing: float) -> bool:
    """True where every gap is a whole multiple of `spacing` within the tolerance of even spacing."""
    steps = gaps / spacing
    return bool(np.all(np.abs(steps - np.rint(steps)) * spacing <= max(SAME_POSITION_MM, _EVEN_SPACING * spacing)))


def check_in_line(positions: Points, axes: Points, pixel_spacing: float) -> None:
    """Raises Rejected(UNEVEN_SPACING) where planes are shifted against one another within their plane."""
    shifts = (positions - positions[0]) @ axes[1:].T
    if np.abs(shifts).max() > max(SAME_POSITION_MM, _IN_PLANE_SHIFT * pixel_spacing):
        raise Rejected(ReasonCode.UNEVEN_SPACING, "the planes are shifted against one another: the stack is no box")


def _pixel_spacing(planes: Sequence[Plane]) -> tuple[float, float]:
    spacing = planes[0].header.pixel_spacing
    if spacing is None:
        raise Rejected(ReasonCode.NO_GEOMETRY, "a plane lacks its pixel spacing")
    return spacing


def triple(values: Points) -> tuple[float, float, float]:
    """Three floats of an array."""
    return (float(values[0]), float(values[1]), float(values[2]))
