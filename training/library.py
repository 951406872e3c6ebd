"""The library of training queries: made once per volume, with their targets, and kept in the run folder.

Two steps, each resumable by file: queries out of the generator need only the references; the rest needs the pseudo-reference networks.
A stored query is the smallest box of its labels and where that lies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from torch import nn

from qcnode.assess.inputs import class_probabilities, numbers, pseudo_reference
from qcnode.imaging.preprocess import Frame, Orientation, field_frame, normalise, square_frame
from training.cohorts import LabelledVolume
from training.cohorts.acdc import STRUCTURES
from training.config import Recipe
from training.queries import Labels, apply_plan, draw_plan
from training.targets import quality_targets, tissue_channels

TISSUES = len(STRUCTURES)


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
class Entry:
    """One volume with its queries: what the dataset draws from.

    values: normalised intensities (z, y, x). probabilities: out-of-fold pseudo-reference (tissue, z, y, x), 0 to 255.
    targets: (query, output). numbers: (query, number). kinds: the group of each query.
    """

    name: str
    values: npt.NDArray[np.float16]
    labels: Labels
    probabilities: npt.NDArray[np.uint8]
    spacing: tuple[float, float, float]
    queries: tuple[StoredQuery, ...]
    targets: npt.NDArray[np.float32]
    numbers: npt.NDArray[np.float32]
    kinds: tuple[str, ...]

    @property
    def size(self) -> tuple[int, int, int]:
        """Voxels (z, y, x)."""
        z, y, x = self.labels.shape
        return (z, y, x)


def generate(
    volume: LabelledVolume, others: Sequence[LabelledVolume], recipe: Recipe, path: Path, *, count: int, salt: int = 0
) -> tuple[list[StoredQuery], list[str], npt.NDArray[np.float32]]:
    """Queries from the generator with their groups and targets (query, output); read from `path` where they were made before."""
    if path.is_file():
        with np.load(path) as kept:
            stored = [StoredQuery(kept[f"query{i}"], _triple(s)) for i, s in enumerate(kept["starts"])]
            return stored, [str(k) for k in kept["kinds"]], kept["targets"]
    rng = np.random.default_rng([recipe.seed, salt, *(ord(c) for c in volume.name)])
    depth = int(volume.labels.any((1, 2)).sum())
    strangers = [o for o in others if o.patient != volume.patient]
    plans = [draw_plan(rng, depth, TISSUES) for _ in range(count)]
    made = [apply_plan(p, volume.labels, _stranger(rng, strangers)) for p in plans]
    targets = targets_of(made, volume, recipe.tolerance_mm)
    stored, kinds = [cut(q) for q in made], [p.kind for p in plans]
    _write(path, stored, kinds, targets)
    return stored, kinds, targets


def complete(
    volume: LabelledVolume,
    generated: tuple[list[StoredQuery], list[str], npt.NDArray[np.float32]],
    final: nn.Module,
    snapshots: Sequence[nn.Module],
    recipe: Recipe,
) -> Entry:
    """The entry of one volume: pseudo-reference by `final` (which has not seen the patient), more queries by half-trained networks."""
    frame = volume_frame(volume, recipe.pseudo_reference.side)
    slices = frame.take(normalise(volume.volume.array))
    count = recipe.pseudo_reference.slices
    pseudo = pseudo_reference(class_probabilities([final], slices, count), frame)
    rng = np.random.default_rng([recipe.seed, 3, *(ord(c) for c in volume.name)])
    drawn = []
    for network in snapshots:
        half = frame.put_back_linear(class_probabilities([network], slices, count)[1:])
        drawn += [blend(rng, volume.labels, half) for _ in range(recipe.queries.snapshots // max(len(snapshots), 1))]
    stored, kinds, targets = generated
    queries = [q.on(volume.volume.grid.size) for q in stored] + drawn
    targets = np.concatenate([targets, targets_of(drawn, volume, recipe.tolerance_mm)]) if drawn else targets
    values = []
    for query in queries:
        channels = tissue_channels(query, TISSUES)
        box = box_frame(np.asarray(channels.any(0) | pseudo.segmentation.any(0)), recipe, recipe.network.margin)
        values.append(numbers(channels, pseudo, volume.volume.grid.spacing, recipe.tolerance_mm, box))
    return Entry(
        name=volume.name,
        values=normalise(volume.volume.array).astype(np.float16),
        labels=volume.labels,
        probabilities=np.rint(pseudo.probabilities * 255).astype(np.uint8),
        spacing=volume.volume.grid.spacing,
        queries=tuple(cut(q) for q in queries),
        targets=targets,
        numbers=np.stack(values),
        kinds=(*kinds, *("snapshot" for _ in drawn)),
    )


def save_entry(entry: Entry, path: Path) -> None:
    """Write an entry beside its final name, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {f"query{i}": q.labels for i, q in enumerate(entry.queries)}
    fresh = path.with_suffix(".part.npz")
    np.savez(
        fresh,
        name=np.array(entry.name),
        values=entry.values,
        labels=entry.labels,
        probabilities=entry.probabilities,
        spacing=np.array(entry.spacing),
        starts=np.array([q.start for q in entry.queries]),
        targets=entry.targets,
        numbers=entry.numbers,
        kinds=np.array(entry.kinds),
        **arrays,
    )
    fresh.replace(path)


