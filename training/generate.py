"""Build the library: segmenters fitted out of fold, their results and generated failures with targets, and the fixed evaluation sets."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qcnode.assess.metrics import Reference
from training.cohorts import LabelledVolume
from training.config import Recipe
from training.degrade import Degradation, degrade, draw_degradation
from training.edits import Labels
from training.library import Entry, Origin, cut, entry_paths, load_entry, save_entry
from training.progress import Progress
from training.queries import apply_plan, blend, draw_plan
from training.segmenters import Segmenter, make_segmenter
from training.sets import balanced_set, is_late, natural_set
from training.targets import quality_targets, tissue_channels
from training.volumes import cohort, folds, groups_of, is_phantom, training_volumes, validation_volumes

Predict = Callable[[Sequence[npt.NDArray[np.float32]]], npt.NDArray[np.float32]]

SETS = "sets.json"
PATIENTS = "library/patients.json"
"""Patient of each volume."""
DEGRADED = "-degraded"
"""Between the name of a volume and the number of its damaged copy."""


def fit_segmenters(recipe: Recipe, data: Path, run: Path, progress: Progress, fold: int | None = None, family: str | None = None) -> None:
    """Fit every family once per fold, on the patients of the other folds; one fold or family only where named."""
    volumes = [v for v in training_volumes(recipe, data) if not is_phantom(v.patient)]
    count = recipe.segmenters.folds
    left_out = folds(recipe, (v.patient for v in volumes), count)
    for segmenter in segmenters_of(recipe):
        for n in range(count):
            if fold in (None, n) and family in (None, segmenter.name):
                title = f"{segmenter.name} {n}"
                mine = [v for v in volumes if left_out[v.patient] != n]
                seed = recipe.seed + 1000 + n

                def report(step: int, total: int, values: dict[str, float], title: str = title) -> None:
                    progress(title, step, total, values)

                segmenter.fit(mine, _folder(run, segmenter, n), seed=seed, report=report)


def segmenters_of(recipe: Recipe) -> list[Segmenter]:
    """The recipe's families."""
    source = cohort(recipe)
    sizes = {"contrasts": len(source.CONTRASTS), "classes": len(source.STRUCTURES) + 1}
    return [make_segmenter(settings, **sizes) for settings in recipe.segmenters.families]


def build_library(recipe: Recipe, data: Path, run: Path, progress: Progress, fold: int | None = None) -> None:
    """Every entry of the training and validation volumes into `run`/library; with `fold`, of the volumes that its segmenters left out."""
    train, validation = training_volumes(recipe, data), validation_volumes(recipe, data)
    count = recipe.segmenters.folds
    left_out = folds(recipe, (v.patient for v in train), count)
    unseen = folds(recipe, (v.patient for v in validation), count)  # every fold is out of fold for them: dealt in turn
    sources = {n: _sources(recipe, run, n) for n in (range(count) if fold is None else [fold])}
    index = run / PATIENTS
    index.parent.mkdir(parents=True, exist_ok=True)
    index.write_text(json.dumps({v.name: v.patient for v in [*train, *validation]}))
    work = [("train", v, left_out[v.patient], train) for v in train] + [("val", v, unseen[v.patient], validation) for v in validation]
    mine = [w for w in work if w[2] in sources]
    for i, (split, volume, own, others) in enumerate(mine):
        for entry_name, degradation in copies(recipe, volume):
            path = run / "library" / split / f"{entry_name}.npz"
            if not path.is_file():
                strangers = [o for o in others if o.patient != volume.patient]
                save_entry(make_entry(recipe, entry_name, volume, degradation, sources[own], strangers), path)
        progress("library", i + 1, len(mine), {})


def copies(recipe: Recipe, volume: LabelledVolume) -> list[tuple[str, Degradation | None]]:
    """The entries of one volume: as it is, and its damaged copies; phantoms have none."""
    rng = np.random.default_rng([recipe.seed, 11, *volume.name.encode()])
    count = 0 if is_phantom(volume.patient) else recipe.queries.degraded
    return [(volume.name, None), *((f"{volume.name}{DEGRADED}{i}", draw_degradation(rng)) for i in range(count))]


