"""What a stored object says of itself: any DICOM file -> InstanceHeader, without its pixels.

Nothing here judges whether planes fit together, and nothing here raises on a bad value: it is absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from qcnode.case import FrameHeader, InstanceHeader, ReasonCode, SegmentHeader
from qcnode.errors import Rejected
from qcnode.headers.elements import BROKEN_ELEMENT, all_codes, code, first_item, integer, items, text, texts
from qcnode.headers.files import OutOfBounds, read_file
from qcnode.headers.frames import read_frames

MR_IMAGE_CLASSES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.4",  # MR Image
        "1.2.840.10008.5.1.4.1.1.4.1",  # Enhanced MR Image
        "1.2.840.10008.5.1.4.1.1.4.4",  # Legacy Converted Enhanced MR Image
    }
)
SEGMENTATION_CLASS = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP_SEGMENTATION_CLASS = "1.2.840.10008.5.1.4.1.1.66.7"
_SR_CLASSES = "1.2.840.10008.5.1.4.1.1.88."  # all structured reports and the Key Object Selection Document
_SECONDARY_CAPTURE_CLASSES = "1.2.840.10008.5.1.4.1.1.7"
_QCNODE = "qcnode"
_QCNODE_SCHEME = "99QCNODE"
MOST_SEGMENTS = 1000
"""Segments of a SEG; whole-body segmenters write some hundred."""

_SR_DEPTH, _SR_ITEMS = 5, 5000  # how far an SR is searched for qcnode's concepts


def read_header(path: Path) -> InstanceHeader:
    """Header of the DICOM file at `path`.

    Raises Rejected with SERIES_UNREADABLE for what is not a DICOM file or names no SOP class or instance, with TOO_LARGE for what holds
    more than is read.
    """
    return header_of(read_dataset(path, stop_before_pixels=True))


def read_dataset(path: Path, *, stop_before_pixels: bool = False) -> Dataset:
    """The data set in the DICOM file at `path`. Raises Rejected(SERIES_UNREADABLE) where there is none, TOO_LARGE beyond headers.files."""
    try:
        return read_file(path, stop_before_pixels=stop_before_pixels)
    except OutOfBounds as error:
        raise Rejected(ReasonCode.TOO_LARGE, f"the file holds {error}") from None
    except (InvalidDicomError, *BROKEN_ELEMENT) as error:  # its text may quote the file
        raise Rejected(ReasonCode.SERIES_UNREADABLE, f"not a readable DICOM file ({type(error).__name__})") from None


def header_of(dataset: Dataset) -> InstanceHeader:
    """Header of a data set that was read, with or without its pixels. Raises as `read_header` does."""
    uids = {name: text(dataset, name) for name in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")}
    if not uids["SOPClassUID"] or not uids["SOPInstanceUID"]:
        raise Rejected(ReasonCode.SERIES_UNREADABLE, "the file names no SOP class or no SOP instance: empty or truncated")
    segments = _segments(dataset)
    kind = _kind(dataset, uids["SOPClassUID"], segments)
    frames = read_frames(dataset)
    references = _references(dataset) if segments else []
    return InstanceHeader(
        sop_class_uid=uids["SOPClassUID"],
        sop_instance_uid=uids["SOPInstanceUID"],
        study_instance_uid=uids["StudyInstanceUID"],
        series_instance_uid=uids["SeriesInstanceUID"],
        kind=kind,
        modality=text(dataset, "Modality"),
        frame_of_reference_uid=text(dataset, "FrameOfReferenceUID") or None,
        series_description=text(dataset, "SeriesDescription"),
        series_number=integer(dataset, "SeriesNumber"),
        instance_number=integer(dataset, "InstanceNumber"),
        image_type=texts(dataset, "ImageType"),
        rows=integer(dataset, "Rows") or 0,
        columns=integer(dataset, "Columns") or 0,
        contrast_agent=text(dataset, "ContrastBolusAgent") or (code(dataset, "ContrastBolusAgentSequence") or ("", "", ""))[2],
        frames=frames,
        segments=segments,
        segmentation_type=text(dataset, "SegmentationType"),
        referenced_series=_unique(text(item, "SeriesInstanceUID") for item in items(dataset, "ReferencedSeriesSequence")),
        referenced_instances=_referenced_instances(references, frames),
        referenced_sop_classes=_unique(text(reference, "ReferencedSOPClassUID") for reference in references),
        manufacturer=text(dataset, "Manufacturer"),
        device_model=text(dataset, "ManufacturerModelName"),
        software_versions="\\".join(texts(dataset, "SoftwareVersions")),
        predecessor_uids=_predecessors(dataset),
        content_datetime=_content_datetime(dataset),
    )


def _kind(dataset: Dataset, sop_class_uid: str, segments: tuple[SegmentHeader, ...]) -> str:
    if _is_qcnode_result(dataset, sop_class_uid, segments):
        return "qcnode-result"
    if sop_class_uid in MR_IMAGE_CLASSES:
        return "image"
    return {SEGMENTATION_CLASS: "seg", LABEL_MAP_SEGMENTATION_CLASS: "labelmap"}.get(sop_class_uid, "other")


def _is_qcnode_result(dataset: Dataset, sop_class_uid: str, segments: tuple[SegmentHeader, ...]) -> bool:
    is_report = sop_class_uid.startswith(_SR_CLASSES)
    is_segmentation = sop_class_uid in (SEGMENTATION_CLASS, LABEL_MAP_SEGMENTATION_CLASS)
    if not (is_report or is_segmentation or sop_class_uid.startswith(_SECONDARY_CAPTURE_CLASSES)):
        return False
    if text(dataset, "Manufacturer") == text(dataset, "ManufacturerModelName") == _QCNODE:
        return True
    if any(segment.property_type is not None and segment.property_type[1] == _QCNODE_SCHEME for segment in segments):
        return True
    return is_report and _holds_qcnode_concept(dataset)


def _holds_qcnode_concept(dataset: Dataset) -> bool:
    """Breadth first through the content tree (PS3.3, C.17.3), as far as a TID 1500 report of qcnode has its concepts."""
    level, seen = [dataset], 0
    for _ in range(_SR_DEPTH):
        following: list[Dataset] = []
        for node in level:
            for keyword in ("ConceptNameCodeSequence", "ConceptCodeSequence"):
                if any(scheme == _QCNODE_SCHEME for _, scheme, _ in all_codes(node, keyword)):
                    return True
            following += items(node, "ContentSequence")
        seen += len(following)
        if not following or seen > _SR_ITEMS:
            return False
        level = following
    return False


def _segments(dataset: Dataset) -> tuple[SegmentHeader, ...]:
    found = []
    described = items(dataset, "SegmentSequence")
    if len(described) > MOST_SEGMENTS:
        raise Rejected(ReasonCode.TOO_LARGE, f"the object describes {len(described)} segments, more than {MOST_SEGMENTS}")
    for item in described:
        segment_number = integer(item, "SegmentNumber")
        if segment_number is None:
            continue
        kind = first_item(item, "SegmentedPropertyTypeCodeSequence")
        found.append(
            SegmentHeader(
                segment_number=segment_number,
                label=text(item, "SegmentLabel"),
                category=code(item, "SegmentedPropertyCategoryCodeSequence"),
                property_type=code(item, "SegmentedPropertyTypeCodeSequence"),
                tracking_uid=text(item, "TrackingUID") or None,
                property_modifiers=all_codes(kind, "SegmentedPropertyTypeModifierCodeSequence"),
                anatomic_region=code(item, "AnatomicRegionSequence"),
            )
        )
    return tuple(found)


def _references(dataset: Dataset) -> list[Dataset]:
    """What a SEG names outside of its frames."""
    holders = items(dataset, "ReferencedSeriesSequence")
    for study in items(dataset, "StudiesContainingOtherReferencedInstancesSequence"):
        holders += items(study, "ReferencedSeriesSequence")
    references = [reference for series in holders for reference in items(series, "ReferencedInstanceSequence")]
    references += items(dataset, "SourceImageSequence") + items(dataset, "ReferencedImageSequence")
    return references


def _referenced_instances(references: Sequence[Dataset], frames: tuple[FrameHeader, ...]) -> tuple[str, ...]:
    named = [text(reference, "ReferencedSOPInstanceUID") for reference in references]
    return _unique(named + [uid for frame in frames for uid, _ in frame.source_instances])


def _predecessors(dataset: Dataset) -> tuple[str, ...]:
    return _unique(
        text(reference, "ReferencedSOPInstanceUID")
        for study in items(dataset, "PredecessorDocumentsSequence")
        for series in items(study, "ReferencedSeriesSequence")
        for reference in items(series, "ReferencedSOPSequence")
    )


def _content_datetime(dataset: Dataset) -> str:
    for prefix in ("InstanceCreation", "Content"):
        if written := text(dataset, f"{prefix}Date") + text(dataset, f"{prefix}Time"):
            return written
    return ""


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for value in values if value))
