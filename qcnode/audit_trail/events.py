"""From what the store says to audit messages (PS3.15 A.5.3)."""

from __future__ import annotations

import socket
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from qcnode.audit_trail.messages import (
    AuditMessage,
    EventId,
    EventType,
    Outcome,
    Participant,
    PatientObject,
    RoleId,
    StudyObject,
)
from qcnode.config import Config, CStoreDestination
from qcnode.store.audit import AuditEntry
from qcnode.store.new_rejections import TurnedAway
from qcnode.store.trail import ItemOfPatient, ReceivedObject, SentObject

PatientOf = Callable[[Path], PatientObject | None]
"""Whose object a file is; None where it can not be read any more, or messages are to leave the patient out."""

_VIEWS = {"view": "R", "decide": "U", "reopen": "U", "reassign": "U"}
_SIGNING = {"sign-in": (EventType.LOGIN, Outcome.SUCCESS), "sign-out": (EventType.LOGOUT, Outcome.SUCCESS)}
_SIGNING |= {"sign-in-failed": (EventType.LOGIN, Outcome.MINOR_FAILURE)}
_ACCOUNTS = frozenset({"add-account", "set-password", "disable-account"})


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """qcnode as messages name it. host: the name of this machine. destinations: name -> (AE title or URL, host or None)."""

    ae_title: str
    process: str
    host: str
    destinations: Mapping[str, tuple[str, str | None]]

    @classmethod
    def of(cls, config: Config, process: int) -> Self:
        """The node of a configuration, in this process."""
        known = {
            d.name: (d.ae_title, d.host) if isinstance(d, CStoreDestination) else (d.url, urlsplit(d.url).hostname)
            for d in config.destinations
        }
        return cls(config.listen.ae_title, str(process), socket.gethostname(), known)

    def participant(self, role: RoleId, *, is_requestor: bool = False) -> Participant:
        """qcnode in a role."""
        return Participant(self.process, is_requestor, role, self.host, f"AETITLES={self.ae_title}")


def activity(me: NodeIdentity, event_type: EventType, at: datetime) -> AuditMessage:
    """Application Activity (A.5.3.1): the node has started, or ends."""
    return AuditMessage(EventId.APPLICATION_ACTIVITY, "E", at, (me.participant(RoleId.APPLICATION),), event_type)


def of_received(me: NodeIdentity, objects: Iterable[ReceivedObject], patient_of: PatientOf) -> Iterator[AuditMessage]:
    """DICOM Instances Transferred (A.5.3.7): one for what a peer has sent of a study."""
    groups: dict[tuple[str, str, str], list[ReceivedObject]] = defaultdict(list)
    for received in objects:
        groups[received.study_instance_uid, received.calling_ae_title, received.peer_address].append(received)
    for (study, ae_title, address), group in groups.items():
        source = Participant(ae_title, True, RoleId.SOURCE, address, f"AETITLES={ae_title}")
        destination = me.participant(RoleId.DESTINATION)
        instances = Counter(received.sop_class_uid for received in group)
        yield AuditMessage(
            EventId.INSTANCES_TRANSFERRED,
            "C",
            group[-1].received_at,
            (source, destination),
            studies=(StudyObject(study, instances),),
            patient=patient_of(group[0].path),
        )


def of_sent(me: NodeIdentity, objects: Iterable[SentObject], now: datetime, patient_of: PatientOf) -> Iterator[AuditMessage]:
    """The same for what destinations have taken, or refused for good."""
    groups: dict[tuple[str, str, bool], list[SentObject]] = defaultdict(list)
    for sent in objects:
        groups[sent.study_instance_uid, sent.destination, sent.delivered_at is not None].append(sent)
    for (study, name, is_taken), group in groups.items():
        user, host = me.destinations.get(name, (name, None))
        yield AuditMessage(
            EventId.INSTANCES_TRANSFERRED,
            "R",
            group[-1].delivered_at or now,
            (me.participant(RoleId.SOURCE, is_requestor=True), Participant(user, False, RoleId.DESTINATION, host)),
            outcome=Outcome.SUCCESS if is_taken else Outcome.MINOR_FAILURE,
            studies=(StudyObject(study, Counter(sent.sop_class_uid for sent in group)),),
            patient=patient_of(group[0].path),
        )


def of_entry(me: NodeIdentity, entry: AuditEntry, items: Mapping[int, ItemOfPatient], *, with_patient: bool) -> AuditMessage | None:
    """What a line of the audit table is to the outside; None where it is of no message's kind."""
    if entry.action in _SIGNING:
        event_type, outcome = _SIGNING[entry.action]
        # who failed is known by the name of the account only, where there is one of that name
        user = entry.subject.partition("/")[2] or "unknown"
        person = Participant(user, True, address=entry.details.get("address"))
        return AuditMessage(EventId.USER_AUTHENTICATION, "E", entry.at, (person, _application(me)), event_type, outcome)
    if entry.action in _ACCOUNTS:
        participants, changed = (Participant(entry.actor, True), _application(me)), EventType.USER_SECURITY_ATTRIBUTES_CHANGED
        details = {"Alert Description": f"{entry.action}: {entry.subject}"}
        return AuditMessage(EventId.SECURITY_ALERT, "E", entry.at, participants, changed, node=me.host, details=details)
    if entry.action == "export":
        return _export(me, entry)
    item = items.get(item_of(entry) or 0)
    if entry.action not in _VIEWS or item is None:
        return None
    patient = PatientObject(item.patient_id, item.patient_name) if with_patient else None
    participants, studies = (Participant(entry.actor, True), _application(me)), (StudyObject(item.study_instance_uid),)
    return AuditMessage(EventId.INSTANCES_ACCESSED, _VIEWS[entry.action], entry.at, participants, studies=studies, patient=patient)


def of_rejection(me: NodeIdentity, turned_away: TurnedAway) -> AuditMessage:
    """Security Alert, Node Authentication (A.5.3.11): a caller was turned away, perhaps more than once."""
    rejection = turned_away.rejection
    caller = Participant(rejection.calling_ae_title or "unknown", True, RoleId.SOURCE, rejection.address)
    details = {"Alert Description": rejection.reason, "listener": rejection.listener, "times": str(turned_away.count)}
    return AuditMessage(
        EventId.SECURITY_ALERT,
        "E",
        turned_away.last_at,
        (_application(me), caller),
        EventType.NODE_AUTHENTICATION,
        Outcome.MINOR_FAILURE,
        node=rejection.address,
        details=details,
    )


def item_of(entry: AuditEntry) -> int | None:
    """The worklist item that a line is about, if it is about one."""
    kind, _, number = entry.subject.partition("/")
    return int(number) if kind == "worklist-item" and number.isdigit() else None


def _export(me: NodeIdentity, entry: AuditEntry) -> AuditMessage:
    """Export (A.5.3.8). Which studies is not told: by default the files are pseudonymised, and which is which must not leave the node."""
    person, source = Participant(entry.actor, True), me.participant(RoleId.SOURCE)
    media = Participant("cohort", False, RoleId.DESTINATION_MEDIA, is_media=True)
    details = {key: str(value) for key, value in sorted(entry.details.items())}
    return AuditMessage(EventId.EXPORT, "R", entry.at, (person, source, media), node=me.host, details=details)


def _application(me: NodeIdentity) -> Participant:
    return me.participant(RoleId.APPLICATION)
