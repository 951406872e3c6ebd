"""Fit the networks that draw a pseudo-reference, out of fold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from qcnode.assess.inputs import neighbours
from qcnode.assess.networks.unet2d import UNet2D
from qcnode.imaging.preprocess import Orientation, field_frame, normalise
from training.augment import change_look, draw_look, draw_warp, warp_planes
from training.cohorts import LabelledVolume
from training.cohorts.acdc import STRUCTURES
from training.config import PseudoReference, Recipe
from training.losses import segmentation_loss
from training.train import fit

SliceBatch = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Field:
    """A volume as the pseudo-reference network sees it: slices (z, side, side), labels, and where the heart lies (x, y from the middle)."""

    slices: npt.NDArray[np.float16]
    labels: npt.NDArray[np.uint8]
    centre: tuple[float, float]


def prepare(volume: LabelledVolume, side: int) -> Field:
    """Resize and normalise one volume."""
    z, y, x = volume.labels.shape
    frame = field_frame((z, y, x), Orientation(), side)
    slices = frame.take(normalise(volume.volume.array))
    labels = frame.take_nearest(volume.labels)
    where = np.argwhere(np.asarray(labels) != 0)
    middle = where[:, 1:].mean(0) - side / 2 if len(where) else np.zeros(2)
    return Field(slices.astype(np.float16), labels.astype(np.uint8), (float(middle[1]), float(middle[0])))


def empty_network(settings: PseudoReference) -> UNet2D:
    """A network with random weights."""
    network = UNet2D(settings.slices, len(STRUCTURES) + 1, settings.widths)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]  # torch's stubs lack it


def fit_fold(
    recipe: Recipe,
    fold: int,
    real: Sequence[Field],
    phantoms: Sequence[Field],
    folder: Path,
    report: Callable[[int, dict[str, float]], None],
) -> nn.Module:
    """The network of one fold, fitted on the given volumes (those of the other folds)."""
    settings = recipe.pseudo_reference
    torch.manual_seed(recipe.seed + fold)
    network = empty_network(settings)

    def draw(rng: np.random.Generator) -> SliceBatch:
        return draw_slices(rng, real, phantoms, recipe.phantoms.share, settings)

    def loss_of(network: nn.Module, batch: SliceBatch) -> tuple[Tensor, dict[str, float]]:
        return segmentation_loss(network(batch[0]), batch[1]), {}

    return fit(network, draw, loss_of, settings.schedule, folder, seed=recipe.seed + 100 + fold, report=report)


def draw_slices(
    rng: np.random.Generator, real: Sequence[Field], phantoms: Sequence[Field], share: float, settings: PseudoReference
) -> SliceBatch:
    """A batch of augmented crops (batch, slice, crop, crop) and their labels (batch, crop, crop)."""
    planes, labels, warps, looks = [], [], [], []
    for _ in range(settings.schedule.batch):
        pool = phantoms if phantoms and (not real or rng.random() < share) else real
        chosen = pool[int(rng.integers(len(pool)))]
        k = int(rng.integers(len(chosen.slices)))
        near = neighbours(chosen.slices, k, settings.slices)
        planes.append(near[::-1].copy() if rng.random() < 0.5 else near)  # stacks run from the base or from the apex
        labels.append(chosen.labels[k].astype(np.float32)[None])
        anywhere = rng.random() < 0.12
        spread = settings.side / 3 if anywhere else settings.crop / 5
        x, y = rng.uniform(-spread, spread, 2) + (np.zeros(2) if anywhere else np.asarray(chosen.centre))
        warps.append(draw_warp(rng, (float(x), float(y)), any_turn=0.25, flip=0.25, scales=(0.7, 1.45)))
        looks.append(draw_look(rng))
    values = warp_planes(torch.from_numpy(np.stack(planes)), warps, settings.crop, nearest=False)
    moved = warp_planes(torch.from_numpy(np.stack(labels)), warps, settings.crop, nearest=True)
    values = torch.stack([change_look(v, look) for v, look in zip(values, looks, strict=True)])
    return values.contiguous(memory_format=torch.channels_last), moved[:, 0].long()
