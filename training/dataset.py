"""Batches for QCResUNet: balanced over DSC bins, query, reference and volume always moved together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from qcnode.assess.inputs import error_logits, first_quality
from training.augment import Look, change_look, draw_look
from training.config import Recipe
from training.library import TISSUES, Entry, box_frame
from training.targets import tissue_channels

BINS = 10

FloatArray = npt.NDArray[np.float32]


class QualityBatch(NamedTuple):
    """Tensors (batch, channel, z, y, x) and (batch, value); `seen` is 0 in padding slices."""

    contrasts: Tensor
    query: Tensor
    probabilities: Tensor
    numbers: Tensor
    quality_start: Tensor
    error_start: Tensor
    targets: Tensor
    errors: Tensor
    seen: Tensor


class QualityDataset:
    """Draws batches from library entries; volumes of like depth go together, so that little is padding."""

    def __init__(self, real: Sequence[Entry], phantoms: Sequence[Entry], recipe: Recipe) -> None:
        """Entries of patients and of phantoms, apart, so that the recipe's share of phantoms is kept."""
        self.pools = (list(real), list(phantoms))
        self.recipe = recipe
        self.bins = {id(e): _bins(e) for pool in self.pools for e in pool}

    def draw(self, rng: np.random.Generator) -> QualityBatch:
        """One batch."""
        chosen: list[Entry] = []
        for _ in range(self.recipe.network.schedule.batch):
            real, phantoms = self.pools
            pool = phantoms if phantoms and (not real or rng.random() < self.recipe.phantoms.share) else real
            if chosen:
                pool = [e for e in pool if abs(e.size[0] - chosen[0].size[0]) <= 1] or [chosen[0]]
            chosen.append(pool[int(rng.integers(len(pool)))])
        samples = [self._sample(rng, entry) for entry in chosen]
        return _stack(samples)

    def _sample(self, rng: np.random.Generator, entry: Entry) -> dict[str, FloatArray]:
        """One sample: a query of a bin drawn by the recipe's weights, seen through a box with a random margin."""
        bins = self.bins[id(entry)]
        weights = np.array([self.recipe.queries.bin_weights[b] for b in bins])
        picked = bins[list(bins)[int(rng.choice(len(bins), p=weights / weights.sum()))]]
        index = int(picked[int(rng.integers(len(picked)))])
        margin = float(self.recipe.network.margin * rng.uniform(0.4, 2.0))
        return assemble(entry, index, self.recipe, margin, draw_turn(rng), draw_look(rng))


class Turn(NamedTuple):
    """A symmetry of the box: quarter turns in the plane, mirrored, slices reversed."""

    quarters: int
    mirror: bool
    reverse: bool


def draw_turn(rng: np.random.Generator) -> Turn:
    """Any of the sixteen symmetries."""
    return Turn(int(rng.integers(4)), bool(rng.random() < 0.5), bool(rng.random() < 0.5))


def assemble(entry: Entry, index: int, recipe: Recipe, margin: float, turn: Turn, look: Look | None) -> dict[str, FloatArray]:
    """The network's input and targets for one query of an entry; keys are the fields of QualityBatch without the batch axis."""
    query = tissue_channels(entry.queries[index].on(entry.size), TISSUES)
    inside = query.any(0) | (entry.probabilities.sum(0) > 127)
    frame = box_frame(np.asarray(inside, bool), recipe, margin)
    seen_query = np.asarray(frame.take_nearest(query), np.float32)
    reference = np.asarray(frame.take_nearest(tissue_channels(entry.labels, TISSUES)), np.float32)
    values = frame.take(entry.values)[None]
    if look is not None:
        values = change_look(torch.from_numpy(values), look).numpy()
    probabilities = frame.take(entry.probabilities) / np.float32(255)
    numbers = entry.numbers[index].copy()
    numbers[-2] = np.clip(np.log(frame.scale[1]), -2, 2)
    parts = {
        "contrasts": values,
        "query": seen_query,
        "probabilities": probabilities,
        "error_start": error_logits(seen_query, probabilities),
        "errors": np.abs(seen_query - reference),
        "seen": np.ones((1, *seen_query.shape[1:]), np.float32),
    }
    flat = {"numbers": numbers, "quality_start": first_quality(numbers, TISSUES), "targets": entry.targets[index]}
    return {k: turned(v, turn) for k, v in parts.items()} | flat


def turned(array: FloatArray, turn: Turn) -> FloatArray:
    """An array (channel, z, y, x) under a symmetry; y and x must be equal."""
    result = np.rot90(array, turn.quarters, (2, 3))
    if turn.mirror:
        result = result[..., ::-1]
    return result[:, ::-1] if turn.reverse else result


def _stack(samples: Sequence[dict[str, FloatArray]]) -> QualityBatch:
    """Samples as one batch, padded with zeros to the deepest."""
    depth = max(s["query"].shape[1] for s in samples)
    fields = {}
    for name in QualityBatch._fields:
        arrays = [s[name] for s in samples]
        if arrays[0].ndim == 4:
            arrays = [np.pad(a, ((0, 0), (0, depth - a.shape[1]), (0, 0), (0, 0))) for a in arrays]
        tensor = torch.from_numpy(np.ascontiguousarray(np.stack(arrays)))
        fields[name] = tensor.contiguous(memory_format=torch.channels_last_3d) if tensor.ndim == 5 else tensor
    return QualityBatch(**fields)


def _bins(entry: Entry) -> dict[int, npt.NDArray[np.int_]]:
    """Indices of an entry's queries by DSC bin; bins without a query are absent."""
    which = np.minimum((entry.targets[:, 0] * BINS).astype(int), BINS - 1)
    return {int(b): np.flatnonzero(which == b) for b in np.unique(which)}
