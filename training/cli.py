"""`python -m training`: from a cohort to calibrated weights that qcnode can use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

import qcnode
from qcnode.errors import QCNodeError
from training import stages
from training.config import Recipe, Tier, read_recipe
from training.progress import Progress as Report
from training.recalibrate import recalibrate, tell

app = typer.Typer(
    help="Train, calibrate, evaluate and export the networks of qcnode. In order: generate, fit, calibrate, export, evaluate.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
console = Console(stderr=True)

Data = Annotated[
    Path | None, typer.Option("--data", help="Folder that holds the cohorts (acdc/ ...); or QCNODE_REALDATA.", envvar="QCNODE_REALDATA")
]
Run = Annotated[
    Path | None, typer.Option("--run", help="Folder for checkpoints and the library, var/<recipe's name> by default; a killed run goes on.")
]
RecipeFile = Annotated[Path, typer.Argument(help="Recipe, a YAML file such as training/recipes/cardiac-sax.yaml.")]
TierChoice = Annotated[Tier, typer.Option(help="cpu: two cores, hours. gpu: what the recipe's section `gpu` changes.")]
Fold = Annotated[int | None, typer.Option(help="One fold only, to run folds side by side.", min=0)]


class GenerateStage(StrEnum):
    """What `generate` can be limited to."""

    ALL = "all"
    SEGMENTERS = "segmenters"
    LIBRARY = "library"
    SETS = "sets"


class FitStage(StrEnum):
    """What `fit` can be limited to."""

    ALL = "all"
    PSEUDO_REFERENCE = "pseudo-reference"
    VIEWS = "views"
    QUALITY = "quality"


@app.command()
def generate(
    recipe: RecipeFile,
    data: Data = None,
    run: Run = None,
    tier: TierChoice = Tier.CPU,
    stage: Annotated[GenerateStage, typer.Option(help="One stage only; the stages before it must be done.")] = GenerateStage.ALL,
    fold: Fold = None,
    family: Annotated[str | None, typer.Option(help="One family of segmenters only.")] = None,
) -> None:
    """Fit segmenters, build the library of query segmentations with their targets, choose the fixed evaluation sets."""
    from training.generate import build_library, choose_sets, fit_segmenters

    with _errors(), _progress() as progress:
        settings, folder = _prepared(recipe, tier, run)
        if stage in (GenerateStage.ALL, GenerateStage.SEGMENTERS):
            fit_segmenters(settings, _data(data), folder, progress, fold, family)
        if stage in (GenerateStage.ALL, GenerateStage.LIBRARY):
            build_library(settings, _data(data), folder, progress, fold)
        if stage in (GenerateStage.ALL, GenerateStage.SETS):
            for split, sets in choose_sets(settings, folder).items():
                for name, facts in sets.items():
                    console.print(f"{split} {name}: {len(facts['queries'])} queries, SHA-256 {facts['sha256']}")
                    for what, missing in facts["short"].items():
                        console.print(f"  {missing} too few: {what}")


@app.command()
def fit(
    recipe: RecipeFile,
    data: Data = None,
    run: Run = None,
    tier: TierChoice = Tier.CPU,
    stage: Annotated[FitStage, typer.Option(help="One stage only; the stages before it must be done.")] = FitStage.ALL,
    fold: Fold = None,
    variant: Annotated[str, typer.Option(help="Folder name of QCResUNet's weights, to keep variants of a recipe apart.")] = "quality",
) -> None:
    """Fit the pseudo-reference networks and QCResUNet of every fold. Resumes where it was stopped."""
    with _errors(), _progress() as progress:
        settings, folder = _prepared(recipe, tier, run)
        if stage in (FitStage.ALL, FitStage.PSEUDO_REFERENCE):
            stages.fit_pseudo_reference(settings, _data(data), folder, progress, fold)
        if stage in (FitStage.ALL, FitStage.VIEWS):
            stages.make_views(settings, folder, progress, fold)
        if stage in (FitStage.ALL, FitStage.QUALITY):
            stages.fit_quality(settings, folder, progress, fold, variant)


@app.command()
def calibrate(
    recipe: Annotated[Path | None, typer.Argument(help="Recipe, as for the other commands; left out with --reviews.")] = None,
    run: Run = None,
    tier: TierChoice = Tier.CPU,
    variant: Annotated[str, typer.Option(help="As given to `fit`.")] = "quality",
    fold: Annotated[int | None, typer.Option(help="Judge the queries of one fold only and fit nothing, to run folds side by side.")] = None,
    reviews: Annotated[Path | None, typer.Option(help="What `qcnode worklist export` wrote: calibrate to a site's decisions.")] = None,
    weights: Annotated[Path | None, typer.Option(help="With --reviews: what judged, a packaged name or a model folder.")] = None,
    out: Annotated[Path | None, typer.Option(help="With --reviews: the model folder to write, for config.yaml.")] = None,
    acceptance: Annotated[
        float, typer.Option(min=0.05, max=0.95, help="With --reviews: share of segmentations accepted at the threshold.")
    ] = 0.5,
) -> None:
    """Judge the training patients out of fold; fit intervals, review point, error-map thresholds and novelty tests to that.

    With --reviews: fit the threshold of predicted DSC and the review point to final decisions of a site's readers. That needs a packaged
    or exported model, and no recipe, run folder or images.
    """
    if reviews is not None:
        if recipe is not None or weights is None or out is None:
            raise typer.BadParameter("--reviews needs --weights and --out, and no recipe.")
        with _errors():
            done = recalibrate(_model_folder(weights), reviews, out, acceptance=acceptance)
            tell(done, out, Console(width=None if sys.stdout.isatty() else 130))
        return
    if recipe is None:
        raise typer.BadParameter("Name a recipe, or give --reviews with --weights and --out.")
    with _errors(), _progress() as progress:
        settings, folder = _prepared(recipe, tier, run)
        model = stages.calibrate_run(settings, folder, progress, variant, fold)
        console.print(f"{model}: calibrated" if fold is None else f"fold {fold}: judged")


@app.command("fit-rating")
def fit_rating(
    reviews: Annotated[Path, typer.Option(help="What `qcnode worklist export --images` wrote.")],
    weights: Annotated[Path, typer.Option(help="A packaged name or a model folder: its card says contrasts, tissues and orientation.")],
    run: Annotated[Path, typer.Option(help="Folder for checkpoints and ratings.json; a killed run goes on.")],
    settings: Annotated[Path | None, typer.Option(help="YAML with what training/methods/star_rating.py should do otherwise.")] = None,
    task: Annotated[str | None, typer.Option(help="The task's name in config.yaml, where it is not the card's.")] = None,
) -> None:
    """Learn readers' stars (paper 002) from rated segmentations; compare, out of fold, with the mean rating and with predicted DSC."""
    from training.methods.star_rating import fit_rating as fit_stars
    from training.methods.star_rating import read_settings

    with _errors(), _progress() as progress:
        found = fit_stars(read_settings(settings), reviews, _model_folder(weights), run, progress, task)
    console.print(f"{found.queries} rated segmentations of {found.patients} patients, out of fold:")
    for name, agreement in (("slices", found.network), ("mean rating", found.mean_rating), ("predicted DSC", found.predicted_dsc)):
        r = "–" if agreement.r is None else f"{agreement.r:.2f}"
        console.print(f"{name:>14}: mean absolute error {agreement.mae:.2f} stars, r {r}")


