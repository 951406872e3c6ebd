"""Disk full at every write of the road, and read-only: what was acknowledged stays, nothing half is left, and it goes on by itself."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from itertools import count
from pathlib import Path

import pydicom
import pytest
from decided_items import WANTED, decide, settle_case
from faulty_road import Road, Taker
from pydicom import Dataset
from senders import OUT_OF_RESOURCES, STORED, Sender, small_mr
from small_disk import PAGE, SmallDisk, small_disk
from small_study import small_study
from store_samples import at

from qcnode.case import Verdict
from qcnode.config import Listen, Observers, ReviewSettings, Storage
from qcnode.decisions import DecisionReporting
from qcnode.errors import ConfigurationError, Retryable
from qcnode.ingest.back_pressure import BackPressure, Marks
from qcnode.ingest.storage_scp import start_storage_scp
from qcnode.review import Review
from qcnode.store.backlog import measure_load
from qcnode.store.database import Database, open_database
from qcnode.store.decision_reports import DecisionReports
from qcnode.store.inbox import Inbox
from qcnode.store.outbox import Outbox
from qcnode.store.worklist import Worklist
from qcnode.workers.finalise import FinaliseStep
from qcnode.workers.worker import LEASE, Worker

FULL_AT = ("report.dcm", "summary.dcm", "preview.png", "viewer.json", "verdict.json")


@dataclass
class Received:
    """A Storage SCP whose storage is on a small disk. Its back-pressure leaves a storage that failed alone for no time at all."""

    disk: SmallDisk
    database: Database
    inbox: Inbox
    sender: Sender

    def assert_whole(self, acknowledged: set[str]) -> None:
        """Everything acknowledged is there byte for byte, and nothing else."""
        held = {stored.sop_instance_uid: stored for stored in self.inbox.unindexed(10_000)}
        assert set(held) == acknowledged
        assert all(sha256(stored.path.read_bytes()).hexdigest() == stored.sha256 for stored in held.values())
        assert {stored.path for stored in held.values()} == set((self.disk.storage / "objects").glob("*/*"))
        assert list((self.disk.storage / "incoming").iterdir()) == []


@pytest.fixture
def received(tmp_path: Path) -> Iterator[Received]:
    with small_disk(tmp_path / "disk", "16m", inodes=600) as disk:
        database = open_database(disk.storage)
        inbox = Inbox(database, disk.storage, 0)
        seconds = count(step=100)
        marks = Marks.of(Listen(), Storage(minimum_free_mb=0))
        pressure = BackPressure(marks, lambda: measure_load(database), lambda: float(next(seconds)))
        server = start_storage_scp(Listen(port=0), inbox, now=lambda: at(0), on_stored=lambda _: None, back_pressure=pressure)
        yield Received(disk, database, inbox, Sender(server.port))
        server.stop()
        database.close()


def test_a_disk_that_fills_at_each_write_of_receiving(received: Received, caplog: pytest.LogCaptureFixture) -> None:
    """From no page free to enough for everything: there is no room for the object's file, then for the database's log, then for both."""
    acknowledged: set[str] = set()
    refused: list[Dataset] = []
    association = received.sender.associate()
    for pages in range(40):
        dataset = small_mr(pages, rows=100)  # 20 kB, five pages
        received.disk.leave(pages * PAGE)
        status = int(association.send_c_store(dataset).Status)
        assert status in (STORED, OUT_OF_RESOURCES)
        acknowledged |= {str(dataset.SOPInstanceUID)} if status == STORED else set()
        refused += [dataset] if status == OUT_OF_RESOURCES else []
    association.release()
    told = [r.message for r in caplog.records if "refused for now" in r.message]
    assert any("the storage directory is nearly full" in message for message in told), "files"
    assert any("the database has no room" in message for message in told), "and commits have failed"
    assert acknowledged
    assert refused
    received.assert_whole(acknowledged)
    received.disk.make_room()
    assert received.sender.send(*refused) == [STORED] * len(refused)
    received.assert_whole(acknowledged | {str(d.SOPInstanceUID) for d in refused})


def test_a_disk_without_room_for_names(received: Received) -> None:
    """No inode is left: the temporary file can not be made."""
    others = received.disk.folder / "others"
    others.mkdir()
    with suppress(OSError):
        for number in range(1000):
            (others / str(number)).touch()
    assert received.sender.send(small_mr(1), small_mr(2)) == [OUT_OF_RESOURCES] * 2
    received.assert_whole(set())
    for path in others.iterdir():
        path.unlink()
    assert received.sender.send(small_mr(1), small_mr(2)) == [STORED] * 2
    received.assert_whole({str(small_mr(n).SOPInstanceUID) for n in (1, 2)})


def test_a_disk_that_becomes_read_only(received: Received, caplog: pytest.LogCaptureFixture) -> None:
    assert received.sender.send(small_mr(1)) == [STORED]
    received.database.close()  # a mount with files open for writing does not become read-only on demand
    received.disk.remount("ro")
    assert received.sender.send(small_mr(2), small_mr(3)) == [OUT_OF_RESOURCES] * 2
    assert received.sender.echo() == 0x0000
    with pytest.raises(ConfigurationError, match="can not be opened"):
        open_database(received.disk.storage)
    assert "objects are refused for now: the database can not be written or read" in caplog.text
    received.disk.remount("rw")
    assert received.sender.send(small_mr(2), small_mr(3)) == [STORED] * 2
    received.assert_whole({str(small_mr(n).SOPInstanceUID) for n in (1, 2, 3)})


def test_a_disk_that_fills_at_each_file_of_a_result(tmp_path: Path) -> None:
    """What is written before it fits, it does not: each of `FULL_AT` in turn."""
    whole = Road(tmp_path / "whole", [Taker()])
    whole.receive(small_study("full").datasets)
    whole.match_all()
    assert whole.assess()
    (directory,) = (tmp_path / "whole/results").glob("*/*")
    files = sorted((p for p in directory.rglob("*") if p.is_file()), key=lambda p: p.stat().st_mtime_ns)
    names = {path.name for path in files}
    assert set(FULL_AT) <= names
    with small_disk(tmp_path / "disk", "16m") as disk:
        road = Road(tmp_path / "node", [Taker()], results=disk.folder / "results")
        road.receive(small_study("full").datasets)
        road.match_all()
        failed_at = []
        for i in (i for i, path in enumerate(files) if path.name in FULL_AT):
            shutil.rmtree(disk.folder / "results", ignore_errors=True)  # what the attempt before left, which each removes first
            disk.leave(sum(-(-p.stat().st_size // PAGE) * PAGE for p in files[:i]))
            claimed = road.jobs.claim("w", road.clock(), LEASE)
            assert claimed is not None
            with pytest.raises(OSError, match="No space left"):
                road.assess._assess(claimed)
            road.jobs.retry(claimed, "", road.clock(), timedelta())
            assert not [p for p in (disk.folder / "results").glob("*/*") if not p.name.endswith(".unfinished")], "no half result"
            failed_at.append(len([p for p in disk.folder.rglob("*") if p.is_file()]))
            with road.database.begin() as connection:
                connection.exec_driver_sql("UPDATE judged_case SET attempts = 0")  # what has_room saves a node from
        assert failed_at == sorted(failed_at)
        assert len(set(failed_at)) == len(FULL_AT), "another file each time"
        assert road.verdicts() == {}
        disk.make_room()
        assert road.assess()
        assert road.verdicts() == {Verdict.FAIL: 1}
        (settled,) = (disk.folder / "results").glob("*/*")
        assert {p.name for p in settled.rglob("*") if p.is_file()} == names
        road.deliver_all()
        assert road.outbox.counts()["pacs"] == {"DELIVERED": 3}
        road.database.close()


def test_a_case_is_not_blamed_for_a_full_disk(tmp_path: Path) -> None:
    road = Road(tmp_path, [Taker()])
    road.receive(small_study("room").datasets)
    road.match_all()
    room = [False]
    road.give_room(lambda: room[0])
    for _ in range(10):
        assert not road.assess()
        road.clock.pass_by(hours=1)
    assert road.jobs.counts().cases == {"PENDING": 1}
    room[0] = True
    assert road.assess()
    assert road.verdicts() == {Verdict.FAIL: 1}, "judged, not given up"


def test_a_disk_without_room_for_a_refreshed_delivery(tmp_path: Path) -> None:
    """The copy with the archive's patient attributes can not be written: tried again, not refused, and one answer in the end."""
    attributes = Dataset()
    attributes.PatientName = "NEW^NAME"
    with small_disk(tmp_path / "disk", "32m") as disk:
        taker = Taker(attributes=attributes)
        road = Road(tmp_path / "node", [taker])
        road.deliver_to(disk.folder / "outbox")
        road.receive(small_study("refreshed").datasets)
        road.match_all()
        road.assess()
        disk.leave(PAGE)
        for _ in range(3):
            road.deliver_all()
            road.clock.pass_by(minutes=5)
        assert taker.sent == []
        assert road.outbox.counts()["pacs"] == {"PENDING": 3}
        assert not list(disk.folder.glob("outbox/*.dcm")), "no half file under its name"
        disk.make_room()
        for _ in range(3):
            road.deliver_all()
            road.clock.pass_by(minutes=5)
        assert road.outbox.counts()["pacs"] == {"DELIVERED": 3}
        assert len(taker.sent) == 3
        assert {str(pydicom.dcmread(d.path).PatientName) for d in road.outbox.list()} == {"NEW^NAME"}


