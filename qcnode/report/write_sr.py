"""The report: a Comprehensive 3D SR after TID 1500 (PS3.16), about the query SEG and written into its study.

Pooled numbers stand in one group about the whole query, a tissue's numbers in the group of its segment (or, where a tissue is a union of
several segments, in a group of its own). The verdict stands apart, in the document's qualitative evaluations.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import highdicom.sr as sr
from pydicom import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage, MRImageStorage

from qcnode.case import Prediction
from qcnode.report import codes
from qcnode.report.identity import (
    CHARACTER_SET,
    apply_identity,
    identity,
    instance_reference,
    numbers_of,
    pin_times,
    query_reference,
    text_of,
)
from qcnode.report.inputs import ReportInputs
from qcnode.report.provenance import (
    algorithm_of_measurement,
    algorithm_parameters,
    equipment,
    observation_context,
    series_description,
    series_number,
    uid_for,
)
from qcnode.report.query import QuerySegment, is_uid, query_class, query_segments, source_series_uid

_MR_CLASSES = (MRImageStorage, EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage)
_Values = tuple[list[sr.Measurement], list[sr.QualitativeEvaluation]]  # what was estimated, what could not be


def write_report(inputs: ReportInputs, error_map: Dataset | None) -> Dataset:
    """The SR of one case. error_map: the SEG that `write_error_map` made of the same case, or None.

    Works without images and with unusable geometry; what could not be predicted is said to be a measurement failure.
    """
    attributes = identity(inputs)
    content = sr.MeasurementReport(
        observation_context=observation_context(inputs),
        procedure_reported=codes.PROCEDURE,
        imaging_measurements=_groups(inputs),
        title=codes.IMAGING_MEASUREMENT_REPORT,
        referenced_images=_library(inputs, attributes),
    )
    if source_series_uid(inputs) is None:
        del content[0].ContentSequence[-1]  # no group without it (TID 1411); without images there is no number to lose
    content[0].ContentSequence.append(_evaluations(inputs, error_map))
    report: Dataset = sr.Comprehensive3DSR(
        evidence=_evidence(inputs, attributes, error_map),
        content=content,
        series_instance_uid=uid_for(inputs, "report", "series"),
        series_number=series_number(inputs, "report"),
        sop_instance_uid=uid_for(inputs, "report"),
        instance_number=1,
        is_complete=True,
        is_final=True,
        previous_versions=_previous_versions(inputs),
        series_description=series_description(inputs, "report"),
        coding_schemes=codes.coding_schemes(),
        specific_character_set=CHARACTER_SET,
        **equipment(inputs),
    )
    apply_identity(report, attributes)
    pin_times(report, inputs.created)
    return report


def _evidence(inputs: ReportInputs, attributes: Dataset, error_map: Dataset | None) -> list[Dataset]:
    """Everything the answer rests on: the query, all images, and the error map (PS3.3 C.17.2)."""
    headers = [h for h in (*inputs.sources, *inputs.further_sources) if _is_referable(h)]
    return [query_reference(inputs, attributes), *(instance_reference(h, attributes) for h in headers), *([error_map] if error_map else [])]


def _is_referable(header: Dataset) -> bool:
    return all(is_uid(text_of(header, k)) for k in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"))


def _library(inputs: ReportInputs, attributes: Dataset) -> list[Dataset]:
    """One image per series: a library of all images takes half a minute to write, and the evidence names them anyway."""
    entries: dict[str, Dataset] = {}
    for header in (*inputs.sources, *inputs.further_sources):
        series_instance_uid = text_of(header, "SeriesInstanceUID")
        if series_instance_uid in entries or not _is_referable(header) or text_of(header, "SOPClassUID") not in _MR_CLASSES:
            continue
        rows, columns = numbers_of(header, "Rows", 1), numbers_of(header, "Columns", 1)
        if rows is None or columns is None:
            continue
        entry = instance_reference(header, attributes)
        entry.Rows, entry.Columns = int(rows[0]), int(columns[0])
        if is_uid(text_of(header, "FrameOfReferenceUID")):
            entry.FrameOfReferenceUID = text_of(header, "FrameOfReferenceUID")
        entry.Modality = "MR" if _copy_geometry(header, entry) else ""  # with "MR" highdicom asks for all of the geometry
        entries[series_instance_uid] = entry
    return list(entries.values())


def _copy_geometry(header: Dataset, entry: Dataset) -> bool:
    counts = {"PixelSpacing": 2, "ImageOrientationPatient": 6, "ImagePositionPatient": 3, "SliceThickness": 1}
    found = {keyword: numbers_of(header, keyword, count) for keyword, count in counts.items()}
    for keyword, values in found.items():
        if values is None:
            return False
        setattr(entry, keyword, values[0] if keyword == "SliceThickness" else list(values))
    return True


def _groups(inputs: ReportInputs) -> list[sr.VolumetricROIMeasurementsAndQualitativeEvaluations]:
    """Pooled numbers about all segments, each segment, and the tissues that are unions of segments (TID 1411)."""
    prediction = inputs.assessment.prediction
    segments = query_segments(inputs)
    known = {n for s in segments for n in s.segment_numbers}
    everything = QuerySegment(tuple(sorted(known)) or (1,), codes.ALL_TISSUES, "qcnode all tissues")
    groups = [_group(inputs, everything, _pooled(prediction))]
    for segment in segments:
        own = [name for name, numbers in inputs.tissue_segments.items() if numbers == segment.segment_numbers]
        groups.append(_group(inputs, segment, _of_tissue(prediction, own[0]) if own else ([], [])))
    for tissue in inputs.tissues:
        numbers = tuple(n for n in inputs.tissue_segments.get(tissue.name, ()) if n in known)
        if len(numbers) > 1:
            union = QuerySegment(numbers, Code(*tissue.code), f"qcnode {tissue.name}")
            groups.append(_group(inputs, union, _of_tissue(prediction, tissue.name)))
    return groups


def _group(inputs: ReportInputs, segment: QuerySegment, values: _Values) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    measurements, failures = values
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            segment.tracking_uid or uid_for(inputs, "report", f"tracking {segment.tracking_id} {segment.segment_numbers}"),
            segment.tracking_id,
        ),
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=query_class(inputs),
            sop_instance_uid=inputs.case.query.sop_instance_uid,
            segment_number=list(segment.segment_numbers),
            source_series=sr.SourceSeriesForSegmentation(source_series_uid(inputs) or inputs.case.query.series_instance_uid),
        ),
        finding_type=segment.finding,
        algorithm_id=algorithm_of_measurement(inputs),
        measurements=measurements,
        qualitative_evaluations=failures,
    )


def _pooled(prediction: Prediction | None) -> _Values:
    if prediction is None:
        return [], [*_failed(codes.PREDICTED_DSC, math.nan), *_failed(codes.PREDICTED_NSD, math.nan)]
    dsc, nsd = prediction.predicted_dsc, prediction.predicted_nsd
    tolerance = sr.NumContentItem(
        codes.TOLERANCE, float(prediction.tolerance_mm), codes.MILLIMETER, relationship_type=sr.RelationshipTypeValues.INFERRED_FROM
    )
    of_dsc = _interval(prediction.dsc_interval, prediction.interval_level)
    of_nsd = _interval(prediction.nsd_interval, prediction.interval_level)
    measurements = [*_measured(codes.PREDICTED_DSC, dsc, *of_dsc), *_measured(codes.PREDICTED_NSD, nsd, *of_nsd, tolerance)]
    return measurements, [*_failed(codes.PREDICTED_DSC, dsc), *_failed(codes.PREDICTED_NSD, nsd)]


def _interval(interval: tuple[float, float] | None, level: float | None) -> list[sr.TextContentItem]:
    """The interval as a property of its number, in words.

    CID 225 has codes for ranges of uncertainty, but as numbers, without a place for the level, and PixelMed's validator takes every number
    below a measurement for one that it was inferred from.
    """
    if interval is None or level is None:
        return []
    text = f"{100 * level:g} % interval {interval[0]:.4f} to {interval[1]:.4f}"
    return [sr.TextContentItem(codes.INTERVAL, text, sr.RelationshipTypeValues.HAS_PROPERTIES)]


def _of_tissue(prediction: Prediction | None, name: str) -> _Values:
    if prediction is not None and name not in prediction.per_tissue_dsc:
        return [], []  # the weights give no number for it: nothing failed
    dsc = prediction.per_tissue_dsc[name] if prediction else math.nan
    return _measured(codes.PREDICTED_DSC, dsc), _failed(codes.PREDICTED_DSC, dsc)


def _measured(name: Code, value: float, *below: sr.ContentItem) -> list[sr.Measurement]:
    """A predicted number with what stands below it."""
    if not math.isfinite(value):
        return []
    measurement = sr.Measurement(name=name, value=round(float(value), 4), unit=codes.NO_UNITS, derivation=codes.ESTIMATED)
    measurement[0].ContentSequence.extend(below)
    return [measurement]


def _failed(name: Code, value: float) -> list[sr.QualitativeEvaluation]:
    """What could not be computed is no number (PS3.16 CID 42)."""
    return [] if math.isfinite(value) else [sr.QualitativeEvaluation(name, codes.MEASUREMENT_FAILURE)]


def _evaluations(inputs: ReportInputs, error_map: Dataset | None) -> sr.ContainerContentItem:
    """The verdict about the query, its reasons, and what it is about (TID 1500, row "Qualitative Evaluations")."""
    contains = sr.RelationshipTypeValues.CONTAINS
    items: list[sr.ContentItem] = [
        sr.CodeContentItem(codes.VERDICT, codes.verdict_concept(inputs.assessment.verdict), contains),
        sr.ImageContentItem(codes.QUERY_SEGMENTATION, query_class(inputs), inputs.case.query.sop_instance_uid, relationship_type=contains),
    ]
    for reason in inputs.assessment.reasons:
        items.append(sr.CodeContentItem(codes.REASON, codes.reason_concept(reason.code), contains))
        items.append(sr.TextContentItem(codes.EXPLANATION, reason.text, contains))
    if source_series_uid(inputs) is None:
        items += [item for name in (codes.PREDICTED_DSC, codes.PREDICTED_NSD) for item in _failed(name, math.nan)[0]]
    items.append(sr.TextContentItem(codes.LIMITS, "; ".join(algorithm_parameters(inputs)), contains))
    prediction = inputs.assessment.prediction
    if error_map is None and prediction is not None and prediction.error_map.any():
        items.append(
            sr.TextContentItem(codes.EXPLANATION, "these images can not carry an error map: they have no frame of reference", contains)
        )
    if error_map is not None:
        items.append(sr.ImageContentItem(codes.ERROR_MAP, error_map.SOPClassUID, error_map.SOPInstanceUID, relationship_type=contains))
    container = sr.ContainerContentItem(codes.QUALITATIVE_EVALUATIONS, relationship_type=contains)
    container.ContentSequence = sr.ContentSequence(items)
    return container


def _previous_versions(inputs: ReportInputs) -> Iterable[Dataset] | None:
    """Predecessor Documents Sequence (PS3.3 C.17.2), for the report that a late slice made out of date."""
    if inputs.predecessor is None:
        return None
    previous = Dataset()
    previous.SOPClassUID = inputs.predecessor.sop_class_uid
    previous.SOPInstanceUID = inputs.predecessor.sop_instance_uid
    previous.SeriesInstanceUID = inputs.predecessor.series_instance_uid
    previous.StudyInstanceUID = inputs.predecessor.study_instance_uid
    return [previous]
