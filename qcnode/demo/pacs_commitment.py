"""Storage Commitment of the small archive, as SCP (PS3.4 annex J): it commits to what it holds."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from pydicom import Dataset
from pynetdicom import AE, build_context, build_role
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from qcnode.demo.holdings import Holdings

_ALL_COMMITTED, _FAILURES_EXIST = 1, 2
_NO_SUCH_INSTANCE = 0x0112
_REPORT_SECONDS = 0.05  # after the answer to the request


class Commitments:
    """Answers requests and reports a moment later.

    silent: it reports nothing while that is set; peers: (host, port) of each AE title that has its reports on an association of their own;
    statuses: the peers' answers to them, None where there was none.
    """

    def __init__(self, ae_title: str, holdings: Holdings, peers: Mapping[str, tuple[str, int]]) -> None:
        self.silent = False
        self.statuses: list[int | None] = []
        self._ae_title = ae_title
        self._holdings = holdings
        self.peers = dict(peers)

    def on_action(self, event: Event) -> tuple[int, None]:
        """Take a request; the report follows on its own."""
        if not self.silent:
            request, peer = event.action_information, str(event.assoc.requestor.ae_title)
            threading.Timer(_REPORT_SECONDS, self._report, (request, peer, event.assoc)).start()
        return 0x0000, None

    def _report(self, request: Dataset, peer: str, asked_on: Association) -> None:
        information = self._information(request)
        event_type = _FAILURES_EXIST if "FailedSOPSequence" in information else _ALL_COMMITTED
        address = self.peers.get(peer)
        if address is None:
            self._send(asked_on, information, event_type)
            return
        association = AE(ae_title=self._ae_title).associate(
            *address,
            [build_context(StorageCommitmentPushModel)],
            ae_title=peer,
            ext_neg=[build_role(StorageCommitmentPushModel, scp_role=True)],
        )
        if association.is_established:
            self._send(association, information, event_type)
            association.release()
        else:
            self.statuses.append(None)

    def _send(self, association: Association, information: Dataset, event_type: int) -> None:
        status, _ = association.send_n_event_report(information, event_type, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
        self.statuses.append(int(status.Status) if "Status" in status else None)

    def _information(self, request: Dataset) -> Dataset:
        """PS3.4 table J.3-2."""
        information, committed, failed = Dataset(), [], []
        information.TransactionUID = request.TransactionUID
        for reference in request.ReferencedSOPSequence:
            if self._holdings.path_of(str(reference.ReferencedSOPInstanceUID)) is not None:
                committed.append(reference)
            else:
                reference.FailureReason = _NO_SUCH_INSTANCE
                failed.append(reference)
        if committed:
            information.ReferencedSOPSequence = committed
        if failed:
            information.FailedSOPSequence = failed
        return information
