"""Is a backup whole? Every file has its digest, the database is sound, and nothing that it names is missing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from qcnode.backup.contents import DATABASE, FACTS, STORAGE, SUMS, BackupError, copy_hashed, files_of, members, read_sums
from qcnode.errors import ConfigurationError
from qcnode.store.database import FILE_NAME, open_for_reading
from qcnode.store.ledger import Ledger


def verify(target: Path, *, on_file: Callable[[int, int], None] = lambda done, total: None) -> list[str]:
    """What is wrong with a backup, as lines that name files by their paths in it; none where it is whole. Raises BackupError."""
    if not target.exists():
        raise BackupError(f"{target} is not there")
    wrong: list[str] = []
    with TemporaryDirectory(prefix="qcnode-verify-") as folder:
        sums, missing = _check_digests(target, Path(folder), wrong, on_file)
        wrong += [f"missing: {name}" for name in sorted(sums)]
        database = Path(folder) / FILE_NAME
        if database.exists():
            wrong += _check_database(database, {name for name in _listed(target) if name not in sums}, missing)
    return wrong


def _check_digests(target: Path, folder: Path, wrong: list[str], on_file: Callable[[int, int], None]) -> tuple[dict[str, str], set[str]]:
    """Read every file. Returns the digests of those that are not there, and what the storage had lost when the backup was made."""
    sums: dict[str, str] | None = None
    lost: set[str] = set()
    total = 0
    for done, (name, file) in enumerate(members(target)):
        if name == FACTS:
            lost = set(json.load(file)["missing"])
        elif name == SUMS:
            sums = read_sums(file)
            total = len(sums)
        elif sums is None:
            raise BackupError(f"{target} is no backup of qcnode: {SUMS} does not come first")
        elif name not in sums:
            wrong.append(f"unknown: {name}")
        else:
            with (folder / FILE_NAME).open("wb") if name == DATABASE else nullcontext() as copy:
                found = copy_hashed(file, copy)
            if found != sums.pop(name):
                wrong.append(f"changed: {name}")
            on_file(min(done, total), total)
    if sums is None:
        raise BackupError(f"{target} is no backup of qcnode: {SUMS} is missing")
    return sums, lost


def _listed(target: Path) -> set[str]:
    return next((set(read_sums(file)) for name, file in members(target) if name == SUMS), set())


def _check_database(path: Path, there: set[str], lost: set[str]) -> list[str]:
    try:
        with closing(sqlite3.connect(path)) as raw:
            (sound,) = raw.execute("PRAGMA integrity_check(1)").fetchone()
        if sound != "ok":
            return [f"changed: the database is not sound ({sound})"]
        database = open_for_reading(path.parent)
    except (sqlite3.DatabaseError, ConfigurationError) as error:
        return [f"changed: the database can not be read ({type(error).__name__})"]
    try:
        needed = set(files_of(Ledger(database), path.parent, path.parent)) - lost
    finally:
        database.close()
    return [f"missing: {STORAGE}/{name}, which the database names" for name in sorted(needed) if f"{STORAGE}/{name}" not in there]
