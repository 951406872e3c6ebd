"""A two-path network like DeepMedic (Kamnitsas et al. 2017): full resolution with little context beside low resolution with much of it.

It has no encoder and decoder, so that its errors differ from a U-Net's. It is kept out of training and shows how quality networks
generalise to a segmenter that they have never seen (paper 000's test).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.segmenters import SegmenterSettings

_LOWER = 4  # pixels of the full resolution per pixel of the wide path


class _Path(nn.Module):
    """Convolutions without pooling; every second one is residual where the widths allow."""

    def __init__(self, in_channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.steps = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(a), nn.PReLU(), nn.Conv2d(a, b, 3, padding=1, bias=False)) for a, b in pairwise(widths)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same size."""
        x = self.first(x)
        for step in self.steps:
            y = step(x)
            x = x + y if x.shape == y.shape else y
        return x


class TwoPaths(nn.Module):
    """See training.segmenters.field.Build. settings.widths: channels along the full path; the wide path has three times as many."""

    def __init__(self, settings: SegmenterSettings, contrasts: int, classes: int) -> None:
        """`classes` counts the background."""
        super().__init__()
        channels = contrasts * settings.slices
        wide = tuple(3 * w for w in settings.widths)
        self.full = _Path(channels, settings.widths)
        self.wide = _Path(channels, (*wide, wide[-1], wide[-1], wide[-1]))
        both = settings.widths[-1] + settings.widths[-1]
        self.narrow = nn.Conv2d(wide[-1], settings.widths[-1], 1)
        self.head = nn.Sequential(nn.BatchNorm2d(both), nn.PReLU(), nn.Conv2d(both, both, 1), nn.PReLU(), nn.Conv2d(both, classes, 1))

    def forward(self, planes: Tensor) -> Tensor:
        """Logits (batch, class, 1, y, x)."""
        context = self.narrow(self.wide(functional.avg_pool2d(planes, _LOWER, ceil_mode=True)))
        spread = functional.interpolate(context, size=planes.shape[-2:], mode="bilinear", align_corners=False)
        logits: Tensor = self.head(torch.cat([self.full(planes), spread], 1))
        return logits.unsqueeze(2)
