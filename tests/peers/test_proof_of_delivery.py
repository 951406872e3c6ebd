"""Orthanc is asked to prove what it took: it gives back what was written, keeps what it had under a UID, commits to what it holds."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from archive import AE_TITLE, Archive
from pydicom import dcmread
from report_cases import STUDY, build
from served_node import AE_TITLE as NODE
from waiting import free_port, wait_for

from qcnode.case import ResultObject
from qcnode.commitment import CommitmentReport
from qcnode.config import CStoreDestination, Listen, StowDestination
from qcnode.deliver.c_store import CStore
from qcnode.deliver.content import canonical_digest
from qcnode.deliver.destination import Destination
from qcnode.deliver.request_commitment import StorageCommitment
from qcnode.deliver.stow_rs import StowRs
from qcnode.errors import Retryable
from qcnode.ingest.storage_scp import start_storage_scp
from qcnode.report.results import write_results
from qcnode.store.database import open_database
from qcnode.store.inbox import Inbox

pytestmark = [pytest.mark.peers, pytest.mark.timeout(120)]

SERVICES = ("c-get", "c-move", "wado-rs")
UNKNOWN = "2.25.123456789"


class Proving:
    """An archive, the results of a case that it has taken, and a listener for its reports."""

    def __init__(self, folder: Path) -> None:
        self.archive = Archive(folder / "archive")
        self.move_port = free_port()
        self.reports: list[CommitmentReport] = []
        inbox = Inbox(open_database(folder / "node"), folder / "node", 0)
        self.listener = start_storage_scp(
            Listen(port=0),
            inbox,
            now=lambda: None,
            on_stored=print,
            on_report=self._keep,  # type: ignore[arg-type,return-value]
        )
        self.archive.knows_node(NODE, self.listener.port)
        self.archive.rest("PUT", "/modalities/read-back", {"AET": "QCNODE_MOVE", "Host": "127.0.0.1", "Port": self.move_port})
        (folder / "results").mkdir()
        self.results: tuple[ResultObject, ...] = write_results(build(), folder / "results", announce=True)
        for result in self.results:
            self.destination("c-get").send(result.path)

    def destination(self, service: str) -> Destination:
        if service == "wado-rs":
            return StowRs(StowDestination(name="web", kind="stow-rs", url=self.archive.dicomweb_url))
        return CStore(self.settings(read_back=service, move_port=self.move_port), NODE)

    def settings(self, **keys: object) -> CStoreDestination:
        address = {"name": "pacs", "kind": "c-store", "ae_title": AE_TITLE, "host": "127.0.0.1", "port": self.archive.dicom_port}
        return CStoreDestination.model_validate(address | keys)

    def stop(self) -> None:
        self.listener.stop()
        self.archive.stop()

    def _keep(self, ae_title: str, report: CommitmentReport) -> bool:
        self.reports.append(report)
        return ae_title == AE_TITLE


@pytest.fixture(scope="module")
def proving(orthanc: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proving]:
    proving = Proving(tmp_path_factory.mktemp("proving"))
    yield proving
    proving.stop()


@pytest.mark.parametrize("service", SERVICES)
def test_every_result_comes_back_as_it_was_written(proving: Proving, service: str) -> None:
    destination = proving.destination(service)
    assert {result.kind for result in proving.results} == {"report", "error_map", "summary", "key_object"}
    for result in proving.results:
        written = dcmread(result.path)
        found = destination.retrieve(STUDY, written.SeriesInstanceUID, result.sop_instance_uid)
        assert found is not None, result.kind
        assert canonical_digest(found) == canonical_digest(written), result.kind
        assert destination.instances(STUDY, written.SeriesInstanceUID) == (result.sop_instance_uid,)


@pytest.mark.parametrize("service", SERVICES)
def test_what_it_does_not_have_is_none(proving: Proving, service: str) -> None:
    series = dcmread(proving.results[0].path).SeriesInstanceUID
    assert proving.destination(service).retrieve(STUDY, series, UNKNOWN) is None
    assert proving.destination(service).retrieve(UNKNOWN, UNKNOWN, UNKNOWN) is None
    assert proving.destination(service).instances(STUDY, UNKNOWN) == ()


@pytest.mark.parametrize("service", SERVICES)
def test_success_for_another_object_under_the_same_uid_is_caught(proving: Proving, service: str, tmp_path: Path) -> None:
    """The archive answers success and keeps what it had."""
    (report,) = (result for result in proving.results if result.kind == "report")
    corrected = dcmread(report.path)
    corrected.SeriesDescription = "QC PASS"
    corrected.save_as(tmp_path / "corrected.dcm", enforce_file_format=True)
    destination = proving.destination(service)
    destination.send(tmp_path / "corrected.dcm")
    found = destination.retrieve(STUDY, corrected.SeriesInstanceUID, report.sop_instance_uid)
    assert found is not None
    assert canonical_digest(found) != canonical_digest(corrected)
    assert canonical_digest(found) == canonical_digest(dcmread(report.path))


def test_it_commits_to_what_it_holds_and_to_nothing_else(proving: Proving) -> None:
    commitment = StorageCommitment(proving.settings(), NODE)
    transaction_uid = commitment.new_transaction_uid()
    held = [(result.sop_class_uid, result.sop_instance_uid) for result in proving.results]
    commitment.ask(transaction_uid, [*held, (held[0][0], UNKNOWN)], lambda report: False)
    wait_for(lambda: proving.reports, 30, "the report", explain=proving.archive.log_tail)
    (report,) = proving.reports
    assert report.transaction_uid == transaction_uid
    assert report.committed == {uid for _, uid in held}
    assert report.failed == {UNKNOWN: 0x0112}


def test_a_move_to_an_ae_title_that_it_does_not_know_is_not_taken_for_an_answer(proving: Proving) -> None:
    """It answers as for an object that it does not have: C000H."""
    settings = proving.settings(read_back="c-move", move_port=free_port(), move_ae_title="NOBODY")
    with pytest.raises(Retryable):
        CStore(settings, NODE).retrieve(STUDY, dcmread(proving.results[0].path).SeriesInstanceUID, proving.results[0].sop_instance_uid)
