"""QCResUNet (Qiu et al., paper 000, section 2.3): DSC, NSD and error maps of a query segmentation, from volumes and query alone.

Left at its defaults this is the paper's network. What the paper leaves open follows from its own counts: ResNet-18 8.36 M, ResNet-34
15.94 M and QCResUNet 16.59 M parameters at width 32 with four contrasts and three tissues come out with a 7 x 7 x 7 stem at full
resolution, convolutions without bias, instance norm without scale and shift, 1 x 1 x 1 convolutions after upsampling that keep the number
of features, and a last decoder level that takes the stem's features. Tensors are (batch, channel, z, y, x).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from qcnode.assess.networks.slabs import convolve

Triple = tuple[int, int, int]
Norm = Literal["instance", "batch", "group"]

_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
BRAIN_STRIDES: tuple[Triple, ...] = ((2, 2, 2),) * 4
CARDIAC_STRIDES: tuple[Triple, ...] = ((1, 2, 2), (1, 2, 2), (1, 2, 2), (2, 2, 2))


@dataclass(frozen=True, slots=True)
class Design:
    """Parameters of the network. Everything after `dropout` departs from the paper and is off by default.

    contrasts, tissues: input volumes and segmentation channels. outputs: numbers that are estimated (DSC, NSD, then DSC per tissue).
    further_channels: input channels besides (a pseudo-reference's probabilities). numbers: values given to the head.
    flat_stages: stages (from the first) whose kernels are 1 x 3 x 3. norm: "instance", or "batch", which keeps what sets cases apart and
    needs fewer steps. group_norm_last: group norm in block 4, whose maps may be tiny.
    max_pooling: the head sees the maximum of each feature beside its mean. coarse_decoder: the decoder stops at the first block.
    implied: the head sees by how much the DSC that the error map implies differs from that of the first error map.
    """

    contrasts: int = 4
    tissues: int = 3
    outputs: int = 2
    width: int = 32
    depth: int = 34
    strides: tuple[Triple, ...] = BRAIN_STRIDES
    dropout: float = 0.3
    stem_kernel: Triple = (7, 7, 7)
    stem_stride: Triple = (1, 1, 1)
    further_channels: int = 0
    numbers: int = 0
    flat_stages: int = 0
    norm: Literal["instance", "batch"] = "instance"
    group_norm_last: bool = False
    max_pooling: bool = False
    coarse_decoder: bool = False
    implied: bool = False


class Estimate(NamedTuple):
    """Quality logits (batch, output) and error map logits (batch, tissue, z, y, x).

    implied: the DSC (batch, 1 + tissue), pooled and per tissue, that the error map implies; None where the design does without.
    """

    quality: Tensor
    error_map: Tensor
    implied: Tensor | None = None


def _norm(channels: int, kind: Norm) -> nn.Module:
    if kind == "group":
        return nn.GroupNorm(8, channels)
    return nn.BatchNorm3d(channels) if kind == "batch" else nn.InstanceNorm3d(channels)


class ResidualBlock(nn.Module):
    """Two convolutions with instance norm and a shortcut, then spatial dropout (figure 2b)."""

    def __init__(
        self, in_channels: int, channels: int, stride: Triple, dropout: float, *, flat: bool = False, norm: Norm = "instance"
    ) -> None:
        super().__init__()
        kernel = (1, 3, 3) if flat else (3, 3, 3)
        padding = (0, 1, 1) if flat else (1, 1, 1)
        self.first = nn.Conv3d(in_channels, channels, kernel, stride, padding, bias=False)
        self.first_norm = _norm(channels, norm)
        self.second = nn.Conv3d(channels, channels, kernel, 1, padding, bias=False)
        self.second_norm = _norm(channels, norm)
        self.shortcut: nn.Module | None = None
        if stride != (1, 1, 1) or in_channels != channels:
            self.shortcut = nn.Sequential(nn.Conv3d(in_channels, channels, 1, stride, bias=False), _norm(channels, norm))
        self.dropout = nn.Dropout3d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Features at this block's resolution."""
        y = functional.relu(self.first_norm(self.first(x)), inplace=True)
        y = self.second_norm(self.second(y))
        y += x if self.shortcut is None else self.shortcut(x)
        result: Tensor = self.dropout(functional.relu(y, inplace=True))
        return result


class DecoderLevel(nn.Module):
    """Nearest upsampling, 1 x 1 x 1 convolution, skip connection, two convolutional blocks (figure 2c)."""

    def __init__(self, in_channels: int, skip_channels: int, norm: Norm = "instance") -> None:
        super().__init__()
        self.narrow = nn.Conv3d(in_channels, in_channels, 1, bias=False)
        self.first = nn.Conv3d(in_channels + skip_channels, skip_channels, 3, padding=1, bias=False)
        self.first_norm = _norm(skip_channels, norm)
        self.second = nn.Conv3d(skip_channels, skip_channels, 3, padding=1, bias=False)
        self.second_norm = _norm(skip_channels, norm)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Features at the skip's resolution. Takes the features to upsample, then the skip, from the end of the list.

        The 1 x 1 x 1 convolution commutes with nearest upsampling and is cheaper before it. Features leave the list so that they can be let
        go as soon as they are used: the last level sets the peak of memory.
        """
        x = self.narrow(features.pop())
        skip = features.pop()
        x = functional.interpolate(x, size=skip.shape[2:], mode="nearest")
        y = convolve(self.first, [x, skip])
        del x, skip
        y = functional.leaky_relu(self.first_norm(y), 0.01, inplace=True)
        y = convolve(self.second, [y])
        result: Tensor = functional.leaky_relu(self.second_norm(y), 0.01, inplace=True)
        return result


class ChannelAttention(nn.Module):
    """Efficient channel attention (figure 2d): each channel is weighed by a 1-D convolution over the pooled channels and a sigmoid."""

    def __init__(self, kernel: int = 3) -> None:
        super().__init__()
        self.across = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same shape."""
        weights: Tensor = self.across(x.mean((2, 3, 4))[:, None]).sigmoid()
        return x * weights[:, 0, :, None, None, None]


class QualityHead(nn.Module):
    """One logit per output: from pooled features of block 4, from the numbers, from the error map, where the design has them.

    Each part beside the numbers begins at 0, so that the network begins with what the numbers say.
    """

    def __init__(self, channels: int, design: Design) -> None:
        super().__init__()
        self.max_pooling = design.max_pooling
        pooled = channels * (2 if design.max_pooling else 1)
        self.out = nn.Linear(pooled, design.outputs)
        self.scale = 1.0
        self.numbers = nn.Sequential()
        if design.numbers:
            inner = (nn.Linear(design.numbers, 64), nn.LeakyReLU(0.01), nn.Linear(64, 64), nn.LeakyReLU(0.01))
            self.numbers = nn.Sequential(*inner, nn.Linear(64, design.outputs))
            self.scale = pooled**-0.5  # Adam moves every weight alike: with hundreds of features the estimate would jump
            _zero(self.out, self.numbers[-1])
        self.errors = nn.Linear(1 + design.tissues, design.outputs, bias=False) if design.implied else None
        if self.errors is not None:
            _zero(self.errors)

    def pool(self, features: Tensor) -> Tensor:
        """Mean, and maximum where wanted, of each feature (batch, channel)."""
        pooled = features.mean((2, 3, 4))
        return torch.cat([pooled, features.amax((2, 3, 4))], 1) if self.max_pooling else pooled

    def forward(self, pooled: Tensor, numbers: Tensor | None, implied: Tensor | None) -> Tensor:
        """Logits (batch, output) from pooled features, numbers (batch, number) and logits of the implied DSC (batch, 1 + tissue)."""
        logits: Tensor = self.out(pooled * self.scale)
        if numbers is not None:
            logits = logits + self.numbers(numbers)
        if implied is not None and self.errors is not None:
            logits = logits + self.errors(implied)
        return logits


class QCResUNet(nn.Module):
    """The network; see `Design` for its parameters."""

    def __init__(self, design: Design | None = None) -> None:
        super().__init__()
        design = design or Design()
        self.design = design
        width = design.width
        widths = (width, 2 * width, 4 * width, 8 * width)
        channels = design.contrasts + design.tissues + design.further_channels
        z, y, x = (k // 2 for k in design.stem_kernel)
        self.stem = nn.Conv3d(channels, width, design.stem_kernel, design.stem_stride, (z, y, x), bias=False)
        self.stem_norm = _norm(width, design.norm)
        self.stages = nn.ModuleList(_stage(i, (width, *widths)[i], widths[i], design) for i in range(4))
        self.head = QualityHead(widths[3], design)
        levels = [(widths[2], widths[1]), (widths[1], widths[0]), (widths[0], width)]
        self.decoder = nn.ModuleList(DecoderLevel(n, s, design.norm) for n, s in (levels[:2] if design.coarse_decoder else levels))
        self.attention = ChannelAttention()
        self.error_head = nn.Conv3d(width + design.tissues, design.tissues, 1)

    def forward(
        self,
        contrasts: Tensor,
        query: Tensor,
        further: Tensor | None = None,
        numbers: Tensor | None = None,
        quality_start: Tensor | None = None,
        error_start: Tensor | None = None,
    ) -> Estimate:
        """Logits for contrasts (batch, contrast, z, y, x) and query (batch, tissue, z, y, x) of any equal size.

        quality_start (batch, output) and error_start (shape of the query) are logits of a first estimate that the network corrects.
        """
        size = query.shape[2:]
        stacked = torch.cat([contrasts, query] if further is None else [contrasts, query, further], 1)
        features = [functional.relu(self.stem_norm(convolve(self.stem, [stacked])), inplace=True)]
        del stacked
        for stage in self.stages:
            features.append(stage(features[-1]))
        pooled = self.head.pool(features.pop())
        for level in self.decoder:
            features.append(level(features))
        x = features.pop()
        features.clear()
        at_level = query if x.shape[2:] == size else functional.interpolate(query, size=x.shape[2:], mode="area")
        errors = self.error_head(self.attention(torch.cat([x, at_level], 1)))
        if errors.shape[2:] != size:
            errors = functional.interpolate(errors, size=size, mode="trilinear", align_corners=False)
        errors = errors if error_start is None else errors + error_start
        implied = implied_dsc(query, errors) if self.design.implied else None
        changed = None
        if implied is not None:  # by how much it differs from that of the first estimate
            changed = _clamped_logit(implied.detach())
            changed = changed if error_start is None else changed - _clamped_logit(implied_dsc(query, error_start))
        quality = self.head(pooled, numbers, changed)
        return Estimate(quality if quality_start is None else quality + quality_start, errors, implied)


def implied_dsc(query: Tensor, error_logits: Tensor) -> Tensor:
    """DSC (batch, 1 + tissue), pooled and per tissue, of a query whose voxels are wrong with these probabilities.

    The reference is the query where it is right and its opposite where it is wrong, so true and false positives follow from both.
    """
    wrong = error_logits.sigmoid()
    drawn = query.sum((2, 3, 4))
    false_positives = (query * wrong).sum((2, 3, 4))
    false_negatives = ((1 - query) * wrong).sum((2, 3, 4))
    both, total = drawn - false_positives, 2 * drawn - false_positives + false_negatives
    both, total = (torch.cat([v.sum(1, keepdim=True), v], 1) for v in (both, total))
    return (2 * both + 1) / (total + 1)


def _clamped_logit(values: Tensor) -> Tensor:
    return values.clamp(0.02, 0.98).logit()


def _zero(*layers: nn.Module) -> None:
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)


def _stage(index: int, in_channels: int, channels: int, design: Design) -> nn.Sequential:
    flat: bool = index < design.flat_stages
    norm: Norm = "group" if design.group_norm_last and index == 3 else design.norm
    return nn.Sequential(
        *(
            ResidualBlock(
                channels if i else in_channels,
                channels,
                (1, 1, 1) if i else design.strides[index],
                design.dropout,
                flat=flat,
                norm=norm,
            )
            for i in range(_BLOCKS[design.depth][index])
        )
    )


def features_of(sizes: Sequence[int], design: Design) -> Triple:
    """Size (z, y, x) of block 4's maps for an input of these sizes, to choose strides that leave something to pool."""
    result = list(sizes)
    for stride in (design.stem_stride, *design.strides):
        result = [-(-n // s) for n, s in zip(result, stride, strict=True)]
    return (result[0], result[1], result[2])
