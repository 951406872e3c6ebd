"""A reader's decision: a Comprehensive 3D SR after TID 1500 (PS3.16), whose subject is the query SEG and whose evidence is qcnode's report.

Modelled on IHE AI Results Assessment, without claiming to conform to it. The root template and its qualitative evaluations are those of
qcnode's own report, so that whoever reads the one can read the other. All that it needs is in the case's result directory: the query's file
and the images may have been purged by the time of the decision.
"""

from __future__ import annotations

import json
import re
from dataclasses import astuple, dataclass
from datetime import UTC

import highdicom.sr as sr
from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from qcnode.outcome import ReaderDecision
from qcnode.regions import MarkedRegion
from qcnode.report import codes
from qcnode.report.identity import CHARACTER_SET, apply_identity, identity_of_result, instance_reference, items_of, pin_times, text_of
from qcnode.report.inputs import Predecessor
from qcnode.report.provenance import PRODUCT, stable_uid

_BEHIND_REPORT = 2  # the key object's series lies between them
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # what UT allows is kept: tab, line feed, carriage return


@dataclass(frozen=True, slots=True)
class Observer:
    """Who decided. person_name: as a DICOM PN; organization: None where it is not known.

    verifies: the decision counts as verified by this person for this organization (PS3.3 C.17.2), which must then be known.
    """

    login_name: str
    person_name: str
    organization: str | None = None
    verifies: bool = False


@dataclass(frozen=True, slots=True)
class DecisionInputs:
    """One final decision.

    report: the case's SR as qcnode wrote it; predecessor: the document about the decision that this one replaces; version: of qcnode.
    agreeing: further readers who independently decided the same. The document is of `observer`, in whose words it is.
    """

    report: Dataset
    query_sop_instance_uid: str
    decision: ReaderDecision
    observer: Observer
    version: str
    predecessor: Predecessor | None = None
    agreeing: tuple[Observer, ...] = ()


def write_decision(inputs: DecisionInputs) -> Dataset:
    """The decision as a document of its own, in the study of the query and in a series of its own. The same inputs give the same bytes.

    Raises ValueError where the report does not name the query as its evidence.
    """
    report, observer = inputs.report, inputs.observer
    attributes = identity_of_result(report)
    query = _query(report, attributes, inputs.query_sop_instance_uid)
    decision: Dataset = sr.Comprehensive3DSR(
        evidence=[query, instance_reference(report, attributes)],
        content=_content(inputs, query),
        series_instance_uid=_uid(inputs, "series"),
        series_number=int(text_of(report, "SeriesNumber")) + _BEHIND_REPORT,
        sop_instance_uid=_uid(inputs, "instance"),
        instance_number=1,
        is_complete=True,
        is_final=True,
        is_verified=observer.verifies,
        verifying_observer_name=_person_name(observer) if observer.verifies else None,
        verifying_organization=observer.organization if observer.verifies else None,
        previous_versions=[_reference(inputs.predecessor)] if inputs.predecessor else None,
        series_description=f"QC {inputs.decision.decision.replace('_', ' ')} by reader",
        coding_schemes=codes.coding_schemes(),
        specific_character_set=CHARACTER_SET,
        manufacturer=PRODUCT,
        manufacturer_model_name=PRODUCT,
        software_versions=inputs.version,
        device_serial_number=text_of(report, "DeviceSerialNumber"),
    )
    apply_identity(decision, attributes)
    pin_times(decision, inputs.decision.decided_at)
    return decision


def _uid(inputs: DecisionInputs, entity: str) -> str:
    """Of everything that the document holds: another decision, another reader or another report give another document."""
    said, observer = inputs.decision, inputs.observer
    words = (said.decision, said.reasons, said.comment, said.rating, said.reader, said.decided_at.astimezone(UTC).isoformat())
    predecessor = inputs.predecessor.sop_instance_uid if inputs.predecessor else ""
    further = (said.because, [astuple(marked) for marked in said.regions], [astuple(other) for other in inputs.agreeing])
    content = json.dumps([*words, *astuple(observer), *further])
    return stable_uid("decision", Comprehensive3DSRStorage, entity, str(inputs.report.SOPInstanceUID), content, predecessor, inputs.version)


def _query(report: Dataset, attributes: Dataset, sop_instance_uid: str) -> Dataset:
    """The query as the report's evidence names it."""
    for study in items_of(report, "CurrentRequestedProcedureEvidenceSequence"):
        for series in items_of(study, "ReferencedSeriesSequence"):
            for named in items_of(series, "ReferencedSOPSequence"):
                if text_of(named, "ReferencedSOPInstanceUID") == sop_instance_uid:
                    header = Dataset()
                    header.SOPClassUID, header.SOPInstanceUID = named.ReferencedSOPClassUID, sop_instance_uid
                    header.StudyInstanceUID, header.SeriesInstanceUID = study.StudyInstanceUID, series.SeriesInstanceUID
                    return instance_reference(header, attributes)
    raise ValueError("the report does not name the query segmentation")


