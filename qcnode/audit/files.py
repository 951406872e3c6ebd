"""Files and their digests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from qcnode.digests import sha256_of

Difference = Literal["missing", "changed"]


class FileProofs:
    """Compares files with their digests. What was proven once is not read again, however often it is asked for."""

    def __init__(self, on_file: Callable[[], None]) -> None:
        """`on_file` is called for every file that was looked at."""
        self._proven: set[tuple[Path, str]] = set()
        self._on_file = on_file

    def difference(self, path: Path, sha256: str) -> Difference | None:
        """How the file differs from what was recorded; None where it is the same, byte for byte. Raises OSError where the disk fails."""
        if (path, sha256) in self._proven:
            return None
        self._on_file()
        try:
            found = sha256_of(path)
        except FileNotFoundError:
            return "missing"
        if found != sha256:
            return "changed"
        self._proven.add((path, sha256))
        return None
