"""Audit messages as PS3.15 A.5 writes them: XML after RFC 3881, with DICOM's names of attributes."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, IntEnum
from typing import NamedTuple
from xml.etree import ElementTree as ET  # nosec B405  # writes only


class Code(NamedTuple):
    """A coded value."""

    value: str
    scheme: str
    meaning: str


class EventId(Enum):
    """CID 400."""

    APPLICATION_ACTIVITY = Code("110100", "DCM", "Application Activity")
    INSTANCES_ACCESSED = Code("110103", "DCM", "DICOM Instances Accessed")
    INSTANCES_TRANSFERRED = Code("110104", "DCM", "DICOM Instances Transferred")
    EXPORT = Code("110106", "DCM", "Export")
    SECURITY_ALERT = Code("110113", "DCM", "Security Alert")
    USER_AUTHENTICATION = Code("110114", "DCM", "User Authentication")


class EventType(Enum):
    """CID 401."""

    APPLICATION_START = Code("110120", "DCM", "Application Start")
    APPLICATION_STOP = Code("110121", "DCM", "Application Stop")
    LOGIN = Code("110122", "DCM", "Login")
    LOGOUT = Code("110123", "DCM", "Logout")
    NODE_AUTHENTICATION = Code("110126", "DCM", "Node Authentication")
    USER_SECURITY_ATTRIBUTES_CHANGED = Code("110137", "DCM", "User Security Attributes Changed")


class RoleId(Enum):
    """CID 402."""

    APPLICATION = Code("110150", "DCM", "Application")
    DESTINATION = Code("110152", "DCM", "Destination Role ID")
    SOURCE = Code("110153", "DCM", "Source Role ID")
    DESTINATION_MEDIA = Code("110154", "DCM", "Destination Media")


class Outcome(IntEnum):
    """EventOutcomeIndicator."""

    SUCCESS = 0
    MINOR_FAILURE = 4


_STUDY = Code("110180", "DCM", "Study Instance UID")
_NODE = Code("110182", "DCM", "Node ID")
_PATIENT = Code("2", "RFC-3881", "Patient Number")
_URI = Code("110037", "DCM", "URI")
_MACHINE_NAME, _IP_ADDRESS = "1", "2"
_PERSON, _SYSTEM = "1", "2"
_ROLE_PATIENT, _ROLE_REPORT, _ROLE_SECURITY_RESOURCE = "1", "3", "13"


@dataclass(frozen=True, slots=True)
class Participant:
    """Who took part. user_id: of a person, or an AE title or process. address: an IP address, or the name of a machine."""

    user_id: str
    is_requestor: bool
    role: RoleId | None = None
    address: str | None = None
    alternative_id: str | None = None
    is_media: bool = False


@dataclass(frozen=True, slots=True)
class StudyObject:
    """A study and how many instances of which SOP classes it is about."""

    study_instance_uid: str
    instances: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PatientObject:
    """Whose objects they are: required by the standard, and the one place where a message names the patient."""

    patient_id: str
    patient_name: str


@dataclass(frozen=True, slots=True)
class AuditMessage:
    """One event. action: C, R, U, D or E (create, read, update, delete, execute). node: an address that an alert is about."""

    event: EventId
    action: str
    at: datetime
    participants: tuple[Participant, ...]
    type: EventType | None = None
    outcome: Outcome = Outcome.SUCCESS
    studies: tuple[StudyObject, ...] = ()
    patient: PatientObject | None = None
    node: str | None = None
    details: Mapping[str, str] = field(default_factory=dict)


def as_xml(message: AuditMessage, source: str, site: str | None) -> bytes:
    """The message in UTF-8. source, site: AuditSourceID and AuditEnterpriseSiteID."""
    root = ET.Element("AuditMessage")
    event = ET.SubElement(
        root,
        "EventIdentification",
        EventActionCode=message.action,
        EventDateTime=message.at.isoformat(timespec="milliseconds"),
        EventOutcomeIndicator=str(message.outcome.value),
    )
    _add_code(event, "EventID", message.event.value)
    if message.type is not None:
        _add_code(event, "EventTypeCode", message.type.value)
    for participant in message.participants:
        _add_participant(root, participant)
    origin = ET.SubElement(root, "AuditSourceIdentification", AuditSourceID=source)
    if site is not None:
        origin.set("AuditEnterpriseSiteID", site)
    ET.SubElement(origin, "AuditSourceTypeCode", {"csd-code": "4"})  # application server process
    _add_objects(root, message)
    xml: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return xml


def _add_participant(root: ET.Element, participant: Participant) -> None:
    element = ET.SubElement(
        root, "ActiveParticipant", UserID=_clean(participant.user_id), UserIsRequestor=str(participant.is_requestor).lower()
    )
    if participant.alternative_id is not None:
        element.set("AlternativeUserID", _clean(participant.alternative_id))
    if participant.address is not None:
        element.set("NetworkAccessPointID", _clean(participant.address))
        is_number = participant.address.replace(".", "").isdigit() or ":" in participant.address
        element.set("NetworkAccessPointTypeCode", _IP_ADDRESS if is_number else _MACHINE_NAME)
    if participant.role is not None:
        _add_code(element, "RoleIDCode", participant.role.value)
    if participant.is_media:
        _add_code(ET.SubElement(element, "MediaIdentifier"), "MediaType", _URI)


def _add_objects(root: ET.Element, message: AuditMessage) -> None:
    for study in message.studies:
        element = _add_object(root, study.study_instance_uid, _SYSTEM, _ROLE_REPORT, _STUDY)
        _add_details(element, message.details.items())
        for sop_class_uid, number in sorted(study.instances.items()):
            ET.SubElement(element, "SOPClass", UID=sop_class_uid, NumberOfInstances=str(number))
    if message.node is not None:
        element = _add_object(root, message.node, _SYSTEM, _ROLE_SECURITY_RESOURCE, _NODE)
        _add_details(element, message.details.items())
    if message.patient is not None:
        element = _add_object(root, message.patient.patient_id, _PERSON, _ROLE_PATIENT, _PATIENT)
        ET.SubElement(element, "ParticipantObjectName").text = _clean(message.patient.patient_name)


def _add_object(root: ET.Element, identifier: str, kind: str, role: str, code: Code) -> ET.Element:
    element = ET.SubElement(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=_clean(identifier),
        ParticipantObjectTypeCode=kind,
        ParticipantObjectTypeCodeRole=role,
    )
    _add_code(element, "ParticipantObjectIDTypeCode", code)
    return element


def _add_details(element: ET.Element, details: Iterable[tuple[str, str]]) -> None:
    """Values are base64 in the standard's schema."""
    for name, value in details:
        ET.SubElement(element, "ParticipantObjectDetail", type=name, value=b64encode(value.encode()).decode())


def _add_code(parent: ET.Element, tag: str, code: Code) -> None:
    ET.SubElement(parent, tag, {"csd-code": code.value, "codeSystemName": code.scheme, "originalText": code.meaning})


def _clean(text: str) -> str:
    """Without the characters that XML can not hold, which a peer may well have sent."""
    return "".join(c if c.isprintable() else "?" for c in text)
