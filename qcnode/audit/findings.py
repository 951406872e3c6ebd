"""What `qcnode audit` can find, and what is to be done about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """What is wrong. The values are part of the public interface."""

    OBJECT_MISSING = "object-missing"
    OBJECT_CHANGED = "object-changed"
    OBJECT_LOST = "object-lost"
    OBJECT_UNREAD = "object-purged-unread"
    FILE_UNKNOWN = "file-without-object"
    SEGMENTATION_FORGOTTEN = "segmentation-without-outcome"
    CASE_MISSING = "query-without-case"
    TWO_CASES = "two-cases-in-work"
    TWO_ANSWERS = "two-answers"
    RESULT_MISSING = "result-missing"
    RESULT_CHANGED = "result-changed"
    RESULT_DIFFERS = "result-differs-from-record"
    RESULT_PURGED_EARLY = "result-purged-early"
    RESULT_UNKNOWN = "result-without-case"
    ITEM_MISSING = "worklist-item-missing"
    PICTURES_MISSING = "pictures-missing"
    DOCUMENT_MISSING = "decision-document-missing"
    DOCUMENT_CHANGED = "decision-document-changed"
    DELIVERY_MISSING = "delivery-missing"
    DELIVERY_FILE_MISSING = "delivery-file-missing"
    DELIVERY_FILE_CHANGED = "delivery-file-changed"
    GIVEN_UP = "delivery-given-up"
    SILENT = "destination-silent"
    ANSWER_MISSING = "answer-missing"
    ANSWER_DIFFERS = "answer-differs"
    ANSWER_SURPLUS = "answer-surplus"

    @property
    def advice(self) -> str:
        """What to do."""
        return ADVICE[self]


_RESTORE = "restore the file from the backup; if there is none, let the sender send the study's SEG again under a new UID"

ADVICE: Mapping[Code, str] = {
    Code.OBJECT_MISSING: "let the PACS send it again after the next start of the node, or restore the file from the backup",
    Code.OBJECT_CHANGED: "check the disk; remove the file, start the node, and let the PACS send the object again",
    Code.OBJECT_LOST: "let the PACS send it again",
    Code.OBJECT_UNREAD: "let the PACS send it again, and report this: it must not happen",
    Code.FILE_UNKNOWN: "nothing is lost: the next start of the node removes it, for its sender was never told that it was taken",
    Code.SEGMENTATION_FORGOTTEN: "send any object of the study again with other bytes, or report this: it must not happen",
    Code.CASE_MISSING: "restore the database from the backup, or send the SEG again under a new UID",
    Code.TWO_CASES: "stop the node, and report this: it must not happen",
    Code.TWO_ANSWERS: "the PACS holds two reports about one SEG, of which neither replaces the other; report this: it must not happen",
    Code.RESULT_MISSING: _RESTORE,
    Code.RESULT_CHANGED: f"check the disk; {_RESTORE}",
    Code.RESULT_DIFFERS: "the directory and the database come from different backups: restore both from the same one",
    Code.RESULT_PURGED_EARLY: "restore the result's directory from the backup, and report this: it must not happen",
    Code.RESULT_UNKNOWN: "the directory and the database come from different backups: restore both from the same one",
    Code.ITEM_MISSING: "show the case to a radiologist by other means; restore the database from the backup",
    Code.PICTURES_MISSING: "read the case in the PACS; restore the result's directory from the backup",
    Code.DOCUMENT_MISSING: "restore the result's directory and the database from the same backup",
    Code.DOCUMENT_CHANGED: "check the disk; restore the result's directory from the backup",
    Code.DELIVERY_MISSING: "send the file in the result's directory to the destination by other means",
    Code.DELIVERY_FILE_MISSING: "restore the file from the backup, or send the one in the result's directory by other means",
    Code.DELIVERY_FILE_CHANGED: "check the disk; restore the file from the backup",
    Code.GIVEN_UP: "see what the destination said (`qcnode status`), correct it, and try again",
    Code.SILENT: "`qcnode doctor` says what is wrong; `--offline` leaves destinations out",
    Code.ANSWER_MISSING: "send the settled file to the destination again by other means, and ask its administrator where the object went",
    Code.ANSWER_DIFFERS: "let the destination's administrator remove what it holds under this UID, then send the settled file again",
    Code.ANSWER_SURPLUS: "no answer of this node's: let the destination's administrator find out who sent it, and remove it",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that differs. subject: what it is about, by UIDs, digests or paths inside of the storage directory; never a patient."""

    code: Code
    subject: str
    detail: str = ""
