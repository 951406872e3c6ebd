"""The volumes of a recipe: a cohort's patients and phantoms, each with the fold that leaves it out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from qcnode.assess.inputs import Groups, tissue_groups
from qcnode.demo.phantom import make_phantom
from qcnode.errors import ConfigurationError
from qcnode.tissues import Tissue
from training.cohorts import Cohort, LabelledVolume
from training.cohorts.catalogue import cohort_of
from training.config import Recipe


def training_volumes(recipe: Recipe, data: Path) -> list[LabelledVolume]:
    """Volumes of the training patients, then phantoms. `data` is the folder that holds the cohorts (acdc/ ...)."""
    return [*_of_split(recipe, data, "train"), *phantoms(recipe)]


def validation_volumes(recipe: Recipe, data: Path) -> list[LabelledVolume]:
    """Volumes of the validation patients, which nothing is fitted or chosen on."""
    return _of_split(recipe, data, "val")


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


def is_phantom(patient: str) -> bool:
    """True for the patient of a phantom."""
    return patient.startswith("phantom")


def folds(recipe: Recipe, patients: Iterable[str], count: int) -> dict[str, int]:
    """The fold that leaves each patient out: patients are dealt in a seeded order, phantoms in turn."""
    known = set(patients)
    real = sorted(p for p in known if not is_phantom(p))
    made = sorted(p for p in known if is_phantom(p))
    order = np.random.default_rng([recipe.seed, 7]).permutation(len(real))
    return {real[int(i)]: place % count for place, i in enumerate(order)} | {p: place % count for place, p in enumerate(made)}


def groups_of(recipe: Recipe) -> Groups:
    """Labels of the cohort that make up each tissue of the recipe."""
    return tissue_groups(_tissues(recipe), cohort(recipe).STRUCTURES)


def cohort(recipe: Recipe) -> Cohort:
    """The cohort of a recipe. ConfigurationError: the recipe's tissues name its structures in another order than its labels have."""
    named = tuple(dict.fromkeys(s for t in _tissues(recipe) for s in t.structures))
    found = cohort_of(recipe.cohort, recipe.card.structures, recipe.card.contrasts, named)
    if named != tuple(found.STRUCTURES):
        labels = ", ".join(found.STRUCTURES)
        raise ConfigurationError(
            f"The recipe's tissues are made of {', '.join(named)}; the labels of {recipe.cohort} are, in order, {labels}."
        )
    return found


def _tissues(recipe: Recipe) -> list[Tissue]:
    return [Tissue(t.name, t.structures, t.code) for t in recipe.card.tissues]


def _of_split(recipe: Recipe, data: Path, split: str) -> list[LabelledVolume]:
    source = cohort(recipe)
    folder = data / recipe.cohort
    return source.load(folder, source.patients(folder)[split])
