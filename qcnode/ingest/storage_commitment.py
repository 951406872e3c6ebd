"""Reports of Storage Commitment that an archive sends on an association of its own, to the node's listener.

The archive is the requestor and takes the role of SCP (PS3.4 section J.3.3, PS3.7 D.3.3.4). Only reports are taken: qcnode gives no
commitment itself, for it deletes what it received.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context, evt
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import StorageCommitmentPushModel

from qcnode.commitment import PROCESSING_FAILURE, CommitmentReport, answer_event

UNRECOGNISED_OPERATION = 0x0211

SettleOf = Callable[[str, CommitmentReport], bool]
"""(calling AE title, report) -> whether this archive was asked for that transaction."""

_log = logging.getLogger(__name__)


def commitment_context() -> PresentationContext:
    """What the listener offers: the requestor may be the SCP. As SCU it finds that every operation is unrecognised."""
    context = build_context(StorageCommitmentPushModel, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    context.scu_role, context.scp_role = True, True
    return context


def commitment_handlers(settle: SettleOf) -> Iterable[tuple[Any, Any, list[Any]]]:
    """Handlers for the listener's association events."""
    return [(evt.EVT_N_EVENT_REPORT, handle_report, [settle]), (evt.EVT_N_ACTION, refuse_action, [])]


def handle_report(event: evt.Event, settle: SettleOf) -> tuple[int, None]:
    """Answer an N-EVENT-REPORT. What fails here for now the archive reports again."""
    ae_title = str(event.assoc.requestor.ae_title).strip()
    try:
        status, reply = answer_event(event, lambda report: settle(ae_title, report))
    except Exception as error:  # noqa: BLE001 - the archive must get an answer; the text might quote the report
        _log.error("a report of Storage Commitment was not kept: %s", type(error).__name__)
        return PROCESSING_FAILURE, None
    if status:
        _log.warning("a report of Storage Commitment by %r was refused with %04XH", ae_title, status)
    return status, reply


def refuse_action(event: evt.Event) -> tuple[int, None]:
    """Answer an N-ACTION: qcnode commits to nothing."""
    return UNRECOGNISED_OPERATION, None
