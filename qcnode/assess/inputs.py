"""What QCResUNet is given beside the volumes: the pseudo-reference, its agreement with the query, and a first estimate from both.

Used alike in training and in inference, so that both see the same. Arrays are (tissue, z, y, x) or (z, y, x) on the source grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from qcnode.assess.metrics import Reference
from qcnode.assess.networks.plane_unet import PlaneUNet
from qcnode.imaging.preprocess import Frame, Orientation, field_frame, square_frame
from qcnode.tissues import Tissue

FloatArray = npt.NDArray[np.float32]
Segmentation = npt.NDArray[np.bool_]
Groups = tuple[tuple[int, ...], ...]

_SLICES_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class PseudoReference:
    """What a segmenter of our own makes of the volumes.

    probabilities (tissue, z, y, x) on the source grid; the segmentation that they make; pooled: mean and deviation over slices of the
    deepest features, which depend on the volumes alone, as qcnode.assess.novelty names them: "field" of the localiser, "pooled" of the
    segmenter.
    """

    probabilities: FloatArray
    segmentation: Segmentation
    pooled: Mapping[str, FloatArray]


@dataclass(frozen=True, slots=True)
class PseudoReferenceSettings:
    """How the two networks see the volumes.

    field_side: the whole slice, for the localiser. box_side: the box around the organ, for the segmenter. views: margins of the boxes
    whose results are averaged. slices: neighbours given together. groups: structures (from 1) that make up each tissue.
    """

    field_side: int
    box_side: int
    views: tuple[float, ...]
    slices: int
    groups: Groups


def tissue_groups(tissues: Sequence[Tissue], structures: Sequence[str]) -> Groups:
    """Labels (from 1) of each tissue where label i + 1 is structures[i]."""
    return tuple(tuple(structures.index(s) + 1 for s in t.structures) for t in tissues)


def neighbours(planes: npt.NDArray[np.floating], k: int, count: int) -> FloatArray:
    """Slices k - count // 2 ... k + count // 2 of stacks (contrast, z, y, x), the outermost repeated at the ends."""
    reach = count // 2
    index = np.clip(np.arange(k - reach, k + reach + 1), 0, planes.shape[1] - 1)
    return np.asarray(planes[:, index], np.float32)


def draw_pseudo_reference(
    localiser: PlaneUNet, segmenter: PlaneUNet, values: FloatArray, orientation: Orientation, settings: PseudoReferenceSettings
) -> PseudoReference:
    """Find the organ in normalised volumes (contrast, z, y, x) and segment it inside its box; outside of the box is background.

    Islands much smaller than the largest piece are taken out: the organ is one.
    """
    z, y, x = values.shape[1:]
    found, of_field = _locate(localiser, values, orientation, settings)
    inside = np.asarray(orientation.apply(found), bool)
    probabilities = np.zeros((len(settings.groups), z, y, x), np.float32)
    structures: FloatArray | None = None
    pooled: list[FloatArray] = []
    for margin in settings.views:
        frame = square_frame((z, y, x), orientation, inside, margin=margin, side=settings.box_side, most_slices=z + y + x)
        classes, deepest = _classes(segmenter, frame.take(values), settings.slices)
        here = frame.put_back_linear(classes[1:])
        structures = here if structures is None else structures + here
        pooled.append(deepest)
    if structures is None:
        raise ValueError("settings.views is empty")
    structures /= len(settings.views)
    winner = np.argmax(np.concatenate([1 - structures.sum(0, keepdims=True), structures]), 0)
    small = _islands(winner > 0)
    winner[small] = 0
    structures[:, small] = 0
    for i, group in enumerate(settings.groups):
        probabilities[i] = structures[[label - 1 for label in group]].sum(0)
    segmentation = np.stack([np.isin(winner, group) for group in settings.groups])
    return PseudoReference(np.clip(probabilities, 0, 1), segmentation, {"field": of_field, "pooled": np.mean(pooled, 0)})


def _locate(
    localiser: PlaneUNet, values: FloatArray, orientation: Orientation, settings: PseudoReferenceSettings
) -> tuple[Segmentation, FloatArray]:
    """Voxels (z, y, x) of the source grid that look like the organ, the largest piece of what the localiser finds; its deepest features."""
    z, y, x = values.shape[1:]
    frame = field_frame((z, y, x), orientation, settings.field_side)
    classes, deepest = _classes(localiser, frame.take(values), settings.slices)
    found = classes[1] > 0.5
    found &= ~_islands(found, keep=1.0)
    return np.asarray(frame.put_back(found), bool), deepest


def _islands(inside: npt.NDArray[np.bool_], keep: float = 0.2) -> npt.NDArray[np.bool_]:
    """Voxels of connected pieces smaller than `keep` times the largest."""
    pieces, count = ndimage.label(inside)
    if count < 2:
        return np.zeros(inside.shape, bool)
    sizes = np.bincount(pieces.ravel())[1:]
    return np.asarray(np.concatenate([[False], sizes < keep * sizes.max()])[pieces], bool)


