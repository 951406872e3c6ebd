"""Reading back by C-GET and C-MOVE from archives on loopback: what they hold, what they do not hold, and what they can not say."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)
from test_c_store import destination, result

from qcnode.config import CStoreDestination
from qcnode.deliver.c_store import CStore
from qcnode.deliver.content import canonical_digest
from qcnode.deliver.destination import CannotRetrieve
from qcnode.demo.pacs import DemoPacs
from qcnode.errors import Retryable

GET, MOVE, FIND = (
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelFind,
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def complete(sop_instance_uid: str = "2.25.10") -> Dataset:
    dataset = result(sop_instance_uid)
    dataset.BitsStored, dataset.HighBit, dataset.PhotometricInterpretation = 8, 7, "MONOCHROME2"
    return dataset


@pytest.fixture(params=["auto", "c-move"])
def pacs_and_destination(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[DemoPacs, CStore]]:
    """An archive that is read back in each of the two ways."""
    move_port = free_port()
    with DemoPacs(tmp_path / "archive", move_destinations={"QCNODE_MOVE": ("127.0.0.1", move_port)}) as pacs:
        yield pacs, destination(pacs.port, read_back=request.param, move_port=move_port)


def test_an_object_comes_back_as_it_is_held(pacs_and_destination: tuple[DemoPacs, CStore], tmp_path: Path) -> None:
    pacs, to = pacs_and_destination
    sent = complete()
    sent.save_as(tmp_path / "sent.dcm", enforce_file_format=True)
    to.send(tmp_path / "sent.dcm")
    for _ in range(2):  # the listener of a C-MOVE is there again for the next one
        found = to.retrieve("2.25.1", "2.25.2", "2.25.10")
        assert found is not None
        assert canonical_digest(found) == canonical_digest(sent)
    assert to.instances("2.25.1", "2.25.2") == ("2.25.10",)
    assert [record.calling_ae_title for record in pacs.stores()] == ["QCNODE"]


def test_what_the_archive_does_not_have_is_none(pacs_and_destination: tuple[DemoPacs, CStore]) -> None:
    pacs, to = pacs_and_destination
    pacs.keep(complete())
    assert to.retrieve("2.25.1", "2.25.2", "2.25.11") is None
    assert to.retrieve("2.25.7", "2.25.2", "2.25.10") is None
    assert to.instances("2.25.1", "2.25.3") == ()


def test_nobody_there_is_retryable() -> None:
    for read_back in ("c-get", "c-move"):
        to = destination(free_port(), read_back=read_back, move_port=free_port())
        with pytest.raises(Retryable):
            to.retrieve("2.25.1", "2.25.2", "2.25.10")


@contextmanager
def archive(*classes: str, **handlers: Callable[[Any], Any]) -> Iterator[int]:
    """An archive of few words; yields its port."""
    entity = AE(ae_title="DEMOPACS")
    for sop_class_uid in (Verification, *classes):
        entity.add_supported_context(UID(sop_class_uid))
    bound = [(getattr(evt, f"EVT_C_{name.upper()}"), handler) for name, handler in handlers.items()]
    listener = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=bound)
    try:
        yield listener.server_address[1]
    finally:
        listener.shutdown()


@pytest.mark.parametrize("read_back", ["c-get", "c-move", "none"])
def test_an_archive_that_gives_nothing_back_is_named_so(read_back: str) -> None:
    with archive() as port, pytest.raises(CannotRetrieve):
        destination(port, read_back=read_back, move_port=free_port()).retrieve("2.25.1", "2.25.2", "2.25.10")


def test_a_move_to_an_ae_title_that_the_archive_does_not_know_is_named_so(tmp_path: Path) -> None:
    with DemoPacs(tmp_path) as pacs:
        pacs.keep(complete())
        to = destination(pacs.port, read_back="c-move", move_port=free_port())
        with pytest.raises(CannotRetrieve, match="A801H"):
            to.retrieve("2.25.1", "2.25.2", "2.25.10")


def test_a_second_move_on_the_same_port_waits_for_its_turn(tmp_path: Path) -> None:
    with DemoPacs(tmp_path) as pacs, socket.create_server(("127.0.0.1", 0)) as taken:
        to = destination(pacs.port, read_back="c-move", move_port=taken.getsockname()[1])
        with pytest.raises(Retryable, match="can not listen"):
            to.retrieve("2.25.1", "2.25.2", "2.25.10")


def _listing(*sop_instance_uids: str) -> Callable[[Any], Iterator[tuple[int, Dataset | None]]]:
    def on_find(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        for sop_instance_uid in sop_instance_uids:
            answer = Dataset()
            answer.QueryRetrieveLevel, answer.SOPInstanceUID = "IMAGE", sop_instance_uid
            answer.StudyInstanceUID, answer.SeriesInstanceUID = "2.25.1", "2.25.2"
            yield 0xFF00, answer

    return on_find


def _failing(status: int) -> Callable[[Any], Iterator[Any]]:
    def on_get(event: Any) -> Iterator[Any]:
        yield 1
        yield status, None

    return on_get


@pytest.mark.parametrize("status", [0xC000, 0xA702])
def test_where_retrieval_fails_the_query_says_whether_it_is_there(status: int) -> None:
    """Orthanc answers C000H for what it does not have."""
    with archive(GET, FIND, get=_failing(status), find=_listing("2.25.11")) as port:
        assert destination(port).retrieve("2.25.1", "2.25.2", "2.25.10") is None
    with archive(GET, FIND, get=_failing(status), find=_listing("2.25.10")) as port, pytest.raises(Retryable):
        destination(port).retrieve("2.25.1", "2.25.2", "2.25.10")
    with archive(GET, get=_failing(status)) as port, pytest.raises(Retryable):
        destination(port).retrieve("2.25.1", "2.25.2", "2.25.10")


@pytest.mark.parametrize(("status", "error"), [(0xA701, Retryable), (0x0122, CannotRetrieve)])
def test_a_status_that_passes_and_one_that_stays(status: int, error: type[Exception]) -> None:
    with archive(GET, get=_failing(status)) as port, pytest.raises(error, match=f"{status:04X}H"):
        destination(port).retrieve("2.25.1", "2.25.2", "2.25.10")


def test_an_archive_that_breaks_off_is_retryable() -> None:
    def on_get(event: Any) -> Iterator[Any]:
        event.assoc.abort()
        yield 0

    with archive(GET, get=on_get) as port, pytest.raises(Retryable):
        destination(port).retrieve("2.25.1", "2.25.2", "2.25.10")


def test_another_object_than_the_one_asked_for_is_not_taken() -> None:
    def on_get(event: Any) -> Iterator[Any]:
        yield 1
        yield 0xFF00, complete("2.25.66")

    with archive(GET, get=on_get) as port, pytest.raises(Retryable):
        destination(port).retrieve("2.25.1", "2.25.2", "2.25.10")


def test_the_defaults_of_a_destination() -> None:
    settings = CStoreDestination(name="pacs", kind="c-store", ae_title="A", host="h", port=104)
    assert (settings.read_back, settings.move_ae_title) == ("auto", "QCNODE_MOVE")
