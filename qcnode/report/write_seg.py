"""The error map: a BINARY SEG on the grid of the images that the query was drawn on.

highdicom is given one plain MR header per plane of the volume, in the volume's own order, with a stand-in for its UID, and the stand-ins
are exchanged afterwards. So neither the order of files, nor the other phases of an Enhanced instance, nor anything else that a PACS may
have put into a header reaches the geometry.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from pydicom import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import MRImageStorage
from pydicom.valuerep import format_number_as_ds

from qcnode.case import FrameRef, Prediction, ReasonCode
from qcnode.errors import Rejected
from qcnode.imaging.grid import Grid
from qcnode.report.codes import PREDICTED_ERROR, SPATIAL_CONCEPT, coding_schemes
from qcnode.report.colours import of_error
from qcnode.report.identity import (
    CHARACTER_SET,
    apply_identity,
    identity,
    instance_reference,
    items_of,
    numbers_of,
    pin_times,
    query_reference,
    text_of,
)
from qcnode.report.inputs import ReportInputs
from qcnode.report.provenance import PRODUCT, algorithm_of_segment, equipment, series_description, series_number, uid_for
from qcnode.report.query import is_uid

_SAME_PLANE = 0.5  # of the slice spacing: a plane whose header lies further off is not the plane of that slice


@dataclass(frozen=True, slots=True)
class _Plane:
    """One z index. reference: what the SEG shall name; frame_number: None for a classic instance."""

    reference: Dataset
    frame_number: int | None
    image_position: tuple[float, ...]


def write_error_map(inputs: ReportInputs) -> Dataset | None:
    """The SEG of the predicted errors, or None where nothing was predicted or no error is.

    One segment per tissue with errors. Raises Rejected where the images have no frame of reference, and ValueError where the planes in
    `inputs` are not those of the error map.
    """
    prediction, volume = inputs.assessment.prediction, inputs.volume
    if prediction is None or volume is None or not prediction.error_map.any():
        return None
    if prediction.error_map.shape[1:] != volume.grid.size or len(inputs.planes) != volume.grid.size[0]:
        raise ValueError("the error map, the volume and its planes are not of one size")
    attributes = identity(inputs)
    planes = _planes(inputs, volume.grid, attributes)
    rows = [i for i in range(len(prediction.tissues)) if prediction.error_map[i].any()]
    error_map: Dataset = Segmentation(
        source_images=_stand_ins(inputs, volume.grid, planes),
        pixel_array=np.moveaxis(prediction.error_map[rows], 0, -1).astype(np.uint8),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(inputs, prediction, row, number) for number, row in enumerate(rows, 1)],
        series_instance_uid=uid_for(inputs, "error_map", "series"),
        series_number=series_number(inputs, "error_map"),
        sop_instance_uid=uid_for(inputs, "error_map"),
        instance_number=1,
        omit_empty_frames=True,
        content_label="PREDICTED_ERRORS",
        content_description="Predicted segmentation errors, not anatomy",
        content_creator_name=f"{PRODUCT}^",
        further_source_images=[query_reference(inputs, attributes)],
        series_description=series_description(inputs, "error_map"),
        coding_schemes=coding_schemes(),
        specific_character_set=CHARACTER_SET,
        **equipment(inputs),
    )
    _name_sources(error_map, planes, inputs.case.query.series_instance_uid)
    _pin_dimensions(error_map, uid_for(inputs, "error_map", "dimensions"))
    apply_identity(error_map, attributes)
    pin_times(error_map, inputs.created)
    return error_map


def _segment(inputs: ReportInputs, prediction: Prediction, row: int, number: int) -> SegmentDescription:
    name = prediction.tissues[row]
    code = next((t.code for t in inputs.tissues if t.name == name), None)
    return SegmentDescription(
        segment_number=number,
        segment_label=f"ERROR {name}"[:64],
        segmented_property_category=SPATIAL_CONCEPT,
        segmented_property_type=PREDICTED_ERROR,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm_of_segment(inputs),
        anatomic_regions=[Code(*code)] if code else None,
        display_color=CIELabColor.from_rgb(*of_error(row)),
    )


def _planes(inputs: ReportInputs, grid: Grid, attributes: Dataset) -> list[_Plane]:
    """What lies at each z index, by the planes' own UIDs and frame numbers."""
    headers = {text_of(h, "SOPInstanceUID"): h for h in inputs.sources}
    planes = []
    for z, plane in enumerate(inputs.planes):
        header = headers.get(plane.sop_instance_uid)
        if header is None:
            raise ValueError(f"the header of plane {z} is missing")
        on_grid = np.asarray(grid.origin) + z * grid.spacing[0] * np.asarray(grid.direction[0])
        written = _written_position(header, plane)
        if written is not None and float(np.linalg.norm(np.asarray(written) - on_grid)) > _SAME_PLANE * grid.spacing[0]:
            raise ValueError(f"plane {z} does not lie at slice {z} of the volume")
        is_enhanced = "PerFrameFunctionalGroupsSequence" in header
        planes.append(
            _Plane(
                reference=instance_reference(header, attributes, inputs.case.study_instance_uid),
                frame_number=plane.frame_number if is_enhanced else None,
                image_position=written or tuple(on_grid.tolist()),
            )
        )
    return planes


