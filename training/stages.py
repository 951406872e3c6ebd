"""The three stages of a run, each resumable: pseudo-reference networks, library of queries, QCResUNet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from qcnode.assess.model_card import ModelCard
from qcnode.assess.networks.qcresunet import QCResUNet
from qcnode.errors import ConfigurationError
from training.config import Recipe
from training.dataset import QualityBatch, QualityDataset
from training.export import design_of, export
from training.library import complete, for_all, generate, load_entry, save_entry
from training.losses import error_map_loss, quality_loss
from training.pseudo_reference import empty_network, fit_fold, prepare
from training.train import fit
from training.volumes import folds, is_phantom, training_volumes

Progress = Callable[[str, int, int, dict[str, float]], None]


def fit_pseudo_reference(recipe: Recipe, data: Path, run: Path, fold: int, progress: Progress) -> nn.Module:
    """The network that leaves `fold` out."""
    volumes = training_volumes(recipe, data)
    left_out = folds(recipe, volumes)
    mine = [v for v in volumes if left_out[v.patient] != fold]
    side = recipe.pseudo_reference.side
    real = [prepare(v, side) for v in mine if not is_phantom(v)]
    made = [prepare(v, side) for v in mine if is_phantom(v)]
    total = recipe.pseudo_reference.schedule.steps
    title = f"pseudo-reference {fold}"
    return fit_fold(recipe, fold, real, made, run / f"pseudo-{fold}", lambda step, values: progress(title, step, total, values))


def read_pseudo_network(recipe: Recipe, run: Path, fold: int, name: str = "average.pt") -> nn.Module:
    """A finished pseudo-reference network, or one of its snapshots."""
    path = run / f"pseudo-{fold}" / name
    if not path.is_file():
        raise ConfigurationError(f"{path} is missing: fit the pseudo-reference of fold {fold} first.")
    network = empty_network(recipe.pseudo_reference)
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval().requires_grad_(False)


def build_library(recipe: Recipe, data: Path, run: Path, progress: Progress, fold: int | None = None) -> None:
    """Queries, targets and numbers of every volume (of one fold, where given) into `run`/library."""
    volumes = training_volumes(recipe, data)
    left_out = folds(recipe, volumes)
    mine = [v for v in volumes if fold is None or left_out[v.patient] == fold]
    early = [f"snapshot-{s:.2f}.pt" for s in recipe.pseudo_reference.schedule.snapshots]
    count = recipe.pseudo_reference.folds
    final = [read_pseudo_network(recipe, run, f) for f in range(count)]
    half = [[read_pseudo_network(recipe, run, f, name) for name in early] for f in range(count)]
    (run / "queries").mkdir(parents=True, exist_ok=True)
    for i, volume in enumerate(mine):
        path = run / "library" / f"{volume.name}.npz"
        if not path.is_file():
            generated = generate(volume, volumes, recipe, run / "queries" / f"{volume.name}.npz", count=recipe.queries.generated)
            own = left_out[volume.patient]
            # in turn one that has not seen the patient, whose errors resemble the pseudo-reference's, and one that has
            snapshots = [half[(own + i) % count][i // count % len(early)]] if early else []
            save_entry(complete(volume, generated, final[own], snapshots, recipe), path)
        progress("library", i + 1, len(mine), {})


def generate_queries(recipe: Recipe, data: Path, run: Path, progress: Progress) -> None:
    """The part of the library that needs no network, so that it can be made while the pseudo-reference is fitted."""
    volumes = training_volumes(recipe, data)
    for_all(volumes, recipe, run / "queries", lambda done: progress("queries", done, len(volumes), {}))


def fit_quality(recipe: Recipe, run: Path, progress: Progress) -> nn.Module:
    """QCResUNet on the library."""
    paths = sorted((run / "library").glob("*.npz"))
    paths = [p for p in paths if not p.name.endswith(".part.npz")]
    if not paths:
        raise ConfigurationError(f"{run / 'library'} is empty: build the library first.")
    entries = [load_entry(p) for p in paths]
    made = [e for e in entries if e.name.startswith("phantom")]
    dataset = QualityDataset([e for e in entries if not e.name.startswith("phantom")], made, recipe)
    torch.manual_seed(recipe.seed)
    network = empty_quality_network(recipe)
    total = recipe.network.schedule.steps
    return fit(
        network,
        dataset.draw,
        lambda network, batch: quality_step(network, batch, recipe.network.error_weight),
        recipe.network.schedule,
        run / "quality",
        seed=recipe.seed + 200,
        report=lambda step, values: progress("QCResUNet", step, total, values),
    )


def empty_quality_network(recipe: Recipe) -> QCResUNet:
    """QCResUNet with random weights."""
    network = QCResUNet(design_of(recipe))
    return network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload,no-any-return]  # torch's stubs lack it


def quality_step(network: nn.Module, batch: QualityBatch, error_weight: float) -> tuple[Tensor, dict[str, float]]:
    """The paper's objective (section 2.3.3) on one batch."""
    estimate = network(batch.contrasts, batch.query, batch.probabilities, batch.numbers, batch.quality_start, batch.error_start)
    quality = quality_loss(estimate.quality.sigmoid(), batch.targets)
    errors = error_map_loss(estimate.error_map, batch.errors, batch.seen)
    start = quality_loss(batch.quality_start.sigmoid()[:, :2], batch.targets[:, :2])
    now = quality_loss(estimate.quality.detach().sigmoid()[:, :2], batch.targets[:, :2])
    values = {"dsc_nsd_error": float(now), "dsc_nsd_error_at_start": float(start), "error_map_loss": float(errors.detach())}
    return quality + error_weight * errors, values


def export_run(recipe: Recipe, run: Path, folder: Path) -> ModelCard:
    """Write the weights of a finished run and their card into `folder`."""
    path = run / "quality" / "average.pt"
    if not path.is_file():
        raise ConfigurationError(f"{path} is missing: fit QCResUNet first.")
    network = empty_quality_network(recipe)
    network.load_state_dict(torch.load(path, weights_only=True))
    pseudo = [read_pseudo_network(recipe, run, f) for f in range(recipe.pseudo_reference.folds)]
    return export(recipe, network, pseudo, folder)
