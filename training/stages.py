"""The stages between a library and a model folder, each resumable: pseudo-references, views, QCResUNet per fold, calibration."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import torch

from qcnode.assess.calibration import interval
from qcnode.assess.inference import QCPredictor
from qcnode.assess.members import SPREAD_FEATURES
from qcnode.assess.model_card import ModelCard, load_card
from qcnode.assess.novelty import p_value
from qcnode.errors import ConfigurationError
from training import views
from training.calibrate import FeatureTable, calibrate
from training.config import Recipe
from training.dataset import QualityDataset, Shown, shown
from training.export import MODEL, calibrated_model, write_model
from training.generate import DEGRADED, PATIENTS, SETS
from training.judging import Chosen, judge_chosen
from training.library import entry_paths, load_entry
from training.progress import Progress, steps_of
from training.quality import fit_network
from training.records import Judged, read_records, write_records
from training.sets import KEPT_OUT
from training.views import load_view, make_view, read_pseudo_networks, save_view
from training.volumes import folds, groups_of, training_volumes


def fit_pseudo_reference(recipe: Recipe, data: Path, run: Path, progress: Progress, fold: int | None = None) -> None:
    """Localiser and segmenter of every fold, or of one."""
    volumes = training_volumes(recipe, data)
    for n in _folds(recipe, fold):
        views.fit_pseudo_reference(recipe, volumes, run, n, progress)


def make_views(recipe: Recipe, run: Path, progress: Progress, fold: int | None = None) -> None:
    """The out-of-fold view of every training entry into `run`/views."""
    left_out = fold_of_entries(recipe, run)
    for n in _folds(recipe, fold):
        networks = read_pseudo_networks(recipe, run, n)
        mine = [p for p in entry_paths(run, "train") if left_out[p.stem] == n]
        for i, path in enumerate(mine):
            target = run / "views" / path.name
            if not target.is_file():
                save_view(make_view(recipe, load_entry(path), networks), target)
            progress(f"views {n}", i + 1, len(mine), {})


def fit_quality(recipe: Recipe, run: Path, progress: Progress, fold: int | None = None, name: str = "quality") -> None:
    """QCResUNet of every fold, or of one, on the entries of the other folds; `name` tells variants apart."""
    left_out = fold_of_entries(recipe, run)
    for n in _folds(recipe, fold):
        dataset = QualityDataset([_shown(run, p) for p in entry_paths(run, "train") if left_out[p.stem] != n], recipe)
        torch.manual_seed(recipe.seed + n)

        def report(part: str, step: int, total: int, values: dict[str, float], n: int = n) -> None:
            progress(f"{name} {n}, {part}", step, total, values)

        fit_network(dataset, recipe, run / f"{name}-{n}", seed=recipe.seed + 200 + n, report=report)


def fold_of_entries(recipe: Recipe, run: Path) -> dict[str, int]:
    """The fold that leaves each training entry's patient out."""
    volume_of = {path.stem: path.stem.split(DEGRADED)[0] for path in entry_paths(run, "train")}
    if not volume_of:
        raise ConfigurationError(f"{run / 'library'} is empty: run `python -m training generate` first.")
    patient_of = read_patients(run)
    left_out = folds(recipe, patient_of.values(), recipe.folds)
    return {entry: left_out[patient_of[volume]] for entry, volume in volume_of.items()}


def read_patients(run: Path) -> dict[str, str]:
    """The patient of each volume of the library."""
    index = run / PATIENTS
    if not index.is_file():
        raise ConfigurationError(f"{index} is missing: run `python -m training generate` first.")
    return {str(volume): str(patient) for volume, patient in json.loads(index.read_text()).items()}


def calibrate_run(recipe: Recipe, run: Path, progress: Progress, name: str = "quality", fold: int | None = None) -> Path:
    """Judge the fixed sets out of fold, fit intervals, thresholds and tests of novelty to that; the model folder in `run`.

    The kept-out segmenter takes no part. With `fold`, the queries of that fold are judged and nothing is fitted: to run side by side.
    """
    model = write_model(recipe, run, run / MODEL, name)
    records = out_of_fold_records(recipe, run, model, progress, fold)
    if fold is None:
        images, queries = _feature_tables(run)
        known = [r for r in records if r.family != KEPT_OUT]
        cuts = recipe.novelty_cuts
        calibration, novelty = calibrate(
            known, images, queries, spread_names=SPREAD_FEATURES, image_cut=cuts.image, query_cut=cuts.query, seed=recipe.seed
        )
        calibrated_model(model, calibration, novelty)
    return model


