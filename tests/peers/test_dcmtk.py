"""DCMTK as the sender: what it sends, in whatever transfer syntax, is kept as sent and read as it was written."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from certificates import Authority
from dicom_objects import new_object, save
from pydicom import dcmread
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from served_node import ServedNode
from waiting import wait_for

from qcnode.case import FrameRef, StoredHeader, Verdict
from qcnode.config import Caller, Listen
from qcnode.demo.phantom_dicom import PhantomStudy, phantom_study
from qcnode.headers import read_header
from qcnode.imaging.grid import Grid, resample
from qcnode.imaging.read_seg import read_segmentation
from qcnode.imaging.read_series import read_series
from qcnode.ingest.storage_scp import start_storage_scp
from qcnode.store.database import open_database
from qcnode.store.inbox import Inbox

pytestmark = [pytest.mark.peers, pytest.mark.timeout(300)]

CALLER = "DCMTK"


@dataclass
class Receiver:
    port: int
    inbox: Inbox
    study_instance_uid: str

    def received(self) -> list[StoredHeader]:
        for stored in self.inbox.unindexed(1000):
            self.inbox.index(stored.object_id, read_header(stored.path))
        return self.inbox.headers_of_study(self.study_instance_uid)


@pytest.fixture(scope="module")
def study() -> PhantomStudy:
    return phantom_study(41, phases=1, phase=0)


@pytest.fixture(autouse=True)
def _peers(require_peers) -> None:
    require_peers("storescu", "echoscu", "dcmconv", "dcmcjpls", "dcmcjpeg", "dcmcrle", "dcmodify")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def receiver(tmp_path: Path, study: PhantomStudy, authority: Authority, request: pytest.FixtureRequest) -> Iterator[Receiver]:
    settings = {"port": 0, "callers": [Caller(ae_title=CALLER)]} | getattr(request, "param", {})
    if settings.pop("encrypted", False):
        node = authority.sign("node")
        settings["tls"] = {"certificate_file": node.certificate, "private_key_file": node.key, "ca_file": authority.ca_file}
    listen = Listen.model_validate(settings)
    database = open_database(tmp_path / "storage")
    inbox = Inbox(database, tmp_path / "storage", 0)
    server = start_storage_scp(listen, inbox, now=lambda: datetime.now(UTC), on_stored=lambda _: None)
    yield Receiver(server.port, inbox, str(study.study.study_instance_uid))
    server.stop()
    database.close()


@pytest.fixture
def files(tmp_path: Path, study: PhantomStudy) -> list[Path]:
    """The study's images, as one file each."""
    folder = tmp_path / "sent"
    folder.mkdir()
    paths = [folder / f"{i:03}.dcm" for i in range(len(study.images))]
    for path, picture in zip(paths, study.images, strict=True):
        picture.save_as(path, enforce_file_format=True)
    return paths


def run(*command: object) -> subprocess.CompletedProcess[str]:
    # DCMTK waits for delayed acknowledgements otherwise
    environment = os.environ | {"TCP_NODELAY": "1"}
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60, env=environment)


def send(receiver: Receiver, paths: list[Path], *options: str, caller: str = CALLER) -> subprocess.CompletedProcess[str]:
    return run("storescu", "-v", "-aet", caller, "-aec", "QCNODE", *options, "127.0.0.1", receiver.port, *paths)


def as_written(study: PhantomStudy, grid: Grid) -> np.ndarray:
    """The phantom's voxels in the order of `grid`, which may run from the other end."""
    volume = study.phantom.volume
    return resample(np.round(volume.array), volume.grid, grid, nearest=True)


def encode(paths: list[Path], *command: str) -> None:
    for path in paths:
        done = run(*command, path, path)
        assert done.returncode == 0, done.stderr


def test_echoscu(receiver: Receiver) -> None:
    done = run("echoscu", "-aet", CALLER, "-aec", "QCNODE", "127.0.0.1", receiver.port)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("receiver", [{"encrypted": True}], indirect=True)
def test_mutual_tls(receiver: Receiver, files: list[Path], authority: Authority, tmp_path: Path) -> None:
    own, stranger = authority.sign("dcmtk"), Authority(tmp_path, "Other CA").sign("stranger")
    done = send(receiver, files[:1], "-R", "+tls", str(own.key), str(own.certificate), "+cf", str(authority.ca_file))
    assert done.returncode == 0, done.stderr
    assert len(receiver.received()) == 1
    for options in (("-ic", "+tla"), ("-ic", "+tls", str(stranger.key), str(stranger.certificate)), ()):
        assert send(receiver, files[1:2], "-R", *options).returncode != 0
    assert len(receiver.received()) == 1


def test_a_caller_that_is_not_listed_is_rejected(receiver: Receiver, files: list[Path]) -> None:
    done = send(receiver, files, "-R", caller="STRANGER")
    assert done.returncode != 0
    assert "Result: Rejected Permanent, Source: Service User" in done.stderr + done.stdout
    assert "Reason: Calling AE Title Not Recognized" in done.stderr + done.stdout
    assert receiver.received() == []


@pytest.mark.parametrize("receiver", [{"callers": [{"ae_title": CALLER, "address": "192.0.2.1"}]}], indirect=True)
def test_a_listed_caller_at_another_address_is_rejected(receiver: Receiver) -> None:
    done = run("echoscu", "-aet", CALLER, "-aec", "QCNODE", "127.0.0.1", receiver.port)
    assert done.returncode != 0
    assert "Reason: Calling AE Title Not Recognized" in done.stderr + done.stdout


