"""The Storage SCP: takes every Storage SOP class in every transfer syntax, keeps the bytes as sent, and only then says so.

A PACS's forward job must not fail because a study also holds an SR or a private object: unless configured otherwise, SOP classes
that are retired, private or younger than this program are accepted too. PS3.4 Annex B (service class, status codes), PS3.8 9.3.4
(rejection). What little is parsed before the answer is the head of the object, up to the Series Instance UID. While back-pressure says
so, associations are rejected for now and objects refused.
"""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, build_context, evt
from pynetdicom.pdu_primitives import SOPClassCommonExtendedNegotiation
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import ServiceClass
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification, uid_to_service_class

from qcnode.config import Listen
from qcnode.dicom_listener import Callers, CollectedDataSet, DicomListener, Rejections, start_listener
from qcnode.errors import Retryable
from qcnode.ingest.back_pressure import BackPressure, Cause
from qcnode.ingest.storage_commitment import SettleOf, commitment_context, commitment_handlers
from qcnode.log_fields import log_scope, note
from qcnode.store.inbox import Acceptance, Inbox

STORED = 0x0000
OUT_OF_RESOURCES = 0xA700
SOP_CLASS_MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
CANNOT_PARSE = 0xC210
INTERNAL_ERROR = 0xC211
TEMPORARY_CONGESTION = (0x02, 0x03, 0x01)  # transient, by the service provider (presentation related): too much waits
LOCAL_LIMIT_EXCEEDED = (0x02, 0x03, 0x02)  # the same: the disk holds no more

