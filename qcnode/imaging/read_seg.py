"""DICOM Segmentation -> one boolean volume per segment on the grid of the images (PS3.3, A.51 and C.8.20).

Each frame goes where its own position and orientation say, never where its order suggests. Frames whose voxels are voxels of the image
grid are copied, along whatever axes they run; any other geometry is rebuilt as a grid of its own and resampled with nearest neighbour.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from qcnode.case import InstanceHeader, ReasonCode
from qcnode.errors import Rejected
from qcnode.headers import LABEL_MAP_SEGMENTATION_CLASS, SEGMENTATION_CLASS, header_of, read_dataset
from qcnode.headers.codestreams import check_matrix
from qcnode.headers.elements import first_item, integer, items, number
from qcnode.imaging.grid import MOST_VOXELS, Grid, resample
from qcnode.imaging.pixels import decode_frame, is_native, native_bytes
from qcnode.imaging.planes import Plane, are_multiples, axes_of, check_in_line, common_axes, group_positions, positions_of, triple

Segmented = npt.NDArray[np.bool_]

_SAME_VOXEL = 0.05  # voxels that a frame's voxel centre may lie off the image's
_MOST_SLICES = 4096
_MOST_SEGMENTED_VOXELS = 2**29  # of all segments together: three on the largest volume that is read, and some
_FAR_APART = 2.5  # slice thicknesses


@dataclass(frozen=True, slots=True)
class QuerySegmentation:
    """A SEG on an image grid.

    masks: bool (segment, z, y, x); segments may overlap.
    segment_numbers: one per entry of the first axis, in the order of the Segment Sequence.
    resampled: True where the SEG's voxels are not the grid's, so that nearest neighbours were taken.
    outside_voxels: segmented voxels (of the SEG's own) that lie outside of the grid and are lost.
    """

    masks: Segmented
    segment_numbers: tuple[int, ...]
    resampled: bool
    outside_voxels: int
    frame_of_reference_uid: str | None


@dataclass(frozen=True, slots=True)
class _SegmentFrame:
    """A frame with tissue in it: `segment` is an index into the segment numbers, `pixels` bool (rows, columns)."""

    segment: int
    plane: Plane
    pixels: Segmented


def read_segmentation(path: Path, grid: Grid, *, segment_numbers: Collection[int] | None = None) -> QuerySegmentation:
    """The segments of the SEG at `path` on `grid`; only `segment_numbers` of them where given.

    Raises Rejected with SEG_UNREADABLE (no SEG, bad pixels, unknown segments), SEG_GEOMETRY (frames without a usable place), TOO_LARGE or
    LABELMAP_NOT_SUPPORTED.
    """
    try:
        dataset = read_dataset(path)
        header = header_of(dataset)
    except Rejected as error:
        unreadable = error.reason.code is not ReasonCode.TOO_LARGE
        raise Rejected(ReasonCode.SEG_UNREADABLE if unreadable else ReasonCode.TOO_LARGE, error.reason.text) from None
    _check_is_segmentation(header)
    wanted = tuple(s.segment_number for s in header.segments if segment_numbers is None or s.segment_number in segment_numbers)
    masks = _empty(len(wanted), grid)
    outside = _copy_frames(_frames_with_tissue(dataset, header, wanted), grid, masks)
    resampled = outside is None
    if outside is None:
        own = _own_grid(dataset, [frame.plane for frame in _frames_with_tissue(dataset, header, wanted)])
        own_masks = _empty(len(wanted), own)
        if _copy_frames(_frames_with_tissue(dataset, header, wanted), own, own_masks) is None:
            raise Rejected(ReasonCode.SEG_GEOMETRY, "the slices of the SEG are unevenly spaced")
        outside = _resample(own_masks, own, grid, masks)
    return QuerySegmentation(masks, wanted, resampled, outside, header.frame_of_reference_uid)


def _empty(segments: int, grid: Grid) -> Segmented:
    if grid.voxels > MOST_VOXELS or segments * grid.voxels > _MOST_SEGMENTED_VOXELS:
        raise Rejected(ReasonCode.TOO_LARGE, f"{segments} segments of {grid.voxels} voxels are more than is read")
    return np.zeros((segments, *grid.size), np.bool_)


def _check_is_segmentation(header: InstanceHeader) -> None:
    if header.sop_class_uid == LABEL_MAP_SEGMENTATION_CLASS or header.segmentation_type == "LABELMAP":
        raise Rejected(ReasonCode.LABELMAP_NOT_SUPPORTED, "label map segmentations are not yet judged")
    if header.sop_class_uid != SEGMENTATION_CLASS:
        raise Rejected(ReasonCode.SEG_UNREADABLE, "the object is no segmentation")
    if header.segmentation_type not in ("BINARY", "FRACTIONAL"):
        raise Rejected(ReasonCode.SEG_UNREADABLE, "the segmentation is neither BINARY nor FRACTIONAL")
    numbers = [segment.segment_number for segment in header.segments]
    if not numbers or len(set(numbers)) != len(numbers):
        raise Rejected(ReasonCode.SEG_UNREADABLE, "the segments are missing or not numbered uniquely")


def _frames_with_tissue(dataset: Dataset, header: InstanceHeader, wanted: tuple[int, ...]) -> Iterator[_SegmentFrame]:
    """Frames of the wanted segments that are not empty; one at a time, because all of them together may be large."""
    stated = integer(dataset, "NumberOfFrames")
    per_frame = len(items(dataset, "PerFrameFunctionalGroupsSequence"))
    if not stated and not per_frame:
        return
    if stated != per_frame:
        raise Rejected(ReasonCode.SEG_UNREADABLE, f"{stated} frames are stated and {per_frame} described")
    known = {segment.segment_number for segment in header.segments}
    for frame in header.frames:
        if frame.segment_number not in known:
            raise Rejected(ReasonCode.SEG_UNREADABLE, f"frame {frame.frame_number} belongs to no segment of the segment sequence")
        if frame.segment_number not in wanted:
            continue
        pixels = _segmented_pixels(dataset, header, frame.frame_number)
        if pixels.any():
            yield _SegmentFrame(wanted.index(frame.segment_number), Plane(frame, header.rows, header.columns), pixels)


def _segmented_pixels(dataset: Dataset, header: InstanceHeader, frame_number: int) -> Segmented:
    """Tissue of one frame, bool (rows, columns); FRACTIONAL counts from half of the maximum value."""
    if integer(dataset, "BitsAllocated") == 1:
        return _packed_pixels(dataset, header, frame_number)
    values = decode_frame(dataset, frame_number, code=ReasonCode.SEG_UNREADABLE)
    if header.segmentation_type == "BINARY":
        return values > 0
    maximum = number(dataset, "MaximumFractionalValue")
    if maximum is None or maximum <= 0:
        raise Rejected(ReasonCode.SEG_UNREADABLE, "the fractional segmentation has no maximum value")
    return values >= 0.5 * maximum


def _packed_pixels(dataset: Dataset, header: InstanceHeader, frame_number: int) -> Segmented:
    """One bit per pixel, first pixel in the lowest bit, frames following one another without padding (PS3.5, 8.1.1 and annex D)."""
    if not is_native(dataset):
        raise Rejected(ReasonCode.SEG_UNREADABLE, "one-bit pixels are compressed: no decoder reads them reliably")
    check_matrix(header.rows, header.columns)
    size = header.rows * header.columns
    packed = native_bytes(dataset)
    first = (frame_number - 1) * size
    last = first + size
    if size == 0 or 8 * len(packed) < last:
        raise Rejected(ReasonCode.SEG_UNREADABLE, "the pixel data are missing or truncated")
    covering = np.frombuffer(packed[first // 8 : (last + 7) // 8], np.uint8)
    bits = np.unpackbits(covering, bitorder="little")[first % 8 : first % 8 + size]
    return bits.reshape(header.rows, header.columns).astype(np.bool_)


def _place_on(grid: Grid, plane: Plane) -> npt.NDArray[np.int64] | None:
    """Integer grid index (z, y, x) of the frame's first voxel and steps per row and per column, (3, 3); None where voxels differ."""
    corner, row_step, column_step = _frame_vectors(plane)
    exact = grid.index_of(np.stack([corner, corner + row_step, corner + column_step]))
    exact[1:] -= exact[0]
    place = np.rint(exact).astype(np.int64)
    reach = np.array([[1.0], [plane.rows - 1], [plane.columns - 1]])
    if np.abs((exact - place) * reach).sum(axis=0).max() > _SAME_VOXEL:
        return None
    steps = np.abs(place[1:])
    return place if (steps.sum(axis=1) == 1).all() and (steps.sum(axis=0) <= 1).all() else None


def _frame_vectors(plane: Plane) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """LPS position of the first voxel, and the steps in mm from one row and from one column to the next."""
    try:
        axes = axes_of(plane.header)
    except Rejected as error:
        raise Rejected(ReasonCode.SEG_GEOMETRY, error.reason.text) from error
    spacing = plane.header.pixel_spacing or (0.0, 0.0)  # axes_of has refused its absence
    return np.asarray(plane.header.image_position, float), axes[1] * spacing[0], axes[2] * spacing[1]


def _copy_frames(frames: Iterable[_SegmentFrame], grid: Grid, masks: Segmented) -> int | None:
    """Marks the frames' tissue in `masks` (segment, z, y, x on `grid`).

    Returns how many voxels lie outside, or None as soon as a frame's voxels are not voxels of `grid`.
    """
    outside = 0
    for frame in frames:
        place = _place_on(grid, frame.plane)
        if place is None:
            return None
        voxels = place[0] + np.argwhere(frame.pixels) @ place[1:]
        inside = ((voxels >= 0) & (voxels < grid.size)).all(axis=1)
        z, y, x = voxels[inside].T
        masks[frame.segment, z, y, x] = True
        outside += int((~inside).sum())
    return outside


def _resample(own_masks: Segmented, own: Grid, grid: Grid, masks: Segmented) -> int:
    """Fills `masks` on `grid` with the nearest voxels of `own_masks`; returns how many of these lie outside of `grid`."""
    outside = 0
    for segment, own_volume in enumerate(own_masks):
        masks[segment] = resample(own_volume, own, grid, nearest=True)
        index = grid.index_of(np.argwhere(own_volume) @ own.affine[:3, :3].T + own.affine[:3, 3])
        outside += int((((index < -0.5) | (index > np.asarray(grid.size) - 0.5)).any(axis=1)).sum())
    return outside


def _own_grid(dataset: Dataset, planes: Sequence[Plane]) -> Grid:
    """The regular grid of the SEG's frames; slices without tissue may be absent. Raises Rejected(SEG_GEOMETRY)."""
    try:
        axes = common_axes(planes)
        positions = positions_of(planes)
        spacing = planes[0].header.pixel_spacing or (0.0, 0.0)
        check_in_line(positions, axes, min(spacing))
    except Rejected as error:
        raise Rejected(ReasonCode.SEG_GEOMETRY, f"the frames make no volume: {error.reason.text}") from error
    heights = positions @ axes[0]
    levels = np.array([heights[group[0]] for group in group_positions(heights)])
    slice_spacing = _slice_spacing(dataset, np.diff(levels))
    slices = round(float(levels[-1] - levels[0]) / slice_spacing) + 1
    if slices > _MOST_SLICES:
        raise Rejected(ReasonCode.SEG_GEOMETRY, "the frames lie too far apart for their slice spacing")
    return Grid(
        size=(slices, planes[0].rows, planes[0].columns),
        spacing=(slice_spacing, *spacing),
        origin=triple(positions[int(np.argmin(heights))]),
        direction=(triple(axes[0]), triple(axes[1]), triple(axes[2])),
    )


def _slice_spacing(dataset: Dataset, gaps: npt.NDArray[np.float64]) -> float:
    """Spacing in mm that explains every gap between frames: the stated one if it does, else the smallest gap, else the thickness."""
    shared = first_item(first_item(dataset, "SharedFunctionalGroupsSequence"), "PixelMeasuresSequence")
    own = first_item(first_item(dataset, "PerFrameFunctionalGroupsSequence"), "PixelMeasuresSequence")
    stated = number(shared, "SpacingBetweenSlices") or number(own, "SpacingBetweenSlices")
    thickness = number(shared, "SliceThickness") or number(own, "SliceThickness")
    smallest = float(gaps.min()) if gaps.size else None
    # Tissue in slices far apart (two small lesions) must not become slabs as thick as the gap.
    far_apart = smallest is not None and thickness is not None and smallest > _FAR_APART * thickness
    for spacing in (stated, thickness, smallest) if far_apart else (stated, smallest, thickness):
        if spacing is not None and spacing > 0 and are_multiples(gaps, spacing):
            return spacing
    raise Rejected(ReasonCode.SEG_GEOMETRY, "the slices of the SEG are unevenly spaced or have no spacing")
