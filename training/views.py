"""What QCResUNet is shown of the library: the out-of-fold pseudo-reference of every entry, and its numbers for every query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from qcnode.assess import novelty
from qcnode.assess.inputs import PseudoReferenceSettings, draw_pseudo_reference, numbers
from qcnode.assess.metrics import Reference
from qcnode.assess.networks.plane_unet import PlaneUNet
from qcnode.errors import ConfigurationError
from qcnode.imaging.preprocess import Orientation, normalise
from training.cohorts import LabelledVolume
from training.config import Recipe
from training.library import Entry
from training.progress import Progress, steps_of
from training.pseudo_reference import empty_localiser, empty_segmenter, fit_localiser, fit_segmenter, prepare
from training.targets import tissue_channels
from training.train import read_weights
from training.volumes import cohort, folds, groups_of, is_phantom

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class View:
    """One entry as the member that leaves its patient out sees it.

    values: normalised intensities (contrast, z, y, x). probabilities: pseudo-reference (tissue, z, y, x), 0 to 255. numbers: (query,
    number). image_vector: features of novelty, named by image_names; query_vectors: (query, feature), named by query_names. filled: which
    queries hold anything.
    """

    entry: str
    values: npt.NDArray[np.float16]
    probabilities: npt.NDArray[np.uint8]
    numbers: FloatArray
    image_names: tuple[str, ...]
    image_vector: FloatArray
    query_names: tuple[str, ...]
    query_vectors: FloatArray
    filled: npt.NDArray[np.bool_]


def fit_pseudo_reference(recipe: Recipe, volumes: Sequence[LabelledVolume], run: Path, fold: int, progress: Progress) -> None:
    """The localiser and the segmenter that leave the patients of `fold` out."""
    settings = recipe.pseudo_reference
    left_out = folds(recipe, (v.patient for v in volumes), recipe.folds)
    mine = [v for v in volumes if left_out[v.patient] != fold]
    real = [prepare(v, settings.field) for v in mine if not is_phantom(v.patient)]
    made = [prepare(v, settings.field) for v in mine if is_phantom(v.patient)]
    parts = ((fit_localiser, "localiser", settings.localiser), (fit_segmenter, "segmenter", settings.segmenter))
    for (fit, name, part), network, salt in zip(parts, _empty(recipe, fold), (300, 100), strict=True):
        report = steps_of(progress, f"{name} {fold}", part.schedule.steps)
        fit(network, settings, (real, made), run / f"{name}-{fold}", recipe.seed + salt + fold, report)


def read_pseudo_networks(recipe: Recipe, run: Path, fold: int) -> tuple[PlaneUNet, PlaneUNet]:
    """The finished localiser and segmenter of a fold."""
    networks = _empty(recipe, fold)
    for network, name in zip(networks, ("localiser", "segmenter"), strict=True):
        path = run / f"{name}-{fold}" / "average.pt"
        if not path.is_file():
            raise ConfigurationError(f"{path} is missing: fit the pseudo-reference of fold {fold} first.")
        read_weights(network, path)
    return networks


def settings_of(recipe: Recipe) -> PseudoReferenceSettings:
    """How the recipe's pseudo-reference networks see the volumes."""
    part = recipe.pseudo_reference
    return PseudoReferenceSettings(part.localiser.side, part.segmenter.side, part.views, part.slices, groups_of(recipe))


def make_view(recipe: Recipe, entry: Entry, networks: tuple[PlaneUNet, PlaneUNet]) -> View:
    """Draw the pseudo-reference of an entry and measure its queries with it; training volumes count as already oriented."""
    groups = groups_of(recipe)
    values = np.stack([normalise(c) for c in entry.contrasts])
    pseudo = draw_pseudo_reference(*networks, values, Orientation(), settings_of(recipe))
    reference = Reference(pseudo.segmentation, entry.grid.spacing, recipe.tolerance_mm)
    found, vectors, filled = [], [], []
    query_names: tuple[str, ...] = ()
    for stored in entry.queries:
        query = tissue_channels(stored.on(entry.grid.size), groups)
        found.append(numbers(query, pseudo, reference))
        query_names, vector = novelty.query_features(query)
        vectors.append(vector)
        filled.append(bool(query.any()))
    image_names, image_vector = novelty.image_features(values[0], pseudo.probabilities, pseudo.pooled)
    return View(
        entry=entry.name,
        values=values.astype(np.float16),
        probabilities=np.rint(pseudo.probabilities * 255).astype(np.uint8),
        numbers=np.stack(found),
        image_names=image_names,
        image_vector=image_vector.astype(np.float32),
        query_names=query_names,
        query_vectors=np.stack(vectors).astype(np.float32),
        filled=np.array(filled),
    )


def save_view(view: View, path: Path) -> None:
    """Write a view beside its final name, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".part")
    with fresh.open("wb") as file:
        np.savez(
            file,
            entry=np.array(view.entry),
            values=view.values,
            probabilities=view.probabilities,
            numbers=view.numbers,
            image_names=np.array(view.image_names),
            image_vector=view.image_vector,
            query_names=np.array(view.query_names),
            query_vectors=view.query_vectors,
            filled=view.filled,
        )
    fresh.replace(path)


def load_view(path: Path) -> View:
    """A view as `save_view` wrote it."""
    with np.load(path) as kept:
        return View(
            entry=str(kept["entry"]),
            values=kept["values"],
            probabilities=kept["probabilities"],
            numbers=kept["numbers"],
            image_names=tuple(str(n) for n in kept["image_names"]),
            image_vector=kept["image_vector"],
            query_names=tuple(str(n) for n in kept["query_names"]),
            query_vectors=kept["query_vectors"],
            filled=kept["filled"],
        )


def _empty(recipe: Recipe, fold: int) -> tuple[PlaneUNet, PlaneUNet]:
    source = cohort(recipe)
    torch.manual_seed(recipe.seed + fold)
    contrasts = len(source.CONTRASTS)
    return (
        empty_localiser(recipe.pseudo_reference, contrasts),
        empty_segmenter(recipe.pseudo_reference, contrasts, len(source.STRUCTURES)),
    )
