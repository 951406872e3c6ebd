"""Fit the two networks that draw a pseudo-reference: the localiser on the whole field of view, the segmenter inside the box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from qcnode.assess.inputs import neighbours
from qcnode.assess.networks.plane_unet import PlaneUNet
from qcnode.imaging.preprocess import Orientation, field_frame, normalise
from training.augment import augment_planes, draw_look, draw_warp
from training.cohorts import LabelledVolume
from training.config import PlaneNetwork, PseudoReference
from training.losses import segmentation_loss
from training.train import fit

SliceBatch = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Field:
    """A volume with its whole field of view as squares of one size.

    planes: (contrast, z, side, side). labels: (z, side, side). centre (x, y, from the middle) and extent of the labelled organ, in pixels.
    """

    planes: npt.NDArray[np.float16]
    labels: npt.NDArray[np.uint8]
    centre: tuple[float, float]
    extent: float


Fields = tuple[Sequence[Field], Sequence[Field]]
"""Of patients and of phantoms."""


def prepare(volume: LabelledVolume, side: int) -> Field:
    """Resize and normalise one volume; its labels must not be empty."""
    z, y, x = volume.labels.shape
    frame = field_frame((z, y, x), Orientation(), side)
    planes = frame.take(np.stack([normalise(c.array) for c in volume.contrasts]))
    labels = np.asarray(frame.take_nearest(volume.labels), np.uint8)
    where = np.argwhere(labels != 0)[:, 1:]
    low, high = where.min(0), where.max(0) + 1
    middle = (low + high) / 2 - side / 2
    return Field(planes.astype(np.float16), labels, (float(middle[1]), float(middle[0])), float((high - low).max()))


def empty_localiser(settings: PseudoReference, contrasts: int) -> PlaneUNet:
    """The localiser with random weights; its classes are background and organ."""
    return _on_planes(PlaneUNet(contrasts * settings.slices, 2, settings.localiser.widths))


def empty_segmenter(settings: PseudoReference, contrasts: int, structures: int) -> PlaneUNet:
    """The segmenter with random weights; its classes are background and the structures."""
    return _on_planes(PlaneUNet(contrasts * settings.slices, structures + 1, settings.segmenter.widths))


def fit_localiser(
    network: nn.Module, settings: PseudoReference, fields: Fields, folder: Path, seed: int, report: Callable[..., None]
) -> nn.Module:
    """Fit the localiser on whole slices of the given volumes."""

    def draw(rng: np.random.Generator) -> SliceBatch:
        planes, labels = draw_slices(rng, fields, settings, settings.localiser, whole=True)
        return planes, (labels > 0).long()

    return fit(network, draw, _loss, settings.localiser.schedule, folder, seed=seed, report=report)


def fit_segmenter(
    network: nn.Module, settings: PseudoReference, fields: Fields, folder: Path, seed: int, report: Callable[..., None]
) -> nn.Module:
    """Fit the segmenter on boxes around the labelled organ, as the localiser might have drawn them."""

    def draw(rng: np.random.Generator) -> SliceBatch:
        return draw_slices(rng, fields, settings, settings.segmenter, whole=False)

    return fit(network, draw, _loss, settings.segmenter.schedule, folder, seed=seed, report=report)


def draw_slices(rng: np.random.Generator, fields: Fields, settings: PseudoReference, network: PlaneNetwork, *, whole: bool) -> SliceBatch:
    """A batch of augmented slices with their neighbours (batch, channel, side, side) and labels (batch, side, side)."""
    real, phantoms = fields
    planes, labels, warps, looks = [], [], [], []
    for _ in range(network.schedule.batch):
        pool = phantoms if phantoms and (not real or rng.random() < settings.phantom_share) else real
        chosen = pool[int(rng.integers(len(pool)))]
        k = int(rng.integers(len(chosen.labels)))
        near = neighbours(chosen.planes, k, settings.slices)
        if rng.random() < 0.5:  # stacks run from the base or from the apex
            near = near[:, ::-1]
        planes.append(near.reshape(-1, *near.shape[2:]))
        labels.append(chosen.labels[k].astype(np.float32)[None])
        extent = chosen.labels.shape[-1] if whole else chosen.extent * (1 + 2 * settings.margin)
        shift = rng.uniform(-0.12, 0.12, 2) * (extent if whole else chosen.extent)
        x, y = shift + (np.zeros(2) if whole else np.asarray(chosen.centre))
        zoom = network.side / extent
        warps.append(draw_warp(rng, (float(x), float(y)), any_turn=0.1, flip=0.15, scales=(0.78 * zoom, 1.28 * zoom)))
        looks.append(draw_look(rng, settings.looks))
    values, moved = augment_planes(np.stack(planes), np.stack(labels), warps, looks, network.side)
    return values, moved[:, 0]


def _loss(network: nn.Module, batch: SliceBatch) -> tuple[Tensor, dict[str, float]]:
    return segmentation_loss(network(batch[0]), batch[1]), {}


def _on_planes(network: PlaneUNet) -> PlaneUNet:
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]  # torch's stubs lack it
