"""The same SOP Instance UID with other bytes: a routine change on the way through an archive, or another content?

Archives transcode, correct patient and study attributes, and add private elements; none of that changes what a segmentation was
drawn on. Other pixels, another geometry, rescale, frame organisation or other segments do: two objects then pretend to be one, which
PS3.3 forbids, and nobody knows which of them the query segmentation belongs to.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder

from qcnode.errors import Rejected
from qcnode.headers import read_dataset
from qcnode.headers.canonical import canonical_elements, canonical_value, is_group_length, pixel_bytes, transfer_syntax_of
from qcnode.headers.codestreams import check_matrix, encoded_frame
from qcnode.headers.elements import BROKEN_ELEMENT

Outcome = Literal["same", "routine", "conflict"]
DecodeFrame = Callable[[Dataset, int], npt.NDArray[Any]]
"""(data set, 1-based frame number) -> stored values of that frame."""

DECISIVE = (
    # what it is (SOP Common and General Series modules)
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "ImageType",
    # where it is (Frame of Reference and Image Plane modules, Multi-frame Functional Groups)
    "FrameOfReferenceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "PixelAspectRatio",
    "SpacingBetweenSlices",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "DimensionIndexSequence",
    # which of several images at one place it is (MR Image module)
    "TemporalPositionIdentifier",
    "TriggerTime",
    "NominalCardiacTriggerDelayTime",
    "EchoTime",
    "EchoNumbers",
    "InversionTime",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "StackID",
    # what its values mean (Image Pixel and Modality LUT modules)
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    # what was segmented (Segmentation Image module)
    "SegmentationType",
    "SegmentationFractionalType",
    "MaximumFractionalValue",
    "SegmentSequence",
    "ReferencedSeriesSequence",
    "SourceImageSequence",
)
"""Elements of the data set that no archive has a reason to change."""

_ROUTINE_ANYWHERE = frozenset({"FrameVOILUTSequence", "WindowCenter", "WindowWidth"})
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_UNREADABLE = (*BROKEN_ELEMENT, Rejected)


def compare(first: Path, second: Path, *, decode_frame: DecodeFrame | None = None) -> Outcome:
    """How two Part 10 files with one SOP Instance UID differ.

    "same": not at all, but for the file meta. "routine": by transfer syntax (the decoded pixels are equal), patient, study and other
    elements outside of DECISIVE. "conflict": by a decisive element or a pixel, or it can not be known because one is not readable.
    `decode_frame` decodes monochrome pixels of 8 bits or more; without it pydicom's own plugins do, which lack 12-bit and
    lossless JPEG.
    """
    try:
        one, other = read_dataset(first), read_dataset(second)
        if any(_content(one, keyword) != _content(other, keyword) for keyword in DECISIVE):
            return "conflict"
        if not _pixels_are_equal(one, other, decode_frame):
            return "conflict"
        return "same" if transfer_syntax_of(one) == transfer_syntax_of(other) and _everything(one) == _everything(other) else "routine"
    except _UNREADABLE:
        return "conflict"


def _content(dataset: Dataset, keyword: str) -> Any:
    return canonical_value(dataset[keyword], ignored=_is_routine) if keyword in dataset else None


def _everything(dataset: Dataset) -> dict[int, Any]:
    return canonical_elements(dataset, ignored=is_group_length)


def _is_routine(element: DataElement) -> bool:
    return element.tag.is_private or is_group_length(element) or element.keyword in _ROUTINE_ANYWHERE


def _pixels_are_equal(one: Dataset, other: Dataset, decode_frame: DecodeFrame | None) -> bool:
    stored = [keyword for keyword in _PIXELS if keyword in one]
    if stored != [keyword for keyword in _PIXELS if keyword in other]:
        return False
    if not stored:
        return True
    if _described_alike(one, other) and all(pixel_bytes(one, keyword) == pixel_bytes(other, keyword) for keyword in stored):
        return True
    monochrome = one.SamplesPerPixel == 1 and min(one.BitsAllocated, other.BitsAllocated) >= 8
    decode = decode_frame if decode_frame is not None and stored == ["PixelData"] and monochrome else _decode_with_pydicom
    frame_numbers = range(1, int(one.get("NumberOfFrames") or 1) + 1)
    return all(np.array_equal(decode(one, number), decode(other, number)) for number in frame_numbers)


def _described_alike(one: Dataset, other: Dataset) -> bool:
    """Equal bytes are equal values only when they are to be read alike."""
    keywords = ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PhotometricInterpretation", "PlanarConfiguration")
    return all(one.get(keyword) == other.get(keyword) for keyword in keywords)


def _decode_with_pydicom(dataset: Dataset, frame_number: int) -> npt.NDArray[Any]:
    syntax = transfer_syntax_of(dataset)
    check_matrix(dataset.Rows, dataset.Columns)
    if syntax.is_encapsulated:
        encoded_frame(dataset, frame_number - 1, syntax)  # raises where its matrix is not the data set's
    values, _ = get_decoder(syntax).as_array(dataset, index=frame_number - 1)
    return values
