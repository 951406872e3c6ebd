"""Put a backup into an empty storage directory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import IO

from qcnode.backup.contents import DATABASE, FACTS, STORAGE, SUMS, BackupError, copy_hashed, members, read_sums
from qcnode.durable import flush
from qcnode.store.database import FILE_NAME
from qcnode.store.locks import NODE_LOCK, only_node

_IGNORED = frozenset({NODE_LOCK, "lost+found"})


def restore(target: Path, storage: Path, *, on_file: Callable[[int, int], None] = lambda done, total: None) -> int:
    """Write what the backup holds to `storage`, each file checked against its digest, the database last. Returns how many files.

    Raises BackupError when `storage` is not empty or a file is not what it was, and ConfigurationError when a node serves from it.
    """
    if not target.exists():
        raise BackupError(f"{target} is not there")
    with only_node(storage):
        if any(path.name not in _IGNORED for path in storage.iterdir()):
            raise BackupError(f"{storage} is not empty; a backup is restored into an empty directory only")
        storage.chmod(0o700)
        sums: dict[str, str] = {}
        waiting = storage / f"{FILE_NAME}.restoring"
        done = 0
        for name, file in members(target):
            if name == FACTS:
                json.load(file)
            elif name == SUMS:
                sums = read_sums(file)
            elif name in sums and name.startswith(f"{STORAGE}/"):
                done += 1
                path = waiting if name == DATABASE else storage / name.removeprefix(f"{STORAGE}/")
                _write(file, path, sums.pop(name), name)
                on_file(done, done + len(sums))
        left = [name for name in sums if name.startswith(f"{STORAGE}/")]
        if left or not waiting.exists():
            raise BackupError(f"the backup is not whole: {len(left)} files are missing; empty {storage} and take another one")
        waiting.rename(storage / FILE_NAME)  # a node that starts on a part of a backup would take it for an empty storage
        flush(storage)
    return done


def _write(file: IO[bytes], path: Path, sha256: str, name: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("xb") as written:
        found = copy_hashed(file, written)
    if found != sha256:
        raise BackupError(f"{name} is not what was backed up; empty the storage directory and take another backup")
    flush(path)
