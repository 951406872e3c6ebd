"""What lies beside a case's results: verdict.json, and the files that the viewer asks for. DICOM is never opened here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from qcnode.outcome import Outcome, read_outcome
from qcnode.regions import DESCRIPTION_NAME
from qcnode.store.items import Item


def outcome_of(item: Item) -> Outcome | None:
    """verdict.json of a case whose prediction may be shown; None where it is hidden or not there."""
    beside = item.preview_path or item.viewer_path
    if item.is_hidden or beside is None:
        return None
    try:
        return read_outcome(beside.parent)
    except (OSError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class TissueRow:
    """What is predicted of one tissue, as the case page shows it: the wrong volume in ml, or in voxels where their size is not known."""

    name: str
    dsc: float | None
    error: str


def tissue_rows(item: Item, outcome: Outcome | None) -> tuple[TissueRow, ...]:
    """A row for each tissue that something is predicted of."""
    if outcome is None or outcome.predicted is None:
        return ()
    description = viewer_description(item)
    voxel_ml = prod(description["spacing_mm"]) / 1000 if description else None
    return tuple(
        TissueRow(name, n.dsc, f"{n.error_voxels} voxels" if voxel_ml is None else f"{n.error_voxels * voxel_ml:.1f} ml")
        for name, n in outcome.predicted.per_tissue.items()
    )


def viewer_description(item: Item) -> dict[str, Any] | None:
    """viewer.json, without everything that was predicted while that is hidden; None where the case has no pictures."""
    if item.viewer_path is None:
        return None
    try:
        description: dict[str, Any] = json.loads((item.viewer_path / DESCRIPTION_NAME).read_bytes())
    except FileNotFoundError:
        return None
    return description | {"prediction": None} if item.is_hidden else description


def viewer_file(item: Item, name: str) -> Path | None:
    """A file that the shown description names, so that no other file is ever served; None for every other name."""
    description = viewer_description(item)
    if description is None or item.viewer_path is None:
        return None
    named = [*description["contrasts"], description["query"], description["prediction"]]
    return item.viewer_path / name if name in {part["file"] for part in named if part} else None
