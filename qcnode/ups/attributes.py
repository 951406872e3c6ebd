"""A step as a data set (PS3.3 B.26, PS3.4 Table CC.2.5-3), made of the step, its item as a reader may see it, and the case's report.

Nothing of a hidden item's prediction is in it: neither in words, nor as a reference to the report that tells it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

from pydicom import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID

from qcnode.case import Verdict
from qcnode.report.identity import CHARACTER_SET, items_of, text_of, writable
from qcnode.report.provenance import stable_uid
from qcnode.store.items import Item
from qcnode.store.ups_states import StepState
from qcnode.store.ups_steps import Step

PUSH = UID("1.2.840.10008.5.1.4.34.6.1")
"""The SOP class of every step, whichever the SOP class that was negotiated (PS3.4 CC.3.1)."""
WORKLIST_LABEL = "Segmentation review"
QUALITY_CONTROL = Code("110002", "DCM", "Quality Control")  # CID 9231
_DISCONTINUED = Code("110513", "DCM", "Discontinued for unspecified reason")  # CID 9301
_PRIORITIES: Mapping[Verdict | None, str] = MappingProxyType({Verdict.REVIEW: "MEDIUM"})
"""HIGH for the others; a hidden item stands among the failures, and must not tell its verdict."""
_LONGEST_LABEL, _LONGEST_COMMENT = 64, 10240
_IDENTITY = ("PatientSex", "IssuerOfPatientID")
_EVIDENCE = ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")
OF_REPORT = (*_IDENTITY, "InputInformationSequence")
"""The attributes of a step that the report is read for."""
REPORT_TAGS = ("SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", *_IDENTITY, *_EVIDENCE)
"""What of the report is read."""


@dataclass(frozen=True, slots=True)
class Archive:
    """Where the objects that a step refers to can be fetched: by AE title, by the root of a DICOMweb service, or neither is known."""

    ae_title: str | None = None
    url: str | None = None


def step_uid(case_id: str, created_at: datetime, number: int) -> str:
    """The SOP Instance UID of an item's step; `created_at`: of the item, so that another node's item of the same case has others."""
    return stable_uid("ups-step", PUSH, case_id, created_at.astimezone(UTC).isoformat(), str(number))


def step_dataset(step: Step, item: Item, report: Dataset | None, archive: Archive, predecessor: str | None) -> Dataset:
    """The whole step but its Transaction UID and what its performer has set.

    item: as a reader may see it. report: None where no attribute of it is wanted. predecessor: SOP Instance UID of the step before.
    """
    dataset = Dataset()
    dataset.SpecificCharacterSet = CHARACTER_SET
    dataset.SOPClassUID, dataset.SOPInstanceUID = PUSH, step.sop_instance_uid
    _schedule(dataset, step, item)
    _relate(dataset, item, report, predecessor)
    dataset.InputInformationSequence = [] if report is None else _inputs(item, report, archive)
    dataset.ProcedureStepState = step.state.value
    dataset.ProcedureStepProgressInformationSequence = _progress(step)
    dataset.UnifiedProcedureStepPerformedProcedureSequence = []
    return dataset


def code_item(code: Code) -> Dataset:
    """An item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item


def moment(at: datetime) -> str:
    """As DT: local time, with its zone."""
    return f"{at.astimezone():%Y%m%d%H%M%S.%f%z}"


def _schedule(dataset: Dataset, step: Step, item: Item) -> None:
    dataset.ScheduledProcedureStepPriority = _PRIORITIES.get(item.verdict, "HIGH")
    dataset.ScheduledProcedureStepModificationDateTime = moment(step.changed_at)
    dataset.ProcedureStepLabel = _label(item)[:_LONGEST_LABEL]
    dataset.WorklistLabel = WORKLIST_LABEL
    dataset.ScheduledProcedureStepStartDateTime = moment(item.created_at)
    dataset.ScheduledWorkitemCodeSequence = [code_item(QUALITY_CONTROL)]
    dataset.CommentsOnTheScheduledProcedureStep = "; ".join(reason.text for reason in item.reasons)[:_LONGEST_COMMENT]
    dataset.InputReadinessState = "READY"
    for keyword in ("ProcessingParameters", "StationNameCode", "StationClassCode", "StationGeographicLocationCode", "HumanPerformers"):
        setattr(dataset, f"Scheduled{keyword}Sequence", [])


