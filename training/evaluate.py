"""Judge exported weights on patients that no network has seen: generated queries in equal numbers per bin of true DSC, seeds fixed."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from qcnode.assess import metrics
from qcnode.assess.inference import QCPredictor
from training.cohorts import LabelledVolume
from training.export import record_results
from training.library import TISSUES
from training.queries import Labels, apply_plan, draw_plan
from training.targets import tissue_channels
from training.volumes import validation_volumes

BINS = tuple(round(0.3 + 0.1 * i, 1) for i in range(7))  # lower ends; the last includes 1
FAILURE = 0.75
SEED = 424242
_CANDIDATES = 30  # drawn per volume at a time
_ROUNDS = 6
_COLUMNS = {
    "cases": "cases",
    "DSC MAE": "dsc_mae",
    "bias": "dsc_bias",
    "r": "dsc_r",
    "NSD MAE": "nsd_mae",
    "NSD r": "nsd_r",
    "errors": "error_map_dsc",
    "pooled": "error_map_dsc_pooled",
}

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Judged:
    """One query: what is true of it and what was predicted.

    errors_found: DSC of the error map, mean over the tissues (a tissue without errors in either counts 1); errors_found_pooled: over all.
    """

    volume: str
    patient: str
    kind: str
    dsc: float
    predicted_dsc: float
    nsd: float
    predicted_nsd: float
    errors_found: float
    errors_found_pooled: float
    dsc_per_tissue: tuple[float, ...]
    predicted_dsc_per_tissue: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The result of an evaluation."""

    cases: tuple[Judged, ...]

    def summary(self) -> dict[str, Any]:
        """Figures over all cases, per bin and per group."""
        bins = {f"{low:.1f}-{low + 0.1:.1f}": [c for c in self.cases if bin_of(c.dsc) == i] for i, low in enumerate(BINS)}
        kinds = defaultdict(list)
        for case in self.cases:
            kinds[case.kind].append(case)
        return {
            "cases": len(self.cases),
            "patients": len({c.patient for c in self.cases}),
            "failure_below": FAILURE,
            "all": figures(self.cases),
            "per_bin": {name: figures(cases) for name, cases in bins.items()},
            "per_group": {name: figures(cases) for name, cases in sorted(kinds.items())},
        }

    def print(self, console: Console) -> None:
        """Two tables."""
        summary = self.summary()
        for title, rows in (("per true DSC", summary["per_bin"]), ("per group", summary["per_group"])):
            table = Table(title=title)
            table.add_column("", no_wrap=True, min_width=10)
            for name in _COLUMNS:
                table.add_column(name, justify="right")
            for name, row in [*rows.items(), ("all", summary["all"])]:
                cells = (row[key] for key in _COLUMNS.values())
                table.add_row(name, *("" if c is None else str(c) if isinstance(c, int) else f"{c:.3f}" for c in cells))
            console.print(table)
        over = summary["all"]
        console.print(f"queries below {FAILURE}: found {over['failure_recall']:.3f}, precision {over['failure_precision']:.3f}")


def evaluate_model(
    model_dir: Path, data: Path, *, per_bin: int, device: str, progress: Callable[[str, int, int, dict[str, float]], None]
) -> Report:
    """Judge queries of the validation patients; write evaluation.json beside the card and the summary into it."""
    predictor = QCPredictor(model_dir, device=device)
    volumes = validation_volumes(data)
    chosen = choose_queries(volumes, per_bin)
    cases = []
    for i, (volume, kind, query) in enumerate(chosen):
        cases.append(judge(predictor, volume, kind, query))
        progress("evaluate", i + 1, len(chosen), {})
    report = Report(tuple(cases))
    summary = report.summary()
    card = predictor.card
    judged = {"name": card.name, "version": card.version, "files": {f.name: f.sha256 for f in card.files}}
    content = {"weights": judged, "seed": SEED, **summary, "each": [asdict(c) for c in cases]}
    (model_dir / "evaluation.json").write_text(json.dumps(content, indent=1) + "\n")
    record_results(model_dir, {"data": "ACDC, 10 validation patients, generated queries, python -m training evaluate", **summary})
    return report


