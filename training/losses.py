"""Losses: the pseudo-reference's (cross-entropy and Dice) and QCResUNet's (paper section 2.3.3)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def segmentation_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy plus soft Dice over the batch; logits (batch, class, y, x), labels (batch, y, x), class 0 background."""
    probabilities = logits.softmax(1)
    one_hot = functional.one_hot(labels, logits.shape[1]).movedim(-1, 1).to(logits.dtype)
    both = (probabilities * one_hot).sum((0, 2, 3))
    total = (probabilities + one_hot).sum((0, 2, 3))
    dice = (2 * both[1:] + 1) / (total[1:] + 1)
    return functional.cross_entropy(logits, labels) + 1 - dice.mean()


def error_map_loss(logits: Tensor, errors: Tensor, seen: Tensor) -> Tensor:
    """Binary cross-entropy plus soft Dice over the batch; logits and errors (batch, tissue, z, y, x), `seen` (batch, 1, z, y, x).

    Padding (`seen` 0) is left out. The Dice runs over the whole batch, since a perfect query has no error to overlap with.
    """
    probabilities = logits.sigmoid() * seen
    both = (probabilities * errors).sum((0, 2, 3, 4))
    total = (probabilities + errors).sum((0, 2, 3, 4))
    dice = (2 * both + 1) / (total + 1)
    entropy = functional.binary_cross_entropy_with_logits(logits, errors, reduction="none") * seen
    return entropy.sum() / (seen.sum() * logits.shape[1]) + 1 - dice.mean()


def quality_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """Mean absolute error summed over the outputs (DSC, NSD, ...); both (batch, output)."""
    return torch.abs(predicted - true).mean(0).sum()


def consistency_loss(implied: Tensor, true: Tensor) -> Tensor:
    """Mean absolute error of the DSC that an error map implies; both (batch, 1 + tissue), pooled and per tissue."""
    return torch.abs(implied - true).mean()
