"""Pictures of single slices: grey values, the query's contours, predicted errors, and which way is which in the patient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from qcnode.imaging.grid import Grid
from qcnode.report import colours
from qcnode.report.inputs import ReportInputs

Picture = npt.NDArray[np.uint8]
_Kernel = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]

MOST_SLICES = 6
_MARGIN_MM = 18.0  # around the segmentation
_SMALLEST_MM = 90.0  # a tiny or empty segmentation still shows its surroundings
_SUPERSAMPLING = 2
_CONTOUR_PIXELS = 2
_ERROR_OPACITY = 0.42
_DIRECTIONS = (("L", "R"), ("P", "A"), ("H", "F"))  # LPS: positive, negative
_OBLIQUE = 0.26  # a component of less than 15 degrees gets no letter


@dataclass(frozen=True, slots=True)
class Layers:
    """What is drawn, all on one grid. values: (z, y, x); query: bool (tissue, z, y, x); errors: bool (z, y, x)."""

    values: npt.NDArray[np.float32]
    grid: Grid
    query: npt.NDArray[np.bool_]
    errors: npt.NDArray[np.bool_]

    @property
    def error_area_mm2(self) -> npt.NDArray[np.float64]:
        """Predicted wrong area per slice, shape (z,)."""
        return np.asarray(self.errors.sum(axis=(1, 2)) * self.grid.spacing[1] * self.grid.spacing[2], float)


def layers_of(inputs: ReportInputs) -> Layers | None:
    """What is drawn of a case, the errors of all its tissues together; None where it has no volume."""
    volume, prediction = inputs.volume, inputs.assessment.prediction
    if volume is None:
        return None
    shape = volume.grid.size
    query = inputs.query_masks if inputs.query_masks is not None else np.zeros((0, *shape), bool)
    errors = np.asarray(prediction.error_map.any(axis=0)) if prediction is not None else np.zeros(shape, bool)
    return Layers(volume.array, volume.grid, query, errors)


def choose_slices(layers: Layers, most: int = MOST_SLICES) -> tuple[int, ...]:
    """z indices to show, ascending: the worst first of all, then evenly through the query, then through the volume."""
    area = layers.error_area_mm2
    chosen = [int(z) for z in np.argsort(-area, kind="stable")[:most] if area[z] > 0]
    drawn = np.flatnonzero(layers.query.any(axis=(0, 2, 3)))
    for candidates in (drawn, np.arange(len(area))):
        left = [int(z) for z in candidates if z not in chosen]
        places = min(most - len(chosen), len(left))
        if places > 0 and (not chosen or candidates is drawn):
            chosen += [left[i] for i in np.linspace(0, len(left) - 1, places + 2).round().astype(int)[1:-1]] if len(left) > places else left
    return tuple(sorted(set(chosen)))


def field_of_view(layers: Layers) -> tuple[float, float, float]:
    """What every panel shows: centre (y, x) in voxels and side in mm of a square around query and errors, or of the whole slice."""
    _, sy, sx = layers.grid.spacing
    _, ny, nx = layers.grid.size
    marked = np.asarray(layers.query.any(axis=(0, 1)) | layers.errors.any(axis=0))
    whole = max(ny * sy, nx * sx)
    if not marked.any():
        return (ny - 1) / 2, (nx - 1) / 2, whole
    y, x = np.flatnonzero(marked.any(axis=1)), np.flatnonzero(marked.any(axis=0))
    extent = max((y[-1] - y[0] + 1) * sy, (x[-1] - x[0] + 1) * sx)
    side = float(min(max(extent + 2 * _MARGIN_MM, _SMALLEST_MM), whole))
    return _inside((y[0] + y[-1]) / 2, side / sy, ny), _inside((x[0] + x[-1]) / 2, side / sx, nx), side


def grey_window(layers: Layers, chosen: Sequence[int], view: tuple[float, float, float]) -> tuple[float, float]:
    """Grey values of black and white, the same for all panels: for the segmented organ, not for the fat around it."""
    centre_y, centre_x, side = view
    rows, columns = (
        slice(max(0, round(centre - side / spacing / 2)), round(centre + side / spacing / 2) + 1)
        for centre, spacing in ((centre_y, layers.grid.spacing[1]), (centre_x, layers.grid.spacing[2]))
    )
    seen = finite(layers.values[list(chosen), rows, columns])
    marked = seen[(layers.query.any(axis=0) | layers.errors)[list(chosen), rows, columns]]
    low, bright, brightest = (float(v) for v in np.percentile(seen, (0.5, 90, 99)))
    high = min(max(bright, 1.15 * float(np.percentile(marked, 99))), brightest) if marked.size else brightest
    return (low, high) if high > low else (low, low + 1.0)


def draw_slice(layers: Layers, z: int, view: tuple[float, float, float], window: tuple[float, float], pixels: int) -> Picture:
    """One slice as RGB (pixels, pixels, 3), seen as the image itself lies: rows downwards, columns to the right."""
    coarse, fine = _Sampler(layers.grid, view, pixels, _cubic), _Sampler(layers.grid, view, pixels * _SUPERSAMPLING, _linear)
    low, high = window
    shades = coarse(finite(layers.values[z]) - low).clip(0, high - low) * (255.0 / (high - low))
    picture = np.repeat(shades.repeat(_SUPERSAMPLING, axis=0).repeat(_SUPERSAMPLING, axis=1)[..., None], 3, axis=2)
    errors = fine(layers.errors[z]) >= 0.5
    picture[errors] = (1 - _ERROR_OPACITY) * picture[errors] + _ERROR_OPACITY * np.array(colours.ERROR, float)
    for index, tissue in enumerate(layers.query[:, z]):
        drawn = fine(tissue) >= 0.5
        inner = ndimage.minimum_filter(drawn.astype(np.uint8), 2 * _CONTOUR_PIXELS * _SUPERSAMPLING + 1, mode="nearest").astype(bool)
        picture[drawn & ~inner] = colours.of_tissue(index)
    reduced = Image.fromarray(picture.round().astype(np.uint8)).resize((pixels, pixels), Image.Resampling.BOX)
    return np.asarray(reduced)


def edge_letters(grid: Grid) -> dict[str, str]:
    """Patient directions at the edges "left", "right", "top" and "bottom" of a slice (PS3.3 C.7.6.1.1.1): "L", "RP", "AFL"."""
    _, down, right = (np.asarray(d, float) for d in grid.direction)
    return {"left": _letters(-right), "right": _letters(right), "top": _letters(-down), "bottom": _letters(down)}


def finite(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The same values, 0 where one is not a number or infinite."""
    return np.nan_to_num(values, posinf=0.0, neginf=0.0)


