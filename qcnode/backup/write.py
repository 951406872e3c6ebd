"""Make a backup while the node runs.

Files never change once their row names them; they only come and go. So the files are taken first, then the database, then what came
between the two: every file that the copied database names is there, and what was purged meanwhile was taken before.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from qcnode import __version__
from qcnode.backup.contents import BESIDE, CONFIG, DATABASE, FACTS, STORAGE, SUMS, BackupError, copy_hashed, files_of
from qcnode.config import Config
from qcnode.durable import flush, link_or_copy
from qcnode.store.database import FILE_NAME, open_for_reading
from qcnode.store.ledger import Ledger
from qcnode.store.locks import only_backup

_LOOKS = 4
_STAGING = ".backup"

OnFile = Callable[[int, int], None]
"""Called with how many files were taken, and about how many there are."""


@dataclass(frozen=True, slots=True)
class Backup:
    """What was backed up. missing: files that the database names and the storage directory has lost, by their paths in it."""

    files: int
    bytes: int
    missing: tuple[str, ...]


def back_up(config: Config, config_file: Path, target: Path, *, now: datetime, on_file: OnFile = lambda done, total: None) -> Backup:
    """Write a backup to `target`, a directory that is made, or a file that ends with .tar.

    Raises BackupError when there is something at `target`, and ConfigurationError when the database can not be read or another backup
    is being made.
    """
    storage, target = config.storage.directory.absolute(), target.absolute()
    if target.exists():
        raise BackupError(f"{target} exists already, and a backup overwrites nothing")
    if target.is_relative_to(storage):
        raise BackupError("a backup inside of storage.directory would be lost with it")
    if not target.parent.is_dir():
        raise BackupError(f"{target.parent} is no directory")
    if not (storage / FILE_NAME).exists():
        raise BackupError(f"there is no node's database in {storage}")
    is_tar = target.suffix == ".tar"
    unfinished = target.with_name(f"{target.name}.unfinished")
    with only_backup(storage):
        staging = storage / _STAGING if is_tar else unfinished
        shutil.rmtree(staging, ignore_errors=True)
        try:
            (staging / STORAGE).mkdir(parents=True, mode=0o700)
            staging.chmod(0o700)
            missing = _take(storage, staging / STORAGE, on_file)
            made = _describe(config, config_file, staging, missing, now)
            if is_tar:
                _pack(staging, unfinished)
            unfinished.rename(target)
            flush(target.parent)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            if is_tar:
                unfinished.unlink(missing_ok=True)
    return made


def _take(storage: Path, kept: Path, on_file: OnFile) -> tuple[str, ...]:
    """Files, database, files: until the copied database names nothing that is not there. Returns what is lost in the storage itself."""
    _take_files(storage, storage, kept, on_file)
    lost: tuple[str, ...] = ()
    for _ in range(_LOOKS):
        _copy_database(storage / FILE_NAME, kept / FILE_NAME)
        before, lost = lost, _take_files(kept, storage, kept, on_file)
        if lost == before:  # nothing, or what the storage had lost before
            break
    _drop_purged(kept)
    for name in BESIDE:
        if (storage / name).exists():
            link_or_copy(storage / name, kept / name)
    return lost


def _take_files(listed: Path, storage: Path, kept: Path, on_file: OnFile) -> tuple[str, ...]:
    """Take what the database in `listed` names and is not taken yet. Returns what is not there."""
    database, lost = open_for_reading(listed), []
    try:
        ledger = Ledger(database)
        total = ledger.number_of_objects() + 4 * ledger.number_of_cases()
        for done, name in enumerate(files_of(ledger, listed, storage), start=1):
            on_file(done, max(done, total))
            if (kept / name).exists():
                continue
            try:
                (kept / name).parent.mkdir(parents=True, exist_ok=True)
                link_or_copy(storage / name, kept / name)
            except FileNotFoundError:
                lost.append(name)
    finally:
        database.close()
    return tuple(sorted(set(lost)))


def _drop_purged(kept: Path) -> None:
    """Objects that were purged between the first look and the copy of the database."""
    database = open_for_reading(kept)
    try:
        taken = (str(path.relative_to(kept)) for path in (kept / "objects").glob("*/*"))
        for name in Ledger(database).paths_without_row(taken):
            (kept / name).unlink()
    finally:
        database.close()


def _copy_database(source: Path, target: Path) -> None:
    """One moment of a database that is written to meanwhile, by SQLite's online backup; a single file, without a log beside it."""
    target.unlink(missing_ok=True)
    with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
    flush(target)


def _describe(config: Config, config_file: Path, staging: Path, missing: tuple[str, ...], now: datetime) -> Backup:
    """Write config.yaml, the digests and the facts."""
    shutil.copyfile(config_file, staging / CONFIG)
    files = sorted(path for path in staging.rglob("*") if path.is_file())
    lines = [f"{_digest(path)}  {path.relative_to(staging)}\n" for path in files]
    (staging / SUMS).write_text("".join(lines))
    made = Backup(len(files), sum(path.stat().st_size for path in files), missing)
    facts = {
        "qcnode_version": __version__,
        "created": now.isoformat(),
        "storage_directory": str(config.storage.directory),
        "weights": {name: task.weights for name, task in config.tasks.items()},  # not part of the backup
        "files": made.files,
        "bytes": made.bytes,
        "missing": made.missing,
    }
    (staging / FACTS).write_text(json.dumps(facts, indent=2) + "\n")
    for name in (CONFIG, SUMS, FACTS):
        flush(staging / name)
    return made


def _digest(path: Path) -> str:
    """A received object is named by its digest; whether it still has it is for the verification to find out."""
    if path.parent.parent.name == "objects" and path.suffix == ".dcm":
        return f"{path.parent.name}{path.stem}"
    with path.open("rb") as file:
        return copy_hashed(file)


def _pack(staging: Path, archive: Path) -> None:
    archive.touch(mode=0o600)
    with tarfile.open(archive, "w") as tar:
        for name in (FACTS, SUMS, CONFIG, DATABASE):
            tar.add(staging / name, name)
        for path in sorted(staging.rglob("*")):
            name = str(path.relative_to(staging))
            if path.is_file() and name not in (FACTS, SUMS, CONFIG, DATABASE):
                tar.add(path, name)
    flush(archive)
