"""`python -m training`: from a cohort to weights that qcnode can use."""

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

from qcnode.errors import QCNodeError
from training import stages
from training.config import Recipe, read_recipe

app = typer.Typer(help="Train, evaluate and export the networks of qcnode.", no_args_is_help=True, pretty_exceptions_enable=False)
console = Console(stderr=True)

Data = Annotated[
    Path | None, typer.Option("--data", help="Folder that holds the cohorts (acdc/ ...); or QCNODE_REALDATA.", envvar="QCNODE_REALDATA")
]
Run = Annotated[Path, typer.Option("--run", help="Folder for checkpoints and the library of queries; a killed run goes on from there.")]
RecipeFile = Annotated[Path, typer.Argument(help="Recipe, a YAML file such as training/recipes/cardiac-sax-first.yaml.")]


class Stage(StrEnum):
    """What `fit` can be limited to."""

    ALL = "all"
    PSEUDO_REFERENCE = "pseudo-reference"
    QUERIES = "queries"
    LIBRARY = "library"
    QUALITY = "quality"


@app.command()
def fit(
    recipe: RecipeFile,
    data: Data = None,
    run: Run = Path("var/run"),
    stage: Annotated[Stage, typer.Option(help="One stage only; the stages before it must be done.")] = Stage.ALL,
    fold: Annotated[int | None, typer.Option(help="One fold only (pseudo-reference, library), to run folds side by side.")] = None,
) -> None:
    """Fit the pseudo-reference networks, build the library of queries, fit QCResUNet. Resumes where it was stopped."""
    with _errors(), _progress() as progress:
        settings = _prepared(recipe)
        count = settings.pseudo_reference.folds
        if stage in (Stage.ALL, Stage.PSEUDO_REFERENCE):
            for n in range(count) if fold is None else [fold]:
                stages.fit_pseudo_reference(settings, _data(data), run, n, progress)
        if stage is Stage.QUERIES:
            stages.generate_queries(settings, _data(data), run, progress)
        if stage in (Stage.ALL, Stage.LIBRARY):
            stages.build_library(settings, _data(data), run, progress, fold)
        if stage in (Stage.ALL, Stage.QUALITY):
            stages.fit_quality(settings, run, progress)


@app.command()
def export(recipe: RecipeFile, model_dir: Annotated[Path, typer.Argument(help="Folder to write.")], run: Run = Path("var/run")) -> None:
    """Write weights.safetensors, pseudo-reference.safetensors and model_card.json."""
    with _errors():
        settings = _prepared(recipe)
        card = stages.export_run(settings, run, model_dir)
        console.print(f"{model_dir}: {card.name} {card.version}, weights {card.digest()[:12]}")


@app.command()
def evaluate(
    model_dir: Annotated[Path, typer.Argument(help="Exported weights, such as qcnode/models/cardiac-sax.")],
    data: Data = None,
    per_bin: Annotated[int, typer.Option(help="Queries per bin of true DSC.", min=1)] = 20,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Judge generated queries of the validation patients; print a table, write evaluation.json and the card's results."""
    from training.evaluate import evaluate_model

    with _errors(), _progress() as progress:
        report = evaluate_model(model_dir, _data(data), per_bin=per_bin, device=device, progress=progress)
    report.print(Console())


def _prepared(recipe: Path) -> Recipe:
    """The recipe at a path, or the one of this package: `recipes/cardiac-sax-first.yaml` works from any folder."""
    packaged = Path(__file__).parent / recipe
    settings = read_recipe(recipe if recipe.exists() or not packaged.exists() else packaged)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    return settings


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
def _progress() -> Iterator[stages.Progress]:
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
