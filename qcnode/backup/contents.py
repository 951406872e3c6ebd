"""What a backup holds: `storage/` as it is to be restored, config.yaml, facts about it, and the digest of every file.

SHA256SUMS is what `sha256sum -c` reads. A backup is a directory, or the same as one .tar file.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import IO

from qcnode.cohort.pseudonyms import KEY_FILE
from qcnode.errors import QCNodeError
from qcnode.store.database import FILE_NAME
from qcnode.store.ledger import Ledger

STORAGE, FACTS, SUMS, CONFIG = "storage", "backup.json", "SHA256SUMS", "config.yaml"
DATABASE = f"{STORAGE}/{FILE_NAME}"
_CHUNK = 2**20
BESIDE = (KEY_FILE,)
"""Files of the storage directory that no row names."""


class BackupError(QCNodeError):
    """The backup can not be made, read or restored."""


def files_of(ledger: Ledger, root: Path, storage: Path) -> Iterator[str]:
    """The path inside of the storage directory of every file that the database needs, as `ledger` names it below `root`.

    What lies in a case's result directory is looked up in `storage`, the node's; a directory that is not there is named itself.
    """
    for objects in ledger.objects():
        yield from (inside(entry.path, root) for entry in objects)
    for cases in ledger.cases():
        for case in cases:
            if case.results_purged_at is not None:
                continue
            named = [*(r.path for r in case.results), *(d.path for d in case.deliveries), *(d.path for d in case.documents)]
            yield from (inside(path, root) for path in named)
            if case.directory is not None:
                directory = storage / inside(case.directory, root)
                yield from (inside(path, storage) for path in sorted(directory.rglob("*")) if path.is_file())


def inside(path: Path, root: Path) -> str:
    """A path relative to `root`. Raises BackupError for one that leads out of it: only what the storage directory holds is backed up."""
    relative = PurePosixPath(os.path.relpath(path, root))
    if relative.is_absolute() or ".." in relative.parts:
        raise BackupError("the database names a file outside of storage.directory")
    return str(relative)


def members(target: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of every file in a backup; facts and digests first. Raises BackupError where it is none."""
    if target.is_dir():
        names = sorted(str(path.relative_to(target)) for path in target.rglob("*") if not path.is_dir())
        for name in sorted(names, key=lambda name: (name not in (FACTS, SUMS), name)):
            with (target / name).open("rb") as file:
                yield name, file
        return
    try:
        with tarfile.open(target) as archive:
            for member in archive:
                content = archive.extractfile(member)
                if not member.isfile() or content is None:
                    raise BackupError(f"{target} holds something that is no file, and so is no backup")
                with closing(content):
                    yield member.name, content
    except (OSError, tarfile.TarError) as error:
        raise BackupError(f"{target} can not be read: {type(error).__name__}") from error


def read_sums(file: IO[bytes]) -> dict[str, str]:
    """name -> digest. Raises BackupError where a name leads out of the backup."""
    sums = {}
    for line in file.read().decode().splitlines():
        digest, _, name = line.partition("  ")
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise BackupError("the backup names a file outside of itself")
        sums[name] = digest
    return sums


def copy_hashed(source: IO[bytes], target: IO[bytes] | None = None) -> str:
    """The SHA-256 of everything in `source`, which is written to `target`, if there is one, as it is read."""
    found = sha256()
    while chunk := source.read(_CHUNK):
        found.update(chunk)
        if target is not None:
            target.write(chunk)
    return found.hexdigest()
