"""Judge the fixed sets with exported weights: the training patients out of fold, the validation patients once, at the end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from qcnode.assess.inference import QCPredictor
from qcnode.assess.model_card import ModelCard, load_card
from training.config import Recipe
from training.controls import INPUTS, blinded_records, swapped_images
from training.examples import choose_examples
from training.export import record_results
from training.generate import SETS
from training.judging import judge_chosen
from training.outsiders import refused_outsiders
from training.progress import Progress, steps_of
from training.protocol import HEADLINE, Thresholds, evaluate_records, groups, paired_differences
from training.records import Judged, write_records
from training.report import Table as ReportTable
from training.report import write_report
from training.stages import chosen_queries, chosen_sets, out_of_fold_records
from training.volumes import groups_of

_ROWS = {
    "queries": ("queries",),
    "MAE": ("dsc", "mae"),
    "r": ("dsc", "r"),
    "NSD MAE": ("nsd", "mae"),
    "/ SD": ("nsd", "mae_by_sd"),
    "NSD r": ("nsd", "r"),
    "errors": ("error_maps", "mean_dsc"),
    "AUROC": ("ranking", "0.75", "auroc"),
    "cover": ("intervals", "dsc", "coverage_by_patient"),
    "width": ("intervals", "dsc", "mean_width"),
}


def evaluate_model(
    recipe: Recipe,
    run: Path,
    model_dir: Path,
    *,
    validation: bool,
    outsiders: Path | None,
    progress: Progress,
    console: Console,
) -> dict[str, Any]:
    """Protocol E of a model folder: tables on the console, evaluation.json and a summary in the card beside the weights.

    The report, which shows images, goes into the run folder. validation: judge the validation patients with all members, too. outsiders:
    data folder whose other images must be called novel.
    """
    card = load_card(model_dir)
    records = {f"out of fold, {k}": v for k, v in _by_set(run, "train", out_of_fold_records(recipe, run, model_dir, progress)).items()}
    if validation:
        records |= {f"validation, {k}": v for k, v in _by_set(run, "val", _validation_records(recipe, run, model_dir, progress)).items()}
    for name, judged in records.items():
        write_records(judged, run / "records" / f"{name.replace(', ', '-').replace(' ', '-')}.json")
    tissues = [t.name for t in card.tissues]
    records = {name: judged for name, judged in records.items() if judged}
    results = {name: evaluate_records(name, judged, thresholds_of(card), tissues=tissues) for name, judged in records.items()}
    everything = next(v for k, v in records.items() if k.endswith("balanced"))
    controls = _controls(recipe, run, everything)
    swapped = swapped_images(recipe, run, model_dir, progress)
    strangers = refused_outsiders(recipe, outsiders, model_dir, progress) if outsiders else {}
    content: dict[str, Any] = {"weights": {"name": card.name, "version": card.version, "files": {f.name: f.sha256 for f in card.files}}}
    content |= {"sets": _digests(run), "results": results, "controls": controls, "swapped_images": swapped, "outsiders": strangers}
    (model_dir / "evaluation.json").write_text(json.dumps(content, indent=1) + "\n")
    record_results(model_dir, summary(results) | {"swapped_images": swapped, "outsiders": strangers})
    write_report(
        results,
        records,
        run / "report.html",
        title=f"{card.name} {card.version}",
        facts=_facts(card, run),
        tissues=tissues,
        examples=choose_examples(recipe, run, model_dir, everything),
        controls=controls,
        tables=_tables(swapped, strangers),
    )
    _print(results, console)
    for kind, found in strangers.items():
        console.print(f"{kind}: {found['novel']:.1%} of {found['volumes']} volumes called novel")
    return content


def thresholds_of(card: ModelCard) -> Thresholds:
    """The card's cut-offs."""
    if card.calibration is None or card.novelty is None:
        return Thresholds()
    facts = card.calibration
    return Thresholds(facts.error_map_thresholds, facts.flag_below, card.novelty.image.cut, card.novelty.query.cut)


def summary(results: Mapping[str, Any]) -> dict[str, Any]:
    """The headline figures by set and group, as the card keeps them."""
    return {
        name: {group: {title: _at(figures, path) for title, path in _ROWS.items()} for group, figures in result["groups"].items()}
        for name, result in results.items()
    }


def _validation_records(recipe: Recipe, run: Path, model_dir: Path, progress: Progress) -> list[Judged]:
    chosen = chosen_queries(run, "val")
    predictor, done = QCPredictor(model_dir), steps_of(progress, "validation", len(chosen))
    return judge_chosen(predictor, run / "library" / "val", chosen, groups_of(recipe), fold=-1, done=done)


def _by_set(run: Path, split: str, records: Sequence[Judged]) -> dict[str, list[Judged]]:
    place = {(r.entry, r.index): r for r in records}
    return {name: [place[q] for q in queries] for name, queries in chosen_sets(run, split).items()}


def _controls(recipe: Recipe, run: Path, records: Sequence[Judged]) -> dict[str, Any]:
    """The network against variants that see less, in the folds where those were fitted, on segmenters' queries."""
    ours = groups(records)[HEADLINE]
    found = {variant: blinded_records(recipe, run, ours, variant) for variant in INPUTS}
    return {variant: paired_differences(ours, theirs) for variant, theirs in found.items() if theirs}


def _tables(swapped: Mapping[str, Any], strangers: Mapping[str, Any]) -> list[ReportTable]:
    change = ReportTable(
        "Another patient's image in place of the query's",
        ("queries", "true DSC from", "mean change of the predicted DSC"),
        ((swapped["queries"], swapped["true_dsc_from"], swapped["mean_change"]),),
    )
    rows = tuple((kind, found["volumes"], found["novel"]) for kind, found in strangers.items())
    others = ReportTable("Images that the task was not learned from", ("kind", "volumes", "called novel"), rows)
    return [change, others] if rows else [change]


def _digests(run: Path) -> dict[str, dict[str, str]]:
    stored = json.loads((run / SETS).read_text())
    return {split: {name: facts["sha256"] for name, facts in sets.items()} for split, sets in stored.items()}


def _facts(card: ModelCard, run: Path) -> dict[str, str]:
    digests = "; ".join(f"{split} {name} {value[:12]}" for split, sets in _digests(run).items() for name, value in sets.items())
    return {
        "Weights": f"{card.name} {card.version}, {card.digest()[:12]}",
        "Data": card.training.data,
        "Terms": card.training.terms,
        "NSD": f"{card.quality.nsd}; tolerance {card.quality.tolerance_mm} mm = {card.quality.tolerance_pixels:.2f} pixels",
        "Fixed sets (SHA-256)": digests,
    }


def _at(figures: Any, path: Sequence[str]) -> Any:
    for key in path:
        figures = figures.get(key) if isinstance(figures, Mapping) else None
    return figures


def _print(results: Mapping[str, Any], console: Console) -> None:
    for name, rows in summary(results).items():
        table = Table(title=name)
        table.add_column("", no_wrap=True)
        for title in _ROWS:
            table.add_column(title, justify="right")
        for group, row in rows.items():
            table.add_row(group, *("" if v is None else str(v) if isinstance(v, int) else f"{v:.3f}" for v in row.values()))
        console.print(table)
