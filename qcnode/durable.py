"""Files and folders that are there after a power cut. A file needs two flushes: of its content, and of the folder that holds its name."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and flush it to the disk; its name is made durable by whoever flushes the directory. Raises OSError."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def flush(path: Path) -> None:
    """Flush a file's content, or a directory's entries: a new or renamed file is not durable before. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directories(path: Path, mode: int = 0o777) -> None:
    """Make a directory with this mode, and those above it that are missing, each of them durably. Raises OSError."""
    if path.is_dir():
        return
    make_directories(path.parent)
    path.mkdir(mode=mode, exist_ok=True)
    flush(path.parent)


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file that never changes, or a durable copy where the file system has no such. Raises FileNotFoundError."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)
        flush(target)
