"""Frozen dataclasses that travel the road, from a received header to a verdict.

Positions and orientations are DICOM patient coordinates (LPS, mm). Arrays, where they occur, are (z, y, x).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt


class Verdict(StrEnum):
    """What qcnode says of a query segmentation."""

    PASS = "PASS"  # noqa: S105  # nosec B105  # a verdict
    FAIL = "FAIL"
    REVIEW = "REVIEW"
    UNASSESSABLE = "UNASSESSABLE"
    NOT_APPLICABLE = "NOT_APPLICABLE"

    @property
    def needs_review(self) -> bool:
        """True where a radiologist should look: such cases become worklist items."""
        return self in (Verdict.FAIL, Verdict.REVIEW, Verdict.UNASSESSABLE)


class ReasonCode(StrEnum):
    """Why a verdict is what it is. The values are part of the public interface (verdict.json, SR, worklist)."""

    # the verdict follows from the prediction
    ABOVE_THRESHOLD = "above-threshold"
    BELOW_THRESHOLD = "below-threshold"
    NEAR_THRESHOLD = "near-threshold"
    INTERVAL_STRADDLES = "interval-straddles-threshold"
    BELOW_REVIEW_POINT = "below-review-point"  # above the threshold, but where calibration still found too many failures
    PARTIAL_COVERAGE = "partial-coverage"  # tissue outside of the box that the network sees
    QUERY_NOVEL = "query-unlike-any-segmentation"
    IMAGE_NOVEL = "image-unlike-training"
    # the query segmentation
    EMPTY_SEGMENTATION = "empty-segmentation"
    SEG_UNREADABLE = "seg-unreadable"
    SEG_GEOMETRY = "seg-geometry"
    SEG_RESAMPLED = "seg-resampled"  # its grid was not the images'; recorded, does not change the verdict
    LABELMAP_NOT_SUPPORTED = "labelmap-not-yet-judged"
    NO_TASK = "no-task"
    AMBIGUOUS_TISSUE = "ambiguous-tissue"
    # the images
    IMAGES_MISSING = "images-missing"
    NOT_MR = "not-mr"
    SERIES_UNREADABLE = "series-unreadable"
    NO_GEOMETRY = "no-geometry"
    NO_FRAME_OF_REFERENCE = "no-frame-of-reference"
    SINGLE_SLICE = "single-slice"
    SEVERAL_ORIENTATIONS = "several-orientations"
    SEVERAL_IMAGES_PER_POSITION = "several-images-per-position"
    SEVERAL_STACKS = "several-stacks-referenced"
    UNEVEN_SPACING = "uneven-spacing"
    MISSING_SLICE = "missing-slice"
    MOSAIC = "mosaic"
    DIFFERING_MATRIX = "differing-matrix"  # rows, columns or pixel spacing change inside the stack
    CONFLICTING_CONTENT = "conflicting-content"  # the same UID was received with other pixels or geometry
    CONTRAST_MISSING = "contrast-missing"
    CONTRAST_AMBIGUOUS = "contrast-ambiguous"
    FRAME_OF_REFERENCE_DIFFERS = "frame-of-reference-differs"
    TOO_LARGE = "too-large"  # more frames, voxels, items or inflated bytes than qcnode reads
    # qcnode itself
    ASSESSMENT_FAILED = "assessment-failed"
    DEVICE_FALLBACK = "device-fallback"  # the CPU had to stand in for the GPU; recorded, does not change the verdict


@dataclass(frozen=True, slots=True)
class Reason:
    """A coded reason with one sentence for people. The text never holds patient data."""

    code: ReasonCode
    text: str


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """One image plane: a classic instance has one, an Enhanced or SEG instance has many.

    `time_key`, `echo_time`, `frame_type` and `extra_key` tell planes at the same position apart.
    """

    frame_number: int  # 1-based, as DICOM counts
    image_position: tuple[float, float, float] | None  # ImagePositionPatient, LPS mm
    image_orientation: tuple[float, float, float, float, float, float] | None  # row cosines, column cosines
    pixel_spacing: tuple[float, float] | None  # between rows, between columns, mm
    frame_type: tuple[str, ...] = ()
    echo_time: float | None = None
    time_key: tuple[str, ...] = ()  # temporal position, trigger time, phase, ... whatever the maker filled
    extra_key: tuple[str, ...] = ()  # b-value, gradient direction, inversion time, stack id ...
    segment_number: int | None = None  # SEG only
    source_instances: tuple[tuple[str, int | None], ...] = ()  # SEG only: (SOP Instance UID, frame number or None)


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """One item of a SEG's Segment Sequence. A code is (value, scheme designator, meaning)."""

    segment_number: int
    label: str
    category: tuple[str, str, str] | None
    property_type: tuple[str, str, str] | None
    tracking_uid: str | None = None
    property_modifiers: tuple[tuple[str, str, str], ...] = ()
    anatomic_region: tuple[str, str, str] | None = None


