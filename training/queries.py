"""Query segmentations over the whole range of quality, made from a reference: SegGen (paper 000, table 2) and what segmenters do wrong.

A `Plan` is drawn first and applied afterwards; it says everything that happens. Labels are (z, y, x), 0 background, i structure i.
Lengths in the plane are voxels, as in the paper.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Labels = npt.NDArray[np.uint8]

_ROOM = 44  # voxels around the reference within which edits happen


@dataclass(frozen=True, slots=True)
class Edit:
    """One change: `name` is a key of EDITS, `values` what it needs, `seed` for edits that draw fields."""

    name: str
    values: tuple[float, ...] = ()
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """The edits of one query, in order; `kind` is the group it is reported under."""

    kind: str
    edits: tuple[Edit, ...]


KINDS = ("untouched", "seggen", "mild", "contour", "structures", "slices", "leak", "foreign", "empty")
_OFTEN = (0.03, 0.14, 0.24, 0.2, 0.09, 0.13, 0.1, 0.06, 0.01)


def draw_plan(rng: np.random.Generator, depth: int, structures: int) -> Plan:
    """A plan for a reference that has `depth` slices with tissue and so many structures."""
    kind = str(rng.choice(KINDS, p=_OFTEN))
    edits: list[Edit] = []
    if kind == "seggen":
        for _ in range(3):
            edits += _seggen(rng, 1.0)
    elif kind == "mild":
        edits += _seggen(rng, float(rng.uniform(0.05, 0.6)))
    elif kind == "contour":
        edits += _contour(rng, structures)
    elif kind == "structures":
        edits += [*_contour(rng, structures), _structures(rng, structures)]
    elif kind == "slices":
        edits += [*_contour(rng, structures), *_slices(rng, depth)]
    elif kind == "leak":
        edits += [*_contour(rng, structures), *(_blob(rng, structures) for _ in range(int(rng.integers(1, 5))))]
    elif kind == "foreign":
        edits += [Edit("foreign", (float(rng.random() < 0.8),)), *_seggen(rng, float(rng.uniform(0, 0.3)))]
    elif kind == "empty":
        edits.append(Edit("empty"))
    return Plan(kind, tuple(edits))


def apply_plan(plan: Plan, reference: Labels, foreign: Labels | None = None) -> Labels:
    """The query that `plan` makes of a reference; `foreign` is another patient's reference, for plans of kind "foreign"."""
    found = ndimage.find_objects((reference > 0).astype(np.uint8))
    if not plan.edits or not found:
        return reference.copy()
    box = (slice(None), *(slice(max(s.start - _ROOM, 0), s.stop + _ROOM) for s in found[0][1:]))
    part = reference[box].copy()
    for edit in plan.edits:
        part = _foreign(part, edit, foreign) if edit.name == "foreign" else EDITS[edit.name](part, edit)
    query = np.zeros_like(reference)
    query[box] = part
    return query


def _seggen(rng: np.random.Generator, strength: float) -> list[Edit]:
    """Table 2 of the paper: rotation, scaling, translation and deformation, each with probability 0.5; ranges times `strength`."""
    turn = rng.uniform(-15, 15) * strength if rng.random() < 0.5 else 0.0
    scale = rng.uniform(0.85, 1.25) ** strength if rng.random() < 0.5 else 1.0
    shift = rng.uniform(-20, 20, 2) * strength if rng.random() < 0.5 else np.zeros(2)
    edits = [Edit("similarity", (float(turn), float(scale), float(shift[0]), float(shift[1])))]
    if rng.random() < 0.5:
        edits.append(Edit("deform", (float(rng.uniform(2, 20) * strength), float(rng.uniform(8, 24))), _seed(rng)))
    return edits


def _contour(rng: np.random.Generator, structures: int) -> list[Edit]:
    """Uneven contours, slices that do not follow one another, structures drawn too large or too small."""
    edits = [Edit("deform", (float(rng.uniform(0.3, 3.0)), float(rng.uniform(4, 12))), _seed(rng))]
    if rng.random() < 0.3:
        edits.append(Edit("jitter", (float(rng.uniform(0.3, 3.0)),), _seed(rng)))
    if rng.random() < 0.4:
        edits.append(Edit("grow", (float(rng.integers(0, structures + 1)), float(rng.choice([-3, -2, -1, 1, 2, 3])))))
    if rng.random() < 0.1:
        edits.append(Edit("coarse", (float(rng.integers(2, 6)),)))
    return edits


