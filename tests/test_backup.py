"""`qcnode backup` and `qcnode restore`: a copy that is whole, made while the node works, and a node that goes on from it."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from settled_node import settle_study, write_config
from small_study import small_study
from store_samples import at
from typer.testing import CliRunner

from qcnode.audit.run import audit
from qcnode.backup import write
from qcnode.backup.contents import BackupError
from qcnode.backup.restore import restore
from qcnode.backup.verify import verify
from qcnode.backup.write import back_up
from qcnode.cli import app
from qcnode.config import Config, load_config
from qcnode.demo.pacs import DemoPacs
from qcnode.node import Node
from qcnode.store.audit import LOSE_OBJECT
from qcnode.store.database import FILE_NAME, open_database
from qcnode.store.inbox import Inbox
from qcnode.store.locks import only_node
from qcnode.store.outbox import Outbox
from qcnode.store.retention import Served

NOW = at(7200)


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, DemoPacs]]:
    """config.yaml and storage of a node on which one study was received, judged, decided and delivered."""
    folder = tmp_path_factory.mktemp("settled")
    with DemoPacs(folder / "pacs") as pacs:
        settle_study(write_config(folder / "config.yaml", folder / "storage", pacs), small_study("kept"))
        (folder / "storage" / "pseudonym.key").write_bytes(b"k" * 32)
        yield folder / "config.yaml", pacs


@pytest.fixture
def config_file(settled: tuple[Path, DemoPacs], tmp_path: Path) -> Path:
    """The same, to be harmed."""
    file, pacs = settled
    shutil.copytree(file.parent / "storage", tmp_path / "storage")
    write_config(tmp_path / "config.yaml", tmp_path / "storage", pacs)
    return tmp_path / "config.yaml"


def of(config_file: Path, storage: Path) -> Config:
    """The same configuration with another storage directory."""
    sections = yaml.safe_load(config_file.read_text()) | {"storage": {"directory": str(storage), "minimum_free_mb": 1}}
    file = config_file.with_name(f"{storage.name}.yaml")
    file.write_text(yaml.safe_dump(sections))
    return load_config(file)


def command(*arguments: object, code: int = 0) -> str:
    outcome = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert outcome.exit_code == code, f"{outcome.output}{outcome.exception!r}"
    return outcome.output


@contextmanager
def load(config: Config) -> Iterator[threading.Event]:
    """Studies that arrive, are judged, decided and delivered, and images that are purged as soon as nothing needs them."""
    ended, worked = threading.Event(), threading.Event()
    failures: list[Exception] = []

    def run() -> None:
        number = 0
        try:
            while not ended.is_set():
                settle_study(config, small_study(f"load {number}"))
                number += 1
                worked.set()
        except Exception as error:  # noqa: BLE001  told when the load ends
            failures.append(error)

    def purge() -> None:
        database = open_database(config.storage.directory)
        while not ended.is_set():
            Inbox(database, config.storage.directory, 0).purge(Served.FINISHED, NOW, NOW)
            ended.wait(0.05)
        database.close()

    threads = [threading.Thread(target=run), threading.Thread(target=purge)]
    for thread in threads:
        thread.start()
    try:
        yield worked
    finally:
        ended.set()
        for thread in threads:
            thread.join(60)
    assert not failures, failures


def test_backups_under_load_are_whole_and_a_node_goes_on_from_them(config_file: Path, tmp_path: Path) -> None:
    config, found = load_config(config_file), []
    with load(config) as worked:
        assert worked.wait(60)
        for name in ("one", "two.tar"):
            made = back_up(config, config_file, tmp_path / name, now=NOW)
            assert made.missing == ()
            found.append(made.files)
    assert found == sorted(found), "the node went on meanwhile"
    assert found[0] < found[-1]
    for name in ("one", "two.tar"):
        target, storage = tmp_path / name, tmp_path / f"restored-{name}"
        assert verify(target) == []
        restore(target, storage)
        restored = of(config_file, storage)
        assert audit(restored, pauses_seconds=()).findings == (), name
        assert (storage / "pseudonym.key").read_bytes() == b"k" * 32
    tasks = {"la-lge": {"weights": "la-lge"}}
    ports = {"listen": {"port": 0}, "web": {"enabled": False}, "tasks": tasks}
    node = Node(Config.model_validate(restored.model_dump() | ports))
    node.start()
    node.stop()
    with sqlite3.connect(storage / FILE_NAME) as raw:
        assert raw.execute("SELECT count(*) FROM audit WHERE action = ?", (LOSE_OBJECT,)).fetchone() == (0,)


def test_a_backup_is_verified_by_anybody(config_file: Path, tmp_path: Path) -> None:
    said = command("backup", tmp_path / "kept", "--config", config_file)
    assert "files" in said
    checked = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path / "kept", capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "")
    facts = json.loads((tmp_path / "kept" / "backup.json").read_text())
    assert facts["weights"] == {"cardiac-sax": "cardiac-sax", "la-lge": "la-lge"}
    assert facts["missing"] == []
    assert (tmp_path / "kept" / "config.yaml").read_text() == config_file.read_text()
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o700
    assert "whole" in command("backup", "--verify", tmp_path / "kept")


@pytest.mark.parametrize("name", ["kept", "kept.tar"])
def test_nothing_is_overwritten_and_nothing_half_made_is_left(
    config_file: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / name
    command("backup", target, "--config", config_file)
    before = target.stat().st_mtime_ns
    assert "exists" in str(CliRunner().invoke(app, ["backup", str(target), "--config", str(config_file)]).exception)
    assert target.stat().st_mtime_ns == before
    other = tmp_path / f"other-{name}"
    monkeypatch.setattr(write, "_describe", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        back_up(load_config(config_file), config_file, other, now=NOW)
    assert not other.exists()
    assert not list(tmp_path.glob("*.unfinished"))
    assert not (tmp_path / "storage" / ".backup").exists()
    with pytest.raises(BackupError, match="inside of"):
        back_up(load_config(config_file), config_file, tmp_path / "storage" / name, now=NOW)


def test_what_is_wrong_with_a_backup_is_found(config_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "kept"
    back_up(load_config(config_file), config_file, target, now=NOW)
    first, second, *_ = sorted((target / "storage" / "objects").glob("*/*"))
    content = first.read_bytes()
    first.unlink()  # another name of the node's own file
    first.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    second.unlink()
    (target / "storage" / "stray").write_text("")
    names = [str(path.relative_to(target)) for path in (first, second)]
    assert verify(target) == [
        f"changed: {names[0]}",
        "unknown: storage/stray",
        f"missing: {names[1]}",
        f"missing: {names[1]}, which the database names",
    ]
    said = command("backup", "--verify", target, code=1)
    assert f"changed: {names[0]}" in said
    with pytest.raises(BackupError, match="not what was backed up"):
        restore(target, tmp_path / "new")
    assert not (tmp_path / "new" / FILE_NAME).exists(), "no node may take a part of a backup for the whole"


def test_what_the_storage_has_lost_is_said_and_the_rest_is_backed_up(config_file: Path, tmp_path: Path) -> None:
    lost = next((tmp_path / "storage" / "objects").glob("*/*"))
    lost.unlink()
    name = str(lost.relative_to(tmp_path / "storage"))
    assert f"missing in the storage directory: {name}" in command("backup", tmp_path / "kept", "--config", config_file, code=1)
    assert verify(tmp_path / "kept") == [], "the backup is what the storage was"
    assert restore(tmp_path / "kept", tmp_path / "new") > 0


def test_a_backup_goes_into_an_empty_directory_without_a_node_only(config_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "kept.tar"
    back_up(load_config(config_file), config_file, target, now=NOW)
    error = CliRunner().invoke(app, ["restore", str(target), "--config", str(config_file)]).exception
    assert "is not empty" in str(error)
    with only_node(tmp_path / "new"):
        of(config_file, tmp_path / "new")
        error = CliRunner().invoke(app, ["restore", str(target), "--config", str(tmp_path / "new.yaml")]).exception
        assert "another qcnode" in str(error)
    command("restore", target, "--config", tmp_path / "new.yaml")
    assert (tmp_path / "new" / FILE_NAME).exists()


def test_an_archive_that_names_files_outside_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "evil.tar"
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  storage/../../outside\n")
    with tarfile.open(archive, "w") as tar:
        tar.add(tmp_path / "SHA256SUMS", "SHA256SUMS")
    with pytest.raises(BackupError, match="outside"):
        restore(archive, tmp_path / "new")
    (tmp_path / "text.tar").write_text("no archive")
    for broken in (tmp_path / "text.tar", tmp_path / "nothing"):
        with pytest.raises(BackupError):
            verify(broken)


def test_what_was_delivered_after_the_backup_is_delivered_again_as_the_same_bytes(config_file: Path, tmp_path: Path) -> None:
    database = open_database(tmp_path / "storage")
    (sent,) = (d for d in Outbox(database).list() if d.kind == "report" and d.delivered_at is not None)
    with sqlite3.connect(tmp_path / "storage" / FILE_NAME) as raw:
        raw.execute("UPDATE delivery SET state = 'PENDING', delivered_at = NULL WHERE delivery_id = ?", (sent.delivery_id,))
    raw.close()
    back_up(load_config(config_file), config_file, tmp_path / "kept", now=NOW)
    restore(tmp_path / "kept", tmp_path / "new")
    again = Outbox(open_database(tmp_path / "new")).claim("pacs", "w", NOW, timedelta(minutes=1))
    assert again is not None
    assert (again.sop_instance_uid, again.sha256, again.file_settled) == (sent.sop_instance_uid, sent.sha256, True)
    assert again.path.read_bytes() == sent.path.read_bytes()
    database.close()