def choose_queries(volumes: Sequence[LabelledVolume], per_bin: int) -> list[tuple[LabelledVolume, str, Labels]]:
    """`per_bin` queries per bin, from the volumes in turn; bins that can not be filled stay short."""
    found: list[list[tuple[LabelledVolume, str, Labels]]] = [[] for _ in BINS]
    for turn in range(_ROUNDS):
        waiting: dict[int, dict[str, list[tuple[LabelledVolume, str, Labels]]]] = defaultdict(lambda: defaultdict(list))
        for volume in volumes:
            for kind, query in candidates(volume, volumes, turn):
                place = bin_of(metrics.dsc(tissue_channels(query, TISSUES), tissue_channels(volume.labels, TISSUES)))
                if place is not None:
                    waiting[place][volume.name].append((volume, kind, query))
        for place, by_volume in waiting.items():
            for depth in range(_CANDIDATES):
                layer = [found_here[depth] for found_here in by_volume.values() if depth < len(found_here)]
                found[place] += layer[: per_bin - len(found[place])]
        if all(len(f) >= per_bin for f in found):
            break
    return [query for of_bin in found for query in of_bin]


def candidates(volume: LabelledVolume, others: Sequence[LabelledVolume], turn: int) -> list[tuple[str, Labels]]:
    """Queries of one volume with their groups."""
    rng = np.random.default_rng([SEED, turn, *(ord(c) for c in volume.name)])
    strangers = [o for o in others if o.patient != volume.patient]
    depth = int(volume.labels.any((1, 2)).sum())
    result = []
    for _ in range(_CANDIDATES):
        plan = draw_plan(rng, depth, TISSUES)
        foreign = strangers[int(rng.integers(len(strangers)))].labels
        result.append((plan.kind, apply_plan(plan, volume.labels, foreign)))
    return result


def judge(predictor: QCPredictor, volume: LabelledVolume, kind: str, labels: Labels) -> Judged:
    """Prediction and truth of one query."""
    query, reference = tissue_channels(labels, TISSUES), tissue_channels(volume.labels, TISSUES)
    name = predictor.card.contrasts[0].name
    prediction = predictor.predict({name: volume.volume}, query)
    true = metrics.agreement(query, reference, volume.volume.grid.spacing, prediction.tolerance_mm)
    wrong = metrics.error_map(query, reference)
    return Judged(
        volume=volume.name,
        patient=volume.patient,
        kind=kind,
        dsc=true.dsc,
        predicted_dsc=prediction.predicted_dsc,
        nsd=true.nsd,
        predicted_nsd=prediction.predicted_nsd,
        errors_found=metrics.error_map_dsc(prediction.error_map, wrong),
        errors_found_pooled=metrics.dsc(prediction.error_map, wrong),
        dsc_per_tissue=true.dsc_per_tissue,
        predicted_dsc_per_tissue=tuple(prediction.per_tissue_dsc.values()),
    )


def bin_of(dsc: float) -> int | None:
    """The bin of a true DSC, None below the first."""
    return None if dsc < BINS[0] else min(int((dsc - BINS[0]) / 0.1 + 1e-9), len(BINS) - 1)


def figures(cases: Sequence[Judged]) -> dict[str, Any]:
    """Errors, correlations and filter figures; failed is positive. The error map's DSC counts queries with a true DSC below 0.95."""
    dsc, predicted = np.array([c.dsc for c in cases]), np.array([c.predicted_dsc for c in cases])
    nsd, predicted_nsd = np.array([c.nsd for c in cases]), np.array([c.predicted_nsd for c in cases])
    wrong = [c for c in cases if c.dsc < 0.95]
    failed, flagged = dsc < FAILURE, predicted < FAILURE
    return {
        "cases": len(cases),
        "dsc_mae": _mean(np.abs(dsc - predicted)),
        "dsc_bias": _mean(predicted - dsc),
        "dsc_r": _correlation(dsc, predicted),
        "nsd_mae": _mean(np.abs(nsd - predicted_nsd)),
        "nsd_r": _correlation(nsd, predicted_nsd),
        "error_map_dsc": _mean(np.array([c.errors_found for c in wrong])),
        "error_map_dsc_pooled": _mean(np.array([c.errors_found_pooled for c in wrong])),
        "failure_recall": _mean(flagged[failed].astype(float)),
        "failure_precision": _mean(failed[flagged].astype(float)),
    }


def _mean(values: FloatArray) -> float | None:
    return round(float(values.mean()), 4) if values.size else None


def _correlation(first: FloatArray, second: FloatArray) -> float | None:
    if len(first) < 3 or first.std() == 0 or second.std() == 0:
        return None
    return round(float(np.corrcoef(first, second)[0, 1]), 4)
