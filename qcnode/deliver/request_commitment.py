"""Asking an archive to commit to what it was sent: Storage Commitment Push Model as SCU (PS3.4 annex J)."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import build_context, evt
from pynetdicom.dimse_messages import N_EVENT_REPORT_RSP
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from qcnode.commitment import Settle, answer_event
from qcnode.config import CStoreDestination
from qcnode.deliver.destination import CannotCommit
from qcnode.deliver.dicom_peer import DicomPeer
from qcnode.errors import Retryable
from qcnode.headers.elements import BROKEN_ELEMENT

_REQUEST_STORAGE_COMMITMENT = 1
_SAME_ASSOCIATION_SECONDS = 0.5  # archives that report at once do so on the association of the request; others on their own, later
_NOT_OURS_TO_ASK = frozenset({0x0112, 0x0118, 0x0122, 0x0123, 0x0124, 0x0211})


class StorageCommitment:
    """Requests to one archive. Safe to use from several threads."""

    def __init__(self, settings: CStoreDestination, ae_title: str) -> None:
        """`ae_title` is our own, to which the archive reports."""
        self._peer = DicomPeer(settings, ae_title)

    def new_transaction_uid(self) -> str:
        """One that was never used."""
        return str(generate_uid(prefix=None))

    def ask(self, transaction_uid: str, references: Sequence[tuple[str, str]], settle: Settle) -> None:
        """Ask for (SOP Class UID, SOP Instance UID) pairs. `settle` gets a report that comes on the same association.

        Returns once the archive has accepted the request: everything else is its report. Raises Retryable, and CannotCommit where the
        archive does not offer the service.
        """
        answered = threading.Event()

        def on_sent(event: evt.Event) -> None:
            if isinstance(event.message, N_EVENT_REPORT_RSP):
                answered.set()

        handlers = [(evt.EVT_N_EVENT_REPORT, answer_event, [settle]), (evt.EVT_DIMSE_SENT, on_sent)]
        with self._peer.association([build_context(StorageCommitmentPushModel)], handlers=handlers) as association:
            if not association.accepted_contexts:
                raise CannotCommit(f"{self._peer.name}: does not offer Storage Commitment")
            try:
                status, _ = association.send_n_action(
                    _action_information(transaction_uid, references),
                    _REQUEST_STORAGE_COMMITMENT,
                    StorageCommitmentPushModel,
                    StorageCommitmentPushModelInstance,
                )
            except BROKEN_ELEMENT as error:
                raise Retryable(f"{self._peer.name}: the association ended early ({type(error).__name__})") from None
            self._settle_status(status)
            answered.wait(_SAME_ASSOCIATION_SECONDS)

    def _settle_status(self, status: Dataset) -> None:
        name = self._peer.name
        if "Status" not in status:
            raise Retryable(f"{name}: no answer to the request for Storage Commitment, or the association was aborted")
        if status.Status in _NOT_OURS_TO_ASK:
            raise CannotCommit(f"{name}: status {status.Status:04X}H for a request for Storage Commitment")
        if status.Status != 0x0000:
            raise Retryable(f"{name}: status {status.Status:04X}H for a request for Storage Commitment")


def _action_information(transaction_uid: str, references: Sequence[tuple[str, str]]) -> Dataset:
    """PS3.4 table J.3-1."""
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = []
    for sop_class_uid, sop_instance_uid in references:
        reference = Dataset()
        reference.ReferencedSOPClassUID = sop_class_uid
        reference.ReferencedSOPInstanceUID = sop_instance_uid
        information.ReferencedSOPSequence.append(reference)
    return information
