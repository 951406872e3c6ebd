"""Who holds a storage directory."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qcnode.errors import ConfigurationError


@contextmanager
def only_node(directory: Path) -> Iterator[None]:
    """Hold the storage directory's lock: two nodes on one directory would take each other's leases. Raises ConfigurationError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (directory / "node.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigurationError(f"another qcnode already serves from {directory}; stop it, or give this one its own") from error
        yield