def slice_position_mm(grid: Grid, z: int) -> float:
    """Position of a slice along the stack's direction, as Slice Location has it."""
    along = np.asarray(grid.direction[0], float)
    return float(np.dot(np.asarray(grid.origin, float), along)) + z * grid.spacing[0]


def _letters(direction: npt.NDArray[np.float64]) -> str:
    order = np.argsort(-np.abs(direction), kind="stable")
    return "".join(_DIRECTIONS[axis][0 if direction[axis] > 0 else 1] for axis in order if abs(direction[axis]) >= _OBLIQUE)


def _inside(centre: float, side: float, size: int) -> float:
    """Move a window so that it does not needlessly show what lies outside of the slice."""
    return (size - 1) / 2 if side >= size else float(np.clip(centre, (side - 1) / 2, size - 1 - (side - 1) / 2))


class _Sampler:
    """Values of a slice at the pixels of a panel: a weighted sum along rows, then along columns; 0 outside of the slice."""

    def __init__(self, grid: Grid, view: tuple[float, float, float], pixels: int, kernel: _Kernel) -> None:
        centre_y, centre_x, side = view
        offsets = ((np.arange(pixels) + 0.5) / pixels - 0.5) * side
        self._rows = kernel(centre_y + offsets[:, None] / grid.spacing[1] - np.arange(grid.size[1]))
        self._columns = kernel(centre_x + offsets[:, None] / grid.spacing[2] - np.arange(grid.size[2]))

    def __call__(self, plane: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
        return np.asarray(self._rows @ plane.astype(np.float64) @ self._columns.T)


def _linear(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.maximum(0.0, 1.0 - np.abs(distance))


def _cubic(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Cubic convolution (Keys 1981, a = -0.5): smooth, and exact at the voxels."""
    d = np.abs(distance)
    near, far = (1.5 * d - 2.5) * d * d + 1.0, ((-0.5 * d + 2.5) * d - 4.0) * d + 2.0
    return np.where(d < 1, near, np.where(d < 2, far, 0.0))
