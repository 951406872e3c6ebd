"""Slices for the report: queries of every quality with true and predicted errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qcnode.assess.inference import QCPredictor
from training.config import Recipe
from training.judging import look_at
from training.library import load_entry
from training.protocol import HEADLINE
from training.protocol import groups as groups_of_records
from training.records import Judged
from training.report import Example
from training.targets import tissue_channels
from training.volumes import groups_of

_QUALITIES = (0.3, 0.5, 0.65, 0.75, 0.85, 0.92)


def choose_examples(recipe: Recipe, run: Path, model_dir: Path, records: Sequence[Judged]) -> list[Example]:
    """One segmenter's query near each of a few true DSC, as the member that has not seen the patient judges it; its worst slice."""
    groups = groups_of(recipe)
    result = []
    rest = [r for r in groups_of_records(records).get(HEADLINE, []) if not r.degraded]
    for quality in _QUALITIES:
        if not rest:
            break
        record = min(rest, key=lambda r: abs(r.dsc - quality))
        rest = [r for r in rest if r.patient != record.patient]
        predictor = QCPredictor(model_dir, only=[record.fold])
        entry = load_entry(run / "library" / "train" / f"{record.entry}.npz")
        query = tissue_channels(entry.queries[record.index].on(entry.grid.size), groups)
        reference = tissue_channels(entry.labels, groups)
        prediction = predictor.judge(look_at(predictor, entry), query)
        true = query ^ reference
        k = int(np.argmax(true.sum((0, 2, 3))))
        caption = f"{record.family}: true DSC {record.dsc:.2f}, predicted {record.predicted_dsc:.2f}"
        result.append(Example(entry.contrasts[0, k], query[:, k], reference[:, k], true[:, k], prediction.error_map[:, k], caption))
    return result