@pytest.mark.parametrize("receiver", [{"sop_classes": ["1.2.840.10008.5.1.4.1.1.66.4"]}], indirect=True)
def test_an_unlisted_sop_class_gets_no_presentation_context(receiver: Receiver, files: list[Path]) -> None:
    done = send(receiver, files[:1], "-R")
    assert done.returncode != 0
    assert "No Acceptable Presentation Contexts" in done.stderr + done.stdout
    assert receiver.received() == []


ENCODINGS = {
    "implicit": (("dcmconv", "+ti"), "-xi", ImplicitVRLittleEndian),
    "explicit": (("dcmconv", "+te"), "-xe", ExplicitVRLittleEndian),
    "big endian": (("dcmconv", "+tb"), "-xb", ExplicitVRBigEndian),
    "deflated": (("dcmconv", "+td"), "-xd", DeflatedExplicitVRLittleEndian),
    "RLE": (("dcmcrle",), "-xr", RLELossless),
    "JPEG-LS": (("dcmcjpls",), "-xt", JPEGLSLossless),
    "JPEG lossless": (("dcmcjpeg",), "-xs", JPEGLosslessSV1),
}


@pytest.mark.parametrize(("command", "option", "syntax"), ENCODINGS.values(), ids=ENCODINGS)
def test_the_images_of_every_encoding_are_the_same_volume(
    receiver: Receiver, files: list[Path], study: PhantomStudy, command: tuple[str, ...], option: str, syntax: UID
) -> None:
    encode(files, *command)
    done = send(receiver, files, "-R", option)
    assert done.returncode == 0, done.stderr
    received = receiver.received()
    assert {dcmread(h.path, stop_before_pixels=True).file_meta.TransferSyntaxUID for h in received} == {syntax}
    read = read_series([FrameRef(h.path, h.header.sop_instance_uid) for h in received]).volume
    assert np.array_equal(read.array, as_written(study, read.grid))


def test_lossy_12_bit_jpeg_is_near_the_volume(receiver: Receiver, files: list[Path], study: PhantomStudy) -> None:
    encode(files, "dcmcjpeg", "+ee", "+q", "95")
    done = send(receiver, files, "-R", "-xx")
    assert done.returncode == 0, done.stderr
    received = receiver.received()
    assert {dcmread(h.path, stop_before_pixels=True).file_meta.TransferSyntaxUID for h in received} == {JPEGExtended12Bit}
    read = read_series([FrameRef(h.path, h.header.sop_instance_uid) for h in received]).volume
    written = as_written(study, read.grid)
    assert np.abs(read.array - written).mean() < 0.02 * written.max()


def test_a_seg_arrives_with_its_voxels(receiver: Receiver, tmp_path: Path, study: PhantomStudy) -> None:
    query = study.queries[0]
    path = tmp_path / "seg.dcm"
    query.dataset.save_as(path, enforce_file_format=True)
    done = send(receiver, [path], "-R")
    assert done.returncode == 0, done.stderr
    (received,) = receiver.received()
    assert received.header.kind == "seg"
    assert received.path.read_bytes()[-len(query.dataset.PixelData) :] == query.dataset.PixelData
    segmentation = read_segmentation(received.path, study.phantom.volume.grid)
    assert np.array_equal(segmentation.masks, query.segmentation)


def test_the_same_again_changes_nothing_and_other_pixels_are_kept_beside(receiver: Receiver, files: list[Path]) -> None:
    for _ in range(2):
        assert send(receiver, files[:2], "-R").returncode == 0
    assert len(receiver.received()) == 2
    altered = dcmread(files[0])
    altered.PixelData = bytes(len(altered.PixelData))
    altered.save_as(files[0], enforce_file_format=True)
    assert send(receiver, files[:1], "-R").returncode == 0
    assert len(receiver.received()) == 2
    (variant,) = receiver.inbox.variants_to_compare(10)
    assert variant.sop_instance_uid == altered.SOPInstanceUID


def test_one_association_with_all_of_a_study(receiver: Receiver, files: list[Path], tmp_path: Path, study: PhantomStudy) -> None:
    """As forwarding does it: many objects of several classes, one that is no image among them."""
    others = []
    for i, query in enumerate(study.queries):
        others.append(tmp_path / f"seg{i}.dcm")
        query.dataset.save_as(others[-1], enforce_file_format=True)
    text = new_object(BasicTextSRStorage)
    text.StudyInstanceUID, text.Modality = receiver.study_instance_uid, "SR"
    done = send(receiver, [*files, *others, save(text, others[0].parent)], "-R")
    assert done.returncode == 0, done.stderr
    kinds = [h.header.kind for h in receiver.received()]
    assert {kind: kinds.count(kind) for kind in kinds} == {"image": len(files), "seg": len(others), "other": 1}


def test_a_compressed_study_is_judged_by_a_served_node(files: list[Path], tmp_path: Path, study: PhantomStudy) -> None:
    """JPEG-LS images and a SEG, each sent by an association of its own, to `qcnode serve`: a verdict, and a clean end."""
    encode(files, "dcmcjpls")
    query = tmp_path / "seg.dcm"
    study.queries[1].dataset.save_as(query, enforce_file_format=True)
    node = ServedNode(tmp_path / "node", {"matching": {"quiet_seconds": 2}})
    try:
        for paths, option in (([query], "-xe"), (files, "-xt")):
            done = run("storescu", "-aet", CALLER, "-aec", "QCNODE", "-R", option, "127.0.0.1", node.port, *paths)
            assert done.returncode == 0, done.stderr
        wait_for(node.outcomes, 90, "a verdict", explain=node.log_tail)
        (outcome,) = node.outcomes().values()
        assert outcome.verdict is Verdict.FAIL
        assert outcome.query.sop_instance_uid == study.queries[1].dataset.SOPInstanceUID
    finally:
        ended = node.stop()
    assert ended == 0, node.log_tail()