def _content(inputs: DecisionInputs, query: Dataset) -> sr.ContentSequence:
    """The root of TID 1500 with its qualitative evaluations only: highdicom's own class wants a measurement."""
    root = sr.ContainerContentItem(codes.IMAGING_MEASUREMENT_REPORT, template_id="1500")
    root.ContentSequence = sr.ContentSequence()
    root.ContentSequence.extend(sr.LanguageOfContentItemAndDescendants(codes.ENGLISH))
    root.ContentSequence.extend(_observation_context(inputs.observer))
    modifier = sr.RelationshipTypeValues.HAS_CONCEPT_MOD
    root.ContentSequence.append(sr.CodeContentItem(codes.PROCEDURE_REPORTED, codes.PROCEDURE, modifier))
    root.ContentSequence.append(_evaluations(inputs, query))
    return sr.ContentSequence([root], is_root=True)


def _observation_context(observer: Observer) -> sr.ObservationContext:
    """The observer is the reader; qcnode only wrote it down, which the equipment says (PS3.16 TID 1003)."""
    person = sr.PersonObserverIdentifyingAttributes(
        name=_person_name(observer), login_name=observer.login_name, organization_name=observer.organization
    )
    return sr.ObservationContext(observer_person_context=sr.ObserverContext(codes.PERSON, person))


def _person_name(observer: Observer) -> str:
    """A name of one component ends in ^: without it highdicom takes it for one that was not put into components."""
    return observer.person_name if "^" in observer.person_name else f"{observer.person_name}^"


def _evaluations(inputs: DecisionInputs, query: Dataset) -> sr.ContainerContentItem:
    """What was decided, about what, why, and on which evidence (TID 1500, row "Qualitative Evaluations")."""
    contains, said, report = sr.RelationshipTypeValues.CONTAINS, inputs.decision, inputs.report
    items: list[sr.ContentItem] = [
        sr.CodeContentItem(codes.DECISION, codes.decision_concept(said.decision), contains),
        sr.ImageContentItem(codes.QUERY_SEGMENTATION, query.SOPClassUID, query.SOPInstanceUID, relationship_type=contains),
        sr.CompositeContentItem(codes.QC_REPORT, report.SOPClassUID, report.SOPInstanceUID, relationship_type=contains),
    ]
    items += [sr.TextContentItem(codes.DECISION_REASON, reason, contains) for reason in map(_text, said.reasons) if reason]
    if said.rating is not None:
        items.append(sr.CodeContentItem(codes.STAR_RATING, codes.STARS[said.rating - 1], contains))
    for concept, text in ((codes.DECISION_COMMENT, _text(said.comment)), (codes.REVISION_REASON, _text(said.because))):
        if text:
            items.append(sr.TextContentItem(concept, text, contains))
    items += [_marked(marked) for marked in said.regions]
    # not as a second observer: TID 1500 has room for it, and validators have none
    items += [sr.PnameContentItem(codes.AGREEING_READER, _person_name(other), contains) for other in inputs.agreeing]
    container = sr.ContainerContentItem(codes.QUALITATIVE_EVALUATIONS, relationship_type=contains)
    container.ContentSequence = sr.ContentSequence(items)
    return container


def _marked(marked: MarkedRegion) -> sr.CodeContentItem:
    """A mark as a code; which region it is about as its property, in words that hold without qcnode's own viewer."""
    region = marked.region
    first, last = region.first_slice + 1, region.last_slice + 1
    slices = f"slice {first}" if first == last else f"slices {first} to {last}"
    x, y, z = region.centre_mm
    text = f"{region.tissue}, {slices}, {region.volume_ml:g} ml ({region.voxels} voxels) around L {x:g}, P {y:g}, H {z:g} mm"
    item = sr.CodeContentItem(codes.REGION_MARK, codes.mark_concept(marked.mark), sr.RelationshipTypeValues.CONTAINS)
    described = sr.TextContentItem(codes.ERROR_REGION, f"Region {region.number}: {text}", sr.RelationshipTypeValues.HAS_PROPERTIES)
    item.ContentSequence = sr.ContentSequence([described])
    return item


def _text(written: str) -> str:
    return _CONTROL.sub("", written).strip()


def _reference(predecessor: Predecessor) -> Dataset:
    """An item of the Predecessor Documents Sequence (PS3.3 C.17.2), as highdicom asks for it."""
    previous = Dataset()
    previous.SOPClassUID = predecessor.sop_class_uid
    previous.SOPInstanceUID = predecessor.sop_instance_uid
    previous.SeriesInstanceUID = predecessor.series_instance_uid
    previous.StudyInstanceUID = predecessor.study_instance_uid
    return previous
