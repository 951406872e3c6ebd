"""What QCResUNet is given beside the volumes: the pseudo-reference, its agreement with the query, and a first estimate from both.

Used alike in training and in inference, so that both see the same. Arrays are (tissue, z, y, x) or (z, y, x) on the source grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import nn

from qcnode.assess import metrics
from qcnode.imaging.preprocess import Frame

FloatArray = npt.NDArray[np.float32]
Segmentation = npt.NDArray[np.bool_]
Spacing = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class PseudoReference:
    """Probabilities (tissue, z, y, x) on the source grid, and the segmentation that they make."""

    probabilities: FloatArray
    segmentation: Segmentation


def neighbours(slices: npt.NDArray[np.floating], k: int, count: int) -> FloatArray:
    """Slices k - count // 2 ... k + count // 2 of a stack (z, y, x), the outermost repeated at the ends; (count, y, x)."""
    reach = count // 2
    index = np.clip(np.arange(k - reach, k + reach + 1), 0, len(slices) - 1)
    return np.asarray(slices[index], np.float32)


@torch.inference_mode()
def class_probabilities(networks: Sequence[nn.Module], slices: FloatArray, count: int, device: str = "cpu") -> FloatArray:
    """Mean class probabilities (class, z, y, x) of the networks for normalised slices (z, y, x), `count` neighbours at a time."""
    planes: list[FloatArray] = []
    for k in range(len(slices)):
        near = torch.from_numpy(neighbours(slices, k, count))[None].to(device).contiguous(memory_format=torch.channels_last)
        mean = sum(network(near).float().softmax(1) for network in networks) / len(networks)
        planes.append(np.asarray(torch.as_tensor(mean)[0].cpu().numpy(), np.float32))
    return np.stack(planes, 1)


def pseudo_reference(classes: FloatArray, frame: Frame) -> PseudoReference:
    """The pseudo-reference on the source grid out of class probabilities (class, z, y, x) in `frame`; class 0 is background.

    Islands much smaller than the largest piece are taken out: the heart is one.
    """
    tissues = frame.put_back_linear(classes[1:])
    background = np.maximum(1 - tissues.sum(0), 0)
    winner = np.argmax(np.concatenate([background[None], tissues]), 0)
    pieces, count = ndimage.label(winner > 0)
    if count > 1:
        sizes = np.bincount(pieces.ravel())[1:]
        small = np.concatenate([[False], sizes < 0.2 * sizes.max()])[pieces]
        winner[small] = 0
        tissues[:, small] = 0
    return PseudoReference(tissues, np.stack([winner == i + 1 for i in range(len(tissues))]))


def numbers(query: Segmentation, pseudo: PseudoReference, spacing: Spacing, tolerance_mm: float, frame: Frame) -> FloatArray:
    """How well query and pseudo-reference agree, how sure the pseudo-reference is, and the scale that the network sees.

    Order: logits of DSC, NSD (pooled) and DSC per tissue, which are the first estimate; NSD per tissue; expected DSC, pooled and per
    tissue; log volume ratios; expected DSC of the pseudo-reference with itself, pooled and per tissue; parts of the slices where only one
    of both has tissue; log of source voxels per network voxel; tolerance in source voxels.
    """
    hard = pseudo.segmentation
    found = metrics.agreement(query, hard, spacing, tolerance_mm)
    box = _slices_of(np.asarray(query.any(0) | hard.any(0)))
    soft = pseudo.probabilities[(slice(None), *box)]
    chosen, own = query[(slice(None), *box)], hard[(slice(None), *box)]
    volumes = np.log((chosen.sum((1, 2, 3)) + 20.0) / (own.sum((1, 2, 3)) + 20.0))
    with_query, with_pseudo = chosen.any((0, 2, 3)), own.any((0, 2, 3))
    depth = max(int((with_query | with_pseudo).sum()), 1)
    in_plane = min(spacing[1:])
    return np.array(
        [
            *(logit(v) for v in (found.dsc, found.nsd, *found.dsc_per_tissue)),
            *found.nsd_per_tissue,
            *_expected_dsc(chosen, soft),
            *np.clip(volumes, -3, 3),
            *_expected_dsc(own, soft),
            (with_query & ~with_pseudo).sum() / depth,
            (with_pseudo & ~with_query).sum() / depth,
            np.clip(np.log(max(frame.scale[1], 1e-3)), -2, 2),
            np.clip(tolerance_mm / in_plane, 0, 4),
        ],
        np.float32,
    )


def number_count(tissues: int) -> int:
    """How many values `numbers` returns."""
    return 8 + 5 * tissues


def first_quality(values: FloatArray, tissues: int) -> FloatArray:
    """Logits of DSC, NSD and DSC per tissue as the agreement alone would have them: the start of `numbers`."""
    return values[: 2 + tissues]


def error_logits(query: FloatArray, probabilities: FloatArray) -> FloatArray:
    """Logits of the query being wrong in each voxel, were the pseudo-reference right."""
    wrong = np.clip(query * (1 - probabilities) + (1 - query) * probabilities, 0.01, 0.99)
    return np.asarray(np.log(wrong / (1 - wrong)), np.float32)


def logit(value: float) -> float:
    """Logit, cut at 0.02 and 0.98."""
    kept = min(max(value, 0.02), 0.98)
    return float(np.log(kept / (1 - kept)))


def _expected_dsc(segmentation: Segmentation, probabilities: FloatArray) -> list[float]:
    """Expected DSC, pooled and per tissue, of a segmentation against probabilities."""
    both = (segmentation * probabilities).sum((1, 2, 3))
    total = segmentation.sum((1, 2, 3)) + probabilities.sum((1, 2, 3))
    pooled = (2 * both.sum() + 1) / (total.sum() + 1)
    return [float(pooled), *((2 * both + 1) / (total + 1)).tolist()]


def _slices_of(inside: Segmentation) -> tuple[slice, ...]:
    found = ndimage.find_objects(inside.astype(np.uint8))
    return tuple(slice(s.start, s.stop) for s in found[0]) if found and found[0] else (slice(0, 1),) * 3
