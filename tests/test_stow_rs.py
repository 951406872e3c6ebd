"""Delivery by STOW-RS to a small HTTP archive on loopback, and to Debian's Orthanc."""

import base64
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from qcnode.config import StowDestination
from qcnode.deliver.content import canonical_digest
from qcnode.deliver.destination import CannotRetrieve, DeliveryRefused
from qcnode.deliver.stow_rs import StowRs
from qcnode.errors import ConfigurationError, Retryable


@dataclass
class WebArchive:
    """What the archive shall answer, and what it was asked."""

    status: int | Callable[[str], int] = 200
    answer: Any = field(default_factory=dict)
    delay: float = 0
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""
    listener: Any = None


@pytest.fixture
def web() -> Iterator[WebArchive]:
    archive = WebArchive()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            archive.requests.append((self.command, self.path, dict(self.headers), body))
            time.sleep(archive.delay)
            answer = archive.answer(self.path) if callable(archive.answer) else archive.answer
            encoded = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(archive.status(self.path) if callable(archive.status) else archive.status)
            parts = 'multipart/related; type="application/dicom"; boundary=part'
            self.send_header("Content-Type", parts if isinstance(answer, bytes) else "application/dicom+json")
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        do_POST = do_GET  # noqa: N815

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    archive.listener = listener
    thread = threading.Thread(target=listener.serve_forever, args=(0.02,))
    thread.start()
    archive.url = f"http://127.0.0.1:{listener.server_address[1]}/dicom-web"
    try:
        yield archive
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()


def destination(url: str, **settings: Any) -> StowRs:
    return StowRs(StowDestination(name="web", kind="stow-rs", url=url, timeout_seconds=settings.pop("timeout_seconds", 10), **settings))


def result(sop_instance_uid: str = "2.25.10") -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = sop_instance_uid
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = "Ärzte^Jürgen"
    dataset.PatientID = "P1"
    dataset.StudyInstanceUID = "2.25.1"
    dataset.SeriesInstanceUID = "2.25.2"
    dataset.Modality = "OT"
    dataset.Rows, dataset.Columns, dataset.BitsAllocated, dataset.SamplesPerPixel, dataset.PixelRepresentation = 128, 128, 8, 1, 0
    dataset.BitsStored, dataset.HighBit, dataset.PhotometricInterpretation = 8, 7, "MONOCHROME2"
    dataset.PixelData = bytes(range(256)) * 64
    return dataset


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "result.dcm"
    result().save_as(path, enforce_file_format=True)
    return path


def stow_answer(**sequences: list[Dataset]) -> Any:
    answer = Dataset()
    for keyword, items in sequences.items():
        setattr(answer, keyword, items)
    return answer.to_json_dict()


def failure(reason: int) -> Dataset:
    item = Dataset()
    item.ReferencedSOPInstanceUID = "2.25.10"
    item.FailureReason = reason
    return item


def multipart(content: bytes) -> bytes:
    return b"--part\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--part--\r\n"


def listed(*sop_instance_uids: str) -> Any:
    answers = []
    for sop_instance_uid in sop_instance_uids:
        answer = Dataset()
        answer.SOPInstanceUID = sop_instance_uid
        answers.append(answer.to_json_dict())
    return answers


def test_an_object_comes_back_as_it_is_held(web: WebArchive, path: Path) -> None:
    web.answer = multipart(path.read_bytes())
    found = destination(web.url).retrieve("2.25.1", "2.25.2", "2.25.10")
    assert found is not None
    assert canonical_digest(found) == canonical_digest(dcmread(path))
    assert [r[:2] for r in web.requests] == [("GET", "/dicom-web/studies/2.25.1/series/2.25.2/instances/2.25.10")]


def test_what_is_not_found_is_none_unless_it_is_listed(web: WebArchive) -> None:
    def status(asked: str) -> int:
        return 404 if asked.endswith("/instances/2.25.10") else 200

    web.status, web.answer = status, listed("2.25.11")
    assert destination(web.url).retrieve("2.25.1", "2.25.2", "2.25.10") is None
    assert destination(web.url).instances("2.25.1", "2.25.2") == ("2.25.11",)
    web.answer = listed("2.25.11", "2.25.10")
    with pytest.raises(CannotRetrieve, match="lists"):
        destination(web.url).retrieve("2.25.1", "2.25.2", "2.25.10")


