"""The planes of one series, put apart into stacks: one volume each.

A series may hold several orientations, image types, echoes, b-values, phases and time points, and every maker tells them apart by other
attributes. Only geometry and frame type always split. Any other attribute splits only where it explains why a position holds more than
one plane, so that a time that merely differs from slice to slice (interleaved acquisition, PS3.3 C.7.6.1 Acquisition Time; cine with a
Trigger Time of its own per slice, PS3.3 C.8.3.1) does not shatter an ordinary stack.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from qcnode.case import FrameHeader, FrameRef, ReasonCode, Stack, StoredHeader

ORIENTATION_TOLERANCE = 1e-3  # direction cosines; makers write them with noise of up to 1e-4 between slices of one stack
PIXEL_SPACING_TOLERANCE = 1e-3  # mm
POSITION_TOLERANCE_MM = 0.05  # planes closer than this along the normal are at one position
ECHO_TOLERANCE_MS = 0.01
SPACING_TOLERANCE = 0.1  # relative; imaging.read_series is stricter and names the reason

_SIDEWAYS_MM = 1.0

_Item = TypeVar("_Item")
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Plane:
    """One image plane and the stored object that holds it."""

    stored: StoredHeader
    frame: FrameHeader

    @property
    def key(self) -> tuple[str, int]:
        """(SOP Instance UID, frame number): names the plane in the study."""
        return self.stored.header.sop_instance_uid, self.frame.frame_number


@dataclass(frozen=True, slots=True)
class FrameStack:
    """The planes of one volume, sorted along the stack's normal.

    positions_mm: distance of each plane along the normal, same order; empty where the planes carry no position.
    lacks_positions: another phase, echo or time point of the same series has planes at positions where this one has none.
    """

    planes: tuple[Plane, ...]
    positions_mm: tuple[float, ...]
    lacks_positions: bool = False

    @property
    def series_instance_uid(self) -> str:
        """The one series that all planes belong to."""
        return self.planes[0].stored.header.series_instance_uid

    @property
    def frame_of_reference_uid(self) -> str | None:
        """The one frame of reference of all planes."""
        return self.planes[0].stored.header.frame_of_reference_uid

    @property
    def plane_keys(self) -> frozenset[tuple[str, int]]:
        """The keys of all planes: two stacks are the same stack if these are equal."""
        return frozenset(plane.key for plane in self.planes)

    def as_stack(self) -> Stack:
        """What a Case carries: paths and frame numbers."""
        refs = (FrameRef(p.stored.path, p.stored.header.sop_instance_uid, p.frame.frame_number) for p in self.planes)
        return Stack(self.series_instance_uid, tuple(refs))


@dataclass(frozen=True, slots=True)
class _Placed:
    """A plane with where it lies (`position` numbers the positions of its group) and what may tell it from others at that position."""

    plane: Plane
    height_mm: float
    position: int
    kinds: tuple[Hashable, ...]  # echo and FrameHeader.extra_key
    times: tuple[str, ...]  # FrameHeader.time_key

    @property
    def keys(self) -> tuple[Hashable, ...]:
        return self.kinds + self.times


def split_stacks(stored: Iterable[StoredHeader]) -> list[FrameStack]:
    """Stacks of the images among `stored` (one series or many), in an order that does not depend on the order of `stored`.

    Planes without position or orientation make up stacks without positions. Planes that share a position and that nothing tells apart
    stay together; `spacing_problem` then says SEVERAL_IMAGES_PER_POSITION.
    """
    planes = sorted((Plane(s, f) for s in stored if s.header.kind == "image" for f in s.header.frames), key=lambda p: p.key)
    stacks: list[FrameStack] = []
    for alike in _partition(planes, [_fixed_key(p) for p in planes]):
        if alike[0].frame.image_position is None or alike[0].frame.image_orientation is None:
            stacks.append(FrameStack(tuple(alike), ()))
            continue
        for parallel in _partition(alike, _geometry_labels(alike)):
            for side_by_side in _split_sideways(_place(parallel)):
                stacks += _stacks_of(side_by_side)
    return sorted(stacks, key=lambda s: (s.series_instance_uid, s.planes[0].key))


def spacing_problem(stack: FrameStack) -> ReasonCode | None:
    """Why the stack is no gap-free volume, judged by positions alone: None, or
    NO_GEOMETRY, SEVERAL_IMAGES_PER_POSITION, SINGLE_SLICE, MISSING_SLICE (gaps are multiples of the spacing) or UNEVEN_SPACING.
    """
    if not stack.positions_mm:
        return ReasonCode.NO_GEOMETRY
    return _step_problem(stack.positions_mm)


def gap_free(stack: FrameStack) -> bool:
    """True where at least two planes lie at even distances along the normal, each position once."""
    return spacing_problem(stack) is None


def unit_normal(orientation: Sequence[float]) -> Floats:
    """Unit vector (LPS) across the plane of the row and column cosines (PS3.3 C.7.6.2.1.1)."""
    normal = np.cross(orientation[:3], orientation[3:])
    length = float(np.linalg.norm(normal))
    return np.asarray(normal / length if length else normal, np.float64)


def _step_problem(positions_mm: Sequence[float]) -> ReasonCode | None:
    if len(positions_mm) == 1:
        return ReasonCode.SINGLE_SLICE
    gaps = np.diff(np.asarray(positions_mm))
    if float(gaps.min()) <= POSITION_TOLERANCE_MM:
        return ReasonCode.SEVERAL_IMAGES_PER_POSITION
    steps = gaps / gaps.min()
    if float(steps.max()) <= 1 + SPACING_TOLERANCE:
        return None
    missing = bool(np.all(np.abs(steps - np.round(steps)) <= SPACING_TOLERANCE * np.round(steps)))
    return ReasonCode.MISSING_SLICE if missing else ReasonCode.UNEVEN_SPACING


def _partition(items: Sequence[_Item], labels: Sequence[Hashable]) -> list[list[_Item]]:
    parts: dict[Hashable, list[_Item]] = defaultdict(list)
    for item, label in zip(items, labels, strict=True):
        parts[label].append(item)
    return list(parts.values())


def _fixed_key(plane: Plane) -> Hashable:
    header, frame = plane.stored.header, plane.frame
    has_geometry = frame.image_position is not None and frame.image_orientation is not None
    frame_type = tuple(value.upper() for value in frame.frame_type or header.image_type)
    return header.series_instance_uid, header.frame_of_reference_uid or "", header.rows, header.columns, frame_type, has_geometry


def _labels_within(values: Floats, tolerance: npt.ArrayLike) -> list[int]:
    """A number per row of `values` (n, k): rows within `tolerance` of the first row of a number share it."""
    firsts: list[Floats] = []
    labels = []
    for row in values:
        near = next((i for i, first in enumerate(firsts) if bool(np.all(np.abs(row - first) <= tolerance))), len(firsts))
        if near == len(firsts):
            firsts.append(row)
        labels.append(near)
    return labels


def _geometry_labels(planes: Sequence[Plane]) -> list[int]:
    values = [(*(p.frame.image_orientation or ()), *(p.frame.pixel_spacing or (0.0, 0.0))) for p in planes]
    return _labels_within(np.asarray(values, float), [ORIENTATION_TOLERANCE] * 6 + [PIXEL_SPACING_TOLERANCE] * 2)


def _place(planes: Sequence[Plane]) -> list[_Placed]:
    """Parallel planes, sorted along their common normal."""
    normal = unit_normal(planes[0].frame.image_orientation or ())
    heights = [float(np.dot(normal, p.frame.image_position or ())) for p in planes]
    order = sorted(range(len(planes)), key=lambda i: (heights[i], planes[i].key))
    echo_labels = _labels_within(np.asarray([[p.frame.echo_time or 0.0] for p in planes]), ECHO_TOLERANCE_MS)
    extra_length, time_length = (max(map(len, keys)) for keys in zip(*((p.frame.extra_key, p.frame.time_key) for p in planes), strict=True))
    placed: list[_Placed] = []
    position, first = 0, heights[order[0]]
    for i in order:
        if heights[i] - first > POSITION_TOLERANCE_MM:
            position, first = position + 1, heights[i]
        frame = planes[i].frame
        kinds = (echo_labels[i], *_padded(frame.extra_key, extra_length))
        placed.append(_Placed(planes[i], heights[i], position, kinds, _padded(frame.time_key, time_length)))
    return placed


def _padded(values: tuple[str, ...], length: int) -> tuple[str, ...]:
    return values + ("",) * (length - len(values))


def _split_sideways(group: list[_Placed]) -> list[list[_Placed]]:
    """Two stations of one orientation side by side are two stacks: they share positions along the normal, but not in the plane."""
    if not _repeats(group):
        return [group]
    normal = unit_normal(group[0].plane.frame.image_orientation or ())
    corners = np.asarray([p.plane.frame.image_position for p in group], float)
    lateral = corners - np.outer(corners @ normal, normal)
    parts = _partition(group, _labels_within(lateral, [_SIDEWAYS_MM] * 3))
    return parts if _tells_apart(parts) else [group]


def _stacks_of(group: list[_Placed]) -> list[FrameStack]:
    parts = _separate(group)
    positions = {p.position for p in group}
    stacks = []
    for part in parts:
        ordered = sorted(part, key=lambda p: (p.height_mm, p.plane.key))
        lacks = {p.position for p in part} != positions and _repeats(group)
        stacks.append(FrameStack(tuple(p.plane for p in ordered), tuple(p.height_mm for p in ordered), lacks))
    return stacks


def _separate(group: list[_Placed]) -> list[list[_Placed]]:
    """Parts in which each position occurs once, as far as attributes, then ranks, can tell."""
    repeats = _repeats(group)
    for key in range(len(group[0].keys if repeats else group[0].kinds)):
        parts = _partition(group, [p.keys[key] for p in group])
        if _tells_apart(parts) if repeats else _are_slabs(parts):
            return [piece for part in parts for piece in _separate(part)]
    return _by_rank(group) if repeats else [group]


def _repeats(group: Sequence[_Placed]) -> bool:
    return len({p.position for p in group}) < len(group)


def _tells_apart(parts: Sequence[Sequence[_Placed]]) -> bool:
    """True where an attribute's values are the same set at every position, but for positions that are not (yet) complete.

    An attribute with a value of its own per slice has more values in all than at any one position, and tells nothing apart.
    """
    covered = [{p.position for p in part} for part in parts]
    values_at = Counter(position for positions in covered for position in positions)
    if len(parts) == 1 or max(values_at.values()) < len(parts):
        return False
    complete = sum(count == len(parts) for count in values_at.values())
    return any(len(positions) == len(values_at) for positions in covered) or 2 * complete >= len(values_at)


def _are_slabs(parts: Sequence[Sequence[_Placed]]) -> bool:
    """True where the planes are uneven together, but even in each part, one part behind the other: slabs of one orientation."""
    heights = sorted(sorted(p.height_mm for p in part) for part in parts)
    behind = all(front[-1] < back[0] for front, back in pairwise(heights))
    together = [height for part in heights for height in part]
    return len(parts) > 1 and behind and _step_problem(together) is not None and all(_step_problem(part) is None for part in heights)


def _by_rank(group: list[_Placed]) -> list[list[_Placed]]:
    """The n-th plane of every position makes the n-th stack: by a time that orders each position's planes, else by instance number.

    Positions with different numbers of planes can not be aligned without a guess and stay together.
    """
    by_position = _partition(group, [p.position for p in group])
    if len({len(planes) for planes in by_position}) > 1:
        return [group]
    for key in range(len(group[0].times) + 1):
        ordered = [sorted((_rank_key(p, key), p.plane.key, p) for p in planes) for planes in by_position]
        if all(_distinct([rank for rank, _, _ in planes]) for planes in ordered):
            return [[placed for _, _, placed in part] for part in zip(*ordered, strict=True)]
    return [group]


def _rank_key(placed: _Placed, key: int) -> str:
    """The plane's `key`-th time, or behind the last its instance and frame number; "" where unknown."""
    if key < len(placed.times):
        return placed.times[key]
    number = placed.plane.stored.header.instance_number
    return "" if number is None else f"{number:012d} {placed.plane.frame.frame_number:08d}"


def _distinct(values: Sequence[str]) -> bool:
    return "" not in values and len(set(values)) == len(values)
