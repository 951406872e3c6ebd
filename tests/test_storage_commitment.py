"""Storage Commitment between real associations: the request, the report on either association, and reports that are none of ours."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance, Verification
from test_c_retrieve import free_port
from test_c_store import result

from qcnode.commitment import CommitmentReport, answer_report
from qcnode.config import Caller, CStoreDestination, Listen
from qcnode.deliver.destination import CannotCommit
from qcnode.deliver.request_commitment import StorageCommitment
from qcnode.demo.pacs import DemoPacs
from qcnode.errors import Retryable
from qcnode.ingest.back_pressure import Cause
from qcnode.ingest.storage_commitment import UNRECOGNISED_OPERATION
from qcnode.ingest.storage_scp import start_storage_scp
from qcnode.store.database import open_database
from qcnode.store.inbox import Inbox

OURS = ("1.2.840.10008.5.1.4.1.1.7", "2.25.10")
LOST = ("1.2.840.10008.5.1.4.1.1.7", "2.25.11")


def wait_for(done: Callable[[], Any]) -> None:
    end = time.monotonic() + 10
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


class Node:
    """A listener that keeps reports of one archive's transaction."""

    def __init__(self, folder: Path, *, callers: tuple[Caller, ...] = (), back_pressure: Any = None) -> None:
        self.reports: list[CommitmentReport] = []
        self.known = {("DEMOPACS", "2.25.7")}
        self.error: Exception | None = None
        inbox = Inbox(open_database(folder), folder, 0)
        listen = Listen(port=0, callers=callers)
        told: dict[str, Any] = {"now": lambda: None, "on_stored": print, "on_report": self.settle, "back_pressure": back_pressure}
        self.listener = start_storage_scp(listen, inbox, **told)

    def settle(self, ae_title: str, report: CommitmentReport) -> bool:
        if self.error is not None:
            raise self.error
        if (ae_title, report.transaction_uid) not in self.known:
            return False
        self.reports.append(report)
        return True


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path / "node")
    yield node
    node.listener.stop()


def scu(port: int) -> StorageCommitment:
    settings = CStoreDestination(name="pacs", kind="c-store", ae_title="DEMOPACS", host="127.0.0.1", port=port, timeout_seconds=5)
    return StorageCommitment(settings, "QCNODE")


def unexpected(report: CommitmentReport) -> bool:
    raise AssertionError(report)


def test_the_report_comes_on_an_association_of_the_archive(node: Node, tmp_path: Path) -> None:
    with DemoPacs(tmp_path / "pacs", commits_to={"QCNODE": ("127.0.0.1", node.listener.port)}) as pacs:
        pacs.keep(result())
        scu(pacs.port).ask("2.25.7", [OURS, LOST], unexpected)
        assert pacs.commitments is not None
        wait_for(lambda: pacs.commitments.statuses)
        assert pacs.commitments.statuses == [0x0000]
    assert node.reports == [CommitmentReport("2.25.7", frozenset({"2.25.10"}), {"2.25.11": 0x0112})]


def test_the_report_comes_on_the_association_of_the_request(tmp_path: Path) -> None:
    reports: list[CommitmentReport] = []
    with DemoPacs(tmp_path / "pacs", commits_to={}) as pacs:
        pacs.keep(result())
        scu(pacs.port).ask("2.25.7", [OURS], lambda report: reports.append(report) or True)
        assert pacs.commitments is not None
        wait_for(lambda: pacs.commitments.statuses)
        assert pacs.commitments.statuses == [0x0000], "the association was not released before the report was answered"
    assert reports == [CommitmentReport("2.25.7", frozenset({"2.25.10"}), {})]


def test_transaction_uids_are_new_each_time() -> None:
    made = {scu(1).new_transaction_uid() for _ in range(20)}
    assert len(made) == 20
    assert all(uid.startswith("2.25.") and len(uid) <= 64 for uid in made)


def test_an_archive_without_the_service_is_named_so(tmp_path: Path) -> None:
    with DemoPacs(tmp_path) as pacs, pytest.raises(CannotCommit):
        scu(pacs.port).ask("2.25.7", [OURS], unexpected)


def test_nobody_there_is_retryable() -> None:
    with pytest.raises(Retryable):
        scu(free_port()).ask("2.25.7", [OURS], unexpected)


