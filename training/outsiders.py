"""Volumes that are not what a task was learned from: what share of each kind does the test of novelty refuse?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from qcnode.assess import novelty
from qcnode.assess.inference import QCPredictor
from qcnode.errors import ConfigurationError
from qcnode.imaging.grid import Grid, Volume
from training.cohorts import LabelledVolume
from training.cohorts.catalogue import NAMES, cohort_of
from training.cohorts.nifti import read_volume
from training.config import Recipe
from training.progress import Progress
from training.volumes import folds, is_phantom, training_volumes

FloatArray = npt.NDArray[np.float32]

_SIZES = ((8, 192, 192), (10, 216, 256), (12, 256, 208), (40, 96, 72))


def refused_outsiders(recipe: Recipe, data: Path, model_dir: Path, progress: Progress, count: int = 50) -> dict[str, Any]:
    """Shares of volumes called novel, per kind: brains, other cohorts, noise, and the task's own volumes cut and blurred (out of fold)."""
    everyone = QCPredictor(model_dir)
    facts = everyone.card.novelty
    if facts is None or len(everyone.card.contrasts) > 1:
        return {}
    own = [v for v in training_volumes(recipe, data) if not is_phantom(v.patient)]
    left_out = folds(recipe, (v.patient for v in own), recipe.folds)
    members = {n: QCPredictor(model_dir, only=[n]) for n in range(recipe.folds)}
    result: dict[str, Any] = {}
    for kind, volumes in _kinds(recipe, data, own, count).items():
        flags = []
        for i, (volume, patient) in enumerate(volumes):
            predictor = members[left_out[patient]] if patient in left_out else everyone
            p = predictor.look({everyone.card.contrasts[0].name: volume}).image_p_value
            flags.append(p is not None and novelty.is_novel(facts.image, p))
            progress(kind, i + 1, len(volumes), {})
        result[kind] = {"volumes": len(flags), "novel": round(float(np.mean(flags)), 4) if flags else None}
    return result


def _kinds(recipe: Recipe, data: Path, own: Sequence[LabelledVolume], count: int) -> dict[str, list[tuple[Volume, str]]]:
    """Per kind, volumes with the patient that they come from ("" for a stranger)."""
    rng = np.random.default_rng([recipe.seed, 17])
    picked = [own[int(i)] for i in rng.permutation(len(own))[:count]]
    kinds = {f"cohort {name}": [(v, "") for v in _cohort(name, data, count)] for name in NAMES if name != recipe.cohort}
    kinds["brains"] = [(v, "") for v in _brains(data / "brain", count)]
    kinds["noise"] = [(_noise(rng), "") for _ in range(count)]
    kinds["cut"] = [(_cut(rng, v), v.patient) for v in picked]
    kinds["blurred"] = [(_blurred(rng, v), v.patient) for v in picked]
    return {kind: volumes for kind, volumes in kinds.items() if volumes}


def _cohort(name: str, data: Path, count: int) -> list[Volume]:
    """First contrasts of another cohort's training volumes, where its data are at hand."""
    try:
        source = cohort_of(name)
        return [v.volume for v in source.load(data / name, source.patients(data / name)["train"][:count])][:count]
    except ConfigurationError:
        return []


def _brains(folder: Path, count: int) -> list[Volume]:
    """Stacks of thick slices out of isotropic brains: every sixth slice, from each of the six."""
    paths = [p for p in sorted(folder.glob("*/*.nii.gz")) if not any(word in p.name for word in ("seg", "gt"))]
    return [stack for path in paths for stack in _thick(read_volume(path))][:count]


def _thick(volume: Volume, step: int = 6) -> Iterator[Volume]:
    depth = volume.array.shape[0]
    for start in range(step):
        part = volume.array[depth // 4 + start : depth - depth // 8 : step]
        yield _like(part, volume.grid)


def _noise(rng: np.random.Generator) -> Volume:
    """Noise of a random coarseness, such as an empty coil gives."""
    size = _SIZES[int(rng.integers(len(_SIZES)))]
    coarse = float(rng.choice([0.0, 1.0, 3.0, 8.0]))
    parts = [ndimage.gaussian_filter(rng.normal(size=size), (0, coarse, coarse)) for _ in range(2)]
    grid = Grid(size, (10.0, 1.5, 1.5), (0.0, 0.0, 0.0), ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))
    return Volume(np.hypot(*parts).astype(np.float32) * 1000, grid)


def _cut(rng: np.random.Generator, volume: LabelledVolume) -> Volume:
    """The field of view ends in the middle of the organ, on one of four sides."""
    where = np.argwhere(volume.labels.any(0))
    axis, after = int(rng.integers(2)), bool(rng.integers(2))
    middle = int(where[:, axis].mean())
    part = slice(middle, None) if after else slice(None, middle)
    array = volume.volume.array[:, part] if axis == 0 else volume.volume.array[:, :, part]
    return _like(array, volume.volume.grid)


def _blurred(rng: np.random.Generator, volume: LabelledVolume) -> Volume:
    """Blurred in the plane by 2 to 4 % of the field of view."""
    array = volume.volume.array
    deviation = float(rng.uniform(0.02, 0.04)) * max(array.shape[1:])
    return _like(ndimage.gaussian_filter(array, (0, deviation, deviation)), volume.volume.grid)


def _like(array: npt.NDArray[np.floating], grid: Grid) -> Volume:
    """An array on a grid of its own size, otherwise like `grid`."""
    z, y, x = array.shape
    return Volume(np.ascontiguousarray(array, np.float32), Grid((z, y, x), grid.spacing, grid.origin, grid.direction))
