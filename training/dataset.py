"""Batches for QCResUNet: balanced over DSC bins, query, reference and volume always moved together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from qcnode.assess.inputs import Groups, NetworkInputs, network_inputs
from qcnode.imaging.preprocess import Orientation, square_frame
from training.augment import Look, change_look, draw_look
from training.config import Network, Recipe
from training.library import Entry
from training.targets import tissue_channels
from training.views import View
from training.volumes import groups_of, is_phantom

BINS = 10

FloatArray = npt.NDArray[np.float32]


class QualityBatch(NamedTuple):
    """Tensors (batch, channel, z, y, x) and (batch, value), see NetworkInputs; `seen` is 0 in padding slices."""

    contrasts: Tensor
    query: Tensor
    probabilities: Tensor
    numbers: Tensor
    quality_start: Tensor
    error_start: Tensor
    targets: Tensor
    errors: Tensor
    seen: Tensor


class NumbersBatch(NamedTuple):
    """The numbers of queries without their images (batch, value)."""

    numbers: Tensor
    quality_start: Tensor
    targets: Tensor


@dataclass(frozen=True, slots=True)
class Shown:
    """An entry (without its contrasts) and its view.

    usable: queries of segmenters and all others, apart, each by DSC bin; those of kept-out segmenters left out. One of both may be empty.
    """

    entry: Entry
    view: View
    usable: tuple[dict[int, npt.NDArray[np.int_]], dict[int, npt.NDArray[np.int_]]]


def shown(entry: Entry, view: View) -> Shown:
    """An entry and its view, ready to draw from."""
    bins = np.minimum((entry.targets[:, 0] * BINS).astype(int), BINS - 1)
    kept = np.array([not o.kept_out for o in entry.origins])
    drawn = np.array([o.group == "segmenter" for o in entry.origins])
    slim = replace(entry, contrasts=entry.contrasts[:0])  # the view has them, normalised
    usable = [{int(b): np.flatnonzero((bins == b) & kept & part) for b in np.unique(bins[kept & part])} for part in (drawn, ~drawn)]
    return Shown(slim, view, (usable[0], usable[1]))


class QualityDataset:
    """Draws batches from library entries; volumes of like depth go together, so that little is padding."""

    def __init__(self, entries: Sequence[Shown], recipe: Recipe) -> None:
        """Entries of patients and of phantoms."""
        self.pools = tuple([e for e in entries if is_phantom(e.entry.patient) == made] for made in (False, True))
        self.recipe = recipe
        self.groups = groups_of(recipe)

    def draw(self, rng: np.random.Generator) -> QualityBatch:
        """One batch."""
        chosen: list[Shown] = []
        for _ in range(self.recipe.network.schedule.batch):
            pool = self._pool(rng)
            if chosen:
                depth = chosen[0].entry.grid.size[0]
                pool = [e for e in pool if abs(e.entry.grid.size[0] - depth) <= 1] or [chosen[0]]
            chosen.append(pool[int(rng.integers(len(pool)))])
        return stack([self._sample(rng, one) for one in chosen])

    def draw_numbers(self, rng: np.random.Generator) -> NumbersBatch:
        """One batch without images.

        The scale of the box, last of the numbers, is known with the box only: noise in its place teaches the head to leave it aside.
        """
        rows, targets = [], []
        for _ in range(self.recipe.network.head.batch):
            pool = self._pool(rng)
            one = pool[int(rng.integers(len(pool)))]
            index = self._pick(rng, one)
            rows.append(np.append(one.view.numbers[index], np.float32(rng.normal(0, 0.5))))
            targets.append(one.entry.targets[index])
        numbers = torch.from_numpy(np.stack(rows))
        return NumbersBatch(numbers, numbers[:, : 2 + len(self.groups)], torch.from_numpy(np.stack(targets)))

    def _pool(self, rng: np.random.Generator) -> list[Shown]:
        """Patients or phantoms, by the recipe's share."""
        real, phantoms = self.pools
        return phantoms if phantoms and (not real or rng.random() < self.recipe.phantoms.share) else real

    def _pick(self, rng: np.random.Generator, one: Shown) -> int:
        """A segmenter's query or another, of a bin drawn by the recipe's weights."""
        drawn, made = one.usable
        bins = (drawn if rng.random() < self.recipe.queries.segmenter_share else made) or drawn or made
        weights = np.array([self.recipe.queries.bin_weights[b] for b in bins])
        picked = bins[list(bins)[int(rng.choice(len(bins), p=weights / weights.sum()))]]
        return int(picked[int(rng.integers(len(picked)))])

    def _sample(self, rng: np.random.Generator, one: Shown) -> dict[str, FloatArray]:
        """One query, seen through a box with a random margin."""
        index = self._pick(rng, one)
        margin = float(self.recipe.network.margin * rng.uniform(0.4, 2.0))
        return sample(one, index, self.recipe.network, self.groups, margin, draw_turn(rng), draw_look(rng))