@pytest.mark.parametrize("status", [400, 403, 406, 501])
def test_an_archive_that_gives_nothing_back_is_named_so(web: WebArchive, status: int) -> None:
    web.status = status
    with pytest.raises(CannotRetrieve, match=str(status)):
        destination(web.url).retrieve("2.25.1", "2.25.2", "2.25.10")
    assert destination(web.url).instances("2.25.1", "2.25.2") is None
    with pytest.raises(CannotRetrieve, match="none"):
        destination(web.url, read_back="none").retrieve("2.25.1", "2.25.2", "2.25.10")


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_reading_back_is_tried_again_where_that_may_help(web: WebArchive, status: int) -> None:
    web.status = status
    with pytest.raises(Retryable, match=str(status)):
        destination(web.url).retrieve("2.25.1", "2.25.2", "2.25.10")


@pytest.mark.parametrize("answer", [multipart(b"no DICOM"), b"--part--", b"", {}], ids=["text", "no part", "nothing", "JSON"])
def test_an_answer_that_can_not_be_read_is_tried_again(web: WebArchive, answer: Any) -> None:
    web.answer = answer
    with pytest.raises(Retryable):
        destination(web.url).retrieve("2.25.1", "2.25.2", "2.25.10")


def test_file_arrives_in_its_study_byte_for_byte_each_time(web: WebArchive, path: Path) -> None:
    destination(web.url).send(path)
    destination(web.url).send(path)
    (command, where, headers, body), second = web.requests
    assert (command, where) == ("POST", "/dicom-web/studies/2.25.1")
    assert "application/dicom" in headers["Content-Type"]
    assert path.read_bytes() in body
    assert sha256(body).digest() == sha256(second[3]).digest()


def test_empty_failed_sop_sequence_is_success(web: WebArchive, path: Path) -> None:
    web.answer = stow_answer(FailedSOPSequence=[])
    destination(web.url).send(path)


@pytest.mark.parametrize(
    ("reason", "error"), [(0xA700, Retryable), (0x0110, Retryable), (0xA900, DeliveryRefused), (0x0122, DeliveryRefused)]
)
def test_failed_instance_in_an_accepted_request(web: WebArchive, path: Path, reason: int, error: type[Exception]) -> None:
    web.status, web.answer = 202, stow_answer(FailedSOPSequence=[failure(reason)])
    with pytest.raises(error, match=f"{reason:04X}H"):
        destination(web.url).send(path)


def test_warning_is_success(web: WebArchive, path: Path) -> None:
    stored = Dataset()
    stored.ReferencedSOPInstanceUID, stored.WarningReason = "2.25.10", 0xB000
    web.status, web.answer = 202, stow_answer(ReferencedSOPSequence=[stored])
    destination(web.url).send(path)


@pytest.mark.parametrize("status", [400, 403, 404, 409, 415, 501])
def test_what_will_not_is_refused(web: WebArchive, path: Path, status: int) -> None:
    web.status = status
    with pytest.raises(DeliveryRefused, match=str(status)):
        destination(web.url).send(path)


@pytest.mark.parametrize("status", [401, 408, 429, 500, 503])
def test_what_may_come_back_is_retryable_and_asked_once(web: WebArchive, path: Path, status: int) -> None:
    web.status = status
    with pytest.raises(Retryable, match=str(status)):
        destination(web.url).send(path)
    assert len(web.requests) == 1


def test_nobody_there_is_retryable(path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Retryable):
        destination(f"http://127.0.0.1:{port}/dicom-web").send(path)


def test_slow_archive_is_retryable(web: WebArchive, path: Path) -> None:
    web.delay = 2
    with pytest.raises(Retryable):
        destination(web.url, timeout_seconds=0.3).send(path)