def test_what_the_database_had_no_room_for_is_told_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An object was sent, and that could not be written down: it is not sent again, nor kept until a lease ends."""
    with small_disk(tmp_path / "disk", "16m") as disk:
        taker = Taker()
        road = Road(disk.storage, [taker])
        road.receive(small_study("told").datasets)
        road.match_all()
        road.assess()
        taker.on_send = lambda: disk.leave(0)
        assert road.deliver["pacs"](), "sent"
        assert len(taker.sent) == 1
        taker.on_send = lambda: None
        loop = Worker("deliver", road.deliver["pacs"], idle_seconds=0.02)
        with caplog.at_level(logging.ERROR):
            loop.start()
            loop.join(0.5)
            assert loop.is_alive()
            assert len([r for r in caplog.records if r.levelno == logging.ERROR]) <= 2, "not a line for each try"
            assert road.outbox.counts()["pacs"].get("SENDING") == 1
            disk.make_room()
            deadline = 100
            while road.outbox.counts()["pacs"] != {"DELIVERED": 3} and deadline:
                loop.join(0.1)
                deadline -= 1
            loop.stop()
            loop.join(5)
        assert road.outbox.counts()["pacs"] == {"DELIVERED": 3}
        assert len(taker.sent) == 3, "none twice"
        road.database.close()


def test_a_disk_that_fills_at_each_write_of_a_document_about_a_decision(tmp_path: Path) -> None:
    """From no page free to enough for everything: no room for the document, then for the rows that queue it, then for both."""
    with small_disk(tmp_path / "disk", "16m") as disk:
        database = open_database(disk.storage)
        directory = settle_case(database, "a", at(0))
        item = decide(database, 10)
        review = Review(Worklist(database), ReviewSettings())
        reporting = DecisionReporting(DecisionReports(database), WANTED, Observers(), "0.1.0")
        finalise = FinaliseStep(review, reporting.report, lambda: at(20))
        kept: list[tuple[str, bool]] = []
        for pages in range(100):
            disk.leave(pages * PAGE)
            with suppress(Retryable):  # what a timer logs, and comes again
                finalise()
            queued = [d for d in Outbox(database).list() if d.kind == "decision"]
            kept.append((sha256((directory / "decision-1.dcm").read_bytes()).hexdigest(), bool(queued)))
            if queued:
                break
            assert review.show(item.item_id, at(20)).decision is not None, "what was decided stays decided"
        disk.make_room()
        finalise()
        (delivery,) = (d for d in Outbox(database).list() if d.kind == "decision")
        whole = delivery.sha256
        assert kept[0] != (whole, False), "the document did not fit"
        assert (whole, False) in kept, "and then its rows did not"
        assert kept[-1] == (whole, True)
        assert sha256(delivery.path.read_bytes()).hexdigest() == whole
        assert review.finalise_due(at(30)) == [], "passed on"
        database.close()