@dataclass(frozen=True, slots=True)
class InstanceHeader:
    """What is known of a stored object from its header, without its pixels.

    `kind` says what qcnode does with it: "image" (MR, Enhanced MR), "seg", "labelmap", "qcnode-result" or "other".
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    kind: str
    modality: str = ""
    frame_of_reference_uid: str | None = None
    series_description: str = ""
    series_number: int | None = None
    instance_number: int | None = None
    image_type: tuple[str, ...] = ()
    rows: int = 0
    columns: int = 0
    contrast_agent: str = ""  # ContrastBolusAgent
    frames: tuple[FrameHeader, ...] = ()
    segments: tuple[SegmentHeader, ...] = ()  # SEG only
    segmentation_type: str = ""  # SEG only: BINARY, FRACTIONAL
    referenced_series: tuple[str, ...] = ()  # SEG only: ReferencedSeriesSequence
    referenced_instances: tuple[str, ...] = ()  # SEG only: every image that the SEG names, in any sequence
    manufacturer: str = ""
    device_model: str = ""
    software_versions: str = ""
    predecessor_uids: tuple[str, ...] = ()  # SEG only: PredecessorDocuments / replaced instance, where given
    content_datetime: str = ""  # InstanceCreationDate+Time or ContentDate+Time, as written
    referenced_sop_classes: tuple[str, ...] = ()  # SEG only: the SOP classes of `referenced_instances`, each once


@dataclass(frozen=True, slots=True)
class StoredHeader:
    """A header with the stored file that it was read from; `sha256` is the digest of the file's bytes.

    `conflicting`: the same SOP Instance UID was also received with other pixels or geometry.
    """

    header: InstanceHeader
    path: Path
    sha256: str
    conflicting: bool = False


@dataclass(frozen=True, slots=True)
class FrameRef:
    """One plane of a stack: a stored file and the frame in it (1-based)."""

    path: Path
    sop_instance_uid: str
    frame_number: int = 1


@dataclass(frozen=True, slots=True)
class Stack:
    """The planes of one volume, in any order; imaging.read_series makes the volume."""

    series_instance_uid: str
    frames: tuple[FrameRef, ...]


@dataclass(frozen=True, slots=True)
class QueryRef:
    """The SEG that is judged."""

    path: Path
    series_instance_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Case:
    """One query segmentation with the images that it was drawn on, complete and ready to be judged.

    `case_id` is a digest of the task and of the query's and the stacks' SOP Instance UIDs, frames and content digests.
    `predecessor_case_id`: the case of the same query whose result this one replaces (a late slice arrived).
    `contrasts` maps the task's contrast names to stacks; `reference_contrast` is the one the SEG was drawn on.
    """

    case_id: str
    study_instance_uid: str
    query: QueryRef
    task: str
    contrasts: dict[str, Stack]
    reference_contrast: str
    completeness_evidence: str  # "archive-count", "quiet-time", "directory" or "none" (no images at hand)
    predecessor_case_id: str | None = None
    corrects_query_uid: str | None = None  # SOP Instance UID of an earlier SEG that this query replaces
    problem: Reason | None = None  # matching already knows that it can not be judged; `contrasts` may then be empty


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the network estimates, on the source grid. Nothing here was measured against a reference.

    dsc_interval, nsd_interval: (low, high), which hold the true values with the probability `interval_level`; None where the weights are
    not calibrated. image_p_value, query_p_value: conformal p-values of "is like the training data", small where it is not; the model card's
    cut-offs decide `image_is_novel` and `query_is_novel`. spread_features: what the intervals are made of, by name. notes: doubts,
    with which nothing passes; remarks: recorded with the verdict, which they do not change.
    """

    predicted_dsc: float
    predicted_nsd: float
    tolerance_mm: float
    per_tissue_dsc: dict[str, float]  # may lack tissues that the weights give no number for
    error_map: npt.NDArray[np.bool_]  # (tissue, z, y, x) on the query's image grid
    tissues: tuple[str, ...]  # names of error_map's first axis
    device: str
    box: tuple[tuple[int, int], ...] = ()  # (start, stop) per z, y, x that the network saw, on the source grid
    notes: tuple[Reason, ...] = ()
    dsc_interval: tuple[float, float] | None = None
    nsd_interval: tuple[float, float] | None = None
    interval_level: float | None = None
    image_p_value: float | None = None
    query_p_value: float | None = None
    image_is_novel: bool = False
    query_is_novel: bool = False
    spread_features: dict[str, float] = field(default_factory=dict)
    remarks: tuple[Reason, ...] = ()

    @property
    def error_voxels(self) -> dict[str, int]:
        """Predicted wrong voxels per tissue."""
        return {name: int(self.error_map[i].sum()) for i, name in enumerate(self.tissues)}


@dataclass(frozen=True, slots=True)
class Weights:
    """Which network judged."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Assessment:
    """The answer to one case."""

    verdict: Verdict
    reasons: tuple[Reason, ...]
    prediction: Prediction | None
    weights: Weights | None
    timings_ms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ResultObject:
    """A DICOM object that goes back into the study. kind: "report", "error_map", "summary", "key_object" or "decision"."""

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    path: Path
    sha256: str
