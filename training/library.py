"""The library of query segmentations with their targets: an entry is one volume, or one damaged copy of it, with all its queries.

Nothing here knows the networks that will judge. A stored query is the smallest box of its labels and where that lies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from qcnode.imaging.grid import Grid, Volume
from training.edits import Labels
from training.sets import Candidate

Row = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class StoredQuery:
    """Labels of a query, cut to what is segmented (z, y, x), and the start of that box."""

    labels: Labels
    start: tuple[int, int, int]

    def on(self, size: tuple[int, int, int]) -> Labels:
        """The query's labels on its whole grid."""
        whole = np.zeros(size, np.uint8)
        z, y, x = (slice(s, s + n) for s, n in zip(self.start, self.labels.shape, strict=True))
        whole[z, y, x] = self.labels
        return whole


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a query comes from; see training.records.Judged for the fields. kept_out: for testing only."""

    group: str
    family: str
    stage: float = 1.0
    kept_out: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One volume (or damaged copy) with its queries.

    contrasts: intensities as acquired or degraded (contrast, z, y, x). labels: the reference (z, y, x). grid: of all of them.
    degraded: what was done to the images. targets: (query, output).
    """

    name: str
    patient: str
    volume: str
    degraded: str
    contrasts: npt.NDArray[np.float32]
    labels: Labels
    grid: Grid
    queries: tuple[StoredQuery, ...]
    origins: tuple[Origin, ...]
    targets: npt.NDArray[np.float32]

    def volumes(self) -> tuple[Volume, ...]:
        """The contrasts as volumes."""
        return tuple(Volume(array, self.grid) for array in self.contrasts)

    def candidates(self) -> list[Candidate]:
        """The queries as the fixed sets are chosen from."""
        return [
            Candidate(self.patient, self.name, i, o.group, o.family, o.stage, self.degraded, float(t[0]), float(t[1]))
            for i, (o, t) in enumerate(zip(self.origins, self.targets, strict=True))
        ]


def cut(labels: Labels) -> StoredQuery:
    """A query as it is stored."""
    found = ndimage.find_objects((labels > 0).astype(np.uint8))
    box = found[0] if found and found[0] else (slice(0, 1),) * 3
    return StoredQuery(labels[box].copy(), _triple([s.start for s in box]))


def save_entry(entry: Entry, path: Path) -> None:
    """Write an entry beside its final name, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {f"query{i}": q.labels for i, q in enumerate(entry.queries)}
    fresh = path.with_suffix(".part")
    with fresh.open("wb") as file:
        np.savez(
            file,
            facts=np.array([entry.name, entry.patient, entry.volume, entry.degraded]),
            contrasts=entry.contrasts,
            labels=entry.labels,
            spacing=np.array(entry.grid.spacing),
            origin=np.array(entry.grid.origin),
            direction=np.array(entry.grid.direction),
            starts=np.array([q.start for q in entry.queries]),
            groups=np.array([o.group for o in entry.origins]),
            families=np.array([o.family for o in entry.origins]),
            stages=np.array([o.stage for o in entry.origins]),
            kept_out=np.array([o.kept_out for o in entry.origins]),
            targets=entry.targets,
            **arrays,
        )
    fresh.replace(path)


def load_entry(path: Path) -> Entry:
    """An entry as `save_entry` wrote it."""
    with np.load(path) as kept:
        name, patient, volume, degraded = (str(f) for f in kept["facts"])
        labels = kept["labels"]
        facts = zip(kept["groups"], kept["families"], kept["stages"], kept["kept_out"], strict=True)
        return Entry(
            name=name,
            patient=patient,
            volume=volume,
            degraded=degraded,
            contrasts=kept["contrasts"],
            labels=labels,
            grid=Grid(labels.shape, _row(kept["spacing"]), _row(kept["origin"]), _rows(kept["direction"])),
            queries=tuple(StoredQuery(kept[f"query{i}"], _triple(s)) for i, s in enumerate(kept["starts"])),
            origins=tuple(Origin(str(g), str(f), float(s), bool(k)) for g, f, s, k in facts),
            targets=kept["targets"],
        )


def entry_paths(run: Path, split: str) -> list[Path]:
    """The library's files, "train" or "val", in a fixed order."""
    return sorted((run / "library" / split).glob("*.npz"))


def load_entries(paths: Iterable[Path]) -> list[Entry]:
    """Several entries."""
    return [load_entry(path) for path in paths]


def _rows(values: npt.NDArray[np.floating]) -> tuple[Row, Row, Row]:
    z, y, x = (_row(v) for v in values)
    return (z, y, x)


def _row(values: npt.NDArray[np.floating]) -> Row:
    z, y, x = (float(v) for v in values)
    return (z, y, x)


def _triple(values: Sequence[int] | npt.NDArray[np.int_]) -> tuple[int, int, int]:
    z, y, x = (int(v) for v in values)
    return (z, y, x)