_STORAGE_SERVICE_CLASS = "1.2.840.10008.4.2"
_STANDARD_ROOT = "1.2.840.10008."
_STORAGE_ROOT = "1.2.840.10008.5.1.4.1.1."
_PREFERRED_SYNTAXES = [ExplicitVRLittleEndian, *(uid for uid in ALL_TRANSFER_SYNTAXES if uid != ExplicitVRLittleEndian)]
_LONGEST_DEFLATED_HEAD = 16 * 2**20  # bytes, inflated
_UID = re.compile(r"[0-9.]{1,64}")  # leading zeros and the like occur in the field, and nothing is named after a UID
_HEAD = {
    "sop_class_uid": Tag("SOPClassUID"),
    "sop_instance_uid": Tag("SOPInstanceUID"),
    "study_instance_uid": Tag("StudyInstanceUID"),
    "series_instance_uid": Tag("SeriesInstanceUID"),
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Head:
    """The identity of a received object."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str


class HeadError(Exception):
    """The object can not be kept; `status` is the C-STORE answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def start_storage_scp(
    listen: Listen,
    inbox: Inbox,
    *,
    now: Callable[[], datetime],
    on_stored: Callable[[str], None],
    back_pressure: BackPressure | None = None,
    on_report: SettleOf | None = None,
    on_answer: Callable[[int], None] = lambda _: None,
    rejections: Rejections | None = None,
) -> DicomListener:
    """Listen until `stop` is called; port 0 takes a free one. `on_stored` gets the Study Instance UID of each object that was new.

    Without back_pressure, only what the inbox itself has no room for is refused. on_report: keeps reports of Storage Commitment; left out,
    none are taken. on_answer: gets the status of every C-STORE response. rejections: counts the callers that are turned away.

    Raises ConfigurationError when the address can not be listened on, or certificate and key can not be used.
    """
    contexts = _supported_contexts(listen.sop_classes)
    if on_report is not None:
        contexts.append(commitment_context())
    take_unknown = not listen.sop_classes
    handlers = [
        (evt.EVT_REQUESTED, check_request, [contexts, take_unknown, back_pressure]),
        (evt.EVT_SOP_COMMON, route_unknown_classes, [take_unknown]),
        (evt.EVT_C_STORE, _told(handle_store, on_answer), [inbox, now, on_stored, back_pressure]),
        *(() if on_report is None else commitment_handlers(on_report)),
    ]
    return start_listener(
        listen,
        "listen",
        (),
        handlers,
        callers=Callers(listen.callers),
        everyone=not listen.callers,
        rejections=rejections,
    )


def _supported_contexts(sop_classes: Iterable[str]) -> list[PresentationContext]:
    """Storage classes (all, or those listed) and Verification. The limit of 128 contexts binds the requestor, not us."""
    storage = tuple(sop_classes) or tuple(str(context.abstract_syntax) for context in AllStoragePresentationContexts)
    return [build_context(uid, _PREFERRED_SYNTAXES) for uid in (Verification, *dict.fromkeys(storage))]


def check_request(event: evt.Event, contexts: list[PresentationContext], take_unknown: bool, back_pressure: BackPressure | None) -> None:
    """Before negotiation: reject a caller whose objects can not be taken for now; offer what is known, and the unknown Storage classes.

    Who asks for C-ECHO alone, or reports commitment, is always answered: neither fills the disk.
    """
    association = event.assoc
    stores = not _asked(association) <= {Verification, StorageCommitmentPushModel}
    causes = back_pressure.causes() if back_pressure is not None and stores else frozenset()
    if causes:
        is_congested = causes <= {Cause.OBJECTS, Cause.CASES}
        association.acse.send_reject(*(TEMPORARY_CONGESTION if is_congested else LOCAL_LIMIT_EXCEEDED))
        association.kill()
        return
    unknown = _unknown_storage_classes(association) if take_unknown else ()
    association.acceptor.supported_contexts = [*contexts, *(build_context(uid, _PREFERRED_SYNTAXES) for uid in unknown)]


def route_unknown_classes(event: evt.Event, take_unknown: bool) -> Mapping[str, SOPClassCommonExtendedNegotiation]:
    """Say that unknown classes belong to the Storage service, as the peer itself could have (PS3.7 D.3.3.6)."""
    items = {}
    for uid in _unknown_storage_classes(event.assoc) if take_unknown else ():
        items[uid] = SOPClassCommonExtendedNegotiation()
        items[uid].sop_class_uid = uid
        items[uid].service_class_uid = _STORAGE_SERVICE_CLASS
    return items


def _unknown_storage_classes(association: Any) -> list[str]:
    return sorted(uid for uid in _asked(association) if _is_unknown_storage(uid))


def _asked(association: Any) -> set[str]:
    """The abstract syntaxes that the peer proposes."""
    return {str(context.abstract_syntax) for context in association.requestor.primitive.presentation_context_definition_list}


def _is_unknown_storage(sop_class_uid: str) -> bool:
    """Private, or of the Storage branch of the standard, or retired Storage; and pynetdicom has no service for it."""
    if uid_to_service_class(sop_class_uid) is not ServiceClass:
        return False
    private = not sop_class_uid.startswith(_STANDARD_ROOT)
    return private or sop_class_uid.startswith(_STORAGE_ROOT) or "Storage" in UID(sop_class_uid).name


def _told(answer: Callable[..., int], on_answer: Callable[[int], None]) -> Callable[..., int]:
    def answer_and_tell(event: evt.Event, *arguments: Any) -> int:
        with log_scope():
            status = answer(event, *arguments)
        if event.request.DataSet is not None:
            event.request.DataSet.close()  # kept or refused, its memory is free for others
        on_answer(status)
        return status

    return answer_and_tell


def handle_store(
    event: evt.Event,
    inbox: Inbox,
    now: Callable[[], datetime],
    on_stored: Callable[[str], None],
    back_pressure: BackPressure | None,
) -> int:
    """Answer one C-STORE request: its status (PS3.4 B.2.3). 0x0000 only after the object is durable."""
    if isinstance(event.request.DataSet, CollectedDataSet) and event.request.DataSet.dropped is not None:
        _log.warning("object refused with %04XH: over listen.%s", OUT_OF_RESOURCES, event.request.DataSet.dropped)
        return OUT_OF_RESOURCES
    if back_pressure is not None and back_pressure.causes():
        return OUT_OF_RESOURCES
    try:
        head = read_head(event.encoded_dataset(include_meta=False), UID(event.context.transfer_syntax))
        note(study_instance_uid=head.study_instance_uid, sop_instance_uid=head.sop_instance_uid)
        _check_request_fits(event.request, head)
        acceptance = inbox.accept(
            event.encoded_dataset(),
            sop_class_uid=head.sop_class_uid,
            sop_instance_uid=head.sop_instance_uid,
            study_instance_uid=head.study_instance_uid,
            series_instance_uid=head.series_instance_uid,
            transfer_syntax_uid=str(event.context.transfer_syntax),
            calling_ae_title=event.assoc.requestor.ae_title,
            peer_address=event.assoc.requestor.address,
            now=now(),
        )
    except HeadError as error:
        _log.warning("object refused with %04XH: %s", error.status, error, extra={"event": "object-refused"})
        return error.status
    except Retryable as error:
        if back_pressure is not None:
            back_pressure.storage_failed(str(error))
        else:
            _log.warning("object refused with %04XH: %s", OUT_OF_RESOURCES, error, extra={"event": "object-refused"})
        return OUT_OF_RESOURCES
    except Exception as error:  # noqa: BLE001 - one object must not end the association; its text might quote the object
        _log.error("object refused with %04XH: %s", INTERNAL_ERROR, type(error).__name__, extra={"event": "object-refused"})
        return INTERNAL_ERROR
    if back_pressure is not None:
        back_pressure.stored()
    if acceptance is not Acceptance.SAME:
        _notify(on_stored, head.study_instance_uid)
    return STORED


def _notify(on_stored: Callable[[str], None], study_instance_uid: str) -> None:
    try:
        on_stored(study_instance_uid)
    except Exception as error:  # noqa: BLE001 - the object is kept: nothing that happens now makes that a failure
        _log.error("after an object was stored: %s", type(error).__name__)


def _check_request_fits(request: Any, head: Head) -> None:
    if head.sop_class_uid != str(request.AffectedSOPClassUID):
        raise HeadError(SOP_CLASS_MISMATCH, "its SOP Class UID is not that of the request")
    if head.sop_instance_uid != str(request.AffectedSOPInstanceUID):
        raise HeadError(CANNOT_UNDERSTAND, "its SOP Instance UID is not that of the request")


def read_head(dataset: bytes, transfer_syntax: UID) -> Head:
    """The identity in an encoded data set (without preamble and file meta). Raises HeadError."""
    try:
        stream = _inflated_head(dataset) if transfer_syntax.is_deflated else dataset
        elements = _read_elements(stream, transfer_syntax)
        found = {name: str(elements[tag].value or "") if tag in elements else "" for name, tag in _HEAD.items()}
    except Exception as error:  # pydicom raises whatever a broken stream leads to
        raise HeadError(CANNOT_PARSE, f"its head can not be parsed ({type(error).__name__})") from error
    for name, value in found.items():
        if not _UID.fullmatch(value):
            raise HeadError(CANNOT_UNDERSTAND, f"its {name} is {'no UID' if value else 'missing'}")
    return Head(**found)


def _read_elements(stream: bytes, transfer_syntax: UID) -> Dataset:
    def is_behind_head(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        return bool(tag > _HEAD["series_instance_uid"])

    return read_dataset(
        BytesIO(stream),
        transfer_syntax.is_implicit_VR,
        transfer_syntax.is_little_endian,
        stop_when=is_behind_head,
        specific_tags=list(_HEAD.values()),
    )


def _inflated_head(dataset: bytes) -> bytes:
    """As much as a head may take, so that a small object can not fill the memory."""
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(dataset, _LONGEST_DEFLATED_HEAD)
