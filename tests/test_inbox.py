"""The inbox loses nothing that it acknowledged, keeps nothing that it did not, and knows which studies are to be matched."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import event
from store_samples import at, case, encoded_object, header, receive

from qcnode.case import FrameHeader, InstanceHeader
from qcnode.store import object_files
from qcnode.store.database import Database, open_database
from qcnode.store.inbox import Acceptance, DiskFull, Inbox
from qcnode.store.jobs import Jobs
from qcnode.store.retention import Served


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(tmp_path)


@pytest.fixture
def inbox(database: Database, tmp_path: Path) -> Inbox:
    return Inbox(database, tmp_path, 0)


def _files(tmp_path: Path) -> list[Path]:
    return sorted(p for folder in ("objects", "incoming") for p in (tmp_path / folder).rglob("*") if p.is_file())


def test_bytes_are_kept_as_sent(inbox: Inbox, tmp_path: Path) -> None:
    assert receive(inbox, "2.25.11", at(0), kind=None) is Acceptance.NEW
    (stored,) = inbox.unindexed(10)
    assert stored.path.read_bytes() == encoded_object("2.25.11")
    assert stored.path == tmp_path / "objects" / stored.sha256[:2] / f"{stored.sha256[2:]}.dcm"
    assert (stored.sop_instance_uid, stored.received_at) == ("2.25.11", at(0))


def test_the_same_object_again_is_a_no_op(inbox: Inbox, tmp_path: Path) -> None:
    receive(inbox, "2.25.11", at(0))
    inbox.mark_matched("2.25.1", at(0))
    before = _files(tmp_path)
    assert receive(inbox, "2.25.11", at(1)) is Acceptance.SAME
    assert receive(inbox, "2.25.11", at(1), version="OTHER") is Acceptance.SAME  # the file meta is ours, not the peer's
    assert _files(tmp_path) == before
    assert inbox.dirty_studies() == []


def test_order_of_a_durable_answer(inbox: Inbox, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        done.append("fsync directory" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "fsync file")  # noqa: PTH112
        real_fsync(descriptor)

    def replace(source: Any, target: Any) -> None:
        done.append("rename")
        real_replace(source, target)

    monkeypatch.setattr(object_files.os, "fsync", fsync)
    monkeypatch.setattr(object_files.os, "replace", replace)
    event.listen(database._writers, "commit", lambda connection: done.append("commit"))
    receive(inbox, "2.25.11", at(0), kind=None)
    assert done == ["fsync file", "rename", "fsync directory", "commit"]


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_nothing(inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, code: int) -> None:
    def fail(*_: object) -> None:
        raise OSError(code, "no room")

    with monkeypatch.context() as patch:
        if failing == "write":
            patch.setattr(object_files.ObjectFiles, "write_temporary", fail)
        else:
            patch.setattr(object_files.os, failing, fail)
        with pytest.raises(DiskFull):
            receive(inbox, "2.25.11", at(0))
    assert _files(tmp_path) == []
    assert receive(inbox, "2.25.11", at(1)) is Acceptance.NEW


def test_a_failing_commit_leaves_no_file(inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    with monkeypatch.context() as patch:
        patch.setattr("qcnode.store.studies.touch", fail)  # after the rename
        with pytest.raises(DiskFull):
            receive(inbox, "2.25.11", at(0))
    assert _files(tmp_path) == []


def test_the_disk_is_not_filled_to_the_brim(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = Inbox(database, tmp_path, 1_000_000)
    monkeypatch.setattr(object_files.shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_100))
    with pytest.raises(DiskFull):
        receive(inbox, "2.25.11", at(0))
    assert _files(tmp_path) == []
    monkeypatch.setattr(object_files.shutil, "disk_usage", lambda _: SimpleNamespace(free=1_100_000))
    assert receive(inbox, "2.25.11", at(0)) is Acceptance.NEW


def test_recovery_removes_what_was_never_acknowledged(inbox: Inbox, tmp_path: Path) -> None:
    receive(inbox, "2.25.11", at(0))
    kept = _files(tmp_path)
    (tmp_path / "incoming" / "half.part").write_bytes(b"half")
    (tmp_path / "objects" / "ab" / f"{'c' * 62}.dcm").write_bytes(b"renamed, but without a row")
    found = inbox.recover(at(1))
    assert (found.removed_temporary, found.removed_unacknowledged, found.lost) == (1, 1, ())
    assert _files(tmp_path) == kept


def test_a_lost_file_is_taken_again(inbox: Inbox, tmp_path: Path) -> None:
    receive(inbox, "2.25.11", at(0))
    _files(tmp_path)[0].unlink()
    assert inbox.recover(at(1)).lost == ("2.25.11",)
    assert inbox.headers_of_study("2.25.1") == []
    assert receive(inbox, "2.25.11", at(2)) is Acceptance.NEW
    assert len(inbox.headers_of_study("2.25.1")) == 1


def test_killed_between_rename_and_commit(tmp_path: Path) -> None:
    """A process that dies there leaves a file that the next start removes, and the object can be sent again."""
    program = (
        "import os, sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path; from store_samples import receive, at\n"
        "from qcnode.store.database import open_database; from qcnode.store.inbox import Inbox; from qcnode.store import studies\n"
        "inbox = Inbox(open_database(Path(sys.argv[1])), Path(sys.argv[1]), 0)\n"
        "receive(inbox, '2.25.11', at(0))\n"
        "studies.touch = lambda *_: os._exit(9)\n"
        "receive(inbox, '2.25.12', at(1))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path), str(Path(__file__).parent)], check=False)
    assert ended.returncode == 9
    assert len(_files(tmp_path)) == 2
    inbox = Inbox(open_database(tmp_path), tmp_path, 0)
    assert inbox.recover(at(2)).removed_unacknowledged == 1
    assert [stored.header.sop_instance_uid for stored in inbox.headers_of_study("2.25.1")] == ["2.25.11"]
    assert receive(inbox, "2.25.12", at(3)) is Acceptance.NEW


def test_headers_come_back_as_they_were(inbox: Inbox) -> None:
    receive(inbox, "2.25.11", at(0), kind=None)
    (stored,) = inbox.unindexed(1)
    frame = FrameHeader(
        1, (1.0, float("inf"), -3.5), None, (1.5, 1.25), ("ORIGINAL", "PRIMARY"), 2.5, ("1",), source_instances=(("2.25.3", None),)
    )
    written = InstanceHeader("1.2", "2.25.11", "2.25.1", "2.25.2", "image", image_type=("A", "B"), series_description="Ö", frames=(frame,))
    inbox.index(stored.object_id, written)
    (found,) = inbox.headers_of_study("2.25.1")
    assert found.header == written
    assert (found.path, found.sha256, found.conflicting) == (stored.path, stored.sha256, False)
    assert inbox.unindexed(1) == []
    assert inbox.study_of("2.25.11") == "2.25.1"
    assert inbox.study_of("2.25.12") is None


def test_unreadable_objects_are_set_aside(inbox: Inbox) -> None:
    receive(inbox, "2.25.11", at(0), kind=None)
    (stored,) = inbox.unindexed(1)
    inbox.mark_unreadable(stored.object_id, "no image plane")
    assert inbox.unindexed(1) == []
    assert inbox.headers_of_study("2.25.1") == []
    assert inbox.counts().by_kind == {"unreadable": 1}
    assert [study.study_instance_uid for study in inbox.dirty_studies()] == ["2.25.1"]


@pytest.mark.parametrize(("outcome", "conflicting"), [("routine", False), ("conflict", True)])
def test_other_bytes_are_kept_beside_the_first(inbox: Inbox, tmp_path: Path, outcome: Any, conflicting: bool) -> None:
    receive(inbox, "2.25.11", at(0))
    (first,) = inbox.headers_of_study("2.25.1")
    assert receive(inbox, "2.25.11", at(1), PatientID="2") is Acceptance.OTHER_BYTES
    assert receive(inbox, "2.25.11", at(2), PatientID="2") is Acceptance.SAME
    assert len(_files(tmp_path)) == 2
    (variant,) = inbox.variants_to_compare(10)
    assert variant.first == first.path
    assert variant.second.read_bytes() == encoded_object("2.25.11", PatientID="2")
    assert inbox.dirty_studies() == []  # not before it is known what the other bytes are
    inbox.settle_variant(variant.object_id, outcome)
    inbox.settle_variant(variant.object_id, "conflict")  # the first outcome stays
    assert inbox.variants_to_compare(10) == []
    (found,) = inbox.headers_of_study("2.25.1")
    assert (found.path, found.conflicting) == (first.path, conflicting)


def test_a_conflict_makes_the_study_of_the_first_dirty_again(inbox: Inbox) -> None:
    receive(inbox, "2.25.11", at(0))
    inbox.mark_matched(*inbox.dirty_studies()[0])
    receive(inbox, "2.25.11", at(1), study="2.25.5")
    assert [study.study_instance_uid for study in inbox.dirty_studies()] == ["2.25.5"]
    inbox.settle_variant(inbox.variants_to_compare(10)[0].object_id, "conflict")
    assert [study.study_instance_uid for study in inbox.dirty_studies()] == ["2.25.1", "2.25.5"]


def test_a_study_is_dirty_until_matched_with_all_that_arrived(inbox: Inbox) -> None:
    receive(inbox, "2.25.11", at(0), kind=None)
    assert inbox.dirty_studies() == []  # its header is not read yet
    receive(inbox, "2.25.12", at(1))
    (study,) = inbox.dirty_studies()
    assert study == ("2.25.1", at(1))
    assert inbox.studies_to_match(quiet_since=at(0.5)) == []
    assert inbox.studies_to_match(quiet_since=at(1)) == [study]
    receive(inbox, "2.25.13", at(1))  # the clock stood still, or another association read it earlier
    inbox.mark_matched(*study)
    (again,) = inbox.dirty_studies()
    assert again.last_received_at > study.last_received_at
    inbox.mark_matched(*again)
    inbox.mark_matched(*study)  # an older one never takes it back
    assert inbox.dirty_studies() == []
    receive(inbox, "2.25.14", at(-3600))  # the clock was set back
    assert len(inbox.dirty_studies()) == 1


def test_ignored_objects_are_purged_early_and_taken_again(inbox: Inbox, tmp_path: Path) -> None:
    receive(inbox, "2.25.11", at(0), kind="other")
    receive(inbox, "2.25.12", at(0), kind="qcnode-result")
    receive(inbox, "2.25.13", at(0), kind="image")
    receive(inbox, "2.25.14", at(50), kind="other")
    assert inbox.purge(Served.IGNORED, before=at(10), now=at(100)) == 2
    assert inbox.purge(Served.IGNORED, before=at(10), now=at(100)) == 0
    assert len(_files(tmp_path)) == 2
    assert [stored.header.sop_instance_uid for stored in inbox.headers_of_study("2.25.1")] == ["2.25.13", "2.25.14"]
    counts = inbox.counts()
    assert (counts.by_kind, counts.purged) == ({"image": 1, "other": 1}, 2)
    assert receive(inbox, "2.25.11", at(200), kind="other") is Acceptance.NEW
    assert inbox.study_of("2.25.11") == "2.25.1"
    assert len(_files(tmp_path)) == 3


def test_images_that_are_still_needed_are_not_purged(database: Database, inbox: Inbox, tmp_path: Path) -> None:
    jobs = Jobs(database)
    for study in ("2.25.1", "2.25.2", "2.25.3", "2.25.4"):
        receive(inbox, f"{study}.1", at(0), study=study)
        if study != "2.25.4":
            inbox.mark_matched(study, at(0))
    jobs.record_query("2.25.91", "2.25.1", "WAITING", None, at(1))
    jobs.put_case(case("a", query="2.25.92", study="2.25.2"), at(1))
    assert inbox.purge(Served.FINISHED, before=at(10), now=at(100)) == 1
    alive = [study for study in ("2.25.1", "2.25.2", "2.25.3", "2.25.4") if inbox.headers_of_study(study)]
    assert alive == ["2.25.1", "2.25.2", "2.25.4"]
    assert len(_files(tmp_path)) == 3


def test_variants_go_with_the_first(inbox: Inbox, tmp_path: Path) -> None:
    receive(inbox, "2.25.11", at(0))
    receive(inbox, "2.25.11", at(50), PatientID="2")
    inbox.settle_variant(inbox.variants_to_compare(1)[0].object_id, "routine")
    inbox.mark_matched("2.25.1", at(60))
    assert inbox.purge(Served.FINISHED, before=at(10), now=at(100)) == 2
    assert _files(tmp_path) == []
    assert receive(inbox, "2.25.11", at(200), PatientID="2") is Acceptance.NEW  # now the one in use
    assert receive(inbox, "2.25.11", at(201)) is Acceptance.OTHER_BYTES
    assert len(inbox.headers_of_study("2.25.1")) == 1


def test_a_crash_after_a_purge_leaves_no_file(inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    receive(inbox, "2.25.11", at(0), kind="other")
    with monkeypatch.context() as patch:
        patch.setattr(Inbox, "_remove_unrecorded", lambda *_: 0)
        inbox.purge(Served.IGNORED, before=at(10), now=at(100))
    assert len(_files(tmp_path)) == 1
    assert inbox.recover(at(101)).removed_unacknowledged == 1
    assert _files(tmp_path) == []


def test_many_associations_at_once(inbox: Inbox) -> None:
    """Eight threads send the same forty objects; each is new once."""
    accepted: list[Acceptance] = []

    def send() -> None:
        for i in range(40):
            accepted.append(receive(inbox, f"2.25.{i + 100}", at(i), kind=None))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert accepted.count(Acceptance.NEW) == 40
    assert accepted.count(Acceptance.SAME) == 280
    assert len(inbox.unindexed(1000)) == 40


def test_another_process_writes_at_the_same_time(inbox: Inbox, database: Database, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from datetime import UTC, datetime\n"
        "from qcnode.store.database import open_database; from qcnode.store import audit\n"
        "database = open_database(Path(sys.argv[1]))\n"
        "for i in range(100):\n"
        "    with database.begin() as connection:\n"
        "        audit.record(connection, at=datetime.now(UTC), actor='cli', action='x', subject='s', details={})\n"
    )
    other = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)])
    for i in range(100):
        receive(inbox, f"2.25.{i + 100}", at(i), kind=None)
    assert other.wait(60) == 0
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM audit").scalar() == 100
    assert inbox.counts().by_kind == {"unindexed": 100}


def test_what_is_no_dicom_file_is_a_mistake_of_the_caller(inbox: Inbox) -> None:
    with pytest.raises(ValueError, match="file meta"):
        inbox.accept(
            b"\0" * 200,
            sop_class_uid="1",
            sop_instance_uid="2",
            study_instance_uid="3",
            series_instance_uid="4",
            transfer_syntax_uid="5",
            calling_ae_title="A",
            peer_address="B",
            now=at(0),
        )


def test_indexing_twice_keeps_the_first(inbox: Inbox) -> None:
    receive(inbox, "2.25.11", at(0), kind=None)
    (stored,) = inbox.unindexed(1)
    inbox.index(stored.object_id, header("2.25.11", kind="seg"))
    inbox.index(stored.object_id, header("2.25.11", kind="other"))
    assert inbox.headers_of_study("2.25.1")[0].header.kind == "seg"
