"""The Storage SCP over real associations: what it takes, what it refuses with which code, and when it answers."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_objects import mr_slice
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, build_context
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import ModalityWorklistInformationFind, Verification
from sqlalchemy import event as sql_event
from store_samples import at

from qcnode.config import Caller, Listen
from qcnode.dicom_listener import CollectedDataSet, DicomListener
from qcnode.dicom_listener.messages import Room
from qcnode.errors import ConfigurationError
from qcnode.ingest.storage_scp import HeadError, read_head, start_storage_scp
from qcnode.store import object_files
from qcnode.store.database import Database, open_database
from qcnode.store.inbox import Inbox

MR, CT, SR, PDF = (f"1.2.840.10008.5.1.4.1.1.{tail}" for tail in ("4", "2", "88.22", "104.1"))
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
PRIVATE, FUTURE, RETIRED = "1.3.12.2.1107.5.9.1", "1.2.840.10008.5.1.4.1.1.9999", "1.2.840.10008.5.1.1.27"

Start = Callable[..., DicomListener]


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(tmp_path)


@pytest.fixture
def inbox(database: Database, tmp_path: Path) -> Inbox:
    return Inbox(database, tmp_path, 0)


@pytest.fixture
def stored_studies() -> list[str]:
    return []


@pytest.fixture
def start(inbox: Inbox, stored_studies: list[str]) -> Iterator[Start]:
    servers: list[DicomListener] = []

    def start_one(*, on_stored: Callable[[str], None] = stored_studies.append, **listen: Any) -> DicomListener:
        servers.append(start_storage_scp(Listen(port=0, **listen), inbox, now=lambda: at(0), on_stored=on_stored))
        return servers[-1]

    yield start_one
    for server in servers:
        server.stop()


def _associate(server: DicomListener, *sop_classes: str, title: str = "PACS", syntaxes: Any = (uid.ExplicitVRLittleEndian,)) -> Association:
    application_entity = AE(title)
    for name in ("acse_timeout", "dimse_timeout", "network_timeout"):
        setattr(application_entity, name, 20)
    for sop_class in sop_classes or (MR,):
        application_entity.add_requested_context(sop_class, list(syntaxes))
    return application_entity.associate("127.0.0.1", server.port)


def _object(sop_class_uid: str = MR, sop_instance_uid: str = "2.25.11", **elements: object) -> Dataset:
    dataset = mr_slice(np.arange(64, dtype=np.uint16).reshape(8, 8), (0.0, 0.0, 0.0), sop_instance_uid=sop_instance_uid)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class_uid
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def _send(server: DicomListener, *datasets: Dataset, **how: Any) -> list[int]:
    association = _associate(server, *dict.fromkeys(str(d.SOPClassUID) for d in datasets), **how)
    assert association.is_established
    statuses = [int(association.send_c_store(dataset).Status) for dataset in datasets]
    association.release()
    return statuses


def _send_raw(
    server: DicomListener, encoded: bytes, *, sop_instance_uid: str = "2.25.11", syntax: uid.UID = uid.ExplicitVRLittleEndian
) -> int:
    """C-STORE of any bytes, as an MR image."""
    association = _associate(server, MR, syntaxes=(syntax,))
    request = C_STORE()
    request.MessageID, request.Priority = 7, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = MR, sop_instance_uid
    request.DataSet = BytesIO(encoded)
    association._reactor_checkpoint.clear()  # as send_c_store does: or else the reactor takes the answer
    while not association._is_paused:
        time.sleep(0.01)
    association.dimse.send_msg(request, 1)
    _, response = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    assert response is not None, "the association was aborted"
    association.release()
    return int(response.Status)


def _encoded(dataset: Dataset, syntax: uid.UID = uid.ExplicitVRLittleEndian) -> bytes:
    return bytes(encode(dataset, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated) or b"")


def test_echo(start: Start) -> None:
    association = _associate(start(), Verification)
    assert association.send_c_echo().Status == 0x0000
    association.release()


@pytest.mark.parametrize(
    "syntax",
    [
        uid.ExplicitVRLittleEndian,
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
        uid.JPEG2000Lossless,
    ],
    ids=lambda syntax: syntax.keyword,
)
def test_bytes_are_stored_as_sent(start: Start, inbox: Inbox, stored_studies: list[str], syntax: uid.UID) -> None:
    encoded = _encoded(_object(), syntax)
    assert _send_raw(start(), encoded, syntax=syntax) == 0x0000
    (stored,) = inbox.unindexed(10)
    assert stored.path.read_bytes().endswith(encoded)
    assert (stored.sop_class_uid, stored.sop_instance_uid, stored.study_instance_uid) == (MR, "2.25.11", "2.25.1")
    assert (stored.series_instance_uid, stored.transfer_syntax_uid) == ("2.25.2", syntax)
    read = dcmread(stored.path, stop_before_pixels=True)
    assert read.PatientName == "TEST^ONLY"
    assert (read.file_meta.TransferSyntaxUID, read.file_meta.MediaStorageSOPInstanceUID) == (syntax, "2.25.11")
    assert stored_studies == ["2.25.1"]


def test_compressed_objects(start: Start, inbox: Inbox) -> None:
    dataset = _object()
    dataset.compress(uid.RLELossless, generate_instance_uid=False)
    assert _send(start(), dataset, syntaxes=(uid.RLELossless,)) == [0x0000]
    (stored,) = inbox.unindexed(10)
    assert np.array_equal(dcmread(stored.path).pixel_array, np.arange(64).reshape(8, 8))


def test_every_storage_class_in_every_transfer_syntax_is_negotiated(start: Start) -> None:
    server = start()
    known = [str(context.abstract_syntax) for context in AllStoragePresentationContexts]
    assert LABEL_MAP in known
    for first in range(0, len(known), 128):
        association = _associate(server, *known[first : first + 128], syntaxes=ALL_TRANSFER_SYNTAXES)
        assert association.rejected_contexts == []
        association.release()
    contexts = [build_context(sop_class, [syntax]) for syntax in ALL_TRANSFER_SYNTAXES for sop_class in (MR, PRIVATE)]
    association = AE().associate("127.0.0.1", server.port, contexts=contexts)
    assert len(association.accepted_contexts) == 2 * len(ALL_TRANSFER_SYNTAXES)
    association.release()


def test_explicit_vr_is_preferred(start: Start) -> None:
    association = _associate(start(), MR, syntaxes=(uid.ImplicitVRLittleEndian, uid.JPEG2000, uid.ExplicitVRLittleEndian))
    assert association.accepted_contexts[0].transfer_syntax == [uid.ExplicitVRLittleEndian]
    association.release()


def test_a_forward_job_with_anything_in_it_succeeds(start: Start, inbox: Inbox) -> None:
    classes = (MR, SR, PDF, LABEL_MAP, PRIVATE, FUTURE, RETIRED)
    assert _send(start(), *(_object(c, f"2.25.{i + 1}") for i, c in enumerate(classes))) == [0x0000] * len(classes)
    assert [stored.sop_class_uid for stored in inbox.unindexed(10)] == list(classes)


def test_what_is_no_storage_is_not_accepted(start: Start) -> None:
    association = _associate(start(), MR, ModalityWorklistInformationFind)
    assert [context.abstract_syntax for context in association.rejected_contexts] == [ModalityWorklistInformationFind]
    association.release()


def test_unlisted_classes_get_a_rejected_context(start: Start) -> None:
    association = _associate(start(sop_classes=(MR, PRIVATE)), MR, PRIVATE, CT, SR, FUTURE, Verification)
    assert {context.abstract_syntax for context in association.accepted_contexts} == {MR, PRIVATE, Verification}
    assert {(context.abstract_syntax, context.result) for context in association.rejected_contexts} == {(CT, 3), (SR, 3), (FUTURE, 3)}
    association.release()


@pytest.mark.parametrize(
    ("callers", "title", "welcome"),
    [
        ((), "ANYBODY", True),
        ((Caller(ae_title="PACS"),), "PACS", True),
        ((Caller(ae_title="OTHER"), Caller(ae_title="PACS", address="127.0.0.1")), "PACS", True),
        ((Caller(ae_title="PACS"),), "STRANGER", False),
        ((Caller(ae_title="PACS", address="192.0.2.1"),), "PACS", False),
        ((Caller(ae_title="PACS", address="127.0.0.0/8"),), "PACS", True),
        ((Caller(ae_title="PACS", address="192.0.2.0/24"),), "PACS", False),
    ],
)
def test_callers(start: Start, callers: tuple[Caller, ...], title: str, welcome: bool) -> None:
    server = start(callers=callers)
    for _ in range(3):
        association = _associate(server, title=title)
        assert (association.is_established, association.is_rejected) == (welcome, not welcome)
        if welcome:
            association.release()
        else:
            answer = association.acceptor.primitive
            assert (answer.result, answer.result_source, answer.diagnostic) == (1, 1, 3)


def test_a_callers_address_is_an_address_or_a_network() -> None:
    with pytest.raises(ValueError, match="not an IP address"):
        Caller(ae_title="PACS", address="pacs.example")
    with pytest.raises(ValueError, match="no network"):
        Caller(ae_title="PACS", address="192.0.2.1/24")


def test_a_port_that_is_taken(start: Start, inbox: Inbox) -> None:
    with pytest.raises(ConfigurationError, match="can not listen"):
        start_storage_scp(Listen(port=start().port), inbox, now=lambda: at(0), on_stored=print)


def test_another_sop_class_than_announced(start: Start, inbox: Inbox) -> None:
    assert _send_raw(start(), _encoded(_object(CT))) == 0xA900
    assert inbox.unindexed(10) == []


def test_another_instance_than_announced(start: Start, inbox: Inbox) -> None:
    assert _send_raw(start(), _encoded(_object()), sop_instance_uid="2.25.12") == 0xC000
    assert inbox.unindexed(10) == []


def _bad_uid(keyword: str, value: str | None) -> bytes:
    dataset = _object()
    del dataset[keyword]
    if value is not None:
        dataset.add_new(keyword, "UI", value)
    return _encoded(dataset)


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("value", ["", None, "no/uid", "../../etc", "1" * 65])
@pytest.mark.filterwarnings("ignore:.*value")
def test_bad_uids_are_refused(keyword: str, value: str | None) -> None:
    with pytest.raises(HeadError) as refusal:
        read_head(_bad_uid(keyword, value), uid.ExplicitVRLittleEndian)
    assert refusal.value.status == 0xC000
    assert value is None or len(value) < 3 or value not in str(refusal.value)


def test_a_bad_uid_is_refused_by_its_status(start: Start, inbox: Inbox) -> None:
    assert _send_raw(start(), _bad_uid("StudyInstanceUID", None)) == 0xC000
    assert inbox.unindexed(10) == []


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_uid_with_leading_zeros_is_taken(start: Start) -> None:
    """PS3.5 9.1 forbids it, archives hold it, and nothing is named after it."""
    assert _send(start(), _object(StudyInstanceUID="1.2.03.4")) == [0x0000]


@pytest.mark.parametrize(
    ("encoded", "syntax"),
    [
        pytest.param(b"\xff" * 300, uid.ExplicitVRLittleEndian, id="no-dicom"),
        pytest.param(os.urandom(5000), uid.ExplicitVRLittleEndian, id="noise"),
        pytest.param(os.urandom(5000), uid.DeflatedExplicitVRLittleEndian, id="no-deflate"),
        pytest.param(b"\x08\x00\x16\x00UI\xff\xff1.2", uid.ExplicitVRLittleEndian, id="cut-in-an-element"),
        pytest.param(b"\x08\x00\x05\x11\x00\x00\xff\xff\xff\xff" * 500, uid.ImplicitVRLittleEndian, id="sequences-without-end"),
    ],
)
def test_what_can_not_be_parsed_is_refused_and_the_next_object_taken(start: Start, encoded: bytes, syntax: uid.UID) -> None:
    server = start()
    assert _send_raw(server, encoded, syntax=syntax) in (0xC210, 0xC000)
    assert _send(server, _object()) == [0x0000]


def test_a_deflated_bomb_does_not_fill_the_memory(start: Start) -> None:
    compressor = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    head = _encoded(_object(PixelData=b"\0" * 64))
    encoded = compressor.compress(head) + b"".join(compressor.compress(b"\0" * 2**20) for _ in range(40)) + compressor.flush()
    assert len(encoded) < 2**20
    assert _send_raw(start(), encoded, syntax=uid.DeflatedExplicitVRLittleEndian) == 0x0000


def test_a_full_disk(start: Start, inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = start()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    with monkeypatch.context() as patch:
        patch.setattr(object_files.os, "fsync", full)
        assert _send(server, _object()) == [0xA700]
    assert [p for p in tmp_path.rglob("*") if p.suffix in (".part", ".dcm")] == []
    assert _send(server, _object()) == [0x0000]


def test_a_mistake_of_ours_is_an_error_not_an_abort(start: Start, inbox: Inbox, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("TEST^ONLY")

    server = start()
    with monkeypatch.context() as patch:
        patch.setattr(inbox, "accept", fail)
        assert _send(server, _object(), _object(sop_instance_uid="2.25.12")) == [0xC211, 0xC211]
    assert "RuntimeError" in caplog.text
    assert "TEST^ONLY" not in caplog.text


def test_twice_and_with_other_bytes(start: Start, inbox: Inbox, stored_studies: list[str]) -> None:
    server = start()
    assert _send(server, _object(), _object(), _object(PatientID="2")) == [0x0000] * 3
    assert _send(server, _object()) == [0x0000]
    assert len(inbox.unindexed(10)) == 1
    assert len(inbox.variants_to_compare(10)) == 1
    assert stored_studies == ["2.25.1", "2.25.1"]


def test_what_happens_after_storing_does_not_change_the_answer(start: Start, inbox: Inbox) -> None:
    def fail(_: str) -> None:
        raise RuntimeError

    assert _send(start(on_stored=fail), _object()) == [0x0000]
    assert len(inbox.unindexed(10)) == 1


def test_answered_only_after_the_commit(start: Start, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        real_fsync(descriptor)
        done.append("fsync directory" if Path(f"/proc/self/fd/{descriptor}").is_dir() else "fsync file")

    def replace(source: Any, target: Any) -> None:
        real_replace(source, target)
        done.append("rename")

    def commit(_: Any) -> None:
        time.sleep(0.2)  # an answer that does not wait for it would overtake it
        done.append("commit")

    server = start()
    monkeypatch.setattr(object_files.os, "fsync", fsync)
    monkeypatch.setattr(object_files.os, "replace", replace)
    sql_event.listen(database._writers, "commit", commit)
    assert _send(server, _object()) == [0x0000]
    done.append("answer")
    assert done == ["fsync file", "rename", "fsync directory", "commit", "answer"]


def test_many_associations_at_once(start: Start, inbox: Inbox) -> None:
    server = start()
    statuses: list[int] = []

    def send(number: int) -> None:
        statuses.extend(_send(server, *(_object(sop_instance_uid=f"2.25.{number}{i:03}") for i in range(10))))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [0x0000] * 60
    assert len(inbox.unindexed(100)) == 60


def test_no_more_associations_than_configured(start: Start) -> None:
    server = start(maximum_associations=2)
    held = [_associate(server) for _ in range(2)]
    third = _associate(server)
    answer = third.acceptor.primitive
    assert third.is_rejected
    assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 2)
    for association in held:
        association.release()


def test_silent_connections_hold_nobody_up(start: Start) -> None:
    server = start(network_timeout_seconds=30)
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5)]
    began = time.monotonic()
    assert _send(server, _object()) == [0x0000]
    assert time.monotonic() - began < 5
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 5
    for connection in silent:
        connection.close()


def test_an_idle_association_is_ended(start: Start) -> None:
    association = _associate(start(network_timeout_seconds=0.5))
    deadline = time.monotonic() + 10
    while association.is_established and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not association.is_established


def test_stop_ends_associations_and_frees_the_port(start: Start, inbox: Inbox) -> None:
    server = start()
    association = _associate(server)
    server.stop()
    deadline = time.monotonic() + 10
    while association.is_established and time.monotonic() < deadline:
        time.sleep(0.05)
    assert association.is_aborted
    again = start_storage_scp(Listen(port=server.port), inbox, now=lambda: at(0), on_stored=print)
    assert _send(again, _object()) == [0x0000]
    again.stop()


def test_a_health_check_that_only_connects_is_no_error(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    server = start()
    for _ in range(3):
        socket.create_connection(("127.0.0.1", server.port)).close()
    assert _send(server, _object()) == [0x0000]
    assert [record for record in caplog.records if record.exc_info] == []


def test_an_object_that_is_too_large_is_refused_and_the_next_one_taken(start: Start, inbox: Inbox) -> None:
    server = start(maximum_object_mb=1)
    too_large = _object(sop_instance_uid="2.25.12", PixelData=b"\0" * (3 * 2**20))
    assert _send(server, too_large, _object()) == [0xA700, 0x0000]
    assert [stored.sop_instance_uid for stored in inbox.unindexed(10)] == ["2.25.11"]


def test_what_is_too_large_is_not_collected() -> None:
    room = Room(150)
    collected = CollectedDataSet(100, room, lambda: True)
    for _ in range(1000):
        collected.write(b"\0" * 60)
    assert collected.dropped == "maximum_object_mb"
    assert len(collected.getvalue()) == 0
    assert room.take(150)


def test_objects_share_the_room_and_give_it_back() -> None:
    room = Room(150)
    first, second = (CollectedDataSet(100, room, lambda: True) for _ in range(2))
    first.write(b"\0" * 100)
    second.write(b"\0" * 50)
    second.write(b"\0")
    assert (first.dropped, second.dropped) == (None, "maximum_receiving_mb")
    assert not room.take(51)
    del first  # as when its association is gone
    assert room.take(150)


def test_while_there_is_no_room_for_an_object_it_is_refused(start: Start, inbox: Inbox) -> None:
    stored, go_on = threading.Event(), threading.Event()

    def hold(_: str) -> None:
        stored.set()
        go_on.wait(20)

    server = start(on_stored=hold, maximum_object_mb=1, maximum_receiving_mb=1)
    large = [_object(sop_instance_uid=f"2.25.1{n}", PixelData=b"\0" * (700 * 2**10)) for n in range(2)]
    first = threading.Thread(target=_send, args=(server, large[0]))
    first.start()
    try:
        assert stored.wait(20)
        assert _send(server, large[1]) == [0xA700]
    finally:
        go_on.set()
        first.join(20)
    assert _send(server, large[1]) == [0x0000]
    assert sorted(stored.sop_instance_uid for stored in inbox.unindexed(10)) == ["2.25.10", "2.25.11"]
