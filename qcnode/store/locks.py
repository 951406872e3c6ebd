"""Locks of a storage directory, which end with the process that holds them."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qcnode.errors import ConfigurationError

NODE_LOCK = "node.lock"


@contextmanager
def only_node(directory: Path) -> Iterator[None]:
    """Hold the storage directory's lock: two nodes on one directory would take each other's leases. Raises ConfigurationError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(directory / NODE_LOCK, f"another qcnode already serves from {directory}; stop it, or give this one its own"):
        yield


@contextmanager
def only_backup(directory: Path) -> Iterator[None]:
    """Two backups at a time would take each other's staging. Raises ConfigurationError."""
    with _alone(directory / "backup.lock", "another backup of this storage directory is being made"):
        yield


@contextmanager
def _alone(file: Path, otherwise: str) -> Iterator[None]:
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigurationError(otherwise) from error
        yield