def _label(item: Item) -> str:
    if item.verdict is None:
        return f"{item.task}: prediction hidden"
    return f"{item.task}: {item.verdict}" + ("" if item.predicted_dsc is None else f", predicted DSC {item.predicted_dsc:.2f}")


def _relate(dataset: Dataset, item: Item, report: Dataset | None, predecessor: str | None) -> None:
    dataset.StudyInstanceUID = item.study_instance_uid
    known = {"PatientName": item.patient_name, "PatientID": item.patient_id, "PatientBirthDate": item.birth_date}
    known |= {keyword: "" if report is None else text_of(report, keyword) for keyword in _IDENTITY}
    for keyword, value in known.items():
        setattr(dataset, keyword, writable(keyword, value))
    dataset.AdmissionID, dataset.IssuerOfAdmissionIDSequence = "", []
    dataset.AdmittingDiagnosesDescription, dataset.AdmittingDiagnosesCodeSequence = "", []
    request = Dataset()
    request.StudyInstanceUID = item.study_instance_uid
    request.AccessionNumber = writable("AccessionNumber", item.accession_number)
    request.IssuerOfAccessionNumberSequence, request.RequestedProcedureCodeSequence = [], []
    request.RequestedProcedureID, request.RequestedProcedureDescription = "", ""
    dataset.ReferencedRequestSequence = [request]
    if predecessor is not None:
        dataset.ReplacedProcedureStepSequence = [_reference(PUSH, predecessor)]


def _progress(step: Step) -> list[Dataset]:
    if step.state is not StepState.CANCELED:
        return []
    progress = Dataset()
    progress.ProcedureStepCancellationDateTime = moment(step.ended_at or step.changed_at)
    progress.ReasonForCancellation = step.reason or ""
    progress.ProcedureStepDiscontinuationReasonCodeSequence = [code_item(_DISCONTINUED)]
    return [progress]


def _inputs(item: Item, report: Dataset, archive: Archive) -> list[Dataset]:
    """One item per series: the query SEG's, those of the images, and the report's unless it is hidden."""
    inputs = []
    for study in (study for keyword in _EVIDENCE for study in items_of(report, keyword)):
        for series in items_of(study, "ReferencedSeriesSequence"):
            instances = items_of(series, "ReferencedSOPSequence")
            named = [(text_of(one, "ReferencedSOPClassUID"), text_of(one, "ReferencedSOPInstanceUID")) for one in instances]
            inputs.append(_input(text_of(study, "StudyInstanceUID"), text_of(series, "SeriesInstanceUID"), named, archive))
    inputs.sort(key=lambda one: one.SeriesInstanceUID != item.query_series_instance_uid)  # what is judged comes first
    if not item.is_hidden:
        itself = (text_of(report, "SOPClassUID"), text_of(report, "SOPInstanceUID"))
        inputs.append(_input(item.study_instance_uid, text_of(report, "SeriesInstanceUID"), [itself], archive))
    return inputs


def _input(study_instance_uid: str, series_instance_uid: str, instances: list[tuple[str, str]], archive: Archive) -> Dataset:
    """Referenced Instances and Access (PS3.3 Table 10-3b)."""
    one = Dataset()
    one.TypeOfInstances = "DICOM"
    one.StudyInstanceUID, one.SeriesInstanceUID = study_instance_uid, series_instance_uid
    one.ReferencedSOPSequence = [_reference(*instance) for instance in instances]
    if archive.ae_title is not None:
        retrieval = Dataset()
        retrieval.RetrieveAETitle = archive.ae_title
        one.DICOMRetrievalSequence = [retrieval]
    elif archive.url is not None:
        retrieval = Dataset()
        retrieval.RetrieveURL = f"{archive.url.rstrip('/')}/studies/{study_instance_uid}/series/{series_instance_uid}"
        one.WADORSRetrievalSequence = [retrieval]
    return one


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    return reference
