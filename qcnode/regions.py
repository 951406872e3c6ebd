"""Regions of predicted errors: what a reader can say of each, and how they are read back from the case's viewer files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import TypeAdapter

DESCRIPTION_NAME = "viewer.json"


class Mark(StrEnum):
    """Whether the query is really wrong in a region where an error was predicted."""

    REAL = "REAL"
    NOT_REAL = "NOT_REAL"
    UNSURE = "UNSURE"


@dataclass(frozen=True, slots=True)
class ErrorRegion:
    """Voxels of one tissue that touch one another and are predicted wrong.

    number: from 1, the largest first, over all tissues of a case. first_slice, last_slice: z indices from 0; worst_slice: the one with the
    largest part of the region. centre_mm: of gravity, in patient coordinates (LPS).
    """

    number: int
    tissue: str
    first_slice: int
    last_slice: int
    worst_slice: int
    voxels: int
    volume_ml: float
    centre_mm: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class MarkedRegion:
    """A region and what the reader says of it."""

    region: ErrorRegion
    mark: Mark


_REGIONS = TypeAdapter(tuple[ErrorRegion, ...])


def read_regions(viewer_path: Path | None) -> tuple[ErrorRegion, ...]:
    """The regions in the viewer files of a case; none where there are no files, or nothing was predicted.

    Raises OSError where the disk fails.
    """
    try:
        description = json.loads((viewer_path / DESCRIPTION_NAME).read_bytes()) if viewer_path else {}
    except FileNotFoundError:
        return ()
    return _REGIONS.validate_python((description.get("prediction") or {}).get("regions", ()))
