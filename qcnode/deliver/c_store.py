"""A PACS that is answered by C-STORE, asked by C-FIND (Study Root) and read back by C-GET or C-MOVE."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from qcnode.config import CStoreDestination
from qcnode.deliver.c_retrieve import KEY_OBJECT_CLASS, RESULT_CLASSES, retrieve_by
from qcnode.deliver.destination import STUDY_KEYWORDS, CannotRetrieve, Check, DeliveryRefused, settle_status
from qcnode.deliver.dicom_peer import DicomPeer
from qcnode.errors import ConfigurationError, Retryable

_CLASS_REJECTED = ("presentation context rejected", "let the archive accept this Storage SOP class from our AE title")
_NO_FIND = ("not offered: no instance counts, no refreshed patient attributes from this archive", "")
_NO_PROOF = (
    "not offered: what was delivered can not be proven so",
    "let the archive offer it to our AE title, or change destinations[].read_back or .commitment",
)


class CStore:
    """A destination of kind c-store; one association per call, unless it is `kept_open`. Safe to use from several threads."""

    def __init__(self, settings: CStoreDestination, ae_title: str) -> None:
        """`ae_title` is our own, by which the archive knows us. Raises ConfigurationError where certificates and keys can not be used."""
        self.name = settings.name
        self._settings = settings
        self._peer = DicomPeer(settings, ae_title)

    def send(self, path: Path) -> None:
        """Send one stored file as it is: the bytes are the file's wherever the archive accepts the file's transfer syntax.

        Raises Retryable or DeliveryRefused (Destination.send).
        """
        try:
            dataset = dcmread(path)
        except (OSError, InvalidDicomError) as error:
            raise DeliveryRefused(f"{self.name}: a stored result can not be read ({type(error).__name__})") from error
        contexts = _storage_contexts(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
        with self._peer.association(contexts) as association:
            if not association.accepted_contexts:
                raise DeliveryRefused(f"{self.name}: accepts no presentation context for {dataset.SOPClassUID.name}")
            try:
                status = association.send_c_store(dataset)
            except (ValueError, AttributeError) as error:
                raise DeliveryRefused(f"{self.name}: {dataset.SOPInstanceUID} can not be sent as {dataset.SOPClassUID.name}") from error
            except RuntimeError as error:
                raise Retryable(f"{self.name}: the association ended early") from error
            if "Status" not in status:
                raise Retryable(f"{self.name}: no answer to C-STORE, or the association was aborted")
            settle_status(int(status.Status), self.name, str(dataset.SOPInstanceUID))

    def kept_open(self) -> AbstractContextManager[None]:
        """Associations stay open (DicomPeer.kept_open)."""
        return self._peer.kept_open()

    def check(self) -> list[Check]:
        """TLS where it is on, C-ECHO, then one line for each class of result, for Study Root C-FIND, and for each way of proof."""
        encryption = self._tls_checks()
        return [*encryption, *(self._dicom_checks() if all(check.ok for check in encryption) else ())]

    def _dicom_checks(self) -> list[Check]:
        where, proofs = self._peer.where, _proofs(self._settings)
        contexts = [build_context(uid) for uid in (Verification, StudyRootQueryRetrieveInformationModelFind, *proofs.values())]
        classes = RESULT_CLASSES | (KEY_OBJECT_CLASS if self._settings.key_object else {})
        contexts += [build_context(uid, ExplicitVRLittleEndian) for uid in classes.values()]
        try:
            with self._peer.association(contexts) as association:
                accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}
                echo = Verification in accepted and association.send_c_echo().get("Status") == 0x0000
        except Retryable as error:
            advice = f"is {where} up, and does it know our AE title {self._peer.ae_title}?"
            return [Check(f"{self.name}: C-ECHO", False, str(error), advice)]
        return [
            Check(f"{self.name}: C-ECHO", echo, where, "" if echo else "the archive accepts associations but does not answer C-ECHO"),
            *(self._context_check(label, uid in accepted, *_CLASS_REJECTED) for label, uid in classes.items()),
            self._context_check("Study Root C-FIND", StudyRootQueryRetrieveInformationModelFind in accepted, *_NO_FIND, is_needed=False),
            *(self._context_check(label, uid in accepted, *_NO_PROOF) for label, uid in proofs.items()),
        ]

    def _context_check(self, label: str, accepted: bool, otherwise: str, advice: str, *, is_needed: bool = True) -> Check:
        """Whether a presentation context was accepted; what it means where it was not."""
        name = f"{self.name}: {label}"
        return Check(name, True, "accepted") if accepted else Check(name, not is_needed, otherwise, advice)

    def series_instance_count(self, study_instance_uid: str, series_instance_uid: str) -> int | None:
        """As the archive counts, or as it lists them where it does not count. Raises Retryable."""
        identifier = Dataset()
        identifier.QueryRetrieveLevel = "SERIES"
        identifier.StudyInstanceUID = study_instance_uid
        identifier.SeriesInstanceUID = series_instance_uid
        identifier.NumberOfSeriesRelatedInstances = None
        found = [d for d in self._peer.find(identifier) or () if d.get("SeriesInstanceUID") == series_instance_uid]
        if not found:
            return None
        count = found[0].get("NumberOfSeriesRelatedInstances")
        if count:  # 0 is what archives say that do not count
            return int(count)
        return len(self.instances(study_instance_uid, series_instance_uid) or ()) or None

    def instances(self, study_instance_uid: str, series_instance_uid: str) -> tuple[str, ...] | None:
        """By C-FIND at image level. Raises Retryable."""
        found = self._peer.find(_image_identifier(study_instance_uid, series_instance_uid, ""))
        if found is None:
            return None
        ours = (d for d in found if d.get("SeriesInstanceUID", series_instance_uid) == series_instance_uid)
        return tuple(sorted({str(d.SOPInstanceUID) for d in ours if d.get("SOPInstanceUID")}))

    def retrieve(self, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str) -> Dataset | None:
        """By C-GET or C-MOVE. Where the archive only says that it failed, C-FIND says whether it has the object (Destination.retrieve)."""
        if self._settings.read_back == "none":
            raise CannotRetrieve(f"{self.name}: read_back is none")
        identifier = _image_identifier(study_instance_uid, series_instance_uid, sop_instance_uid)
        dataset, is_all = retrieve_by(self._settings, self._peer, identifier)
        if dataset is not None or is_all:
            return dataset
        listed = self.instances(study_instance_uid, series_instance_uid)
        if listed is None or sop_instance_uid in listed:
            raise Retryable(f"{self.name}: failed to send {sop_instance_uid} when it was asked for it")
        return None

    def study_attributes(self, study_instance_uid: str) -> Dataset | None:
        """By C-FIND at study level; elements that the archive does not return are absent. Raises Retryable."""
        identifier = Dataset()
        identifier.SpecificCharacterSet = "ISO_IR 192"
        identifier.QueryRetrieveLevel = "STUDY"
        identifier.StudyInstanceUID = study_instance_uid
        for keyword in STUDY_KEYWORDS:
            setattr(identifier, keyword, "")
        for found in self._peer.find(identifier) or ():
            if found.get("StudyInstanceUID") == study_instance_uid:
                return found
        return None

    def _tls_checks(self) -> list[Check]:
        try:
            agreed = self._peer.probe_tls()
        except (ConfigurationError, Retryable) as error:
            return [Check(f"{self.name}: TLS", False, str(error), "correct destinations[].tls, or what the archive shows and trusts")]
        return [] if agreed is None else [Check(f"{self.name}: TLS", True, agreed)]


def _proofs(settings: CStoreDestination) -> dict[str, UID]:
    """The services by which deliveries are proven."""
    found = {"Storage Commitment": StorageCommitmentPushModel} if settings.commitment else {}
    if settings.read_back == "c-move":
        found["Study Root C-MOVE"] = StudyRootQueryRetrieveInformationModelMove
    elif settings.read_back != "none":
        found["Study Root C-GET"] = StudyRootQueryRetrieveInformationModelGet
    return found


def _image_identifier(study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "IMAGE"
    identifier.StudyInstanceUID = study_instance_uid
    identifier.SeriesInstanceUID = series_instance_uid
    identifier.SOPInstanceUID = sop_instance_uid
    return identifier


def _storage_contexts(sop_class_uid: UID, transfer_syntax_uid: UID) -> list[PresentationContext]:
    """The file's own transfer syntax and, as PS3.5 section 10.1 demands for uncompressed objects, the default one."""
    contexts = [build_context(sop_class_uid, transfer_syntax_uid)]
    if not transfer_syntax_uid.is_compressed and transfer_syntax_uid != ImplicitVRLittleEndian:
        contexts.append(build_context(sop_class_uid, ImplicitVRLittleEndian))
    return contexts
