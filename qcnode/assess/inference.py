"""Judge a query segmentation with packaged weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from qcnode.assess import novelty
from qcnode.assess.calibration import interval
from qcnode.assess.inputs import PseudoReferenceSettings, tissue_groups
from qcnode.assess.members import SPREAD_FEATURES, Look, Member, MemberEstimate
from qcnode.assess.model_card import CARD_NAME, ModelCard, load_card
from qcnode.assess.networks.plane_unet import PlaneUNet
from qcnode.assess.networks.qcresunet import Design, QCResUNet
from qcnode.case import Prediction, Reason, ReasonCode, Weights
from qcnode.errors import ConfigurationError, Rejected
from qcnode.imaging.grid import Volume
from qcnode.imaging.preprocess import Box, Orientation, normalise, orientation_to

Segmentation = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Looked:
    """Volumes that were looked at: what all queries on them have in common.

    values: normalised (contrast, z, y, x). looks: one per member. image_p_value: None where the weights have no test of novelty.
    """

    values: FloatArray
    orientation: Orientation
    looks: tuple[Look | None, ...]
    image_p_value: float | None


class NoGPU(ConfigurationError):
    """A GPU is asked for, and PyTorch finds none."""


class QCPredictor:
    """The networks of one model folder, ready to judge.

    card: the model card. weights: what to record beside a verdict. device: where the networks run, in words. members: the networks.
    """

    def __init__(self, model_dir: Path, *, device: str = "auto", threads: int = 0, only: Sequence[int] | None = None) -> None:
        """Read and check a model folder. device: "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N".

        threads: CPU threads of PyTorch, which are shared by every network of the process; 0 leaves PyTorch's choice.
        only: numbers of the members to use, in place of all; each member may be judged on patients that it has not learned from.
        """
        if threads:
            torch.set_num_threads(threads)
        self.card = load_card(model_dir)
        torch_device, self.device = _choose_device(device)
        card = self.card
        self.weights = Weights(card.name, card.version, card.digest())
        self.members = _read_members(card, model_dir, torch_device, range(card.members) if only is None else only)

    def predict(self, contrasts: Mapping[str, Volume], query: Segmentation) -> Prediction:
        """Estimate DSC, NSD and the error map of `query` (tissue, z, y, x); all contrasts lie on the query's grid."""
        expected = (len(self.card.tissues), *self._ordered(contrasts)[0].grid.size)
        if query.shape != expected:
            raise Rejected(ReasonCode.SEG_GEOMETRY, f"Query {query.shape} and volumes do not share one grid of {expected} voxels.")
        return self.judge(self.look(contrasts), query)

    def look(self, contrasts: Mapping[str, Volume]) -> Looked:
        """What the members make of the volumes, whatever the query."""
        volumes = self._ordered(contrasts)
        grid = volumes[0].grid
        facts = self.card.preprocessing
        orientation = orientation_to(grid, facts.directions, keep_stack=facts.keep_stack)
        values = np.stack([normalise(v.array, *facts.percentiles) for v in volumes])
        looks = tuple(m.look(values, orientation, grid.spacing) for m in self.members)
        return Looked(values, orientation, looks, self._image_p_value(values, looks))

    def judge(self, looked: Looked, query: Segmentation) -> Prediction:
        """`predict` for volumes that were already looked at."""
        return self.combine(looked, query, self.estimate(looked, query))

    def estimate(self, looked: Looked, query: Segmentation) -> list[MemberEstimate]:
        """What each member says of the query."""
        return [m.estimate(looked.values, looked.orientation, k, query) for m, k in zip(self.members, looked.looks, strict=True)]

    def combine(self, looked: Looked, query: Segmentation, estimates: Sequence[MemberEstimate]) -> Prediction:
        """The members' estimates as one prediction."""
        quality = np.mean([e.quality for e in estimates], 0)
        features = np.mean([e.spread_features for e in estimates], 0)
        card, image_p, query_p = self.card, looked.image_p_value, self._query_p_value(query)
        names = tuple(t.name for t in card.tissues)
        calibration, facts = card.calibration, card.novelty
        boxes = [e.frame.source_box() for e in estimates]
        return Prediction(
            predicted_dsc=float(quality[0]),
            predicted_nsd=float(quality[1]),
            tolerance_mm=card.quality.tolerance_mm,
            per_tissue_dsc=dict(zip(names, quality[2:].tolist(), strict=False)),
            error_map=self.error_map(estimates),
            tissues=names,
            device=self.device,
            box=_union(boxes),
            notes=_coverage(query, boxes),
            dsc_interval=interval(calibration.dsc, float(quality[0]), features.tolist()) if calibration else None,
            nsd_interval=interval(calibration.nsd, float(quality[1]), features.tolist()) if calibration else None,
            interval_level=calibration.level if calibration else None,
            image_p_value=image_p,
            query_p_value=query_p,
            image_is_novel=facts is not None and image_p is not None and novelty.is_novel(facts.image, image_p),
            query_is_novel=facts is not None and query_p is not None and novelty.is_novel(facts.query, query_p),
            spread_features=dict(zip(SPREAD_FEATURES, features.tolist(), strict=True)),
        )

    def error_map(self, estimates: Sequence[MemberEstimate]) -> Segmentation:
        """Voxels (tissue, z, y, x) of the source grid that the members' mean calls wrong, at the card's thresholds."""
        facts = self.card.calibration
        thresholds = facts.error_map_thresholds if facts else (0.5,) * len(self.card.tissues)
        wrong = np.mean([e.on_source() for e in estimates], 0)
        return np.stack([w > t for w, t in zip(wrong, thresholds, strict=True)])

    def _ordered(self, contrasts: Mapping[str, Volume]) -> list[Volume]:
        missing = [c.name for c in self.card.contrasts if c.name not in contrasts]
        if missing:
            raise Rejected(ReasonCode.CONTRAST_MISSING, f"The network needs these contrasts: {', '.join(missing)}.")
        volumes = [contrasts[c.name] for c in self.card.contrasts]
        if any(v.array.shape != volumes[0].array.shape for v in volumes):
            raise Rejected(ReasonCode.SEG_GEOMETRY, "The contrasts do not share one grid of voxels.")
        return volumes

    def _image_p_value(self, values: FloatArray, looks: Sequence[Look | None]) -> float | None:
        """Mean over the members, each with its own pseudo-reference."""
        if self.card.novelty is None:
            return None
        found = [
            novelty.p_value(self.card.novelty.image, *novelty.image_features(values[0], k.pseudo.probabilities, k.pseudo.pooled))
            for k in looks
            if k is not None
        ]
        return float(np.mean(found)) if found else None

    def _query_p_value(self, query: Segmentation) -> float | None:
        if self.card.novelty is None or not query.any():
            return None
        return novelty.p_value(self.card.novelty.query, *novelty.query_features(query))


