"""What an archive reports of a Storage Commitment request (PS3.4 annex J), whichever association the report comes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset

from qcnode.headers.elements import BROKEN_ELEMENT, integer, items, text

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110  # the archive reports again
NO_SUCH_EVENT_TYPE = 0x0113
INVALID_ARGUMENT = 0x0115

_EVENT_TYPES = (1, 2)  # all are committed; there are failures (PS3.4 table J.3-2)
_REASON_UNKNOWN = 0x0110


@dataclass(frozen=True, slots=True)
class CommitmentReport:
    """One report. committed: SOP Instance UIDs that the archive keeps; failed: those that it does not, with the Failure Reason."""

    transaction_uid: str
    committed: frozenset[str]
    failed: Mapping[str, int]


Settle = Callable[[CommitmentReport], bool]
"""Keeps a report; False where nobody asked for this transaction."""


def answer_report(event_type: int | None, information: Callable[[], Dataset], settle: Settle) -> int:
    """The status of an N-EVENT-REPORT response (PS3.7 section 10.1.1.1.8): success only once the report is kept.

    A transaction that is not ours, or not this peer's, is an invalid argument: the peer need not report it again.
    """
    if event_type not in _EVENT_TYPES:
        return NO_SUCH_EVENT_TYPE
    try:
        report = read_report(information())
    except BROKEN_ELEMENT:
        return INVALID_ARGUMENT
    return SUCCESS if report.transaction_uid and settle(report) else INVALID_ARGUMENT


def read_report(information: Dataset) -> CommitmentReport:
    """From the Event Information (PS3.4 table J.3-2). What is listed as committed and as failed has failed."""
    failed = {
        text(item, "ReferencedSOPInstanceUID"): integer(item, "FailureReason") or _REASON_UNKNOWN
        for item in items(information, "FailedSOPSequence")
    }
    committed = {text(item, "ReferencedSOPInstanceUID") for item in items(information, "ReferencedSOPSequence")}
    return CommitmentReport(text(information, "TransactionUID"), frozenset(committed - failed.keys()), failed)


def answer_event(event: Any, settle: Settle) -> tuple[int, None]:
    """Handle N-EVENT-REPORT, as pynetdicom asks for it: the status, and no Event Reply."""
    return answer_report(event.request.EventTypeID, lambda: event.event_information, settle), None
