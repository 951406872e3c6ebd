"""Proving: what a destination's answers mean, in every order of commitment and reading back, on a clock that the test moves."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from moved_clock import Clock
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from store_samples import START, case, result

from qcnode.commitment import CommitmentReport, Settle
from qcnode.config import Config, Retry
from qcnode.deliver.destination import CannotCommit, CannotRetrieve, Check
from qcnode.deliver.opening import committing_destinations, unproven_by_choice
from qcnode.errors import Retryable
from qcnode.store.database import Database, open_database
from qcnode.store.delivery import Delivery
from qcnode.store.jobs import Jobs
from qcnode.store.leases import release_leases
from qcnode.store.outbox import Outbox
from qcnode.store.proofs import Proofs
from qcnode.workers.open_proving import open_proving, report_keeper
from qcnode.workers.prove import LOOKS, TIMES_MISSING, ProveStep

HOURS = 6


class Holder:
    """An archive that gives back what it `holds`, or does as it was told."""

    name = "pacs"

    def __init__(self) -> None:
        self.holds: Dataset | None = None
        self.told: list[Exception] = []
        self.looks = 0

    def send(self, path: Path) -> None:
        raise NotImplementedError

    def check(self) -> list[Check]:
        return []

    def series_instance_count(self, study_instance_uid: str, series_instance_uid: str) -> int | None:
        return None

    def study_attributes(self, study_instance_uid: str) -> Dataset | None:
        return None

    def instances(self, study_instance_uid: str, series_instance_uid: str) -> tuple[str, ...] | None:
        return None

    def retrieve(self, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str) -> Dataset | None:
        self.looks += 1
        if self.told:
            raise self.told.pop(0)
        return self.holds


class Committer:
    """Notes what it was asked, and does as it was told."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.told: list[Exception] = []
        self.reports_at_once = False

    def new_transaction_uid(self) -> str:
        return f"2.25.70{len(self.asked)}"

    def ask(self, transaction_uid: str, references: Sequence[tuple[str, str]], settle: Settle) -> None:
        self.asked.append(transaction_uid)
        if self.told:
            raise self.told.pop(0)
        if self.reports_at_once:
            assert settle(CommitmentReport(transaction_uid, frozenset(uid for _, uid in references), {}))