def free_gpu_memory() -> None:
    """Give back what PyTorch keeps of the GPU's memory for later, where there is a GPU that still answers."""
    with suppress(RuntimeError):
        torch.cuda.empty_cache()


def pseudo_reference_settings(card: ModelCard) -> PseudoReferenceSettings | None:
    """How the card's pseudo-reference networks see the volumes; None where it has none."""
    facts = card.pseudo_reference
    if facts is None:
        return None
    groups = tissue_groups(card.tissue_list(), card.label_order)
    return PseudoReferenceSettings(facts.field_side, facts.box_side, facts.views, facts.slices, groups)


def _read_members(card: ModelCard, model_dir: Path, device: str, numbers: Sequence[int]) -> tuple[Member, ...]:
    facts, settings = card.pseudo_reference, pseudo_reference_settings(card)
    quality = _read_weights(model_dir / card.weights_file)
    pseudo = _read_weights(model_dir / facts.file) if facts else {}
    result = []
    for i in numbers:
        network = QCResUNet(Design(**card.network.model_dump()))
        _load(network, quality, f"{i}.", model_dir, device)
        pair = None
        if facts:
            channels = len(card.contrasts) * facts.slices
            pair = (
                PlaneUNet(channels, 2, facts.localiser_widths),
                PlaneUNet(channels, len(card.label_order) + 1, facts.segmenter_widths),
            )
            for name, plane in zip(("localiser", "segmenter"), pair, strict=True):
                _load(plane, pseudo, f"{i}.{name}.", model_dir, device)
                plane.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
        result.append(Member(network, pair, settings, card.preprocessing, card.quality.tolerance_mm))
    return tuple(result)


def _read_weights(path: Path) -> Mapping[str, Tensor]:
    """Tensors by name. safetensors holds nothing but numbers: a file that could run code when it is read is refused."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ConfigurationError(f"{path} holds no weights in the safetensors format: install them again. {error}") from error


def _load(network: nn.Module, stored: Mapping[str, Tensor], prefix: str, model_dir: Path, device: str) -> None:
    """Weights with this prefix, kept in half precision, into a network that calculates in single precision."""
    try:
        network.load_state_dict({k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)})
    except RuntimeError as error:
        raise ConfigurationError(f"The weights in {model_dir} do not fit {CARD_NAME}: install them again. {error}") from error
    network.to(device).eval().requires_grad_(False)


def _choose_device(wanted: str) -> tuple[str, str]:
    """The device for torch and in words."""
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted
    if chosen == "cpu":
        return chosen, "CPU"
    if not torch.cuda.is_available():
        raise NoGPU(f"Device {wanted!r} is asked for, but PyTorch finds no GPU: set it to auto or cpu.")
    return chosen, f"GPU ({torch.cuda.get_device_name(chosen)})"


def _union(boxes: Sequence[Box]) -> tuple[tuple[int, int], ...]:
    return tuple((min(b[axis][0] for b in boxes), max(b[axis][1] for b in boxes)) for axis in range(3))


def _coverage(query: Segmentation, boxes: Sequence[Box]) -> tuple[Reason, ...]:
    """A note where the query has tissue outside of the box that some member saw."""
    most = 0
    for box in boxes:
        seen = np.zeros(query.shape[1:], bool)
        seen[tuple(slice(a, b) for a, b in box)] = True
        most = max(most, int((query.any(0) & ~seen).sum()))
    if not most:
        return ()
    share = 100 * most / int(query.any(0).sum())
    return (Reason(ReasonCode.PARTIAL_COVERAGE, f"{share:.1f} % of the segmented voxels lie outside of the box that the network sees."),)
