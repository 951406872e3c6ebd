"""Augmentation: parameters are drawn apart from being applied, and image, query and reference always move together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Warp:
    """An in-plane similarity: output pixel positions, times `matrix`, plus `centre`, are input positions (pixels from the middle)."""

    matrix: npt.NDArray[np.float64]  # (2, 2), acts on (x, y)
    centre: tuple[float, float]  # x, y


@dataclass(frozen=True, slots=True)
class Look:
    """A change of intensities: gamma, a linear bias over the plane, gain, noise and blur (pixels)."""

    gamma: float
    bias: tuple[float, float]
    gain: float
    noise: float
    blur: float
    noise_seed: int


def draw_warp(rng: np.random.Generator, centre: tuple[float, float], *, any_turn: float, flip: float, scales: tuple[float, float]) -> Warp:
    """A similarity around `centre` (x, y): turned by up to 30 degrees, or (probability `any_turn`) by any angle; mirrored with `flip`."""
    angle = rng.uniform(-np.pi, np.pi) if rng.random() < any_turn else rng.uniform(-np.pi / 6, np.pi / 6)
    scale = float(np.exp(rng.uniform(np.log(scales[0]), np.log(scales[1]))))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    if rng.random() < flip:
        turn = turn @ np.diag([-1.0, 1.0])
    return Warp(turn, centre)


def draw_look(rng: np.random.Generator, reach: float = 1.0) -> Look:
    """Intensity changes of the size that differs between scanners; `reach` times as far for contrasts that differ between patients, too."""
    return Look(
        gamma=float(np.exp(reach * rng.uniform(-0.4, 0.4))) if rng.random() < 0.6 else 1.0,
        bias=(float(reach * rng.uniform(-0.4, 0.4)), float(reach * rng.uniform(-0.4, 0.4))) if rng.random() < 0.5 else (0.0, 0.0),
        gain=float(np.exp(reach * rng.uniform(-0.25, 0.25))),
        noise=float(rng.uniform(0, 0.15)) if rng.random() < 0.4 else 0.0,
        blur=float(rng.uniform(0.4, 1.1)) if rng.random() < 0.25 else 0.0,
        noise_seed=int(rng.integers(2**31)),
    )


def warp_planes(planes: Tensor, warps: list[Warp], size: int, *, nearest: bool) -> Tensor:
    """Planes (batch, channel, y, x) seen through the warps, (batch, channel, size, size); 0 outside."""
    height, width = planes.shape[-2:]
    theta = np.zeros((len(warps), 2, 3), np.float32)
    unit = np.array([width / 2, height / 2])
    for i, warp in enumerate(warps):
        theta[i, :, :2] = warp.matrix * (size / 2) / unit[:, None]
        theta[i, :, 2] = np.asarray(warp.centre) / unit
    grid = functional.affine_grid(torch.from_numpy(theta), [len(warps), 1, size, size], align_corners=False)
    return functional.grid_sample(planes, grid, mode="nearest" if nearest else "bilinear", align_corners=False)


def augment_planes(
    planes: npt.NDArray[np.float32], labels: npt.NDArray[np.float32], warps: list[Warp], looks: list[Look], size: int
) -> tuple[Tensor, Tensor]:
    """Planes (batch, channel, size, size) under warps and looks, and labels (batch, channel, size, size), moved with them."""
    values = warp_planes(torch.from_numpy(planes), warps, size, nearest=False)
    moved = warp_planes(torch.from_numpy(labels), warps, size, nearest=True)
    values = torch.stack([change_look(v, look) for v, look in zip(values, looks, strict=True)])
    return values.contiguous(memory_format=torch.channels_last), moved.long()


def change_look(values: Tensor, look: Look) -> Tensor:
    """Normalised intensities (..., y, x), 0 for air, as another scanner might have given them."""
    top = values.max().clamp_min(1e-6)
    changed = top * (values.clamp_min(0) / top) ** look.gamma
    height, width = values.shape[-2:]
    ramp = torch.linspace(-1, 1, height)[:, None] * look.bias[0] + torch.linspace(-1, 1, width) * look.bias[1]
    changed = changed * torch.exp(ramp) * look.gain
    if look.blur:
        line = torch.exp(-0.5 * (torch.arange(-2, 3) / look.blur) ** 2)
        kernel = (line[:, None] * line / line.sum() ** 2)[None, None]
        flat = changed.reshape(-1, 1, height, width)
        changed = functional.conv2d(functional.pad(flat, (2, 2, 2, 2), mode="replicate"), kernel).reshape(values.shape)
    if look.noise:
        noise = torch.randn(values.shape, generator=torch.Generator().manual_seed(look.noise_seed))
        changed = (changed + look.noise * noise).clamp_min(0)
    return changed
