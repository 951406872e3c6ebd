"""Orient, crop, resize and normalise a volume for a network, and take the network's map back to the source grid.

A `Frame` is the record of what was done; `take` does it, `put_back` undoes it. Arrays end in (z, y, x); leading axes (tissue, contrast)
pass through. Box positions are voxels of the oriented array and may lie outside of it (padding with 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from types import EllipsisType

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from qcnode.imaging.grid import Grid

FloatArray = npt.NDArray[np.float32]
Size = tuple[int, int, int]
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
Directions = Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class Orientation:
    """How the source's axes become the canonical ones: canonical axis i is source axis `order[i]`, reversed where `flip[i]`."""

    order: tuple[int, int, int] = (0, 1, 2)
    flip: tuple[bool, bool, bool] = (False, False, False)

    @property
    def _slices(self) -> tuple[EllipsisType, slice, slice, slice]:
        z, y, x = (slice(None, None, -1 if f else 1) for f in self.flip)
        return (..., z, y, x)

    def apply(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """View of `array` (..., z, y, x) in canonical orientation."""
        lead = array.ndim - 3
        moved = array.transpose(*range(lead), *(lead + a for a in self.order))
        return moved[self._slices]

    def undo(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """View of a canonical array in the source's orientation."""
        lead = array.ndim - 3
        unflipped = array[self._slices]
        back = np.argsort(self.order)
        return unflipped.transpose(*range(lead), *(lead + int(a) for a in back))


def orientation_to(grid: Grid, target: Directions, *, keep_stack: bool) -> Orientation:
    """The orientation whose axes run nearest to `target`'s, three LPS vectors for canonical z, y, x.

    keep_stack: canonical z stays the axis across slices (short-axis stacks); else any axis may become any (nearly isotropic volumes).
    """
    cosines = np.asarray(target, float) @ np.asarray(grid.direction, float).T
    orders = [o for o in permutations(range(3)) if not keep_stack or o[0] == 0]
    order = max(orders, key=lambda o: sum(abs(cosines[i, o[i]]) for i in range(3)))
    z, y, x = (bool(cosines[i, order[i]] < 0) for i in range(3))
    return Orientation((order[0], order[1], order[2]), (z, y, x))


@dataclass(frozen=True, slots=True)
class Frame:
    """A box of an oriented volume, resampled to `size` voxels.

    source_size: voxels (z, y, x) of the source array.
    """

    source_size: tuple[int, int, int]
    orientation: Orientation
    box: Box
    size: tuple[int, int, int]

    @property
    def scale(self) -> tuple[float, float, float]:
        """Source voxels per network voxel along canonical (z, y, x)."""
        z, y, x = ((stop - start) / n for (start, stop), n in zip(self.box, self.size, strict=True))
        return (z, y, x)

    def source_box(self) -> Box:
        """The part of the source grid inside the box, as (start, stop) along the source's z, y, x."""
        inside = np.zeros(self.oriented_size, bool)
        inside[tuple(slice(max(a, 0), max(b, 0)) for a, b in self.box)] = True
        source = self.orientation.undo(inside)
        result = []
        for axis in range(3):
            line = np.flatnonzero(source.any(axis=tuple(a for a in range(3) if a != axis)))
            result.append((int(line[0]), int(line[-1]) + 1) if line.size else (0, 0))
        return (result[0], result[1], result[2])

    @property
    def oriented_size(self) -> tuple[int, int, int]:
        """Voxels of the oriented array, (z, y, x)."""
        z, y, x = (self.source_size[a] for a in self.orientation.order)
        return (z, y, x)

    def take(self, array: npt.NDArray[np.generic]) -> FloatArray:
        """Values (..., z, y, x) of the source array at the network's voxels; linear, averaged where the network's voxels are larger."""
        result = np.asarray(self.orientation.apply(array), np.float32)
        for axis in (0, 2, 1):
            result = _along(result, axis, _linear_weights(*self.box[axis], self.size[axis], self.oriented_size[axis]))
        return np.ascontiguousarray(result)

    def take_nearest(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Nearest values (..., z, y, x) of the source array (labels, segmentations) at the network's voxels; 0 outside."""
        result = self.orientation.apply(array)
        for axis in range(3):
            (start, stop), n = self.box[axis], self.size[axis]
            index = np.floor(start + (np.arange(n) + 0.5) * (stop - start) / n).astype(int)
            result = _gather(result, axis, index, self.oriented_size[axis])
        return np.ascontiguousarray(result)

    def put_back_linear(self, array: npt.NDArray[np.generic]) -> FloatArray:
        """Values of a network array (..., z, y, x) at the source's voxels, linear; 0 outside of the box."""
        result = np.asarray(array, np.float32)
        for axis in range(3):
            (start, stop), n, old = self.box[axis], self.size[axis], self.oriented_size[axis]
            per_voxel = n / (stop - start)
            result = _along(result, axis, _linear_weights(-start * per_voxel, (old - start) * per_voxel, old, n))
        return np.ascontiguousarray(self.orientation.undo(result), np.float32)

    def put_back(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Nearest values of a network array (..., z, y, x) at the source's voxels; 0 outside of the box."""
        result = array
        for axis in range(3):
            (start, stop), n = self.box[axis], self.size[axis]
            index = np.floor((np.arange(self.oriented_size[axis]) + 0.5 - start) * n / (stop - start)).astype(int)
            result = _gather(result, axis, index, n)
        return np.ascontiguousarray(self.orientation.undo(result))


def field_frame(source_size: Size, orientation: Orientation, side: int) -> Frame:
    """Every slice whole, padded to a square and resized to `side` x `side`: independent of the in-plane spacing."""
    whole = Frame(source_size, orientation, ((0, 1), (0, 1), (0, 1)), (1, 1, 1)).oriented_size
    longest = max(whole[1:])
    y, x = ((n - longest) // 2 for n in whole[1:])
    return Frame(source_size, orientation, ((0, whole[0]), (y, y + longest), (x, x + longest)), (whole[0], side, side))


def square_frame(
    source_size: Size, orientation: Orientation, inside: npt.NDArray[np.bool_], *, margin: float, side: int, most_slices: int
) -> Frame:
    """The square around the True voxels of `inside` (canonical z, y, x), resized to `side` x `side`; slices are left as they are.

    margin: what is added on each side, as a fraction of the square. An empty `inside` gives the middle half of the field of view.
    most_slices: longer stacks are cut around the middle of `inside`.
    """
    spans = [_span(inside, axis) for axis in range(3)]
    if spans[0] is None:
        spans = [(0, inside.shape[0]), *((n // 4, n - n // 4) for n in inside.shape[1:])]
    (z0, z1), (y0, y1), (x0, x1) = (s for s in spans if s is not None)
    width = int(np.ceil(max(y1 - y0, x1 - x0, 8) * (1 + 2 * margin)))
    top, left = (y0 + y1 - width) // 2, (x0 + x1 - width) // 2
    depth = inside.shape[0]
    first, last = (0, depth) if depth <= most_slices else _window((z0 + z1) // 2, most_slices, depth)
    return Frame(source_size, orientation, ((first, last), (top, top + width), (left, left + width)), (last - first, side, side))


def canvas_frame(source_size: Size, orientation: Orientation, inside: npt.NDArray[np.bool_], size: Size) -> Frame:
    """A box of fixed `size` voxels, not resized, around the middle of the True voxels of `inside` (canonical z, y, x)."""
    box = []
    for axis, n in enumerate(size):
        start, stop = _span(inside, axis) or (0, inside.shape[axis])
        first = (start + stop - n) // 2
        box.append((first, first + n))
    return Frame(source_size, orientation, (box[0], box[1], box[2]), size)


def normalise(array: npt.NDArray[np.generic], lower: float = 0.5, upper: float = 99.5) -> FloatArray:
    """Values clipped to two percentiles of the array, the lower brought to 0 and the standard deviation to 1.

    Air is 0, so that padding looks like air.
    """
    values = np.asarray(array, np.float32)
    low, high = np.percentile(values, (lower, upper))
    clipped = np.clip(values, low, high) - np.float32(low)
    deviation = float(clipped.std())
    return np.asarray(clipped / (deviation if deviation > 0 else 1.0), np.float32)


def _along(array: FloatArray, axis: int, weights: FloatArray | None) -> FloatArray:
    """`array` (..., z, y, x) with spatial `axis` multiplied by `weights` (new, old); None leaves it."""
    if weights is None:
        return array
    where = array.ndim - 3 + axis
    used = np.flatnonzero(weights.any(0))  # the rest of the axis lies outside of the box
    first, last = (int(used[0]), int(used[-1]) + 1) if used.size else (0, 1)
    part = np.moveaxis(array, where, 0)[first:last]
    flat = np.ascontiguousarray(part).reshape(last - first, -1)
    moved = np.asarray(csr_array(weights[:, first:last]) @ flat, np.float32)
    return np.moveaxis(moved.reshape(len(weights), *part.shape[1:]), 0, where)


def _linear_weights(start: float, stop: float, n: int, old: int) -> FloatArray | None:
    """Weights (n, old) of a linear resampling of [start, stop) to n voxels; None where nothing changes."""
    if (start, stop) == (0, old) and n == old:
        return None
    ratio = (stop - start) / n
    centres = start + (np.arange(n) + 0.5) * ratio - 0.5
    weights = np.maximum(1 - np.abs(np.arange(old) - centres[:, None]) / max(ratio, 1.0), 0)
    total = weights.sum(1, keepdims=True)
    inside = (centres > -0.5) & (centres < old - 0.5)
    return np.asarray(np.where(inside[:, None], weights / np.where(total > 0, total, 1), 0), np.float32)


def _gather(array: npt.NDArray[np.generic], axis: int, index: npt.NDArray[np.int_], old: int) -> npt.NDArray[np.generic]:
    """`array` (..., z, y, x) at `index` along spatial `axis`; 0 where the index lies outside."""
    where = array.ndim - 3 + axis
    result = np.take(array, np.clip(index, 0, old - 1), axis=where)
    outside = (index < 0) | (index >= old)
    if outside.any():
        np.moveaxis(result, where, 0)[outside] = 0
    return result


def _span(inside: npt.NDArray[np.bool_], axis: int) -> tuple[int, int] | None:
    line = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
    return (int(line[0]), int(line[-1]) + 1) if line.size else None


def _window(middle: int, length: int, depth: int) -> tuple[int, int]:
    first = min(max(middle - length // 2, 0), depth - length)
    return first, first + length