def _structures(rng: np.random.Generator, structures: int) -> Edit:
    """A structure left out, two exchanged, one called by the other's name, or the whole mirrored."""
    first, second = rng.choice(np.arange(1, structures + 1), 2, replace=structures < 2)
    name = str(rng.choice(["drop", "swap", "merge", "mirror"], p=[0.4, 0.25, 0.2, 0.15]))
    return Edit(name, (float(first), float(second)))


def _slices(rng: np.random.Generator, depth: int) -> list[Edit]:
    """Slices left out at either end or within, copied from their neighbour, or the stack moved along its axis."""
    name = str(rng.choice(["lose", "stale", "slide"], p=[0.6, 0.2, 0.2]))
    if name == "slide":
        return [Edit("slide", (float(rng.choice([-2, -1, 1, 2])),))]
    if name == "stale":
        return [Edit("stale", (float(rng.uniform(0.2, 0.9)),), _seed(rng))]
    count = int(rng.integers(1, max(2, round(0.7 * depth))))
    where = int(rng.integers(0, 3))  # base, apex, anywhere
    which = int(rng.integers(0, 2)) * int(rng.integers(1, 4))  # all structures or one
    return [Edit("lose", (float(count), float(where), float(which)), _seed(rng))]


def _blob(rng: np.random.Generator, structures: int) -> Edit:
    """A leak into the surroundings, a bite out of the segmentation, or an island."""
    label = float(rng.integers(0, structures + 1))
    return Edit("blob", (label, float(rng.uniform(3, 14)), float(rng.random() < 0.25)), _seed(rng))


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


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
    field = ndimage.gaussian_filter(rng.uniform(-1, 1, coarse), (0, 0.7, smooth / step, smooth / step))
    field *= 0.6 * amplitude / max(float(field.std()), 1e-9)
    rows, columns = np.mgrid[: labels.shape[1], : labels.shape[2]].astype(np.float32)
    result = np.zeros_like(labels)
    for k, plane in enumerate(labels):
        if plane.any():
            moves = [ndimage.map_coordinates(f[k], [rows / step, columns / step], order=1, mode="nearest") for f in field]
            result[k] = ndimage.map_coordinates(plane, [rows + moves[0], columns + moves[1]], order=0)
    return result


def _jitter(labels: Labels, edit: Edit) -> Labels:
    moves = np.rint(np.random.default_rng(edit.seed).normal(0, edit.values[0], (len(labels), 2))).astype(int)
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
    count, where, which = (int(v) for v in edit.values)
    filled = np.flatnonzero(labels.any((1, 2)))
    if where == 2:
        filled = np.random.default_rng(edit.seed).permutation(filled)
    gone = filled[-count:] if where == 1 else filled[:count]
    result = labels.copy()
    for k in gone:
        result[k][(result[k] == which) if which else slice(None)] = 0
    return result


def _stale(labels: Labels, edit: Edit) -> Labels:
    rng = np.random.default_rng(edit.seed)
    result = labels.copy()
    for k in range(len(labels)):
        if rng.random() < edit.values[0]:
            result[k] = labels[min(max(k + int(rng.choice([-1, 1])), 0), len(labels) - 1)]
    return result


def _slide(labels: Labels, edit: Edit) -> Labels:
    by = int(edit.values[0])
    result = np.zeros_like(labels)
    if by > 0:
        result[by:] = labels[:-by]
    else:
        result[:by] = labels[-by:]
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
    squash = rng.uniform(3, 8)  # voxels in the plane per slice
    ball = ((z - place[0]) * squash) ** 2 + (y - place[1]) ** 2 + (x - place[2]) ** 2 < radius**2
    return np.where(ball, label, labels).astype(np.uint8)


def _empty(labels: Labels, edit: Edit) -> Labels:
    return np.zeros_like(labels)


def _foreign(labels: Labels, edit: Edit, foreign: Labels | None) -> Labels:
    """Another patient's reference in place of this one's: stretched to its slices and, where asked, moved to its middle."""
    if foreign is None or not foreign.any():
        return labels
    filled = np.flatnonzero(labels.any((1, 2)))
    theirs = np.flatnonzero(foreign.any((1, 2)))
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
    "slide": _slide,
    "blob": _paint,
    "empty": _empty,
}