class Scene:
    """One report that an archive has taken."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.holder, self.committer = Clock(), Holder(), Committer()
        self.database: Database = open_database(folder)
        self.outbox, self.proofs = Outbox(self.database), Proofs(self.database)
        jobs = Jobs(self.database)
        jobs.put_case(case("a", directory=folder), self.clock())
        claimed = jobs.claim("w", self.clock(), timedelta(minutes=1))
        assert claimed is not None
        settled = result(claimed.case, directory=folder / "results")
        self.path = settled.directory / "report.dcm"
        self.path.parent.mkdir(parents=True)
        self._report().save_as(self.path, enforce_file_format=True)
        jobs.settle(claimed, settled, {"pacs": frozenset({"report"})}, self.clock())
        self.take()

    def step(self, *, reads_back: bool = True, commits: bool = False) -> ProveStep:
        retry = Retry(first_seconds=10, longest_seconds=600, give_up_hours=12)
        commitment = self.committer if commits else None
        return ProveStep(self.proofs, self.holder, reads_back, commitment, timedelta(hours=HOURS), retry, "w", self.clock)

    def take(self) -> None:
        """The archive takes it."""
        delivery = self.outbox.claim("pacs", "w", self.clock(), timedelta(minutes=1))
        assert delivery is not None
        self.outbox.delivered(delivery, self.clock())

    def hold(self, text: str = "predicted DSC 0.47") -> None:
        self.holder.holds = self._report(text)

    def row(self) -> Delivery:
        (row,) = self.outbox.list()
        return row

    def report(self, *, committed: bool) -> None:
        row = self.row()
        committed_uids = frozenset({row.sop_instance_uid} if committed else ())
        failed = {} if committed else {row.sop_instance_uid: 0x0112}
        assert self.proofs.report({"pacs"}, CommitmentReport(row.transaction_uid or "", committed_uids, failed), self.clock())

    def until_due(self) -> float:
        """Let the time pass until the next look; how long that was."""
        wait = (self.row().next_attempt_at - self.clock()).total_seconds()
        self.clock.pass_by(seconds=max(wait, 0))
        return wait

    def _report(self, text: str = "predicted DSC 0.47") -> Dataset:
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.34", "2.25.5"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.PatientName = "2.25.1", "2.25.6", "OLD^NAME"
        dataset.TextValue = text
        return dataset


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_equal_content_is_proven(scene: Scene) -> None:
    scene.hold()
    assert scene.holder.holds is not None
    scene.holder.holds.PatientName = "NEW^NAME"
    step = scene.step()
    assert step()
    assert (scene.row().state, scene.row().proof, scene.row().proven_at) == ("PROVEN", "read-back", scene.clock())
    assert not step(), "and is not looked at again"


def test_other_content_under_the_same_uid_is_caught(scene: Scene) -> None:
    scene.hold("predicted DSC 0.93")
    scene.step()()
    assert scene.row().state == "DEAD"
    assert "other content" in (scene.row().last_error or "")


def test_what_is_not_there_is_looked_for_again_and_then_sent_again(scene: Scene) -> None:
    step = scene.step()
    waits = []
    for _ in range(LOOKS - 1):
        step()
        assert scene.row().state == "DELIVERED"
        waits.append(scene.until_due())
        assert waits[-1] > 0
    assert waits == [10, 20]
    step()
    assert (scene.row().state, scene.row().times_missing) == ("PENDING", 1)
    scene.until_due()
    scene.take()
    scene.hold()
    step()
    assert scene.row().state == "PROVEN"


def test_an_archive_that_loses_everything_is_a_persons_business(scene: Scene) -> None:
    step = scene.step()
    for _ in range(TIMES_MISSING):
        while scene.row().state == "DELIVERED":
            scene.until_due()
            step()
        assert scene.row().state == "PENDING"
        scene.until_due()
        scene.take()
    while scene.row().state == "DELIVERED":
        scene.until_due()
        step()
    assert (scene.row().state, scene.row().last_error) == ("DEAD", "the destination took it, and does not have it, 6 times")


def test_an_archive_that_is_away_is_asked_with_growing_pauses_and_given_up(scene: Scene) -> None:
    scene.holder.told = [Retryable("pacs: not established")] * 1000
    step = scene.step()
    waits = []
    while scene.row().state == "DELIVERED":
        step()
        waits.append(scene.until_due())
    assert waits[:7] == [10, 20, 40, 80, 160, 320, 600]
    assert (scene.row().state, scene.row().last_error) == ("UNPROVEN", "pacs: not established")
    assert scene.clock() - START > timedelta(hours=12)


def test_an_archive_that_comes_back_proves_it(scene: Scene) -> None:
    scene.holder.told = [Retryable("pacs: not established"), ValueError("PHANTOM^QCNODE")]
    scene.hold()
    step = scene.step()
    for _ in range(2):
        step()
        scene.until_due()
    assert (scene.row().last_error or "").startswith("ValueError at test_prove.py")
    step()
    assert scene.row().state == "PROVEN"


def test_an_archive_that_gives_nothing_back_is_visibly_unproven(scene: Scene) -> None:
    scene.holder.told = [CannotRetrieve("pacs: does not offer C-GET")]
    step = scene.step()
    step()
    assert (scene.row().state, scene.row().last_error) == ("UNPROVEN", "pacs: does not offer C-GET")
    assert not step()


def test_commitment_first_then_reading_back(scene: Scene) -> None:
    scene.hold()
    step = scene.step(commits=True)
    step()
    assert (scene.row().state, scene.row().commitment, scene.holder.looks) == ("DELIVERED", "ASKED", 0)
    assert not step(), "the report is awaited"
    scene.report(committed=True)
    step()
    assert (scene.row().state, scene.row().proof) == ("PROVEN", "commitment, read-back")


def test_commitment_says_nothing_about_content(scene: Scene) -> None:
    scene.hold("predicted DSC 0.93")
    scene.committer.reports_at_once = True
    step = scene.step(commits=True)
    step()
    assert scene.row().commitment == "GIVEN"
    step()
    assert scene.row().state == "DEAD"


def test_without_a_report_in_time_it_is_read_back(scene: Scene) -> None:
    scene.hold()
    step = scene.step(commits=True)
    step()
    assert scene.until_due() == HOURS * 3600
    step()
    assert (scene.row().state, scene.row().proof, len(scene.committer.asked)) == ("PROVEN", "read-back", 1)


def test_a_report_that_says_no_is_checked_by_reading_back(scene: Scene) -> None:
    step = scene.step(commits=True)
    step()
    scene.report(committed=False)
    for _ in range(LOOKS):
        scene.until_due()
        step()
    assert scene.row().state == "PENDING", "it is not there: it is sent again"
    scene.until_due()
    scene.take()
    scene.hold()
    scene.committer.reports_at_once = True
    step()
    step()
    assert (scene.row().state, scene.row().proof) == ("PROVEN", "commitment, read-back")
    assert len(set(scene.committer.asked)) == 2, "a second request is another transaction"


def test_commitment_alone_proves_where_nothing_is_read_back(scene: Scene) -> None:
    step = scene.step(reads_back=False, commits=True)
    step()
    scene.report(committed=True)
    step()
    assert (scene.row().state, scene.row().proof, scene.holder.looks) == ("PROVEN", "commitment", 0)


def test_a_report_that_says_no_sends_it_again_where_nothing_is_read_back(scene: Scene) -> None:
    step = scene.step(reads_back=False, commits=True)
    step()
    scene.report(committed=False)
    step()
    assert scene.row().state == "PENDING"
    assert "0112H" in (scene.row().last_error or "")


def test_without_any_report_it_is_asked_again_where_nothing_is_read_back(scene: Scene) -> None:
    step = scene.step(reads_back=False, commits=True)
    step()
    scene.until_due()
    step()
    assert (scene.row().state, scene.row().transaction_uid) == ("DELIVERED", None)
    scene.until_due()
    step()
    assert len(set(scene.committer.asked)) == 2
    scene.report(committed=True)
    step()
    assert scene.row().proof == "commitment"


@pytest.mark.parametrize(("reads_back", "state"), [(True, "PROVEN"), (False, "UNPROVEN")])
def test_where_commitment_is_not_offered_the_rest_decides(scene: Scene, reads_back: bool, state: str) -> None:
    scene.committer.told = [CannotCommit("pacs: does not offer Storage Commitment")]
    scene.hold()
    scene.step(reads_back=reads_back, commits=True)()
    assert scene.row().state == state


def test_a_request_that_was_cut_off_is_made_again_with_its_transaction(scene: Scene) -> None:
    scene.committer.told = [Retryable("pacs: the association ended early")]
    step = scene.step(commits=True)
    step()
    assert scene.row().state == "DELIVERED"
    scene.until_due()
    step()
    assert scene.committer.asked == ["2.25.700", "2.25.700"]


def test_a_node_that_dies_between_keeping_and_asking_asks_after_its_restart(scene: Scene) -> None:
    claimed = scene.proofs.claim("pacs", "dead", scene.clock(), timedelta(minutes=1))
    assert claimed is not None
    scene.proofs.ask(claimed, "2.25.77", scene.clock() + timedelta(hours=HOURS))
    release_leases(scene.database)
    scene.step(commits=True)()
    assert scene.committer.asked == ["2.25.77"]
    scene.report(committed=True)
    assert scene.row().commitment == "GIVEN"


def test_the_file_that_was_sent_is_what_is_compared(scene: Scene) -> None:
    scene.holder.holds = dcmread(scene.path)
    scene.step()()
    assert scene.row().state == "PROVEN"


def test_who_is_asked_for_what_proof_is_for_the_configuration_to_say(scene: Scene) -> None:
    address = {"kind": "c-store", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
    web = {"kind": "stow-rs", "url": "http://127.0.0.1/"}
    destinations = [
        {"name": "both", "commitment": True, "commitment_hours": 3} | address,
        {"name": "read"} | address,
        {"name": "committing", "commitment": True, "read_back": "none"} | address,
        {"name": "trusted", "read_back": "none"} | address,
        {"name": "web"} | web,
        {"name": "trusted-web", "read_back": "none"} | web,
    ]
    config = Config.model_validate({"destinations": destinations})
    assert unproven_by_choice(config) == {"trusted", "trusted-web"}
    workers = open_proving(config, scene.proofs, "w", scene.clock)
    assert [worker.name for worker in workers] == ["prove both", "prove read", "prove committing", "prove web"]
    assert committing_destinations(config) == {"PACS": {"both", "committing"}}
    keep = report_keeper(config, scene.proofs, scene.clock)
    assert keep is not None
    assert not keep("SOMEBODY", CommitmentReport("2.25.7", frozenset(), {}))
    assert report_keeper(Config(), scene.proofs, scene.clock) is None
