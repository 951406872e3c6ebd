"""The training volumes of a recipe: a cohort's patients and phantoms, each with the fold that leaves it out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qcnode.demo.phantom import make_phantom
from training.cohorts import LabelledVolume, acdc
from training.config import Recipe


def training_volumes(recipe: Recipe, data: Path) -> list[LabelledVolume]:
    """Volumes of the training patients, then phantoms. `data` is the folder that holds acdc/."""
    folder = data / recipe.cohort
    return [*acdc.load(folder, acdc.patients(folder)["train"]), *phantoms(recipe)]


def validation_volumes(data: Path) -> list[LabelledVolume]:
    """Volumes of the validation patients."""
    folder = data / "acdc"
    return acdc.load(folder, acdc.patients(folder)["val"])


def phantoms(recipe: Recipe) -> list[LabelledVolume]:
    """The phantoms of the recipe as labelled volumes; each counts as a patient."""
    first = recipe.phantoms.first_seed
    return [labelled_phantom(seed) for seed in range(first, first + recipe.phantoms.count)]


def labelled_phantom(seed: int) -> LabelledVolume:
    """One phantom."""
    made = make_phantom(seed)
    labels = np.zeros(made.reference.shape[1:], np.uint8)
    for i, tissue in enumerate(made.reference):
        labels[tissue] = i + 1
    return LabelledVolume(f"phantom{seed}", f"phantom{seed}", (made.volume,), labels)


def is_phantom(volume: LabelledVolume) -> bool:
    """True for phantoms."""
    return volume.patient.startswith("phantom")


def folds(recipe: Recipe, volumes: list[LabelledVolume]) -> dict[str, int]:
    """Fold of each patient: patients are dealt in a seeded order, phantoms in turn."""
    real = sorted({v.patient for v in volumes if not is_phantom(v)})
    made = sorted({v.patient for v in volumes if is_phantom(v)})
    order = np.random.default_rng([recipe.seed, 7]).permutation(len(real))
    count = recipe.pseudo_reference.folds
    dealt = {real[int(i)]: place % count for place, i in enumerate(order)}
    return dealt | {p: place % count for place, p in enumerate(made)}