class Turn(NamedTuple):
    """A symmetry of the box: quarter turns in the plane, mirrored, slices reversed."""

    quarters: int
    mirror: bool
    reverse: bool


def draw_turn(rng: np.random.Generator) -> Turn:
    """Any of the sixteen symmetries."""
    return Turn(int(rng.integers(4)), bool(rng.random() < 0.5), bool(rng.random() < 0.5))


STRAIGHT = Turn(0, False, False)


def sample(
    one: Shown, index: int, network: Network, groups: Groups, margin: float, turn: Turn = STRAIGHT, look: Look | None = None
) -> dict[str, FloatArray]:
    """The network's input and targets for one query of an entry; keys are the fields of QualityBatch, without the batch axis."""
    entry, view = one.entry, one.view
    query = tissue_channels(entry.queries[index].on(entry.grid.size), groups)
    pseudo = view.probabilities.sum(0) > 127
    z, y, x = entry.grid.size
    inside = np.asarray(query.any(0) if network.inputs == "query" else query.any(0) | pseudo, bool)
    frame = square_frame((z, y, x), Orientation(), inside, margin=margin, side=network.side, most_slices=network.most_slices)
    inputs = network_inputs(frame, view.values, query, view.probabilities / np.float32(255), view.numbers[index])
    if look is not None:
        inputs = inputs._replace(contrasts=change_look(torch.from_numpy(inputs.contrasts), look).numpy())
    inputs = blinded(inputs, network)
    reference = np.asarray(frame.take_nearest(tissue_channels(entry.labels, groups)), np.float32)
    fields = {name: np.asarray(value, np.float32) for name, value in inputs._asdict().items()} | {
        "errors": np.abs(inputs.query - reference),
        "seen": np.ones((1, *inputs.query.shape[1:]), np.float32),
    }
    return {k: turned(v, turn) if v.ndim == 4 else v for k, v in fields.items()} | {"targets": entry.targets[index]}


def blinded(inputs: NetworkInputs, network: Network) -> NetworkInputs:
    """The inputs without what the recipe hides from the network (controls of an evaluation)."""
    if network.inputs == "all" or inputs.probabilities is None or inputs.numbers is None:
        return inputs
    hidden = {name: np.zeros_like(value) for name, value in inputs._asdict().items() if name not in ("contrasts", "query")}
    if network.inputs == "query":
        hidden["contrasts"] = np.zeros_like(inputs.contrasts)
    return inputs._replace(**hidden)


def turned(array: FloatArray, turn: Turn) -> FloatArray:
    """An array (channel, z, y, x) under a symmetry; y and x must be equal."""
    result = np.rot90(array, turn.quarters, (2, 3))
    if turn.mirror:
        result = result[..., ::-1]
    return result[:, ::-1] if turn.reverse else result


def stack(samples: Sequence[dict[str, FloatArray]]) -> QualityBatch:
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
