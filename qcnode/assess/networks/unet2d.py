"""The small 2-D U-Net that draws a pseudo-reference, slice by slice, from a slice and its neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class _Block(nn.Sequential):
    """Two 3 x 3 convolutions, each with group norm and LeakyReLU."""

    def __init__(self, in_channels: int, channels: int) -> None:
        layers: list[nn.Module] = []
        for n in (in_channels, channels):
            layers += [
                nn.Conv2d(n, channels, 3, padding=1, bias=False),
                nn.GroupNorm(4, channels),
                nn.LeakyReLU(0.01, inplace=True),
            ]
        super().__init__(*layers)


class UNet2D(nn.Module):
    """Logits (batch, class, y, x) from slices (batch, slice, y, x) of any size.

    in_channels: neighbouring slices given together, the one segmented in the middle.
    classes: background and the structures.
    widths: channels per level; each level halves y and x.
    """

    def __init__(self, in_channels: int = 3, classes: int = 4, widths: Sequence[int] = (12, 24, 48, 96, 128)) -> None:
        super().__init__()
        self.down = nn.ModuleList(_Block(n, w) for n, w in zip((in_channels, *widths[:-1]), widths, strict=True))
        self.up = nn.ModuleList(_Block(below + w, w) for below, w in zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, slices: Tensor) -> Tensor:
        """Logits of the middle slice."""
        skips: list[Tensor] = []
        x = slices
        for i, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2, ceil_mode=True) if i else x)
            skips.append(x)
        skips.pop()
        for block in self.up:
            skip = skips.pop()
            x = functional.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = block(torch.cat([x, skip], 1))
        logits: Tensor = self.head(x)
        return logits
