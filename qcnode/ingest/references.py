"""From what a SEG names (frames, instances, series, frame of reference) to the stacks of the study that it was drawn on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from qcnode.case import FrameHeader, InstanceHeader, StoredHeader
from qcnode.ingest.stacks import POSITION_TOLERANCE_MM, FrameStack, Plane, split_stacks, unit_normal

_PARALLEL = 1e-3  # largest distance of two unit normals that count as parallel
_IN_PLANE_MM = 1.0  # a SEG's plane may stick out of the images by this much
_MR_IMAGE_CLASSES = "1.2.840.10008.5.1.4.1.1.4"  # MR Image; Enhanced and Legacy Converted MR begin with it and a dot


class Study:
    """The objects of one study that are at hand, one per SOP Instance UID; the stacks of a series are made when first asked for."""

    def __init__(self, stored: Iterable[StoredHeader]) -> None:
        self.objects: dict[str, StoredHeader] = {}
        self.series: dict[str, list[StoredHeader]] = defaultdict(list)
        self._plane_keys: set[tuple[str, int]] = set()
        self._stacks: dict[str, list[FrameStack]] = {}
        ordered = sorted(stored, key=lambda s: (s.header.sop_instance_uid, s.sha256, str(s.path)))
        conflicting = {s.header.sop_instance_uid for s in ordered if s.conflicting}
        for s in ordered:
            uid = s.header.sop_instance_uid
            if uid not in self.objects:
                kept = StoredHeader(s.header, s.path, s.sha256, uid in conflicting)
                self.objects[uid] = kept
                self._plane_keys |= {(uid, frame.frame_number) for frame in s.header.frames}
                self.series[s.header.series_instance_uid].append(kept)

    def stacks(self, series_instance_uid: str) -> list[FrameStack]:
        """The stacks of a series; [] where no image of it is at hand."""
        if series_instance_uid not in self._stacks:
            self._stacks[series_instance_uid] = split_stacks(self.series.get(series_instance_uid, ()))
        return self._stacks[series_instance_uid]

    def all_stacks(self) -> list[FrameStack]:
        """The stacks of every MR series at hand."""
        return [stack for series_instance_uid in sorted(self.series) for stack in self.stacks(series_instance_uid)]

    def holds(self, plane_key: tuple[str, int]) -> bool:
        """True where the frame (SOP Instance UID, frame number) is at hand."""
        return plane_key in self._plane_keys


@dataclass(frozen=True, slots=True)
class Located:
    """What a SEG's references lead to.

    stacks: every stack that holds something it references. missing: referenced instances or series that are not at hand.
    not_mr: it was drawn on something else than MR. no_planes: referenced images are at hand, but without a single plane.
    """

    stacks: tuple[FrameStack, ...] = ()
    missing: int = 0
    not_mr: bool = False
    no_planes: bool = False


def locate(query: InstanceHeader, study: Study) -> Located:
    """Follow a SEG's references, the most specific first: the frames' source images (PS3.3 C.7.6.16.2.6), then every referenced
    instance, then the referenced series, then the frame of reference.

    Some tools list a whole cine series as referenced and name the one phase in the frames only: the frames decide.
    Whatever is referenced anywhere must be at hand before nothing is missing.
    """
    sources = {source for frame in query.frames for source in frame.source_instances}
    instances = {uid for uid, _ in sources} | set(query.referenced_instances)
    if instances:
        # A frame may name what it was derived from (another SEG, say) instead of an image.
        of_images = {(uid, number) for uid, number in sources if uid not in study.objects or study.objects[uid].header.kind == "image"}
        return _by_instances(of_images or {(uid, None) for uid in instances}, instances, study)
    if query.referenced_series:
        return _by_series(query, study)
    return _by_frame_of_reference(query, study)


def drawn_on_other_classes(query: InstanceHeader) -> bool:
    """True where the SEG says that none of the objects it references is MR."""
    classes = query.referenced_sop_classes
    return bool(classes) and not any(c == _MR_IMAGE_CLASSES or c.startswith(_MR_IMAGE_CLASSES + ".") for c in classes)


def _by_instances(sources: set[tuple[str, int | None]], instances: set[str], study: Study) -> Located:
    missing = sum(uid not in study.objects for uid in instances)
    found = [study.objects[uid] for uid in sorted({uid for uid, _ in sources}) if uid in study.objects]
    images = [stored for stored in found if stored.header.kind == "image"]
    stacks = tuple(
        stack
        for series_instance_uid in sorted({stored.header.series_instance_uid for stored in images})
        for stack in study.stacks(series_instance_uid)
        if any(plane.key in sources or (plane.key[0], None) in sources for plane in stack.planes)
    )
    absent_frames = sum(1 for uid, number in sources if number is not None and uid in study.objects and not study.holds((uid, number)))
    return Located(stacks, missing + absent_frames, bool(found) and not images, bool(images) and not stacks)


def _by_series(query: InstanceHeader, study: Study) -> Located:
    found = [stored for uid in query.referenced_series for stored in study.series.get(uid, ())]
    images = [stored for stored in found if stored.header.kind == "image"]
    stacks = tuple(stack for uid in sorted(set(query.referenced_series)) for stack in study.stacks(uid))
    missing = sum(uid not in study.series for uid in set(query.referenced_series))
    return Located(stacks, missing, bool(found) and not images, bool(images) and not stacks)


def _by_frame_of_reference(query: InstanceHeader, study: Study) -> Located:
    uid = query.frame_of_reference_uid
    if uid is None:
        return Located(missing=1)
    volumes = [s for s in study.all_stacks() if s.frame_of_reference_uid == uid and _height_mm(s) > POSITION_TOLERANCE_MM]
    holding = tuple(s for s in volumes if all(_holds_plane(s, frame, query) for frame in query.frames))
    return Located(holding, missing=0 if holding else 1)


def _height_mm(stack: FrameStack) -> float:
    return stack.positions_mm[-1] - stack.positions_mm[0] if stack.positions_mm else 0.0


def _holds_plane(stack: FrameStack, frame: FrameHeader, query: InstanceHeader) -> bool:
    """True where a SEG's plane is parallel to the stack's and lies within it: half a spacing before the first plane to half behind the
    last, all four corners on the images.
    """
    first = stack.planes[0]
    if frame.image_position is None or frame.image_orientation is None or first.frame.pixel_spacing is None:
        return False
    normal = unit_normal(first.frame.image_orientation or ())
    other = unit_normal(frame.image_orientation)
    if min(float(np.linalg.norm(normal - other)), float(np.linalg.norm(normal + other))) > _PARALLEL:
        return False
    step = _height_mm(stack) / (len(set(stack.positions_mm)) - 1)
    height = float(normal @ np.asarray(frame.image_position))
    if not stack.positions_mm[0] - step / 2 <= height <= stack.positions_mm[-1] + step / 2:
        return False
    return _covers(first, frame, query)


def _covers(plane: Plane, frame: FrameHeader, query: InstanceHeader) -> bool:
    orientation = np.asarray(plane.frame.image_orientation, float)
    row, column = orientation[:3], orientation[3:]
    between_rows, between_columns = plane.frame.pixel_spacing or (1.0, 1.0)
    header = plane.stored.header
    ends = np.array([(header.columns - 0.5) * between_columns, (header.rows - 0.5) * between_rows]) + _IN_PLANE_MM
    starts = -0.5 * np.array([between_columns, between_rows]) - _IN_PLANE_MM
    for corner in _corners(frame, query):
        offset = corner - np.asarray(plane.frame.image_position)
        across = np.array([offset @ row, offset @ column])
        if np.any(across < starts) or np.any(across > ends):
            return False
    return True


def _corners(frame: FrameHeader, query: InstanceHeader) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Centres of the SEG plane's corner pixels, LPS mm, (4, 3)."""
    orientation = np.asarray(frame.image_orientation, float)
    between_rows, between_columns = frame.pixel_spacing or (0.0, 0.0)
    right = orientation[:3] * between_columns * (query.columns - 1)
    down = orientation[3:] * between_rows * (query.rows - 1)
    origin = np.asarray(frame.image_position, float)
    return np.stack([origin, origin + right, origin + down, origin + right + down])
