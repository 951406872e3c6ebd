"""The database locked by another process, damaged, or with a log that was cut off."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from faulty_road import Road, Taker
from senders import OUT_OF_RESOURCES, STORED, Sender, small_mr
from small_study import small_study
from store_samples import at, receive

from qcnode.case import Verdict
from qcnode.config import Config, Listen
from qcnode.errors import ConfigurationError, Retryable
from qcnode.ingest.storage_scp import start_storage_scp
from qcnode.node import Node
from qcnode.store import database as database_module
from qcnode.store.database import FILE_NAME, open_database
from qcnode.store.inbox import Inbox
from qcnode.workers.worker import LEASE, Worker

_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Another process is in a write transaction and does not end it."""
    command = [sys.executable, "-c", _LOCK, str(directory / FILE_NAME)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdout.readline() == b"locked\n"
        try:
            yield
        finally:
            other.kill()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy timeout that a test can wait for."""
    monkeypatch.setattr(database_module, "_BUSY_SECONDS", 0.2)


@pytest.mark.usefixtures("impatient")
def test_senders_are_told_to_come_back_while_the_database_is_locked(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    inbox = Inbox(database, tmp_path, 0)
    server = start_storage_scp(Listen(port=0), inbox, now=lambda: at(0), on_stored=lambda _: None)
    sender = Sender(server.port)
    try:
        assert sender.send(small_mr(1)) == [STORED]
        with locked(tmp_path):
            assert sender.send(small_mr(1), small_mr(2)) == [STORED, OUT_OF_RESOURCES], "what is there is there"
        assert len(list(tmp_path.glob("objects/*/*"))) == 1
        assert sender.send(small_mr(2)) == [STORED]
        assert len(inbox.unindexed(9)) == 2
    finally:
        server.stop()


@pytest.mark.usefixtures("impatient")
def test_the_road_goes_on_after_a_lock_with_one_answer(tmp_path: Path) -> None:
    taker = Taker()
    road = Road(tmp_path, [taker])
    road.receive(small_study("locked").datasets)
    with locked(tmp_path), pytest.raises(Retryable, match="busy"):
        road.match_all()
    road.match_all()
    with locked(tmp_path), pytest.raises(Retryable, match="busy"):
        road.assess()
    claimed = road.jobs.claim("w", road.clock(), LEASE)
    assert claimed
    with locked(tmp_path):
        with pytest.raises(Retryable, match="busy"):
            road.assess._assess(claimed)
        road.assess.unsettled.settle(lambda: road.jobs.retry(claimed, "busy", road.clock(), timedelta()))
    assert road.assess(), "given back first, then claimed again; the files are there"
    assert road.verdicts() == {Verdict.FAIL: 1}
    with locked(tmp_path), pytest.raises(Retryable, match="busy"):
        road.deliver["pacs"]()
    worker = Worker("deliver", road.deliver["pacs"], idle_seconds=0.02)
    worker.start()
    while road.outbox.counts()["pacs"] != {"DELIVERED": 3}:
        worker.join(0.05)
    worker.stop()
    worker.join(5)
    assert len(taker.sent) == 3


def config(directory: Path) -> Config:
    sections = {"listen": {"port": 0}, "web": {"port": 0}, "storage": {"directory": str(directory), "minimum_free_mb": 1}}
    return Config.model_validate(sections)


@pytest.mark.parametrize("damage", ["overwritten", "cut-off"])
def test_a_damaged_database_is_not_started_with_and_not_touched(tmp_path: Path, damage: str) -> None:
    database = open_database(tmp_path)
    receive(Inbox(database, tmp_path, 0), "2.25.1", at(0))
    database.close()
    kept = tmp_path / "kept"
    shutil.copy(tmp_path / FILE_NAME, kept)
    whole = kept.read_bytes()
    bad = b"\0" * 4096 + whole[4096:] if damage == "overwritten" else whole[: len(whole) // 3 // 4096 * 4096 + 100]
    (tmp_path / FILE_NAME).write_bytes(bad)
    with pytest.raises(ConfigurationError, match="restore it from a backup"):
        Node(config(tmp_path)).start()
    assert (tmp_path / FILE_NAME).read_bytes() == bad
    assert len(list(tmp_path.glob("objects/*/*"))) == 1, "nothing is cleaned up on the word of a damaged database"
    shutil.copy(kept, tmp_path / FILE_NAME)
    node = Node(config(tmp_path))
    node.start()
    try:
        assert Sender(node.port).send(small_mr(7)) == [STORED]
    finally:
        node.stop()


def test_a_log_that_was_cut_off_keeps_what_is_before_the_cut(tmp_path: Path) -> None:
    """The write-ahead log as a crash of the disk may leave it: its last transaction is half there."""
    database = open_database(tmp_path / "old")
    inbox = Inbox(database, tmp_path / "old", 0)
    keep_open = sqlite3.connect(tmp_path / "old" / FILE_NAME)  # so that closing does not fold the log into the file
    keep_open.execute("SELECT count(*) FROM stored_object").fetchall()
    sizes = []
    log = tmp_path / "old" / f"{FILE_NAME}-wal"
    for number in range(3):
        receive(inbox, f"2.25.1{number}", at(number), kind=None)
        sizes.append(log.stat().st_size)
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    with (tmp_path / "new" / f"{FILE_NAME}-wal").open("r+b") as file:
        file.truncate(sizes[-1] - 1000)
    (tmp_path / "new" / f"{FILE_NAME}-shm").unlink()
    again = open_database(tmp_path / "new")
    found = {stored.sop_instance_uid for stored in Inbox(again, tmp_path / "new", 0).unindexed(9)}
    assert found == {"2.25.10", "2.25.11"}
    assert receive(Inbox(again, tmp_path / "new", 0), "2.25.12", at(9), kind=None) == "new", "sent again, it is taken"
    keep_open.close()
