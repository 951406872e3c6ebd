"""Getting an object back from an archive, by C-GET on our own association or by C-MOVE to a listener of our own (PS3.4 annex C).

C-GET needs nothing but an association like the one that stores. C-MOVE is for archives without C-GET: they send to an AE title
that they know, so a Storage SCP listens for as long as the retrieval lasts. It is another one than the node's: what arrives there is
kept as received, and no other process (`qcnode audit`) could use it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.uid import (
    Comprehensive3DSRStorage,
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, DEFAULT_TRANSFER_SYNTAXES, build_context, build_role, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet, StudyRootQueryRetrieveInformationModelMove

from qcnode.config import CStoreDestination
from qcnode.deliver.destination import CannotRetrieve
from qcnode.deliver.dicom_peer import PENDING, DicomPeer, is_out_of_resources
from qcnode.errors import Retryable
from qcnode.headers.elements import BROKEN_ELEMENT

RESULT_CLASSES = {
    "Comprehensive 3D SR": Comprehensive3DSRStorage,
    "Segmentation": SegmentationStorage,
    "Secondary Capture": SecondaryCaptureImageStorage,
}
KEY_OBJECT_CLASS = {"Key Object Selection": KeyObjectSelectionDocumentStorage}

_STORED = 0x0000
_NOT_ASKED_FOR = 0xA900
_NOT_OURS_TO_ASK = frozenset({0x0122, 0x0124, 0x0210, 0x0211, 0x0212, 0xA801, 0xA900})  # 0xA801: move destination unknown
_COMPRESSED = [uid for uid in ALL_TRANSFER_SYNTAXES if uid not in DEFAULT_TRANSFER_SYNTAXES]


@dataclass(slots=True)
class _Arrival:
    """Takes the one object that is asked for."""

    sop_instance_uid: str
    dataset: Dataset | None = field(default=None)

    def store(self, event: evt.Event) -> int:
        """Answer a C-STORE sub-operation; what was not asked for is refused."""
        if str(event.request.AffectedSOPInstanceUID) != self.sop_instance_uid:
            return _NOT_ASKED_FOR
        self.dataset = dcmread(BytesIO(event.encoded_dataset()))
        return _STORED


def retrieve_by(settings: CStoreDestination, peer: DicomPeer, identifier: Dataset) -> tuple[Dataset | None, bool]:
    """What the archive sent for an IMAGE level identifier, and whether it says that this is all it has.

    (None, True): it holds no such object. (None, False): it failed to send it. Raises Retryable and CannotRetrieve.
    """
    arrival = _Arrival(str(identifier.SOPInstanceUID))
    service = "C-MOVE" if settings.read_back == "c-move" else "C-GET"
    try:
        status = _move(settings, peer, identifier, arrival) if service == "C-MOVE" else _get(peer, identifier, arrival)
    except BROKEN_ELEMENT as error:  # what pynetdicom raises where a peer goes away in the middle, or answers nonsense
        raise Retryable(f"{peer.name}: {service} failed ({type(error).__name__})") from None
    # taken out, for the association's parts refer to one another and to the handler: they stay until the garbage collector comes by
    dataset, arrival.dataset = arrival.dataset, None
    if dataset is not None:
        return dataset, True
    if status in _NOT_OURS_TO_ASK:
        raise CannotRetrieve(f"{peer.name}: status {status:04X}H for {service}")
    if is_out_of_resources(status) and status != 0xA702:  # A702H: the sub-operations failed
        raise Retryable(f"{peer.name}: status {status:04X}H for {service}")
    return None, status == _STORED


def _get(peer: DicomPeer, identifier: Dataset, arrival: _Arrival) -> int:
    """The final status of a C-GET."""
    model = StudyRootQueryRetrieveInformationModelGet
    classes = [*RESULT_CLASSES.values(), *KEY_OBJECT_CLASS.values()]
    # Two contexts for each class: native objects come as they are, and an archive that compressed them need not decompress.
    storage = [build_context(uid, syntaxes) for uid in classes for syntaxes in (DEFAULT_TRANSFER_SYNTAXES, _COMPRESSED)]
    roles = [build_role(uid, scp_role=True) for uid in classes]
    handlers = [(evt.EVT_C_STORE, arrival.store)]
    with peer.association([build_context(model), *storage], roles=roles, handlers=handlers) as association:
        if not any(context.abstract_syntax == model for context in association.accepted_contexts):
            raise CannotRetrieve(f"{peer.name}: does not offer C-GET")
        return _final_status(peer, association.send_c_get(identifier, model))


def _move(settings: CStoreDestination, peer: DicomPeer, identifier: Dataset, arrival: _Arrival) -> int:
    """The final status of a C-MOVE to a listener that ends with it."""
    model = StudyRootQueryRetrieveInformationModelMove
    with _listening(settings, peer, arrival), peer.association([build_context(model)]) as association:
        if not association.accepted_contexts:
            raise CannotRetrieve(f"{peer.name}: does not offer C-MOVE")
        return _final_status(peer, association.send_c_move(identifier, settings.move_ae_title, model))


@contextmanager
def _listening(settings: CStoreDestination, peer: DicomPeer, arrival: _Arrival) -> Iterator[None]:
    entity = AE(ae_title=settings.move_ae_title)
    entity.require_called_aet = True
    for uid in (*RESULT_CLASSES.values(), *KEY_OBJECT_CLASS.values()):
        entity.add_supported_context(uid, ALL_TRANSFER_SYNTAXES)
    for name in ("network_timeout", "acse_timeout", "dimse_timeout"):
        setattr(entity, name, settings.timeout_seconds)
    try:
        address = (settings.move_host, settings.move_port)
        listener = entity.start_server(address, block=False, evt_handlers=[(evt.EVT_C_STORE, arrival.store)])
    except OSError as error:  # another retrieval on this port has not ended
        raise Retryable(f"{peer.name}: can not listen on {settings.move_host}:{settings.move_port} ({error.strerror})") from error
    try:
        yield
    finally:
        listener.shutdown()


def _final_status(peer: DicomPeer, answers: Iterable[tuple[Any, Any]]) -> int:
    final: int | None = None
    for status, _ in answers:
        if "Status" not in status:
            raise Retryable(f"{peer.name}: no answer, or the association was aborted")
        if status.Status not in PENDING:
            final = int(status.Status)
    if final is None:
        raise Retryable(f"{peer.name}: the answer has no end")
    return final