@pytest.mark.parametrize(("status", "error"), [(0x0110, Retryable), (0x0213, Retryable), (0x0122, CannotCommit)])
def test_a_request_that_is_refused(status: int, error: type[Exception]) -> None:
    entity = AE(ae_title="DEMOPACS")
    entity.add_supported_context(StorageCommitmentPushModel)
    listener = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_ACTION, lambda event: (status, None))])
    try:
        with pytest.raises(error, match=f"{status:04X}H"):
            scu(listener.server_address[1]).ask("2.25.7", [OURS], unexpected)
    finally:
        listener.shutdown()


@contextmanager
def archive_association(node: Node, ae_title: str = "DEMOPACS") -> Iterator[Any]:
    """As an archive that reports: it takes the role of SCP."""
    association = AE(ae_title=ae_title).associate(
        "127.0.0.1",
        node.listener.port,
        [build_context(StorageCommitmentPushModel), build_context(Verification)],
        ae_title="QCNODE",
        ext_neg=[build_role(StorageCommitmentPushModel, scp_role=True)],
    )
    try:
        yield association
    finally:
        association.release()


def send_report(association: Any, transaction_uid: str = "2.25.7", event_type: int = 1) -> int:
    information, reference = Dataset(), Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = OURS
    information.TransactionUID, information.ReferencedSOPSequence = transaction_uid, [reference]
    instance = StorageCommitmentPushModelInstance
    status, _ = association.send_n_event_report(information, event_type, StorageCommitmentPushModel, instance)
    return int(status.Status)


def test_reports_that_are_none_of_ours_are_invalid_and_the_next_one_is_kept(node: Node) -> None:
    with archive_association(node, "SOMEBODY") as association:
        assert send_report(association) == 0x0115, "the transaction is another archive's"
    with archive_association(node) as association:
        assert send_report(association, "2.25.8") == 0x0115
        assert send_report(association, event_type=3) == 0x0113
        assert node.reports == []
        assert send_report(association) == 0x0000
    assert len(node.reports) == 1


def test_a_report_that_can_not_be_kept_now_is_to_come_again(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    node.error = ValueError("PHANTOM^QCNODE")
    with archive_association(node) as association:
        assert send_report(association) == 0x0110
        node.error = None
        assert send_report(association) == 0x0000
    assert "ValueError" in caplog.text
    assert "PHANTOM" not in caplog.text


def test_qcnode_commits_to_nothing(node: Node) -> None:
    association = AE(ae_title="DEMOPACS").associate(
        "127.0.0.1", node.listener.port, [build_context(StorageCommitmentPushModel)], ae_title="QCNODE"
    )
    information = Dataset()
    information.TransactionUID = "2.25.9"
    status, _ = association.send_n_action(information, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
    association.release()
    assert status.Status == UNRECOGNISED_OPERATION


def test_callers_that_are_not_configured_can_not_report(tmp_path: Path) -> None:
    node = Node(tmp_path, callers=(Caller(ae_title="DEMOPACS"),))
    try:
        with archive_association(node, "SOMEBODY") as association:
            assert association.is_rejected
        with archive_association(node) as association:
            assert send_report(association) == 0x0000
    finally:
        node.listener.stop()


def test_reports_are_taken_while_objects_are_not(tmp_path: Path) -> None:
    node = Node(tmp_path, back_pressure=SimpleNamespace(causes=lambda: frozenset({Cause.OBJECTS})))
    try:
        with archive_association(node) as association:
            assert send_report(association) == 0x0000
        storing = AE(ae_title="DEMOPACS").associate("127.0.0.1", node.listener.port, [build_context(OURS[0])], ae_title="QCNODE")
        assert storing.is_rejected
    finally:
        node.listener.stop()


@pytest.mark.parametrize("information", [Dataset(), None], ids=["empty", "unreadable"])
def test_a_report_without_a_transaction_is_invalid(information: Dataset | None) -> None:
    def given() -> Dataset:
        if information is None:
            raise ValueError("PHANTOM^QCNODE")
        return information

    assert answer_report(1, given, unexpected) == 0x0115


def test_what_is_committed_and_failed_has_failed() -> None:
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = OURS
    information = Dataset()
    information.TransactionUID = "2.25.7"
    information.ReferencedSOPSequence, information.FailedSOPSequence = [reference], [reference]
    kept = SimpleNamespace(report=None)
    assert answer_report(2, lambda: information, lambda report: setattr(kept, "report", report) is None) == 0x0000
    assert kept.report == CommitmentReport("2.25.7", frozenset(), {"2.25.10": 0x0110})
