"""What the results need to know of the query SEG, read from a header that may come from anywhere."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import SegmentationStorage

from qcnode.report.codes import UNKNOWN_SEGMENT
from qcnode.report.identity import items_of, text_of
from qcnode.report.inputs import ReportInputs

_UID = re.compile(r"[0-9]+(\.[0-9]+)+")


@dataclass(frozen=True, slots=True)
class QuerySegment:
    """One segment of the query, or several that are judged together. tracking_uid: as the query gives it."""

    segment_numbers: tuple[int, ...]
    finding: Code
    tracking_id: str
    tracking_uid: str | None = None


def query_segments(inputs: ReportInputs) -> tuple[QuerySegment, ...]:
    """The query's segments by number; items without a usable number are left out."""
    found: dict[int, QuerySegment] = {}
    for item in items_of(inputs.query, "SegmentSequence"):
        written = text_of(item, "SegmentNumber")
        if not written.isdecimal() or not 0 < int(written) < 65536:
            continue
        number = int(written)
        tracking_uid = text_of(item, "TrackingUID")
        found[number] = QuerySegment(
            segment_numbers=(number,),
            finding=_finding(item),
            tracking_id=text_of(item, "TrackingID")[:64] or f"Segment {number}",
            tracking_uid=tracking_uid if is_uid(tracking_uid) else None,
        )
    return tuple(found[number] for number in sorted(found))


def query_class(inputs: ReportInputs) -> str:
    """The query's SOP Class UID."""
    return text_of(inputs.query, "SOPClassUID") or SegmentationStorage


def source_series_uid(inputs: ReportInputs) -> str | None:
    """The series that the query was drawn on: of the matched images, else as the query says; None where nobody knows."""
    stack = inputs.case.contrasts.get(inputs.case.reference_contrast)
    if stack is not None:
        return stack.series_instance_uid
    for item in items_of(inputs.query, "ReferencedSeriesSequence"):
        if is_uid(text_of(item, "SeriesInstanceUID")):
            return text_of(item, "SeriesInstanceUID")
    return None


def is_uid(text: str) -> bool:
    """True where `text` can be written as a UID."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def _finding(item: Dataset) -> Code:
    for code in items_of(item, "SegmentedPropertyTypeCodeSequence"):
        value = text_of(code, "CodeValue") or text_of(code, "LongCodeValue") or text_of(code, "URNCodeValue")
        designator, meaning = text_of(code, "CodingSchemeDesignator"), text_of(code, "CodeMeaning")
        if value and designator and meaning:
            return Code(value, designator[:16], meaning[:64])
    return UNKNOWN_SEGMENT