def _written_position(header: Dataset, plane: FrameRef) -> tuple[float, ...] | None:
    """ImagePositionPatient of a classic instance or of an Enhanced instance's frame; None where it is not written."""
    frames = items_of(header, "PerFrameFunctionalGroupsSequence")
    if not frames:
        return numbers_of(header, "ImagePositionPatient", 3)
    if plane.frame_number > len(frames):
        return None
    for groups in (frames[plane.frame_number - 1], *items_of(header, "SharedFunctionalGroupsSequence")):
        for item in items_of(groups, "PlanePositionSequence"):
            return numbers_of(item, "ImagePositionPatient", 3)
    return None


def _stand_ins(inputs: ReportInputs, grid: Grid, planes: list[_Plane]) -> list[Dataset]:
    """A plain MR header per plane, in the order of the volume, under a stand-in for its UID."""
    first = next(h for h in inputs.sources if text_of(h, "SOPInstanceUID") == inputs.planes[0].sop_instance_uid)
    frame_of_reference_uid = text_of(first, "FrameOfReferenceUID")
    if not is_uid(frame_of_reference_uid):
        raise Rejected(ReasonCode.NO_FRAME_OF_REFERENCE, "the images have no frame of reference, so no error map can be written")
    headers = []
    for z, plane in enumerate(planes):
        header = deepcopy(plane.reference)
        header.SOPClassUID = MRImageStorage
        header.SOPInstanceUID = _stand_in_uid(z)
        header.Modality = "MR"
        header.FrameOfReferenceUID = frame_of_reference_uid
        header.PositionReferenceIndicator = ""
        header.Rows, header.Columns = grid.size[1], grid.size[2]
        header.PixelSpacing = _decimals(grid.spacing[1:])
        header.SliceThickness = _decimals((_thickness(first, grid),))[0]
        header.SpacingBetweenSlices = _decimals((grid.spacing[0],))[0]
        header.ImageOrientationPatient = _decimals((*grid.direction[2], *grid.direction[1]))
        header.ImagePositionPatient = _decimals(plane.image_position)
        headers.append(header)
    return headers


def _thickness(header: Dataset, grid: Grid) -> float:
    written = numbers_of(header, "SliceThickness", 1)
    return written[0] if written and written[0] > 0 else grid.spacing[0]


def _stand_in_uid(z: int) -> str:
    return f"2.25.{z + 1}"


def _name_sources(error_map: Dataset, planes: list[_Plane], query_series_instance_uid: str) -> None:
    """Exchange the stand-ins for the instances and frames that the planes really are; only the images' series stays referenced."""
    of_stand_in = {_stand_in_uid(z): plane for z, plane in enumerate(planes)}
    per_frame = [
        source
        for groups in error_map.PerFrameFunctionalGroupsSequence
        for derivation in groups.DerivationImageSequence
        for source in derivation.SourceImageSequence
    ]
    of_series = [reference for series in error_map.ReferencedSeriesSequence for reference in series.ReferencedInstanceSequence]
    for reference in (*per_frame, *error_map.SourceImageSequence, *of_series):
        plane = of_stand_in.get(reference.ReferencedSOPInstanceUID)
        if plane is None:
            continue  # the query, or an item that two of the three sequences share
        reference.ReferencedSOPClassUID = plane.reference.SOPClassUID
        reference.ReferencedSOPInstanceUID = plane.reference.SOPInstanceUID
        if plane.frame_number is not None and "PurposeOfReferenceCodeSequence" in reference:
            reference.ReferencedFrameNumber = plane.frame_number
    error_map.SourceImageSequence = _each_once(error_map.SourceImageSequence)
    # Viewers (OHIF 3.12) take any referenced series for the one to draw on, so the query's is named in SourceImageSequence only.
    images = [series for series in error_map.ReferencedSeriesSequence if series.SeriesInstanceUID != query_series_instance_uid]
    for series in images:
        series.ReferencedInstanceSequence = _each_once(series.ReferencedInstanceSequence)
    error_map.ReferencedSeriesSequence = images


def _each_once(references: Iterable[Dataset]) -> list[Dataset]:
    return list({r.ReferencedSOPInstanceUID: r for r in references}.values())


def _pin_dimensions(error_map: Dataset, dimension_organization_uid: str) -> None:
    """highdicom draws this UID at random."""
    for item in (*error_map.DimensionOrganizationSequence, *error_map.DimensionIndexSequence):
        item.DimensionOrganizationUID = dimension_organization_uid


def _decimals(values: Iterable[float]) -> list[str]:
    """Decimal strings of at most 16 characters (PS3.5, VR DS)."""
    return [format_number_as_ds(float(v) + 0.0) for v in values]
