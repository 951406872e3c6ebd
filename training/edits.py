"""What can go wrong with a segmentation, one change at a time; `training.queries` draws which.

Labels are (z, y, x), 0 background, i structure i. Lengths in the plane are voxels, as in paper 000. Nothing here knows the voxel size: what
depends on how thick slices are goes by the number of slices that the segmentation fills.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Labels = npt.NDArray[np.uint8]

_MANY_SLICES = 14  # from here on neighbouring slices resemble one another, and their errors do too


@dataclass(frozen=True, slots=True)
class Edit:
    """One change: `name` is a key of EDITS or WHOLE_GRID_EDITS or "foreign", `values` what it needs, `seed` for edits that draw fields."""

    name: str
    values: tuple[float, ...] = ()
    seed: int = 0


def _similarity(labels: Labels, edit: Edit) -> Labels:
    turn, scale, down, right = edit.values
    angle = np.deg2rad(turn)
    centre = _centre(labels)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    offset = centre - matrix @ (centre + np.array([down, right]))
    planes = [ndimage.affine_transform(p, matrix, offset, order=0) if p.any() else p for p in labels]
    return np.stack(planes)


def _deform(labels: Labels, edit: Edit) -> Labels:
    """Displacements of up to `amplitude` on a grid of random vectors, smoothed; neighbouring slices move alike but not equally."""
    amplitude, smooth = edit.values
    rng = np.random.default_rng(edit.seed)
    step = max(int(smooth // 2), 1)
    coarse = (2, len(labels), *(n // step + 2 for n in labels.shape[1:]))
    through = max(0.7, _filled(labels).size / _MANY_SLICES)
    field = ndimage.gaussian_filter(rng.uniform(-1, 1, coarse), (0, through, smooth / step, smooth / step))
    field *= 0.6 * amplitude / max(float(field.std()), 1e-9)
    height, width = labels.shape[1:]
    to_rows, to_columns = _between(height, step, coarse[2]), _between(width, step, coarse[3])
    result = np.zeros_like(labels)
    for k in _filled(labels):
        down, right = (np.rint(to_rows @ f[k] @ to_columns.T).astype(int) for f in field)
        rows, columns = np.arange(height)[:, None] + down, np.arange(width) + right
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        result[k] = np.where(inside, labels[k][rows.clip(0, height - 1), columns.clip(0, width - 1)], 0)
    return result


def _between(count: int, step: int, points: int) -> npt.NDArray[np.float64]:
    """Matrix (count, points) that interpolates linearly from points that are `step` voxels apart."""
    apart = np.abs(np.arange(count)[:, None] / step - np.arange(points))
    return np.asarray(np.clip(1 - apart, 0, None), np.float64)


def _jitter(labels: Labels, edit: Edit) -> Labels:
    """Slices moved in the plane by normally distributed steps, as between breath-holds."""
    drawn = np.random.default_rng(edit.seed).normal(0, 1, (len(labels), 2))
    through = _filled(labels).size / _MANY_SLICES
    if through > 1:
        drawn = ndimage.gaussian_filter1d(drawn, through, axis=0)
        drawn /= max(float(drawn.std()), 1e-9)
    moves = np.rint(edit.values[0] * drawn).astype(int)
    return np.stack([_shifted(p, int(m[0]), int(m[1])) for p, m in zip(labels, moves, strict=True)])


def _grow(labels: Labels, edit: Edit) -> Labels:
    """Dilate (positive) or erode one structure, or the whole where the structure is 0; other structures yield."""
    which, steps = int(edit.values[0]), int(edit.values[1])
    part = labels == which if which else labels > 0
    flat = ndimage.generate_binary_structure(2, 1)[None]
    if steps < 0:
        return np.where(part & ~ndimage.binary_erosion(part, flat, -steps), 0, labels).astype(np.uint8)
    grown = ndimage.binary_dilation(part, flat, steps) & ~part
    nearest = ndimage.maximum_filter(labels, (1, 2 * steps + 1, 2 * steps + 1))
    return np.where(grown, which or nearest, labels).astype(np.uint8)


def _coarse(labels: Labels, edit: Edit) -> Labels:
    n = int(edit.values[0])
    rows, columns = ((np.arange(s) // n * n + n // 2).clip(max=s - 1) for s in labels.shape[1:])
    return np.ascontiguousarray(labels[:, rows][:, :, columns])


def _drop(labels: Labels, edit: Edit) -> Labels:
    return np.where(labels == edit.values[0], 0, labels).astype(np.uint8)


def _merge(labels: Labels, edit: Edit) -> Labels:
    return np.where(labels == edit.values[0], edit.values[1], labels).astype(np.uint8)


def _swap(labels: Labels, edit: Edit) -> Labels:
    first, second = (labels == v for v in edit.values)
    result = labels.copy()
    result[first], result[second] = edit.values[1], edit.values[0]
    return result


def _mirror(labels: Labels, edit: Edit) -> Labels:
    """Mirrored left to right about the middle of what is segmented."""
    middle = _centre(labels)[1]
    columns = np.rint(2 * middle - np.arange(labels.shape[2])).astype(int)
    inside = (columns >= 0) & (columns < labels.shape[2])
    result = np.zeros_like(labels)
    result[:, :, inside] = labels[:, :, columns[inside]]
    return result


def _lose(labels: Labels, edit: Edit) -> Labels:
    """Slices left out: the first (0) or last (1) that are filled, any (2), or a run of them (3); one structure, or all where it is 0."""
    count, where, which = (int(v) for v in edit.values)
    filled = _filled(labels)
    rng = np.random.default_rng(edit.seed)
    if where == 2:
        filled = rng.permutation(filled)
    elif where == 3:
        filled = filled[int(rng.integers(0, max(filled.size - count, 0) + 1)) :]
    gone = filled[-count:] if where == 1 else filled[:count]
    result = labels.copy()
    for k in gone:
        result[k][(result[k] == which) if which else slice(None)] = 0
    return result


def _stale(labels: Labels, edit: Edit) -> Labels:
    """Slices that show what belongs to one nearby."""
    rng = np.random.default_rng(edit.seed)
    step = 1 + _filled(labels).size // _MANY_SLICES
    result = labels.copy()
    for k in range(len(labels)):
        if rng.random() < edit.values[0]:
            result[k] = labels[min(max(k + step * int(rng.choice([-1, 1])), 0), len(labels) - 1)]
    return result


def _paint(labels: Labels, edit: Edit) -> Labels:
    """A ball of one label (0 erases) at the edge of the segmentation, or anywhere, through a few slices."""
    label, radius, away = int(edit.values[0]), edit.values[1], bool(edit.values[2])
    rng = np.random.default_rng(edit.seed)
    inside = labels > 0
    edge = inside & ~ndimage.binary_erosion(inside, np.ones((1, 3, 3), bool))
    places = np.argwhere(edge)
    near = len(places) and not away
    place = places[int(rng.integers(len(places)))].astype(float) if near else rng.uniform(0, 1, 3) * labels.shape
    z, y, x = (np.arange(n).reshape([-1 if a == i else 1 for a in range(3)]) for i, n in enumerate(labels.shape))
    squash = rng.uniform(0.4, 1) * _flatness(labels)
    ball = ((z - place[0]) * squash) ** 2 + (y - place[1]) ** 2 + (x - place[2]) ** 2 < radius**2
    return np.where(ball, label, labels).astype(np.uint8)


def _empty(labels: Labels, edit: Edit) -> Labels:
    return np.zeros_like(labels)


def put_foreign(labels: Labels, edit: Edit, foreign: Labels | None) -> Labels:
    """Another patient's reference in place of this one's: stretched to its slices and, where asked, moved to its middle."""
    if foreign is None or not foreign.any():
        return labels
    filled, theirs = _filled(labels), _filled(foreign)
    goal = _centre(labels) if edit.values[0] else np.asarray(labels.shape[1:]) / 2
    centre = _centre(foreign)
    rows, columns = (np.rint(np.arange(n) - g + c).astype(int) for n, g, c in zip(labels.shape[1:], goal, centre, strict=True))
    inside = ((rows >= 0) & (rows < foreign.shape[1]))[:, None] & ((columns >= 0) & (columns < foreign.shape[2]))
    result = np.zeros_like(labels)
    for k in filled:
        source = theirs[round((k - filled[0]) / max(len(filled) - 1, 1) * (len(theirs) - 1))]
        moved = foreign[source][np.ix_(rows.clip(0, foreign.shape[1] - 1), columns.clip(0, foreign.shape[2] - 1))]
        result[k] = np.where(inside, moved, 0)
    return result


def _displace(labels: Labels, edit: Edit) -> Labels:
    """The whole moved by fractions (z, y, x) of the grid, as by a wrong frame of reference; what leaves the grid is lost."""
    moves = [round(v * n) for v, n in zip(edit.values, labels.shape, strict=True)]
    result = np.zeros_like(labels)
    to = tuple(slice(max(m, 0), max(n + min(m, 0), 0)) for m, n in zip(moves, labels.shape, strict=True))
    start = tuple(slice(max(-m, 0), max(n - max(m, 0), 0)) for m, n in zip(moves, labels.shape, strict=True))
    result[to] = labels[start]
    return result


def _flip(labels: Labels, edit: Edit) -> Labels:
    """The whole grid reversed along z, y, x (0, 1, 2), or rows and columns exchanged (3), as by a wrong orientation."""
    way = int(edit.values[0])
    if way < 3:
        return np.ascontiguousarray(np.flip(labels, way))
    both = min(labels.shape[1:])
    rows, columns = ((n - both) // 2 for n in labels.shape[1:])
    result = np.zeros_like(labels)
    square = labels[:, rows : rows + both, columns : columns + both]
    result[:, rows : rows + both, columns : columns + both] = square.swapaxes(1, 2)
    return result


def _filled(labels: Labels) -> npt.NDArray[np.intp]:
    """Indices of the slices that hold anything."""
    return np.flatnonzero(labels.any((1, 2)))


def _flatness(labels: Labels) -> float:
    """How many voxels of the plane a slice is thick, if what is segmented is about as deep as it is wide; 1 at least."""
    found = ndimage.find_objects((labels > 0).astype(np.uint8))
    if not found or found[0] is None:
        return 1.0
    depth, height, width = (int(s.stop - s.start) for s in found[0])
    return max(1.0, (height + width) / 2 / depth)


def _centre(labels: Labels) -> npt.NDArray[np.float64]:
    """Middle (y, x) of what is segmented."""
    where = np.argwhere(labels.any(0))
    return np.asarray(where.mean(0) if len(where) else np.asarray(labels.shape[1:]) / 2, float)


def _shifted(plane: Labels, down: int, right: int) -> Labels:
    """A plane moved by whole voxels; what leaves it is lost."""
    room = max(abs(down), abs(right))
    padded = np.pad(plane, room)
    height, width = plane.shape
    return padded[room - down : room - down + height, room - right : room - right + width]


# within a box around what is segmented
EDITS: dict[str, Callable[[Labels, Edit], Labels]] = {
    "similarity": _similarity,
    "deform": _deform,
    "jitter": _jitter,
    "grow": _grow,
    "coarse": _coarse,
    "drop": _drop,
    "merge": _merge,
    "swap": _swap,
    "mirror": _mirror,
    "lose": _lose,
    "stale": _stale,
    "blob": _paint,
    "empty": _empty,
}

WHOLE_GRID_EDITS: dict[str, Callable[[Labels, Edit], Labels]] = {"displace": _displace, "flip": _flip}