def make_entry(
    recipe: Recipe,
    name: str,
    volume: LabelledVolume,
    degradation: Degradation | None,
    sources: Sequence[tuple[Origin, Predict]],
    strangers: Sequence[LabelledVolume],
) -> Entry:
    """All queries of one volume or damaged copy, with their targets on the whole grid."""
    rng = np.random.default_rng([recipe.seed, 13, *name.encode()])
    arrays = [c.array for c in volume.contrasts]
    if degradation is not None:
        arrays = [degrade(a, degradation, volume.volume.grid.spacing) for a in arrays]
    drawn: list[tuple[Labels, Origin]] = [(q, Origin("site", "site")) for q in volume.queries if degradation is None]
    results = {
        origin: predict(arrays)
        for origin, predict in sources
        if not is_phantom(volume.patient) and (degradation is None or is_late(origin.stage))
    }
    drawn += [(np.asarray(p.argmax(0), np.uint8), origin) for origin, p in results.items()]
    settings = recipe.queries
    if degradation is None:
        drawn += _blends(rng, volume.labels, [p for o, p in results.items() if not o.kept_out], settings.blended)
    count = settings.generated if degradation is None else settings.generated_degraded
    drawn += _generated(rng, volume, strangers, count, len(cohort(recipe).STRUCTURES))
    groups = groups_of(recipe)
    reference = Reference(tissue_channels(volume.labels, groups), volume.volume.grid.spacing, recipe.tolerance_mm)
    return Entry(
        name=name,
        patient=volume.patient,
        volume=volume.name,
        degraded="" if degradation is None else degradation.name,
        contrasts=np.stack(arrays).astype(np.float32),
        labels=volume.labels,
        grid=volume.volume.grid,
        queries=tuple(cut(q) for q, _ in drawn),
        origins=tuple(o for _, o in drawn),
        targets=np.stack([quality_targets(tissue_channels(q, groups), reference) for q, _ in drawn]),
    )


def choose_sets(recipe: Recipe, run: Path) -> dict[str, dict[str, Any]]:
    """The fixed sets of both splits, chosen by targets alone before anything is fitted on them; written to `run`/sets.json."""
    chosen: dict[str, dict[str, Any]] = {}
    for split in ("train", "val"):
        rows = [c for path in entry_paths(run, split) for c in load_entry(path).candidates() if not is_phantom(c.patient)]
        share = 1.0 if split == "train" else 0.5  # a handful of validation patients has fewer queries to choose from
        settings = recipe.queries
        sets = (
            balanced_set(rows, per_bin=round(share * settings.evaluation_per_bin), seed=recipe.seed),
            natural_set(rows, count=round(share * settings.evaluation_natural), seed=recipe.seed),
        )
        chosen[split] = {s.name: {"sha256": s.digest, "short": s.short, "queries": s.queries} for s in sets}
    fresh = run / f"{SETS}.part"
    fresh.write_text(json.dumps(chosen) + "\n")
    fresh.replace(run / SETS)
    return chosen


def _sources(recipe: Recipe, run: Path, fold: int) -> list[tuple[Origin, Predict]]:
    """What the segmenters that left `fold` out draw, at every stage of their training."""
    found: list[tuple[Origin, Predict]] = []
    for segmenter in segmenters_of(recipe):
        for stage in segmenter.stages():
            origin = Origin("segmenter", segmenter.name, stage, segmenter.kept_out)
            found.append((origin, segmenter.predictor(_folder(run, segmenter, fold), stage)))
    return found


def _blends(
    rng: np.random.Generator, reference: Labels, results: Sequence[npt.NDArray[np.float32]], count: int
) -> list[tuple[Labels, Origin]]:
    if not results:
        return []
    picked = [results[int(rng.integers(len(results)))] for _ in range(count)]
    return [(blend(rng, reference, p[1:]), Origin("structured", "blend")) for p in picked]


def _generated(
    rng: np.random.Generator, volume: LabelledVolume, strangers: Sequence[LabelledVolume], count: int, structures: int
) -> list[tuple[Labels, Origin]]:
    depth = int(volume.labels.any((1, 2)).sum())
    plans = [draw_plan(rng, depth, structures) for _ in range(count)]
    made = []
    for plan in plans:
        foreign = strangers[int(rng.integers(len(strangers)))].labels if strangers else None
        made.append((apply_plan(plan, volume.labels, foreign), Origin(plan.group, plan.kind)))
    return made


def _folder(run: Path, segmenter: Segmenter, fold: int) -> Path:
    return run / "segmenters" / f"{segmenter.name}-{fold}"
