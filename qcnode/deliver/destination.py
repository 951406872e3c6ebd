"""What an archive that is answered must be able to do, whatever protocol it speaks; and which replies come back by themselves."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydicom import Dataset

from qcnode.errors import QCNodeError, Retryable

_log = logging.getLogger(__name__)

# Patient and study attributes that an archive may correct after the images were sent (PS3.3 C.7.1.1, C.7.1.3, C.7.2.1).
STUDY_KEYWORDS = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyDescription",
)

_PROCESSING_FAILURE = 0x0110


class DeliveryRefused(QCNodeError):
    """The destination will not take this object, however often it is offered; a person must change something."""


class CannotRetrieve(QCNodeError):
    """The destination does not give objects back to us, however often it is asked: what it holds can not be compared."""


class CannotCommit(QCNodeError):
    """The destination does not offer Storage Commitment, however often it is asked."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of `qcnode doctor`: what was tried, whether it worked, what was seen and, if it failed, what to do.

    is_warning: it works, and the advice is worth reading all the same.
    """

    name: str
    ok: bool
    detail: str
    advice: str = ""
    is_warning: bool = False


class Destination(Protocol):
    """An archive to which results go. Methods that ask may raise Retryable where the archive can not be reached."""

    name: str

    def send(self, path: Path) -> None:
        """Deliver one stored DICOM file. Raises Retryable (try again later) or DeliveryRefused (do not)."""

    def kept_open(self) -> AbstractContextManager[None]:
        """Until the end, a connection may stay open from one question to the next: for one thread that asks many times."""

    def check(self) -> list[Check]:
        """Try what a delivery needs without storing anything. Never raises for what the destination does."""

    def series_instance_count(self, study_instance_uid: str, series_instance_uid: str) -> int | None:
        """How many instances of a series the archive holds; None where it does not know the series or is not able to say."""

    def instances(self, study_instance_uid: str, series_instance_uid: str) -> tuple[str, ...] | None:
        """SOP Instance UIDs of a series, sorted; empty where the archive has no such series, None where it is not able to say."""

    def retrieve(self, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str) -> Dataset | None:
        """An object as the archive holds it, with file meta; None where it does not have it.

        Raises Retryable, and CannotRetrieve where it gives nothing back, or not in this way (`read_back` of the configuration).
        """

    def study_attributes(self, study_instance_uid: str) -> Dataset | None:
        """The elements STUDY_KEYWORDS as the archive has them; None where it does not know the study or is not able to say."""


def settle_status(status: int, destination: str, sop_instance_uid: str) -> None:
    """Judge a storage status (PS3.4 table B.2-1, PS3.7 annex C, PS3.18 table I.2-2): return for success and warnings, otherwise raise.

    Out of resources (A7xx) and a processing failure (0110) pass; "cannot understand" (Cxxx) is also what archives answer when
    their own database fails, so it is tried again until the outbox gives up. Raises Retryable or DeliveryRefused.
    """
    if status == 0x0000:
        return
    shown = f"{destination}: status {status:04X}H for {sop_instance_uid}"
    if 0xB000 <= status <= 0xBFFF or status in (0x0001, 0x0107, 0x0116):
        _log.warning("%s: stored with a warning", shown)
    elif 0xA700 <= status <= 0xA7FF or 0xC000 <= status <= 0xCFFF or status == _PROCESSING_FAILURE:
        raise Retryable(shown)
    else:
        raise DeliveryRefused(shown)
