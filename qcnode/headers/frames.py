"""The image planes that one DICOM object holds, from its header.

Geometry and frame attributes of classic MR (PS3.3, C.8.3), Enhanced MR (C.8.13, shared and per-frame functional groups, C.7.6.16) and
Segmentation (C.8.20) end in the same FrameHeader.

`FrameHeader.time_key` and `extra_key` hold one string per name in TIME_KEY and EXTRA_KEY, in this order, "" where the object does not
say. Numbers are written so that strings sort as the numbers do. Which of them changes between planes at one position, and which
changes along the slices of one stack (acquisition times may), differs by maker: whoever groups planes compares component by component.
Where nothing differs (GE EPI), InstanceHeader.instance_number is all that tells the time points apart.
"""

from __future__ import annotations

from pydicom.dataset import Dataset

from qcnode.case import FrameHeader, ReasonCode
from qcnode.errors import Rejected
from qcnode.headers.elements import first_item, integer, items, number, text, texts, vector

TIME_KEY = ("temporal_position", "trigger_delay", "acquisition_number", "acquisition_time")
EXTRA_KEY = ("stack", "complex_component", "echo_number", "b_value", "gradient_direction", "inversion_time", "flip_angle")

MOST_FRAMES = 10_000
"""Frames with functional groups of their own: each takes half a millisecond to read."""

_MOST_BARE_FRAMES = 1000  # of an object without functional groups: nothing confirms NumberOfFrames, and no geometry is lost

Vector3 = tuple[float, float, float]


def read_frames(dataset: Dataset) -> tuple[FrameHeader, ...]:
    """Every plane of the object, in stored order; () for what has no pixels. Bad values are absent.

    Raises Rejected(TOO_LARGE) for more than MOST_FRAMES.
    """
    per_frame = items(dataset, "PerFrameFunctionalGroupsSequence")
    shared = first_item(dataset, "SharedFunctionalGroupsSequence")
    if len(per_frame) > MOST_FRAMES:
        raise Rejected(ReasonCode.TOO_LARGE, f"the object holds {len(per_frame)} frames, more than {MOST_FRAMES}")
    if per_frame:
        return tuple(_functional_frame(i, own, shared) for i, own in enumerate(per_frame, start=1))
    if not integer(dataset, "Rows"):
        return ()
    count = integer(dataset, "NumberOfFrames")
    if count is None:
        return (_classic_frame(dataset),)
    # A multi-frame object without functional groups has no geometry per frame.
    return tuple(FrameHeader(i, None, None, None) for i in range(1, min(max(count, 0), _MOST_BARE_FRAMES) + 1))


def _classic_frame(dataset: Dataset) -> FrameHeader:
    return FrameHeader(
        frame_number=1,
        image_position=_position(dataset),
        image_orientation=_orientation(dataset),
        pixel_spacing=_spacing(dataset),
        frame_type=texts(dataset, "ImageType"),
        echo_time=number(dataset, "EchoTime"),
        time_key=(
            _sortable(number(dataset, "TemporalPositionIdentifier")),
            _sortable(_first_number(dataset, "TriggerTime", "NominalCardiacTriggerDelayTime")),
            _sortable(number(dataset, "AcquisitionNumber")),
            text(dataset, "AcquisitionDateTime") or text(dataset, "AcquisitionDate") + text(dataset, "AcquisitionTime"),
        ),
        extra_key=(
            text(dataset, "StackID"),
            text(dataset, "ComplexImageComponent"),
            _sortable(number(dataset, "EchoNumbers")),
            _sortable(number(dataset, "DiffusionBValue")),
            _direction(vector(dataset, "DiffusionGradientOrientation", 3)),
            _sortable(number(dataset, "InversionTime")),
            _sortable(number(dataset, "FlipAngle")),
        ),
    )


def _functional_frame(frame_number: int, own: Dataset, shared: Dataset) -> FrameHeader:
    def group(keyword: str) -> Dataset:
        found = items(own, keyword)
        return found[0] if found else first_item(shared, keyword)

    content, frame_type, diffusion = group("FrameContentSequence"), group("MRImageFrameTypeSequence"), group("MRDiffusionSequence")
    temporal, timing = group("TemporalPositionSequence"), group("MRTimingAndRelatedParametersSequence")
    return FrameHeader(
        frame_number=frame_number,
        image_position=_position(group("PlanePositionSequence")),
        image_orientation=_orientation(group("PlaneOrientationSequence")),
        pixel_spacing=_spacing(group("PixelMeasuresSequence")),
        frame_type=texts(frame_type, "FrameType"),
        echo_time=number(group("MREchoSequence"), "EffectiveEchoTime"),
        time_key=(
            _sortable(_first_of(number(content, "TemporalPositionIndex"), number(temporal, "TemporalPositionTimeOffset"))),
            _sortable(number(group("CardiacSynchronizationSequence"), "NominalCardiacTriggerDelayTime")),
            _sortable(number(content, "FrameAcquisitionNumber")),
            text(content, "FrameAcquisitionDateTime"),
        ),
        extra_key=(
            text(content, "StackID"),
            text(frame_type, "ComplexImageComponent"),
            "",
            _sortable(number(diffusion, "DiffusionBValue")),
            _direction(vector(first_item(diffusion, "DiffusionGradientDirectionSequence"), "DiffusionGradientOrientation", 3)),
            "\\".join(_sortable(value) for value in _inversion_times(group("MRModifierSequence"))),
            _sortable(number(timing, "FlipAngle")),
        ),
        segment_number=integer(group("SegmentIdentificationSequence"), "ReferencedSegmentNumber"),
        source_instances=_sources(own) + _sources(shared),
    )


def _inversion_times(modifier: Dataset) -> tuple[float, ...]:
    # InversionTimes has one value per inversion pulse; five are more than any sequence uses.
    for length in range(1, 6):
        if (times := vector(modifier, "InversionTimes", length)) is not None:
            return times
    return ()


def _position(dataset: Dataset) -> Vector3 | None:
    values = vector(dataset, "ImagePositionPatient", 3)
    return None if values is None else (values[0], values[1], values[2])


def _orientation(dataset: Dataset) -> tuple[float, float, float, float, float, float] | None:
    v = vector(dataset, "ImageOrientationPatient", 6)
    return None if v is None else (v[0], v[1], v[2], v[3], v[4], v[5])


def _spacing(dataset: Dataset) -> tuple[float, float] | None:
    values = vector(dataset, "PixelSpacing", 2)
    return None if values is None or min(values) <= 0 else (values[0], values[1])


def _sortable(value: float | None) -> str:
    return "" if value is None else f"{value:018.6f}"


def _direction(values: tuple[float, ...] | None) -> str:
    return "" if values is None else "\\".join(f"{value:.4f}" for value in values)


def _first_of(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _first_number(dataset: Dataset, *keywords: str) -> float | None:
    return _first_of(*(number(dataset, keyword) for keyword in keywords))


def _sources(functional_groups: Dataset) -> tuple[tuple[str, int | None], ...]:
    """Source images of one frame (Derivation Image macro, PS3.3 C.7.6.16.2.6); one entry per referenced frame."""
    found: list[tuple[str, int | None]] = []
    for derivation in items(functional_groups, "DerivationImageSequence"):
        for source in items(derivation, "SourceImageSequence"):
            uid = text(source, "ReferencedSOPInstanceUID")
            frame_numbers = [int(value) for value in texts(source, "ReferencedFrameNumber") if value.isdecimal()]
            if uid:
                found += [(uid, frame_number) for frame_number in frame_numbers] or [(uid, None)]
    return tuple(found)
