"""Fit QCResUNet: first its head to the numbers alone, on thousands of queries within seconds, then the whole network on images."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from qcnode.assess.networks.qcresunet import QCResUNet
from training.config import Recipe
from training.dataset import NumbersBatch, QualityBatch, QualityDataset
from training.export import design_of
from training.losses import consistency_loss, error_map_loss, quality_loss
from training.train import fit


class Report(Protocol):
    """Told after every step; `part` is "head" or "network"."""

    def __call__(self, part: str, step: int, total: int, values: dict[str, float], /) -> None:
        """Step `step` of `total` is done."""


def empty_network(recipe: Recipe) -> QCResUNet:
    """QCResUNet with random weights."""
    network = QCResUNet(design_of(recipe))
    return network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload,no-any-return]  # torch's stubs lack it


def fit_network(dataset: QualityDataset, recipe: Recipe, folder: Path, *, seed: int, report: Report) -> None:
    """Fit into `folder`; resumes where it was stopped. A network that is blind to the numbers is fitted whole from the start."""
    settings = recipe.network
    network = empty_network(recipe)
    if settings.inputs == "all":
        total, by_numbers = settings.head.steps, network.head.numbers
        fitted = fit(
            by_numbers, dataset.draw_numbers, _numbers_step, settings.head, folder / "head",
            seed=seed, report=lambda step, values: report("head", step, total, values),
        )  # fmt: skip
        by_numbers.load_state_dict(fitted.state_dict())
        by_numbers.requires_grad_(False)  # a few images at a time would only blur what thousands of queries said
    steps = settings.schedule.steps
    fit(
        network, dataset.draw, lambda network, batch: _network_step(network, batch, recipe), settings.schedule, folder,
        seed=seed, report=lambda step, values: report("network", step, steps, values),
    )  # fmt: skip


def _numbers_step(by_numbers: nn.Module, batch: NumbersBatch) -> tuple[Tensor, dict[str, float]]:
    """The error of the estimate that the numbers alone give."""
    logits = batch.quality_start + by_numbers(batch.numbers)
    return quality_loss(logits.sigmoid(), batch.targets), _errors(logits, batch.quality_start, batch.targets)


def _network_step(network: nn.Module, batch: QualityBatch, recipe: Recipe) -> tuple[Tensor, dict[str, float]]:
    """The paper's objective (section 2.3.3) on one batch, and the consistency of error map and DSC."""
    settings = recipe.network
    estimate = network(batch.contrasts, batch.query, batch.probabilities, batch.numbers, batch.quality_start, batch.error_start)
    errors = error_map_loss(estimate.error_map, batch.errors, batch.seen)
    loss = quality_loss(estimate.quality.sigmoid(), batch.targets) + settings.error_weight * errors
    if settings.consistency_weight:
        true = torch.cat([batch.targets[:, :1], batch.targets[:, 2:]], 1)
        loss = loss + settings.consistency_weight * consistency_loss(estimate.implied, true)
    return loss, _errors(estimate.quality, batch.quality_start, batch.targets) | {"error_map_loss": float(errors.detach())}


def _errors(logits: Tensor, start: Tensor, targets: Tensor) -> dict[str, float]:
    """Errors of DSC and NSD together, as predicted and of the first estimate."""
    both = targets[:, :2]
    return {
        "dsc_nsd_error": float(quality_loss(logits.detach().sigmoid()[:, :2], both)),
        "dsc_nsd_error_at_start": float(quality_loss(start.sigmoid()[:, :2], both)),
    }
