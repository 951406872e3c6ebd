"""MR frames, in any order and from any maker -> one volume, or the coded reason why they are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from qcnode.case import FrameHeader, FrameRef, InstanceHeader, ReasonCode
from qcnode.errors import Rejected
from qcnode.headers import read_dataset, read_header
from qcnode.headers.elements import first_item, items, number, text
from qcnode.imaging.grid import MOST_VOXELS, Volume
from qcnode.imaging.pixels import StoredValues, decode_frame
from qcnode.imaging.planes import Plane, stack_planes

Values = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SeriesVolume:
    """A stack as a volume.

    volume: float32 (z, y, x), rescaled frame by frame; z runs along the slice normal.
    planes: the frame at each z index; of identical planes at one position the one with the lowest SOP Instance UID.
    frame_of_reference_uid: None where no file names one.
    monochrome1: the values are meant to be shown inverted; they are not inverted here.
    """

    volume: Volume
    planes: tuple[FrameRef, ...]
    frame_of_reference_uid: str | None
    modality: str
    monochrome1: bool


def read_series(frames: Sequence[FrameRef]) -> SeriesVolume:
    """The volume that `frames` make up, in any order.

    Raises Rejected with NOT_MR, MOSAIC, NO_GEOMETRY, SEVERAL_ORIENTATIONS, SINGLE_SLICE, SEVERAL_IMAGES_PER_POSITION, MISSING_SLICE,
    UNEVEN_SPACING, DIFFERING_MATRIX, FRAME_OF_REFERENCE_DIFFERS, TOO_LARGE or SERIES_UNREADABLE.
    """
    refs = sorted(set(frames), key=lambda ref: (ref.sop_instance_uid, ref.frame_number, ref.path))
    if not refs:
        raise Rejected(ReasonCode.SERIES_UNREADABLE, "the stack has no frames")
    headers = {path: read_header(path) for path in dict.fromkeys(ref.path for ref in refs)}
    for header in headers.values():
        _check_is_mr(header)
    planes = [_plane(headers[ref.path], ref.frame_number) for ref in refs]
    stack = stack_planes(planes)
    if stack.grid.voxels > MOST_VOXELS:
        raise Rejected(ReasonCode.TOO_LARGE, f"the images make up {stack.grid.voxels} voxels, more than {MOST_VOXELS}")
    for group in stack.groups:
        _check_same_kind([planes[index].header for index in group])
    slice_of = {index: z for z, group in enumerate(stack.groups) for index in group}
    array, monochrome1 = _read_values(refs, slice_of, stack.grid.size)
    first = headers[refs[0].path]
    return SeriesVolume(
        volume=Volume(array, stack.grid),
        planes=tuple(refs[min(group)] for group in stack.groups),
        frame_of_reference_uid=_frame_of_reference(list(headers.values())),
        modality=first.modality,
        monochrome1=monochrome1,
    )


def _check_is_mr(header: InstanceHeader) -> None:
    if header.kind != "image":
        raise Rejected(ReasonCode.NOT_MR, "the object is not an MR image")
    if "MOSAIC" in header.image_type:
        raise Rejected(ReasonCode.MOSAIC, "the slices are tiled in one picture (mosaic)")


def _plane(header: InstanceHeader, frame_number: int) -> Plane:
    if not 1 <= frame_number <= len(header.frames):
        raise Rejected(ReasonCode.SERIES_UNREADABLE, f"there is no frame {frame_number}")
    return Plane(header.frames[frame_number - 1], header.rows, header.columns)


def _check_same_kind(headers: Sequence[FrameHeader]) -> None:
    """Planes at one position are only a repetition where nothing but their UID and number differs."""
    traits: dict[str, set[object]] = {
        "image type": {header.frame_type for header in headers},
        "echo time": {header.echo_time for header in headers},
        "time": {header.time_key for header in headers},
        "contrast or stack": {header.extra_key for header in headers},
    }
    differing = [name for name, values in traits.items() if len(values) > 1]
    if differing:
        differences = f"{len(headers)} images at one position, which differ in {', '.join(differing)}"
        raise Rejected(ReasonCode.SEVERAL_IMAGES_PER_POSITION, differences)


def _read_values(refs: Sequence[FrameRef], slice_of: dict[int, int], size: tuple[int, int, int]) -> tuple[Values, bool]:
    """Rescaled values (z, y, x), each file opened once; repeated planes must hold the same values."""
    array = np.zeros(size, np.float32)
    filled: set[int] = set()
    monochrome1 = False
    indices: dict[Path, list[int]] = {}
    for index, ref in enumerate(refs):
        indices.setdefault(ref.path, []).append(index)
    for path, of_file in indices.items():
        dataset = read_dataset(path)
        monochrome1 |= text(dataset, "PhotometricInterpretation") == "MONOCHROME1"
        per_frame = items(dataset, "PerFrameFunctionalGroupsSequence")
        for index in of_file:
            frame_number = refs[index].frame_number
            own = per_frame[frame_number - 1] if frame_number <= len(per_frame) else Dataset()
            z, values = slice_of[index], _rescaled(decode_frame(dataset, frame_number), *_rescale(dataset, own))
            if z in filled and not np.array_equal(array[z], values):
                raise Rejected(ReasonCode.SEVERAL_IMAGES_PER_POSITION, "several different images at one position")
            array[z] = values
            filled.add(z)
    return array, monochrome1


def _rescale(dataset: Dataset, own_groups: Dataset) -> tuple[float, float]:
    """Slope and intercept of one frame: its own, shared, or the instance's (PS3.3, C.7.6.16.2.9 and C.11.1)."""
    shared_groups = first_item(dataset, "SharedFunctionalGroupsSequence")
    own, shared = (first_item(groups, "PixelValueTransformationSequence") for groups in (own_groups, shared_groups))
    for holder in (own, shared, dataset):
        if slope := number(holder, "RescaleSlope"):
            return slope, number(holder, "RescaleIntercept") or 0.0
    return 1.0, 0.0


def _rescaled(stored: StoredValues, slope: float, intercept: float) -> Values:
    with np.errstate(over="ignore"):
        values = (stored * slope + intercept).astype(np.float32)
    if not np.isfinite(values).all():
        raise Rejected(ReasonCode.SERIES_UNREADABLE, "the rescaled values are no finite numbers")
    return values


def _frame_of_reference(headers: Sequence[InstanceHeader]) -> str | None:
    named = {header.frame_of_reference_uid for header in headers} - {None}
    if len(named) > 1:
        raise Rejected(ReasonCode.FRAME_OF_REFERENCE_DIFFERS, "the slices name different frames of reference")
    return named.pop() if named else None
