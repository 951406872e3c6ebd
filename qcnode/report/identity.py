"""Patient and study attributes of a result: taken from the source, made writable, never trusted.

A result belongs to the study of its query, so it repeats that study's patient and study attributes (PS3.3 C.7.1.1, C.7.2.1). What a source
lacks is empty; a value that its VR forbids is left out, for it would make a valid object invalid. Text is decoded from the source's
character set and written as UTF-8.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from datetime import datetime

from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.multival import MultiValue
from pydicom.uid import SegmentationStorage

from qcnode.report.inputs import ReportInputs

CHARACTER_SET = "ISO_IR 192"

# Type 2: always there, empty if need be
_REQUIRED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
_OPTIONAL = ("IssuerOfPatientID", "StudyDescription", "PatientAge")
# pydicom decodes on first access, and raises whatever the decoder of a VR meets in the bytes of any PACS
_UNDECODABLE = (ValueError, TypeError, LookupError, AttributeError, NotImplementedError, OverflowError, OSError, EOFError, struct.error)
_FORMS = {
    "DA": r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])",
    "TM": r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?",
    "AS": r"\d{3}[DWMY]",
    "CS": r"[MFO]",  # the only one is PatientSex
}
_LONGEST = {"LO": 64, "SH": 16}


def identity(inputs: ReportInputs) -> Dataset:
    """Patient and study attributes for every result of one case: of the images where they belong to its study, else of the query."""
    study_instance_uid = inputs.case.study_instance_uid
    origins = [ds for ds in inputs.sources if text_of(ds, "StudyInstanceUID") == study_instance_uid][:1]
    origins.append(inputs.query)
    attributes = Dataset()
    attributes.SpecificCharacterSet = CHARACTER_SET
    attributes.StudyInstanceUID = study_instance_uid
    for keyword in (*_REQUIRED, *_OPTIONAL):
        value = next(filter(None, (_valid(origin, keyword) for origin in origins)), "")
        if value or keyword in _REQUIRED:
            setattr(attributes, keyword, value)
    return attributes


def identity_of_result(result: Dataset) -> Dataset:
    """The attributes that `identity` gave a result which was written before."""
    attributes = Dataset()
    for keyword in ("SpecificCharacterSet", "StudyInstanceUID", *_REQUIRED, *_OPTIONAL):
        if keyword in result:
            attributes[keyword] = result[keyword]
    return attributes


def apply_identity(result: Dataset, attributes: Dataset) -> None:
    """Give a finished result its patient and study: highdicom builds with empty ones, since it refuses (or logs) real-life values."""
    for element in attributes:
        result[element.tag] = element


def instance_reference(header: Dataset, attributes: Dataset, study_instance_uid: str | None = None) -> Dataset:
    """The least of a source's header that highdicom asks for in evidence and sources: UIDs, and an empty patient.

    study_instance_uid: where it is known better than by the header.
    """
    reference = Dataset()
    for keyword in _REQUIRED:
        setattr(reference, keyword, "")
    reference.SpecificCharacterSet = attributes.SpecificCharacterSet
    for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(reference, keyword, text_of(header, keyword))
    reference.StudyInstanceUID = study_instance_uid or reference.StudyInstanceUID or attributes.StudyInstanceUID
    return reference


def query_reference(inputs: ReportInputs, attributes: Dataset) -> Dataset:
    """The query as matching knows it, since its header need not be readable.

    Its frame of reference is left out: highdicom then names it as a further source, but does not look into its frames.
    """
    reference = instance_reference(inputs.query, attributes, inputs.case.study_instance_uid)
    reference.SOPClassUID = reference.SOPClassUID or SegmentationStorage
    reference.SOPInstanceUID = inputs.case.query.sop_instance_uid
    reference.SeriesInstanceUID = inputs.case.query.series_instance_uid
    reference.FrameOfReferenceUID = ""
    return reference


def pin_times(result: Dataset, created: datetime) -> None:
    """Every date and time of a result is the one at which its case was judged: the same case gives the same bytes."""
    date, time = created.strftime("%Y%m%d"), created.strftime("%H%M%S.%f")
    for keyword in ("InstanceCreationDate", "SeriesDate", "ContentDate"):
        setattr(result, keyword, date)
    for keyword in ("InstanceCreationTime", "SeriesTime", "ContentTime"):
        setattr(result, keyword, time)
    for item in result.get("ContributingEquipmentSequence", ()):
        item.ContributionDateTime = date + time
    for item in result.get("VerifyingObserverSequence", ()):
        item.VerificationDateTime = date + time


def text_of(header: Dataset, keyword: str) -> str:
    """An attribute as text; "" where it is absent or can not be read at all."""
    try:
        value = header.get(keyword)
    except _UNDECODABLE:
        return ""
    if value is None:
        return ""
    if isinstance(value, MultiValue):
        return "\\".join(str(v) for v in value)
    return str(value)


def numbers_of(header: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """A numeric attribute of `count` values; None where it is absent or something else."""
    parts = text_of(header, keyword).split("\\")
    try:
        values = tuple(float(p) for p in parts)
    except ValueError:
        return None
    return values if len(values) == count and all(abs(v) < 1e16 for v in values) else None


def items_of(header: Dataset, keyword: str) -> Sequence[Dataset]:
    """The items of a sequence; none where it is absent or not a sequence."""
    try:
        value = header.get(keyword)
        return list(value) if value is not None and not isinstance(value, (str, bytes)) else []
    except _UNDECODABLE:
        return []


def _valid(origin: Dataset, keyword: str) -> str:
    return writable(keyword, text_of(origin, keyword))


def writable(keyword: str, text: str) -> str:
    """An attribute's value as its VR allows it; "" where it does not."""
    vr = dictionary_VR(keyword)
    text = re.sub(r"[\x00-\x1a\x1c-\x1f\x7f]", "", text).strip()
    if vr == "DA":
        text = text.replace(".", "")  # ACR-NEMA wrote 1993.08.22
    if vr in _FORMS:
        return text if re.fullmatch(_FORMS[vr], text) else ""
    return text[: _LONGEST[vr]] if vr in _LONGEST else text
