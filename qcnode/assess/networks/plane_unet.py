"""The small 2-D U-Net behind the pseudo-reference: one finds the organ in the whole field of view, another segments it inside its box."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class _Block(nn.Module):
    """Two 3 x 3 convolutions, each with batch norm and LeakyReLU."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same size."""
        x = functional.leaky_relu(self.first_norm(self.first(x)), 0.01, inplace=True)
        result: Tensor = functional.leaky_relu(self.second_norm(self.second(x)), 0.01, inplace=True)
        return result


class PlaneUNet(nn.Module):
    """Logits (batch, class, y, x) from slices (batch, channel, y, x) whose sides are multiples of `multiple`.

    The input is folded 2 x 2 into channels and the output unfolded again, so that everything between works at half the resolution for a
    third of the cost. The weights belong to the frame that they were fitted on: a network fitted on boxes must be given boxes.

    in_channels: neighbouring slices, the one segmented in the middle, of every contrast. classes: background and the structures.
    widths: channels per level; each level halves y and x.
    """

    def __init__(self, in_channels: int, classes: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.down = nn.ModuleList(_Block(n, w) for n, w in zip((4 * in_channels, *widths[:-1]), widths, strict=True))
        self.up = nn.ModuleList(_Block(below + w, w) for below, w in zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.head = nn.Conv2d(widths[0], 4 * classes, 1)
        self.multiple = 2 ** len(widths)

    def forward(self, slices: Tensor) -> Tensor:
        """Logits of the middle slice."""
        return self.decode(self.encode(slices))

    def encode(self, slices: Tensor) -> list[Tensor]:
        """Features of every level, the deepest last."""
        x = functional.pixel_unshuffle(slices, 2)
        features: list[Tensor] = []
        for i, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if i else x)
            features.append(x)
        return features

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Logits out of what `encode` gave."""
        x = features[-1]
        for block, skip in zip(self.up, features[-2::-1], strict=True):
            x = block(torch.cat([functional.interpolate(x, size=skip.shape[-2:], mode="nearest"), skip], 1))
        return functional.pixel_shuffle(self.head(x), 2)