@torch.inference_mode()
def _classes(network: PlaneUNet, planes: FloatArray, count: int) -> tuple[FloatArray, FloatArray]:
    """Class probabilities (class, z, y, x) for planes (contrast, z, y, x), and mean and deviation over slices of the deepest features."""
    device = next(network.parameters()).device
    probabilities: list[FloatArray] = []
    deepest: list[FloatArray] = []
    for start in range(0, planes.shape[1], _SLICES_AT_ONCE):
        stop = min(start + _SLICES_AT_ONCE, planes.shape[1])
        near = np.stack([neighbours(planes, k, count).reshape(-1, *planes.shape[2:]) for k in range(start, stop)])
        features = network.encode(torch.from_numpy(near).to(device).contiguous(memory_format=torch.channels_last))
        deepest.append(features[-1].float().mean((2, 3)).cpu().numpy())
        probabilities.append(network.decode(features).float().softmax(1).cpu().numpy())
    pooled = np.concatenate(deepest)
    return np.concatenate(probabilities).swapaxes(0, 1), np.concatenate([pooled.mean(0), pooled.std(0)])


def numbers(query: Segmentation, pseudo: PseudoReference, reference: Reference) -> FloatArray:
    """How well query (tissue, z, y, x) and pseudo-reference agree, and how sure the pseudo-reference is; `reference` is its segmentation.

    Order: logits of DSC, NSD (pooled) and DSC per tissue, which are the first estimate; NSD per tissue; expected DSC, pooled and per
    tissue; log volume ratios; expected DSC of the pseudo-reference with itself, pooled and per tissue; parts of the slices where only one
    of both has tissue; tolerance in source voxels.
    """
    hard = pseudo.segmentation
    found = reference.agreement(query)
    box = _slices_of(np.asarray(query.any(0) | hard.any(0)))
    soft = pseudo.probabilities[(slice(None), *box)]
    chosen, own = query[(slice(None), *box)], hard[(slice(None), *box)]
    volumes = np.log((chosen.sum((1, 2, 3)) + 20.0) / (own.sum((1, 2, 3)) + 20.0))
    with_query, with_pseudo = chosen.any((0, 2, 3)), own.any((0, 2, 3))
    depth = max(int((with_query | with_pseudo).sum()), 1)
    return np.array(
        [
            *(logit(v) for v in (found.dsc, found.nsd, *found.dsc_per_tissue)),
            *found.nsd_per_tissue,
            *_expected_dsc(chosen, soft),
            *np.clip(volumes, -3, 3),
            *_expected_dsc(own, soft),
            (with_query & ~with_pseudo).sum() / depth,
            (with_pseudo & ~with_query).sum() / depth,
            np.clip(reference.tolerance_mm / min(reference.spacing[1:]), 0, 4),
        ],
        np.float32,
    )


def number_count(tissues: int) -> int:
    """How many values the network is given: those of `numbers`, and the scale of its box."""
    return 8 + 5 * tissues


def agreement_of(values: FloatArray) -> tuple[float, float]:
    """DSC and NSD of the query with the pseudo-reference, out of `numbers`."""
    dsc, nsd = 1 / (1 + np.exp(-np.asarray(values[:2], float)))
    return float(dsc), float(nsd)


def self_agreement_of(values: FloatArray, tissues: int) -> float:
    """Expected DSC of the pseudo-reference with itself, pooled, out of `numbers`."""
    return float(values[3 + 4 * tissues])


class NetworkInputs(NamedTuple):
    """What QCResUNet is given for one query: arrays (channel, z, y, x) in the network's box, and (value,). None without pseudo-reference.

    probabilities: of the pseudo-reference. quality_start, error_start: logits of a first estimate that the network corrects.
    """

    contrasts: FloatArray
    query: FloatArray
    probabilities: FloatArray | None = None
    numbers: FloatArray | None = None
    quality_start: FloatArray | None = None
    error_start: FloatArray | None = None


def network_inputs(
    frame: Frame,
    values: npt.NDArray[np.floating],
    query: Segmentation,
    probabilities: npt.NDArray[np.floating] | None,
    given: FloatArray | None,
) -> NetworkInputs:
    """Source arrays (channel, z, y, x) as the network sees them through `frame`; `given` is what `numbers` returned."""
    seen = np.asarray(frame.take_nearest(query), np.float32)
    contrasts = frame.take(values)
    if probabilities is None or given is None:
        return NetworkInputs(contrasts, seen)
    likely = frame.take(probabilities)
    scale = np.clip(np.log(max(frame.scale[1], 1e-3)), -2, 2)
    start = given[: 2 + len(query)]
    return NetworkInputs(contrasts, seen, likely, np.append(given, np.float32(scale)), start, error_logits(seen, likely))


def error_logits(query: FloatArray, probabilities: FloatArray) -> FloatArray:
    """Logits of the query being wrong in each voxel, were the pseudo-reference right."""
    wrong = np.clip(query * (1 - probabilities) + (1 - query) * probabilities, 0.002, 0.998)
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
