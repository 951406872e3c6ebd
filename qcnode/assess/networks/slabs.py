"""Convolutions of large volumes slab by slab: the same result with a fraction of the memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

SLAB = 16
"""Slices that are convolved at once."""
_SMALL = 32 * 2**20
"""Input elements up to which a convolution is done in one piece."""


def convolve(convolution: nn.Conv3d, parts: Sequence[Tensor]) -> Tensor:
    """`convolution` of `parts` (batch, channel, z, y, x), joined along the channels.

    Where no gradient is wanted and the input is large, slices are done in slabs: the joined input and the copies in another memory layout
    that CPU kernels make are then as small as a slab. The convolution must have stride 1 along z there.
    """
    if torch.is_grad_enabled() or sum(p.numel() for p in parts) <= _SMALL or convolution.stride[0] != 1:
        return _whole(convolution, parts)
    depth, reach = parts[0].shape[2], convolution.kernel_size[0] // 2
    padding = (0, int(convolution.padding[1]), int(convolution.padding[2]))
    in_plane = [
        (n + 2 * p - k) // s + 1
        for n, p, k, s in zip(parts[0].shape[3:], padding[1:], convolution.kernel_size[1:], convolution.stride[1:], strict=True)
    ]
    result = parts[0].new_empty((len(parts[0]), convolution.out_channels, depth, *in_plane))
    for start in range(0, depth, SLAB):
        stop = min(start + SLAB, depth)
        low, high = max(start - reach, 0), min(stop + reach, depth)
        block = torch.cat([p[:, :, low:high] for p in parts], 1)
        block = functional.pad(block, (0, 0, 0, 0, reach - (start - low), reach - (high - stop)))
        result[:, :, start:stop] = functional.conv3d(block, convolution.weight, convolution.bias, convolution.stride, padding)
    return result


def _whole(convolution: nn.Conv3d, parts: Sequence[Tensor]) -> Tensor:
    joined = parts[0] if len(parts) == 1 else torch.cat(list(parts), 1)
    result: Tensor = convolution(joined)
    return result
