"""Delivery by C-STORE to real archives on loopback: bytes, statuses, contexts, counts, attributes."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority, Files
from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, SecondaryCaptureImageStorage, SegmentationStorage
from pynetdicom import AE, evt
from pynetdicom.dsutils import split_dataset
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, Verification

from qcnode.config import CStoreDestination, ListenerTls
from qcnode.deliver.c_store import CStore
from qcnode.deliver.destination import DeliveryRefused
from qcnode.demo.pacs import DemoPacs
from qcnode.errors import ConfigurationError, Retryable
from qcnode.tls import listener_context


def destination(port: int, *, timeout_seconds: float = 10, key_object: bool = False, **settings: Any) -> CStore:
    described = CStoreDestination(
        name="pacs",
        kind="c-store",
        ae_title="DEMOPACS",
        host="127.0.0.1",
        port=port,
        timeout_seconds=timeout_seconds,
        key_object=key_object,
        **settings,
    )
    return CStore(described, "QCNODE")


def result(sop_instance_uid: str = "2.25.10", sop_class_uid: str = SecondaryCaptureImageStorage) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = sop_class_uid
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = sop_instance_uid
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = "Ärzte^Jürgen"
    dataset.PatientID = "P1"
    dataset.StudyInstanceUID = "2.25.1"
    dataset.SeriesInstanceUID = "2.25.2"
    dataset.Modality = "OT"
    nested = Dataset()
    nested.ReferencedSOPInstanceUID = "2.25.99"
    dataset.ReferencedImageSequence = [nested]
    dataset.Rows, dataset.Columns, dataset.BitsAllocated, dataset.SamplesPerPixel, dataset.PixelRepresentation = 128, 128, 8, 1, 0
    dataset.PixelData = bytes(range(256)) * 64
    return dataset


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "result.dcm"
    result().save_as(path, enforce_file_format=True)
    return path


def dataset_bytes(path: Path) -> bytes:
    return path.read_bytes()[split_dataset(path)[1] :]


@contextmanager
def archive(
    on_store: Callable[[Any], int],
    *,
    classes: tuple[str, ...] = (SecondaryCaptureImageStorage,),
    syntax: str = ExplicitVRLittleEndian,
    ssl_context: ssl.SSLContext | None = None,
) -> Iterator[int]:
    """An archive that answers every C-STORE as told; yields its port."""
    entity = AE(ae_title="DEMOPACS")
    for sop_class_uid in classes:
        entity.add_supported_context(sop_class_uid, syntax)
    listener = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)], ssl_context=ssl_context)
    try:
        yield listener.server_address[1]
    finally:
        listener.shutdown()


def test_bytes_of_the_file_arrive_and_a_resend_has_the_same_digest(path: Path, tmp_path: Path) -> None:
    with DemoPacs(tmp_path / "archive") as pacs:
        to = destination(pacs.port)
        to.send(path)
        to.send(path)
        first, second = pacs.stores()
        (stored,) = pacs.instances()
    assert first.sha256 == second.sha256
    assert first.calling_ae_title == "QCNODE"
    assert dataset_bytes(stored) == dataset_bytes(path)


def test_archive_that_only_knows_implicit_vr_gets_the_same_bytes_each_time(path: Path) -> None:
    received = []

    def on_store(event: Any) -> int:
        received.append((event.context.transfer_syntax, event.encoded_dataset(include_meta=False)))
        return 0x0000

    with archive(on_store, syntax=ImplicitVRLittleEndian) as port:
        destination(port).send(path)
        destination(port).send(path)
    assert received[0] == received[1]
    assert received[0][0] == ImplicitVRLittleEndian


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xB006, 0xB007])
def test_success_and_warnings_are_delivered(path: Path, status: int) -> None:
    with archive(lambda event: status) as port:
        destination(port).send(path)


@pytest.mark.parametrize("status", [0xA700, 0xA702, 0xC000, 0x0110])
def test_what_may_come_back_is_retryable(path: Path, status: int) -> None:
    with archive(lambda event: status) as port, pytest.raises(Retryable, match=f"{status:04X}H"):
        destination(port).send(path)


@pytest.mark.parametrize("status", [0xA900, 0x0117, 0x0122, 0x0124])
def test_what_will_not_is_refused(path: Path, status: int) -> None:
    with archive(lambda event: status) as port, pytest.raises(DeliveryRefused, match=f"{status:04X}H"):
        destination(port).send(path)


def test_rejected_presentation_context_is_refused(path: Path) -> None:
    with archive(lambda event: 0x0000, classes=(SegmentationStorage,)) as port, pytest.raises(DeliveryRefused, match="Secondary Capture"):
        destination(port).send(path)


def test_nobody_there_is_retryable(path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Retryable):
        destination(port).send(path)


def test_peer_that_never_speaks_is_retryable(path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Retryable):
        destination(silent.getsockname()[1], timeout_seconds=0.5).send(path)


def test_archive_that_does_not_answer_in_time_is_retryable(path: Path) -> None:
    answer = threading.Event()

    def on_store(event: Any) -> int:
        answer.wait(10)
        return 0x0000

    with archive(on_store) as port:
        with pytest.raises(Retryable):
            destination(port, timeout_seconds=0.5).send(path)
        answer.set()


def test_archive_that_breaks_off_is_retryable(path: Path) -> None:
    def on_store(event: Any) -> int:
        event.assoc.abort()
        return 0x0000

    with archive(on_store) as port, pytest.raises(Retryable):
        destination(port).send(path)


def test_unknown_calling_ae_title_is_retryable(path: Path, tmp_path: Path) -> None:
    entity = AE(ae_title="DEMOPACS")
    entity.add_supported_context(SecondaryCaptureImageStorage)
    entity.require_calling_aet = ["SOMEBODY"]
    listener = entity.start_server(("127.0.0.1", 0), block=False)
    try:
        with pytest.raises(Retryable, match="rejected"):
            destination(listener.server_address[1]).send(path)
    finally:
        listener.shutdown()


def test_unreadable_file_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "result.dcm"
    broken.write_bytes(b"nothing")
    with pytest.raises(DeliveryRefused):
        destination(1).send(broken)


def test_counts_and_attributes_come_from_the_archive(tmp_path: Path) -> None:
    with DemoPacs(tmp_path) as pacs:
        for number in range(3):
            pacs.keep(result(f"2.25.1{number}"))
        to = destination(pacs.port)
        assert to.series_instance_count("2.25.1", "2.25.2") == 3
        assert to.series_instance_count("2.25.1", "2.25.3") is None
        attributes = to.study_attributes("2.25.1")
        assert attributes is not None
        assert attributes.PatientName == "Ärzte^Jürgen"
        assert to.study_attributes("2.25.7") is None


def test_archive_that_lists_but_does_not_count() -> None:
    def on_find(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        for number in range(4 if event.identifier.QueryRetrieveLevel == "IMAGE" else 1):
            answer = Dataset()
            answer.QueryRetrieveLevel = event.identifier.QueryRetrieveLevel
            answer.StudyInstanceUID, answer.SeriesInstanceUID = "2.25.1", "2.25.2"
            if event.identifier.QueryRetrieveLevel == "IMAGE":
                answer.SOPInstanceUID = f"2.25.1{number}"
            yield 0xFF00, answer

    entity = AE(ae_title="DEMOPACS")
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    listener = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, on_find)])
    try:
        assert destination(listener.server_address[1]).series_instance_count("2.25.1", "2.25.2") == 4
    finally:
        listener.shutdown()


def test_archive_without_query_knows_nothing(tmp_path: Path) -> None:
    with archive(lambda event: 0x0000) as port:
        assert destination(port).series_instance_count("2.25.1", "2.25.2") is None
        assert destination(port).study_attributes("2.25.1") is None


@contextmanager
def archive_that_fails_to_query(code: int) -> Iterator[int]:
    def on_find(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        yield code, None

    entity = AE(ae_title="DEMOPACS")
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    listener = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, on_find)])
    try:
        yield listener.server_address[1]
    finally:
        listener.shutdown()


def test_query_that_runs_out_of_resources_is_retryable() -> None:
    with archive_that_fails_to_query(0xA700) as port, pytest.raises(Retryable, match="A700H"):
        destination(port).study_attributes("2.25.1")


@pytest.mark.parametrize("status", [0xA900, 0xC001, 0x0122])
def test_archive_that_can_not_query_knows_nothing(status: int) -> None:
    with archive_that_fails_to_query(status) as port:
        assert destination(port).study_attributes("2.25.1") is None
        assert destination(port).series_instance_count("2.25.1", "2.25.2") is None


def test_check_of_a_complete_archive(tmp_path: Path) -> None:
    with DemoPacs(tmp_path) as pacs:
        checks = destination(pacs.port).check()
    assert [c.name for c in checks] == [
        "pacs: C-ECHO",
        "pacs: Comprehensive 3D SR",
        "pacs: Segmentation",
        "pacs: Secondary Capture",
        "pacs: Study Root C-FIND",
        "pacs: Study Root C-GET",
    ]
    assert all(c.ok for c in checks)


def test_the_configured_ways_of_proof_are_checked(tmp_path: Path) -> None:
    with DemoPacs(tmp_path / "with", commits_to={}) as pacs:
        checks = destination(pacs.port, read_back="c-move", commitment=True).check()
    assert [(c.name, c.ok) for c in checks[-2:]] == [("pacs: Storage Commitment", True), ("pacs: Study Root C-MOVE", True)]
    with archive(lambda event: 0x0000, classes=(Verification,)) as port:
        checks = destination(port, commitment=True).check()
        assert [(c.name, c.ok) for c in checks[-2:]] == [("pacs: Storage Commitment", False), ("pacs: Study Root C-GET", False)]
        assert destination(port, read_back="none").check()[-1].name == "pacs: Study Root C-FIND"


def test_the_key_object_class_is_checked_where_key_objects_are_sent(tmp_path: Path) -> None:
    with DemoPacs(tmp_path) as pacs:
        checks = destination(pacs.port, key_object=True).check()
    assert [c.ok for c in checks if c.name == "pacs: Key Object Selection"] == [True]


def test_check_says_which_class_is_rejected_and_what_to_do() -> None:
    with archive(lambda event: 0x0000, classes=(Verification, SecondaryCaptureImageStorage)) as port:
        checks = {c.name: c for c in destination(port).check()}
    assert checks["pacs: C-ECHO"].ok
    assert not checks["pacs: Segmentation"].ok
    assert "Storage SOP class" in checks["pacs: Segmentation"].advice
    assert checks["pacs: Secondary Capture"].ok


def test_check_of_an_archive_that_is_down() -> None:
    (check,) = destination(1).check()
    assert not check.ok
    assert "AE title QCNODE" in check.advice


def test_settled_file_is_not_changed_by_sending(path: Path, tmp_path: Path) -> None:
    before = path.read_bytes()
    with DemoPacs(tmp_path / "archive") as pacs:
        destination(pacs.port).send(path)
    assert path.read_bytes() == before
    assert dcmread(path).PatientID == "P1"


def encrypted(port: int, authority: Authority, files: Files | None, **tls: object) -> CStore:
    shown = {} if files is None else {"certificate_file": files.certificate, "private_key_file": files.key}
    settings = {"name": "pacs", "kind": "c-store", "ae_title": "DEMOPACS", "host": "127.0.0.1", "port": port, "timeout_seconds": 5}
    tls = {"enabled": True, "ca_file": authority.ca_file, **shown, **tls}
    return CStore(CStoreDestination.model_validate(settings | {"tls": tls}), "QCNODE")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@contextmanager
def encrypted_archive(authority: Authority, files: Files) -> Iterator[int]:
    settings = ListenerTls(certificate_file=files.certificate, private_key_file=files.key, ca_file=authority.ca_file)
    with archive(lambda _: 0x0000, ssl_context=listener_context(settings, "archive")) as port:
        yield port


def test_delivery_over_mutual_tls_and_with_a_renewed_certificate(path: Path, authority: Authority) -> None:
    own = authority.sign("qcnode")
    with encrypted_archive(authority, authority.sign("archive")) as port:
        to = encrypted(port, authority, own)
        to.send(path)
        check = to.check()[0]
        assert (check.name, check.ok, check.detail[:7]) == ("pacs: TLS", True, "TLSv1.3")
        renewed = authority.sign("renewed")
        own.certificate.write_bytes(renewed.certificate.read_bytes())
        with pytest.raises(Retryable, match="not that of the certificate"):
            to.send(path)
        own.key.write_bytes(renewed.key.read_bytes())
        to.send(path)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_archive_that_is_not_who_it_should_be_gets_nothing(path: Path, authority: Authority, tmp_path: Path) -> None:
    own, other = authority.sign("qcnode"), Authority(tmp_path, "Other CA")
    wrong = {
        "its certificate has expired": authority.sign("late", days=(-9, -1)),
        "signed by none of the authorities": other.sign("stranger"),
        "for another name": authority.sign("elsewhere", alternative=("pacs.example",)),
    }
    for said, files in wrong.items():
        with encrypted_archive(authority, files) as port:
            to = encrypted(port, authority, own)
            with pytest.raises(Retryable, match="not established"):
                to.send(path)
            (check,) = to.check()
            assert not check.ok
            assert said in check.detail
            if said == "for another name":
                encrypted(port, authority, own, server_name="pacs.example").send(path)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_archive_that_does_not_trust_us_or_speaks_no_tls_is_told_apart(path: Path, authority: Authority, tmp_path: Path) -> None:
    with encrypted_archive(authority, authority.sign("archive")) as port:
        for files in (None, Authority(tmp_path, "Other CA").sign("stranger")):
            (check,) = encrypted(port, authority, files).check()
            assert "refuses qcnode's certificate" in check.detail
    with archive(lambda _: 0x0000) as port:
        (check,) = encrypted(port, authority, None).check()
        assert "does not speak TLS" in check.detail


def test_files_that_can_not_be_used_are_told_at_the_start(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"destination pacs: tls\.ca_file: .*absent can not be read"):
        encrypted(1, authority, None, ca_file=tmp_path / "absent")