def test_password_goes_out_as_basic_authentication(web: WebArchive, path: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("pässword\n")
    destination(web.url, username="qcnode", password_file=secret).send(path)
    sent = web.requests[0][2]["Authorization"].removeprefix("Basic ")
    assert base64.b64decode(sent).decode() == "qcnode:pässword"


def test_environment_does_not_configure(web: WebArchive, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    destination(web.url).send(path)
    assert len(web.requests) == 1


def test_missing_ca_file_is_said(web: WebArchive, path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="ca_file"):
        destination(web.url, ca_file=tmp_path / "ca.pem").send(path)


def test_count_as_the_archive_counts(web: WebArchive) -> None:
    found = Dataset()
    found.SeriesInstanceUID, found.NumberOfSeriesRelatedInstances = "2.25.2", 12
    web.answer = [found.to_json_dict()]
    assert destination(web.url).series_instance_count("2.25.1", "2.25.2") == 12
    assert destination(web.url).series_instance_count("2.25.1", "2.25.3") is None


def test_count_as_the_archive_lists(web: WebArchive) -> None:
    def answer(where: str) -> list[Any]:
        found = Dataset()
        found.SeriesInstanceUID = "2.25.2"
        if "/instances" not in where:
            return [found.to_json_dict()]
        if "offset=3" in where:
            return []
        return [{"00080018": {"vr": "UI", "Value": [f"2.25.1{i}"]}} for i in range(3)]

    web.answer = answer
    assert destination(web.url).series_instance_count("2.25.1", "2.25.2") == 3


@pytest.mark.parametrize("status", [403, 404, 501])
def test_archive_without_qido_knows_nothing(web: WebArchive, status: int) -> None:
    web.status = status
    assert destination(web.url).series_instance_count("2.25.1", "2.25.2") is None
    assert destination(web.url).study_attributes("2.25.1") is None


def test_answer_that_is_not_json_is_retryable(path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(Retryable):
            destination(f"http://127.0.0.1:{listener.getsockname()[1]}/").study_attributes("2.25.1")
        thread.join()


def test_check_names_the_address_and_never_the_password(web: WebArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QCNODE_TEST_SECRET", "hush")
    to = destination(web.url, username="qcnode", password_env="QCNODE_TEST_SECRET")
    web.answer = []
    (check,) = to.check()
    assert check.ok
    web.status = 401
    (check,) = to.check()
    assert not check.ok
    assert web.url in check.advice
    assert "hush" not in repr(check)


@pytest.mark.peers
def test_only_the_named_certificate_authority_is_trusted(
    web: WebArchive, path: Path, tmp_path: Path, require_peers: Callable[..., None]
) -> None:
    require_peers("openssl")
    certificate, key = tmp_path / "ca.pem", tmp_path / "key.pem"
    request = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*request.split(), "-out", certificate, "-keyout", key], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    web.listener.socket = context.wrap_socket(web.listener.socket, server_side=True)
    url = web.url.replace("http:", "https:")
    with pytest.raises(Retryable, match="SSLError"):
        destination(url).send(path)
    destination(url, ca_file=certificate).send(path)
    assert len(web.requests) == 1


@contextmanager
def orthanc(folder: Path) -> Iterator[str]:
    """Debian's Orthanc with DICOMweb; yields its DICOMweb address."""
    with socket.socket() as http_port, socket.socket() as dicom_port:
        for free in (http_port, dicom_port):
            free.bind(("127.0.0.1", 0))
        ports = http_port.getsockname()[1], dicom_port.getsockname()[1]
    configuration = folder / "orthanc.json"
    settings = {
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "HttpPort": ports[0],
        "DicomPort": ports[1],
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {"qcnode": "secret"},
        "Plugins": ["/usr/share/orthanc/plugins"],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    configuration.write_text(json.dumps(settings))
    process = subprocess.Popen(["Orthanc", str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(ports[0], process)
        yield f"http://127.0.0.1:{ports[0]}/dicom-web"
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(300):
        assert process.poll() is None, "Orthanc ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError("Orthanc does not listen")


@pytest.mark.peers
def test_orthanc_takes_the_file_counts_it_and_knows_the_patient(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require_peers: Callable[..., None]
) -> None:
    require_peers("Orthanc", "/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
    monkeypatch.setenv("QCNODE_TEST_SECRET", "secret")
    with orthanc(tmp_path) as url:
        to = destination(url, username="qcnode", password_env="QCNODE_TEST_SECRET")
        assert all(c.ok for c in to.check())
        to.send(path)
        to.send(path)
        assert to.series_instance_count("2.25.1", "2.25.2") == 1
        attributes = to.study_attributes("2.25.1")
        assert attributes is not None
        assert attributes.PatientName == "Ärzte^Jürgen"
        (client_check,) = destination(url, username="qcnode").check()
        assert not client_check.ok
        back = to._ask(lambda client: client.retrieve_instance("2.25.1", "2.25.2", "2.25.10"))
    stream = BytesIO()
    back.save_as(stream)
    stream.seek(0)
    assert dcmread(stream).PixelData == result().PixelData
