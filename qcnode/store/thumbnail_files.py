"""The files of the small pictures that the queue shows: drawn by the web, removed with the result that they show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ThumbnailFiles:
    """`thumbnails/<2 hex digits of the case>/<case>.png` below `directory`, the node's storage; another one for a hidden item."""

    directory: Path

    def path(self, case_id: str, *, is_hidden: bool) -> Path:
        """Where a case's picture is kept."""
        return self._folder(case_id) / f"{case_id}{'-hidden' if is_hidden else ''}.png"

    def of(self, case_id: str) -> Iterator[Path]:
        """Every picture of a case that there is."""
        return self._folder(case_id).glob(f"{case_id}*.png")

    def _folder(self, case_id: str) -> Path:
        return self.directory / "thumbnails" / case_id[:2]
