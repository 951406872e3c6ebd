"""A PACS that is answered by C-STORE and asked by C-FIND (Study Root)."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, Verification

from qcnode.config import CStoreDestination
from qcnode.deliver.destination import STUDY_KEYWORDS, Check, DeliveryRefused, settle_status
from qcnode.errors import ConfigurationError, Retryable
from qcnode.tls import client_context, probe

_PENDING = (0xFF00, 0xFF01)
_OUT_OF_RESOURCES = 0xA700
_RESULT_CLASSES = {
    "Comprehensive 3D SR": Comprehensive3DSRStorage,
    "Segmentation": SegmentationStorage,
    "Secondary Capture": SecondaryCaptureImageStorage,
}
_KEY_OBJECT_CLASS = {"Key Object Selection": KeyObjectSelectionDocumentStorage}


class CStore:
    """A destination of kind c-store; one association per call. Safe to use from several threads."""

    def __init__(self, settings: CStoreDestination, ae_title: str) -> None:
        """`ae_title` is our own, by which the archive knows us. Raises ConfigurationError where certificates and keys can not be used."""
        self.name = settings.name
        self._settings = settings
        self._ae_title = ae_title
        self._tls_arguments()

    def send(self, path: Path) -> None:
        """Send one stored file as it is: the bytes are the file's wherever the archive accepts the file's transfer syntax.

        Raises Retryable or DeliveryRefused (Destination.send).
        """
        try:
            dataset = dcmread(path)
        except (OSError, InvalidDicomError) as error:
            raise DeliveryRefused(f"{self.name}: a stored result can not be read ({type(error).__name__})") from error
        contexts = _storage_contexts(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
        with self._association(contexts) as association:
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

    def check(self) -> list[Check]:
        """TLS where it is on, C-ECHO, then one line for each class of result and one for Study Root C-FIND."""
        encryption = self._tls_checks()
        return [*encryption, *(self._dicom_checks() if all(check.ok for check in encryption) else ())]

    def _dicom_checks(self) -> list[Check]:
        where = f"{self._settings.ae_title} at {self._settings.host}:{self._settings.port}"
        contexts = [build_context(Verification), build_context(StudyRootQueryRetrieveInformationModelFind)]
        classes = _RESULT_CLASSES | (_KEY_OBJECT_CLASS if self._settings.key_object else {})
        contexts += [build_context(uid, ExplicitVRLittleEndian) for uid in classes.values()]
        try:
            with self._association(contexts) as association:
                accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}
                echo = Verification in accepted and association.send_c_echo().get("Status") == 0x0000
        except Retryable as error:
            return [Check(f"{self.name}: C-ECHO", False, str(error), f"is {where} up, and does it know our AE title {self._ae_title}?")]
        return [
            Check(f"{self.name}: C-ECHO", echo, where, "" if echo else "the archive accepts associations but does not answer C-ECHO"),
            *(self._class_check(label, uid in accepted) for label, uid in classes.items()),
            self._find_check(StudyRootQueryRetrieveInformationModelFind in accepted),
        ]

    def series_instance_count(self, study_instance_uid: str, series_instance_uid: str) -> int | None:
        """As the archive counts, or as it lists them where it does not count. Raises Retryable."""
        identifier = Dataset()
        identifier.QueryRetrieveLevel = "SERIES"
        identifier.StudyInstanceUID = study_instance_uid
        identifier.SeriesInstanceUID = series_instance_uid
        identifier.NumberOfSeriesRelatedInstances = None
        found = [d for d in self._find(identifier) if d.get("SeriesInstanceUID") == series_instance_uid]
        if not found:
            return None
        count = found[0].get("NumberOfSeriesRelatedInstances")
        if count:  # 0 is what archives say that do not count
            return int(count)
        del identifier.NumberOfSeriesRelatedInstances
        identifier.QueryRetrieveLevel = "IMAGE"
        identifier.SOPInstanceUID = ""
        return len({d.SOPInstanceUID for d in self._find(identifier) if d.get("SOPInstanceUID")}) or None

    def study_attributes(self, study_instance_uid: str) -> Dataset | None:
        """By C-FIND at study level; elements that the archive does not return are absent. Raises Retryable."""
        identifier = Dataset()
        identifier.SpecificCharacterSet = "ISO_IR 192"
        identifier.QueryRetrieveLevel = "STUDY"
        identifier.StudyInstanceUID = study_instance_uid
        for keyword in STUDY_KEYWORDS:
            setattr(identifier, keyword, "")
        for found in self._find(identifier):
            if found.get("StudyInstanceUID") == study_instance_uid:
                return found
        return None

    def _find(self, identifier: Dataset) -> list[Dataset]:
        """Answers; none where the archive does not query, or fails to: that must not keep results from being delivered."""
        with self._association([build_context(StudyRootQueryRetrieveInformationModelFind)]) as association:
            if not association.accepted_contexts:
                return []
            found = []
            for status, answer in association.send_c_find(identifier, StudyRootQueryRetrieveInformationModelFind):
                if "Status" not in status:
                    raise Retryable(f"{self.name}: no answer to C-FIND, or the association was aborted")
                if status.Status in _PENDING and answer is not None:
                    found.append(answer)
                elif _OUT_OF_RESOURCES <= status.Status <= _OUT_OF_RESOURCES + 0xFF:
                    raise Retryable(f"{self.name}: status {status.Status:04X}H for C-FIND")
            return found

    @contextmanager
    def _association(self, contexts: Sequence[PresentationContext]) -> Iterator[Association]:
        """An association, released at the end; with no accepted contexts where the archive accepted it but nothing in it."""
        entity = AE(ae_title=self._ae_title)
        timeout = self._settings.timeout_seconds
        entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = timeout
        where = self._settings
        try:
            tls = self._tls_arguments()
        except ConfigurationError as error:  # the files have changed since the start, and may be whole again next time
            raise Retryable(str(error)) from error
        association = entity.associate(where.host, where.port, list(contexts), ae_title=where.ae_title, tls_args=tls)
        nothing_accepted = association.is_aborted and bool(association.rejected_contexts)
        if not association.is_established and not nothing_accepted:
            how = "rejected" if association.is_rejected else "not established"
            raise Retryable(f"{self.name}: association with {where.ae_title} at {where.host}:{where.port} {how}")
        try:
            yield association
        finally:
            if association.is_established:
                association.release()

    def _tls_arguments(self) -> tuple[ssl.SSLContext, str] | None:
        """Certificates are read for every association, so that renewed ones are used without a restart. Raises ConfigurationError."""
        settings = self._settings
        if not settings.tls.enabled:
            return None
        return client_context(settings.tls, f"destination {self.name}: tls"), settings.tls.server_name or settings.host

    def _tls_checks(self) -> list[Check]:
        settings, name = self._settings, f"{self.name}: TLS"
        try:
            tls = self._tls_arguments()
            if tls is None:
                return []
            return [Check(name, True, probe((settings.host, settings.port), *tls, settings.timeout_seconds))]
        except (ConfigurationError, Retryable) as error:
            return [Check(name, False, str(error), "correct destinations[].tls, or what the archive shows and trusts")]

    def _class_check(self, label: str, accepted: bool) -> Check:
        name = f"{self.name}: {label}"
        if accepted:
            return Check(name, True, "accepted")
        return Check(name, False, "presentation context rejected", "let the archive accept this Storage SOP class from our AE title")

    def _find_check(self, accepted: bool) -> Check:
        name = f"{self.name}: Study Root C-FIND"
        if accepted:
            return Check(name, True, "accepted")
        return Check(name, True, "not offered: no instance counts, no refreshed patient attributes from this archive")


def _storage_contexts(sop_class_uid: UID, transfer_syntax_uid: UID) -> list[PresentationContext]:
    """The file's own transfer syntax and, as PS3.5 section 10.1 demands for uncompressed objects, the default one."""
    contexts = [build_context(sop_class_uid, transfer_syntax_uid)]
    if not transfer_syntax_uid.is_compressed and transfer_syntax_uid != ImplicitVRLittleEndian:
        contexts.append(build_context(sop_class_uid, ImplicitVRLittleEndian))
    return contexts