def out_of_fold_records(recipe: Recipe, run: Path, model: Path, progress: Progress, fold: int | None = None) -> list[Judged]:
    """The training patients' fixed sets, each query judged by the member that has not seen its patient, with the card's calibration.

    What was judged with the same weights before is read from `run`/records.
    """
    left_out = fold_of_entries(recipe, run)
    card = load_card(model)
    chosen = chosen_queries(run, "train")
    key = hashlib.sha256(f"{[f.sha256 for f in card.files]} {chosen}".encode()).hexdigest()[:12]
    records: list[Judged] = []
    for n in _folds(recipe, fold):
        path = run / "records" / f"out-of-fold-{n}-{key}.json"
        if not path.is_file():
            mine = [(e, i) for e, i in chosen if left_out[e] == n]
            predictor = QCPredictor(model, only=[n])
            done = steps_of(progress, f"out of fold {n}", len(mine))
            write_records(judge_chosen(predictor, run / "library" / "train", mine, groups_of(recipe), fold=n, done=done), path)
        records += read_records(path)
    return calibrated_records(run, card, records)


def calibrated_records(run: Path, card: ModelCard, records: Sequence[Judged]) -> list[Judged]:
    """Out-of-fold records with the intervals and p-values that the card's calibration gives them; unchanged where it has none."""
    if card.calibration is None or card.novelty is None:
        return list(records)
    result = []
    for entry, of_entry in groupby(records, key=lambda r: r.entry):  # a view is large: one at a time
        view = load_view(run / "views" / f"{entry}.npz")
        image_p = p_value(card.novelty.image, view.image_names, view.image_vector.astype(float))
        for record in of_entry:
            filled = bool(view.filled[record.index])
            changed = replace(
                record,
                dsc_interval=interval(card.calibration.dsc, record.predicted_dsc, record.spread_features),
                nsd_interval=interval(card.calibration.nsd, record.predicted_nsd, record.spread_features),
                image_p=image_p,
                query_p=p_value(card.novelty.query, view.query_names, view.query_vectors[record.index].astype(float)) if filled else None,
            )
            result.append(changed)
    return result


def _feature_tables(run: Path) -> tuple[FeatureTable, FeatureTable]:
    """Features of novelty of the volumes as acquired, phantoms among them, and of all queries of the library that hold anything."""
    patient_of = read_patients(run)
    whole = [load_view(run / "views" / path.name) for path in entry_paths(run, "train") if path.stem in patient_of]
    images = FeatureTable(whole[0].image_names, tuple(patient_of[v.entry] for v in whole), np.stack([v.image_vector for v in whole]))
    drawn = [(patient_of[v.entry], v.query_vectors[v.filled]) for v in whole]
    patients = tuple(patient for patient, vectors in drawn for _ in vectors)
    return images, FeatureTable(whole[0].query_names, patients, np.concatenate([vectors for _, vectors in drawn]))


def chosen_sets(run: Path, split: str) -> dict[str, Chosen]:
    """The fixed sets of a split by name."""
    path = run / SETS
    if not path.is_file():
        raise ConfigurationError(f"{path} is missing: run `python -m training generate` first.")
    sets = json.loads(path.read_text())[split]
    return {name: [(str(e), int(i)) for e, i in facts["queries"]] for name, facts in sets.items()}


def chosen_queries(run: Path, split: str) -> Chosen:
    """The queries of all fixed sets of a split, each once, sorted."""
    return sorted({q for queries in chosen_sets(run, split).values() for q in queries})


def _shown(run: Path, path: Path) -> Shown:
    return shown(load_entry(path), load_view(run / "views" / path.name))


def _folds(recipe: Recipe, fold: int | None) -> range | list[int]:
    return range(recipe.folds) if fold is None else [fold]
