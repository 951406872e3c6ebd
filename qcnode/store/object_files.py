"""The files of the inbox: written under a temporary name, made durable, and renamed to a path made of their digest."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from qcnode.digests import sha256_of
from qcnode.durable import flush


class ObjectFiles:
    """`objects/<2 hex digits>/<62 hex digits>.dcm` below `directory`; `incoming/` holds what is not yet whole."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._incoming = directory / "incoming"
        self._objects = directory / "objects"
        self._incoming.mkdir(parents=True, exist_ok=True)
        for first in range(256):
            (self._objects / f"{first:02x}").mkdir(parents=True, exist_ok=True)
        for folder in (self._objects, directory):
            flush(folder)

    def free_bytes(self) -> int:
        """What the file system still takes from us."""
        return shutil.disk_usage(self.directory).free

    def write_temporary(self, encoded: bytes) -> Path:
        """Write and fsync a new temporary file. Raises OSError, and then leaves no file."""
        path = self._incoming / f"{uuid.uuid4().hex}.part"
        try:
            with path.open("xb") as file:
                file.write(encoded)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def place(self, temporary: Path, sha256: str) -> None:
        """Rename a temporary file to its final path, durably. Raises OSError."""
        path = self.directory / self.relative_path(sha256)
        os.replace(temporary, path)  # noqa: PTH105 - the same call whatever the Path class
        flush(path.parent)

    def relative_path(self, sha256: str) -> str:
        """Where the file with this digest lies, relative to the directory."""
        return f"objects/{sha256[:2]}/{sha256[2:]}.dcm"

    def is_intact(self, path: Path) -> bool:
        """Whether the placed file `path` holds the bytes that it is named by. Raises OSError where the disk fails."""
        try:
            return sha256_of(path) == path.parent.name + path.stem
        except FileNotFoundError:
            return False

    def temporary_files(self) -> Iterator[Path]:
        """Every file that was not placed."""
        return self._incoming.iterdir()

    def placed_files(self) -> Iterator[str]:
        """The relative path of every placed file."""
        for path in self._objects.glob("*/*"):
            yield str(path.relative_to(self.directory))
