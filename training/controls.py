"""Controls of an evaluation: how much does the network look at the images?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from qcnode.assess.inference import QCPredictor
from qcnode.assess.inputs import NetworkInputs
from qcnode.assess.members import judge_views
from qcnode.imaging.grid import Volume
from qcnode.imaging.preprocess import Frame, Orientation
from training.config import Recipe
from training.dataset import sample, shown
from training.judging import by_entry
from training.library import load_entry
from training.progress import Progress
from training.quality import empty_network
from training.records import Judged
from training.stages import chosen_queries, fold_of_entries, read_patients
from training.targets import tissue_channels
from training.train import read_weights
from training.views import load_view
from training.volumes import groups_of

Blinded = Literal["query-only", "no-pseudo-reference"]
INPUTS: dict[Blinded, Literal["query", "no-pseudo-reference"]] = {"query-only": "query", "no-pseudo-reference": "no-pseudo-reference"}
"""What the network of a variant is given; see training.config.Network."""
GOOD = 0.9
"""True DSC from which a query counts as good in the test of swapped images."""
_MOST_SWAPPED = 60


def blinded_records(recipe: Recipe, run: Path, records: Sequence[Judged], variant: Blinded) -> list[Judged]:
    """The same queries judged by the networks of a variant that sees less, in the folds where it was fitted; its folder has its name."""
    paths = {n: run / f"{variant}-{n}" / "average.pt" for n in range(recipe.folds)}
    networks = {n: read_weights(empty_network(recipe), path) for n, path in paths.items() if path.is_file()}
    settings = recipe.network.model_copy(update={"inputs": INPUTS[variant]})
    groups = groups_of(recipe)
    result = []
    for entry, of_entry in groupby((r for r in records if r.fold in networks), key=lambda r: r.entry):
        one = shown(load_entry(run / "library" / "train" / f"{entry}.npz"), load_view(run / "views" / f"{entry}.npz"))
        for record in of_entry:
            fields = sample(one, record.index, settings, groups, settings.margin)
            inputs = NetworkInputs(**{name: fields[name] for name in NetworkInputs._fields})
            quality = judge_views(networks[record.fold], inputs)[0].mean(0)
            result.append(replace(record, predicted_dsc=float(quality[0]), predicted_nsd=float(quality[1]), error_counts=()))
    return result


def swapped_images(recipe: Recipe, run: Path, model_dir: Path, progress: Progress) -> dict[str, Any]:
    """Mean change of the predicted DSC of good queries when another patient's image is put in place of theirs."""
    left_out, patient_of = fold_of_entries(recipe, run), read_patients(run)
    folder, rng, groups = run / "library" / "train", np.random.default_rng(recipe.seed), groups_of(recipe)
    found = _good_queries(run)
    picked = sorted(found[int(i)] for i in rng.permutation(len(found))[:_MOST_SWAPPED])
    predictors: dict[int, QCPredictor] = {}
    before: list[float] = []
    after: list[float] = []
    for done, (name, index) in enumerate(picked):
        fold = left_out[name]
        if fold not in predictors:
            predictors[fold] = QCPredictor(model_dir, only=[fold])
        predictor = predictors[fold]
        entry = load_entry(folder / f"{name}.npz")
        others = [n for n, patient in patient_of.items() if left_out.get(n) == fold and patient != entry.patient]
        other = load_entry(folder / f"{others[int(rng.integers(len(others)))]}.npz")
        query = tissue_channels(entry.queries[index].on(entry.grid.size), groups)
        contrasts = [c.name for c in predictor.card.contrasts]
        for volumes, predicted in ((entry.contrasts, before), (_fitted(other.contrasts, entry.grid.size), after)):
            shown_volumes = [Volume(np.asarray(v, np.float32), entry.grid) for v in volumes]
            predicted.append(predictor.predict(dict(zip(contrasts, shown_volumes, strict=True)), query).predicted_dsc)
        progress("swapped images", done + 1, len(picked), {})
    change = np.abs(np.array(after) - np.array(before))
    mean = round(float(change.mean()), 4) if len(change) else None
    return {"queries": len(picked), "true_dsc_from": GOOD, "mean_change": mean}


def _good_queries(run: Path) -> list[tuple[str, int]]:
    found = []
    for name, indices in by_entry(chosen_queries(run, "train")).items():
        targets = load_entry(run / "library" / "train" / f"{name}.npz").targets
        found += [(name, i) for i in indices if targets[i, 0] >= GOOD]
    return found


def _fitted(contrasts: npt.NDArray[np.float32], size: tuple[int, int, int]) -> npt.NDArray[np.float32]:
    """Volumes (contrast, z, y, x) stretched to another size."""
    z, y, x = contrasts.shape[1:]
    return Frame((z, y, x), Orientation(), ((0, z), (0, y), (0, x)), size).take(contrasts)
