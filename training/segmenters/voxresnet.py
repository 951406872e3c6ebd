"""VoxResNet in two dimensions (Chen et al. 2018, as paper 003 uses it): residual blocks at four scales, each with an output of its own.

The side outputs are what deep supervision asks of each scale; the final output is their sum (paper 003, figure 1b). Both are segmentations
of different quality, so that one network gives several queries of a volume.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.segmenters import SegmenterSettings


class _Residual(nn.Module):
    """Norm, ReLU, convolution, twice, added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_activated(channels, channels), *_activated(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same size."""
        result: Tensor = x + self.layers(x)
        return result


def _activated(in_channels: int, channels: int, stride: int = 1) -> Sequence[nn.Module]:
    return (nn.BatchNorm2d(in_channels), nn.ReLU(), nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False))


class VoxResNet2D(nn.Module):
    """See training.segmenters.field.Build. settings.widths: channels of the stem and of each coarser scale."""

    def __init__(self, settings: SegmenterSettings, contrasts: int, classes: int) -> None:
        """`classes` counts the background."""
        super().__init__()
        self.fold = settings.fold
        first, *others = settings.widths
        stem = nn.Conv2d(contrasts * settings.slices * settings.fold**2, first, 3, padding=1, bias=False)
        scales: list[nn.Module] = [nn.Sequential(stem, *_activated(first, first))]
        for above, width in zip(settings.widths, others, strict=False):
            scales.append(nn.Sequential(*_activated(above, width, 2), _Residual(width), _Residual(width)))
        self.scales = nn.ModuleList(scales)
        self.heads = nn.ModuleList(nn.Sequential(nn.ReLU(), nn.Conv2d(w, classes * settings.fold**2, 1)) for w in settings.widths)
        self.side_outputs = len(settings.widths)

    def forward(self, planes: Tensor) -> list[Tensor]:
        """Logits (batch, class, 1, y, x): the final ones, then those of each scale, the finest first."""
        x = functional.pixel_unshuffle(planes, self.fold)
        size = x.shape[-2:]
        sides: list[Tensor] = []
        for scale, head in zip(self.scales, self.heads, strict=True):
            x = scale(x)
            coarse = functional.interpolate(head(x), size=size, mode="bilinear", align_corners=False)
            sides.append(functional.pixel_shuffle(coarse, self.fold).unsqueeze(2))
        return [torch.stack(sides).sum(0), *sides]