@app.command()
def export(
    recipe: RecipeFile,
    model_dir: Annotated[Path, typer.Argument(help="Folder to write.")],
    run: Run = None,
    tier: TierChoice = Tier.CPU,
) -> None:
    """Copy the calibrated weights and their model card to a folder that config.yaml can name."""
    from training.export import export as export_model

    with _errors():
        _, folder = _prepared(recipe, tier, run)
        card = export_model(folder, model_dir)
        console.print(f"{model_dir}: {card.name} {card.version}, weights {card.digest()[:12]}")


@app.command()
def evaluate(
    recipe: RecipeFile,
    model_dir: Annotated[Path, typer.Argument(help="Exported weights, such as qcnode/models/cardiac-sax.")],
    run: Run = None,
    tier: TierChoice = Tier.CPU,
    validation: Annotated[bool, typer.Option(help="Judge the validation patients, too: once, at the end.")] = False,
    outsiders: Annotated[
        Path | None, typer.Option(help="Data folder (cohorts, brain/): are images of other organs, noise, cut and blurred ones refused?")
    ] = None,
) -> None:
    """Judge the fixed sets with exported weights: tables, evaluation.json beside the card, report.html in the run folder."""
    from training.evaluate import evaluate_model

    with _errors(), _progress() as progress:
        settings, folder = _prepared(recipe, tier, run)
        tables = Console(width=None if sys.stdout.isatty() else 130)
        evaluate_model(settings, folder, model_dir, validation=validation, outsiders=outsiders, progress=progress, console=tables)


def _prepared(recipe: Path, tier: Tier, run: Path | None) -> tuple[Recipe, Path]:
    """The recipe at a path, or the one of this package (`recipes/cardiac-sax.yaml` works from any folder), and its run folder."""
    packaged = Path(__file__).parent / recipe
    settings = read_recipe(recipe if recipe.exists() or not packaged.exists() else packaged, tier)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    return settings, run or Path("var") / settings.name


def _model_folder(weights: Path) -> Path:
    """A model folder, or the one that the package has under this name."""
    packaged = Path(qcnode.__file__).parent / "models" / weights
    return packaged if not weights.exists() and packaged.is_dir() else weights


def _data(data: Path | None) -> Path:
    if data is None:
        raise typer.BadParameter("Say where the cohorts are: --data FOLDER or the environment variable QCNODE_REALDATA.")
    return data


@contextmanager
def _errors() -> Iterator[None]:
    """Errors that were foreseen end with one sentence instead of a traceback."""
    try:
        yield
    except QCNodeError as error:
        console.print(f"[red]{error}[/red]")
        raise typer.Exit(1) from error


@contextmanager
def _progress() -> Iterator[Report]:
    """A bar per stage on a terminal, a line now and then in a log file."""
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[values]}"),
        console=console,
    ) as bars:  # fmt: skip
        tasks: dict[str, TaskID] = {}

        def report(title: str, done: int, total: int, values: dict[str, float]) -> None:
            text = "  ".join(f"{k} {v:.3f}" for k, v in values.items())
            if title not in tasks:
                tasks[title] = bars.add_task(title, total=total, values="")
            bars.update(tasks[title], completed=done, values=text)
            if not console.is_terminal and (done % 50 == 0 or done == total):
                print(title, done, total, text, file=sys.stderr, flush=True)  # noqa: T201

        yield report
