"""A disk of its own for a test: small, so that it can be filled to the byte, and read-only on demand. Needs the right to mount (root)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

PAGE = 4096
"""Bytes; a tmpfs gives room in pages."""


@dataclass(frozen=True)
class SmallDisk:
    """A tmpfs at `folder`."""

    folder: Path

    @property
    def storage(self) -> Path:
        return self.folder / "storage"

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"

    def leave(self, free: int) -> None:
        """Fill the disk until `free` bytes are left, whatever it holds."""
        self.make_room()
        size = shutil.disk_usage(self.folder).free - free
        with self._ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(size, 1))

    def make_room(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def remount(self, how: str) -> None:
        """`how`: "ro" or "rw"."""
        subprocess.run(["mount", "-o", f"remount,{how}", str(self.folder)], check=True, capture_output=True)


@contextmanager
def small_disk(folder: Path, size: str, inodes: int = 100_000) -> Iterator[SmallDisk]:
    folder.mkdir()
    options = f"size={size},nr_inodes={inodes}"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=False, capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("a small disk can not be mounted here (it needs root)")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)