def load_entry(path: Path) -> Entry:
    """An entry as `save_entry` wrote it."""
    with np.load(path) as kept:
        z, y, x = (float(s) for s in kept["spacing"])
        return Entry(
            name=str(kept["name"]),
            values=kept["values"],
            labels=kept["labels"],
            probabilities=kept["probabilities"],
            spacing=(z, y, x),
            queries=tuple(StoredQuery(kept[f"query{i}"], _triple(s)) for i, s in enumerate(kept["starts"])),
            targets=kept["targets"],
            numbers=kept["numbers"],
            kinds=tuple(str(k) for k in kept["kinds"]),
        )


def volume_frame(volume: LabelledVolume, side: int) -> Frame:
    """The field of view as the pseudo-reference networks see it; training volumes count as already oriented."""
    return field_frame(volume.volume.grid.size, Orientation(), side)


def box_frame(inside: npt.NDArray[np.bool_], recipe: Recipe, margin: float) -> Frame:
    """The box that QCResUNet sees around tissue in the query or the pseudo-reference (z, y, x)."""
    z, y, x = inside.shape
    network = recipe.network
    return square_frame((z, y, x), Orientation(), inside, margin=margin, side=network.side, most_slices=network.most_slices)


def blend(rng: np.random.Generator, reference: Labels, probabilities: npt.NDArray[np.float32]) -> Labels:
    """A segmentation between the reference and a half-trained network's: errors as networks make them, at any quality.

    The weight of the network differs smoothly over the volume; a third of the time it is the network's alone.
    """
    share = 1.0 if rng.random() < 1 / 3 else float(rng.uniform(0.3, 0.8))
    spread = 0.0 if share == 1.0 else float(rng.uniform(0, 0.4))
    coarse = rng.normal(size=(reference.shape[0], 6, 6))
    field = np.clip(share + spread * ndimage.zoom(coarse, (1, reference.shape[1] / 6, reference.shape[2] / 6), order=1), 0, 1)
    tissues = field * probabilities + (1 - field) * tissue_channels(reference, TISSUES)
    background = 1 - tissues.sum(0)
    return np.asarray(np.argmax(np.concatenate([background[None], tissues]), 0), np.uint8)


def targets_of(queries: Sequence[Labels], volume: LabelledVolume, tolerance_mm: float) -> npt.NDArray[np.float32]:
    """Targets (query, output) on the whole grid."""
    reference = tissue_channels(volume.labels, TISSUES)
    spacing = volume.volume.grid.spacing
    return np.stack([quality_targets(tissue_channels(q, TISSUES), reference, spacing, tolerance_mm) for q in queries])


def cut(labels: Labels) -> StoredQuery:
    """A query as it is stored."""
    found = ndimage.find_objects((labels > 0).astype(np.uint8))
    box = found[0] if found and found[0] else (slice(0, 1),) * 3
    return StoredQuery(labels[box].copy(), _triple([s.start for s in box]))


def for_all(
    volumes: Sequence[LabelledVolume], recipe: Recipe, folder: Path, report: Callable[[int], None] = lambda done: None
) -> list[tuple[list[StoredQuery], list[str], npt.NDArray[np.float32]]]:
    """The generator's queries of all volumes, kept in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    result = []
    for i, volume in enumerate(volumes):
        result.append(generate(volume, volumes, recipe, folder / f"{volume.name}.npz", count=recipe.queries.generated))
        report(i + 1)
    return result


def _stranger(rng: np.random.Generator, others: Sequence[LabelledVolume]) -> Labels | None:
    return others[int(rng.integers(len(others)))].labels if others else None


def _write(path: Path, stored: Sequence[StoredQuery], kinds: Sequence[str], targets: npt.NDArray[np.float32]) -> None:
    fresh = path.with_suffix(".part.npz")
    arrays: dict[str, Any] = {f"query{i}": q.labels for i, q in enumerate(stored)}
    np.savez_compressed(fresh, starts=np.array([q.start for q in stored]), kinds=np.array(kinds), targets=targets, **arrays)
    fresh.replace(path)


def _triple(values: Sequence[int] | npt.NDArray[np.int_]) -> tuple[int, int, int]:
    z, y, x = (int(v) for v in values)
    return (z, y, x)
