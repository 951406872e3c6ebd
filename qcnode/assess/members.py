"""One member of the ensemble: its pseudo-reference networks and its QCResUNet, which learned without the patients of one fold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from qcnode.assess.inputs import (
    NetworkInputs,
    PseudoReference,
    PseudoReferenceSettings,
    agreement_of,
    draw_pseudo_reference,
    network_inputs,
    numbers,
    self_agreement_of,
)
from qcnode.assess.metrics import Reference, Spacing
from qcnode.assess.model_card import Preprocessing
from qcnode.assess.networks.plane_unet import PlaneUNet
from qcnode.assess.networks.qcresunet import Estimate, QCResUNet
from qcnode.imaging.preprocess import Frame, Orientation, canvas_frame, square_frame

FloatArray = npt.NDArray[np.float32]
Segmentation = npt.NDArray[np.bool_]

SPREAD_FEATURES = (
    "deviation of the predicted DSC over mirrored views",
    "deviation of the predicted NSD over mirrored views",
    "1 - predicted DSC",
    "predicted DSC times (1 - predicted DSC)",
    "1 - expected DSC of the pseudo-reference with itself",
    "the same times the predicted DSC",
    "distance of the predicted DSC from the agreement with the pseudo-reference",
    "distance of the predicted DSC from the one that the error map implies",
)
_MIRRORED = 4  # axis of (batch, channel, z, y, x) along which the second view is mirrored


@dataclass(frozen=True, slots=True)
class Look:
    """What a member makes of the volumes alone, once for all queries on them."""

    pseudo: PseudoReference
    reference: Reference


@dataclass(frozen=True, slots=True)
class MemberEstimate:
    """What a member says of one query.

    quality: DSC, NSD, DSC per tissue (output,), each 0 to 1. wrong: probability of each voxel being wrong (tissue, z, y, x) in `frame`.
    spread_features: values of SPREAD_FEATURES. agreement: DSC and NSD of query and pseudo-reference, None without one.
    """

    quality: FloatArray
    wrong: FloatArray
    frame: Frame
    spread_features: FloatArray
    agreement: tuple[float, float] | None

    def on_source(self) -> FloatArray:
        """`wrong` on the source grid (tissue, z, y, x), nearest; 0 outside of the box."""
        return np.asarray(self.frame.put_back(self.wrong), np.float32)


class Member:
    """Networks that judge together, on one device and in evaluation mode."""

    def __init__(
        self,
        quality: QCResUNet,
        pseudo: tuple[PlaneUNet, PlaneUNet] | None,
        settings: PseudoReferenceSettings | None,
        preprocessing: Preprocessing,
        tolerance_mm: float,
    ) -> None:
        """`pseudo`: localiser and segmenter, with their settings, or None for both."""
        self._quality = quality
        self._pseudo = pseudo
        self._settings = settings
        self._preprocessing = preprocessing
        self._tolerance_mm = tolerance_mm

    def look(self, values: FloatArray, orientation: Orientation, spacing: Spacing) -> Look | None:
        """Draw the pseudo-reference in normalised volumes (contrast, z, y, x); None where there is no network for it."""
        if self._pseudo is None or self._settings is None:
            return None
        pseudo = draw_pseudo_reference(*self._pseudo, values, orientation, self._settings)
        return Look(pseudo, Reference(pseudo.segmentation, spacing, self._tolerance_mm))

    def estimate(self, values: FloatArray, orientation: Orientation, look: Look | None, query: Segmentation) -> MemberEstimate:
        """Judge a query (tissue, z, y, x) on the volumes that `look` was made of."""
        others = look.pseudo.segmentation.any(0) if look else values[0] > values[0].min()
        frame = frame_of(self._preprocessing, orientation, np.asarray(query.any(0) | others, bool))
        given = numbers(query, look.pseudo, look.reference) if look else None
        inputs = network_inputs(frame, values, query, look.pseudo.probabilities if look else None, given)
        views, wrong, implied = judge_views(self._quality, inputs)
        agreement = None if given is None else agreement_of(given)
        own = 1.0 if given is None else self_agreement_of(given, len(query))
        quality = np.asarray(views.mean(0), np.float32)
        return MemberEstimate(quality, wrong, frame, spread_features(views, agreement, own, implied), agreement)


def frame_of(facts: Preprocessing, orientation: Orientation, inside: Segmentation) -> Frame:
    """The box that QCResUNet sees around the True voxels of `inside` (z, y, x), on the source grid."""
    z, y, x = inside.shape
    oriented = np.asarray(orientation.apply(inside), bool)
    if facts.box == "canvas":
        return canvas_frame((z, y, x), orientation, oriented, facts.size)
    return square_frame((z, y, x), orientation, oriented, margin=facts.margin, side=facts.size[1], most_slices=facts.size[0])


@torch.inference_mode()
def judge_views(network: QCResUNet, inputs: NetworkInputs) -> tuple[FloatArray, FloatArray, float | None]:
    """Quality (view, output), error probabilities (tissue, z, y, x) and implied DSC, as seen straight and mirrored.

    Without a pseudo-reference the network is large and asked once.
    """
    device = next(network.parameters()).device
    tensors = [None if a is None else torch.from_numpy(np.ascontiguousarray(a))[None].to(device) for a in inputs]
    if inputs.probabilities is None:
        straight: Estimate = network(*tensors)
        return _quality(straight), straight.error_map[0].float().sigmoid().cpu().numpy(), _implied(straight)
    # in one batch: PyTorch has fast 3D convolutions on a CPU for every size only where a batch holds more than one volume
    both: Estimate = network(*(t if t is None else torch.cat([t, t.flip(_MIRRORED) if t.ndim > _MIRRORED else t]) for t in tensors))
    probabilities = both.error_map.float().sigmoid()
    wrong = (probabilities[0] + probabilities[1].flip(_MIRRORED - 1)) / 2
    return _quality(both), wrong.cpu().numpy(), _implied(both)


def spread_features(views: FloatArray, agreement: tuple[float, float] | None, self_agreement: float, implied: float | None) -> FloatArray:
    """Values of SPREAD_FEATURES for quality (view, output)."""
    predicted = float(views[:, 0].mean())
    return np.array(
        [
            views[:, 0].std(),
            views[:, 1].std(),
            1 - predicted,
            predicted * (1 - predicted),
            1 - self_agreement,
            predicted * (1 - self_agreement),
            abs(predicted - agreement[0]) if agreement else 0.0,
            abs(predicted - implied) if implied is not None else 0.0,
        ],
        np.float32,
    )


def _quality(estimate: Estimate) -> FloatArray:
    return np.asarray(estimate.quality.float().sigmoid().cpu().numpy(), np.float32)


def _implied(estimate: Estimate) -> float | None:
    return None if estimate.implied is None else float(estimate.implied[0, 0])
