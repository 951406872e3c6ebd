"""Judge a query segmentation with packaged weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from qcnode.assess.inputs import PseudoReference, class_probabilities, error_logits, first_quality, numbers, pseudo_reference
from qcnode.assess.model_card import CARD_NAME, load_card
from qcnode.assess.networks.qcresunet import Design, Estimate, QCResUNet
from qcnode.assess.networks.unet2d import UNet2D
from qcnode.case import Prediction, Reason, ReasonCode, Weights
from qcnode.errors import ConfigurationError, Rejected
from qcnode.imaging.grid import Volume
from qcnode.imaging.preprocess import Frame, Orientation, canvas_frame, field_frame, normalise, orientation_to, square_frame

Segmentation = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]


class QCPredictor:
    """The networks of one model folder, ready to judge.

    card: the model card. weights: what to record beside a verdict. device: where the networks run, in words.
    """

    def __init__(self, model_dir: Path, *, device: str = "auto", threads: int = 0) -> None:
        """Read and check a model folder. device: "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N".

        threads: CPU threads of PyTorch, which are shared by every network of the process; 0 leaves PyTorch's choice.
        """
        if threads:
            torch.set_num_threads(threads)
        self.card = load_card(model_dir)
        self._torch_device, self.device = _choose_device(device)
        card = self.card
        self.weights = Weights(card.name, card.version, card.digest())
        self._network = QCResUNet(Design(**card.network.model_dump()))
        _load(self._network, load_file(model_dir / card.weights_file), model_dir)
        self._network.to(self._torch_device).eval().requires_grad_(False)
        self._pseudo_networks = self._read_pseudo_networks(model_dir)

    def predict(self, contrasts: Mapping[str, Volume], query: Segmentation) -> Prediction:
        """Estimate DSC, NSD and the error map of `query` (tissue, z, y, x); all contrasts lie on the query's grid."""
        volumes = self._ordered(contrasts, query)
        source = volumes[0].grid
        card = self.card
        orientation = orientation_to(source, card.preprocessing.directions, keep_stack=card.preprocessing.keep_stack)
        values = [normalise(v.array, *card.preprocessing.percentiles) for v in volumes]
        pseudo = self._draw_pseudo_reference(values[0], orientation)
        others = pseudo.segmentation.any(0) if pseudo else volumes[0].array > volumes[0].array.min()
        inside: Segmentation = np.asarray(query.any(0) | others, bool)
        frame = self._frame(orientation, inside)
        given = numbers(query, pseudo, source.spacing, card.quality.tolerance_mm, frame) if pseudo else None
        quality, wrong = self._judge(frame, values, query, pseudo, given)
        names = tuple(t.name for t in card.tissues)
        return Prediction(
            predicted_dsc=float(quality[0]),
            predicted_nsd=float(quality[1]),
            tolerance_mm=card.quality.tolerance_mm,
            per_tissue_dsc=dict(zip(names, quality[2:].tolist(), strict=False)),
            error_map=np.asarray(frame.put_back(wrong), bool),
            tissues=names,
            device=self.device,
            box=frame.source_box(),
            notes=_coverage(query, frame),
        )

    def _ordered(self, contrasts: Mapping[str, Volume], query: Segmentation) -> list[Volume]:
        missing = [c.name for c in self.card.contrasts if c.name not in contrasts]
        if missing:
            raise Rejected(ReasonCode.CONTRAST_MISSING, f"The network needs these contrasts: {', '.join(missing)}.")
        volumes = [contrasts[c.name] for c in self.card.contrasts]
        expected = (len(self.card.tissues), *volumes[0].grid.size)
        if query.shape != expected or any(v.array.shape != expected[1:] for v in volumes):
            raise Rejected(ReasonCode.SEG_GEOMETRY, f"Query {query.shape} and volumes do not share one grid of {expected} voxels.")
        return volumes

    def _read_pseudo_networks(self, model_dir: Path) -> list[nn.Module]:
        facts = self.card.pseudo_reference
        if facts is None:
            return []
        stored = load_file(model_dir / facts.file)
        result: list[nn.Module] = []
        for i in range(facts.networks):
            network = UNet2D(facts.slices, len(self.card.tissues) + 1, facts.widths)
            _load(network, {k.removeprefix(f"{i}."): v for k, v in stored.items() if k.startswith(f"{i}.")}, model_dir)
            network.to(self._torch_device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
            result.append(network.eval().requires_grad_(False))
        return result

    def _draw_pseudo_reference(self, values: FloatArray, orientation: Orientation) -> PseudoReference | None:
        facts = self.card.pseudo_reference
        if facts is None:
            return None
        z, y, x = values.shape
        frame = field_frame((z, y, x), orientation, facts.side)
        classes = class_probabilities(self._pseudo_networks, frame.take(values), facts.slices, self._torch_device)
        return pseudo_reference(classes, frame)

    def _frame(self, orientation: Orientation, inside: Segmentation) -> Frame:
        facts = self.card.preprocessing
        z, y, x = inside.shape
        oriented = np.asarray(orientation.apply(inside), bool)
        if facts.box == "canvas":
            return canvas_frame((z, y, x), orientation, oriented, facts.size)
        return square_frame((z, y, x), orientation, oriented, margin=facts.margin, side=facts.size[1], most_slices=facts.size[0])

    @torch.inference_mode()
    def _judge(
        self, frame: Frame, values: list[FloatArray], query: Segmentation, pseudo: PseudoReference | None, given: FloatArray | None
    ) -> tuple[FloatArray, Segmentation]:
        """Quality (output,) between 0 and 1, and the error map (tissue, z, y, x) in `frame`."""
        seen_query = np.asarray(frame.take_nearest(query), np.float32)
        contrasts = self._tensor(np.stack([frame.take(v) for v in values]))
        further = error_start = quality_start = None
        if pseudo is not None and given is not None:
            probabilities = frame.take(pseudo.probabilities)
            further = self._tensor(probabilities)
            error_start = self._tensor(error_logits(seen_query, probabilities))
            quality_start = self._tensor(first_quality(given, len(query)))
        estimate: Estimate = self._network(
            contrasts, self._tensor(seen_query), further, None if given is None else self._tensor(given), quality_start, error_start
        )
        return estimate.quality[0].float().sigmoid().cpu().numpy(), (estimate.error_map[0] > 0).cpu().numpy()

    def _tensor(self, array: FloatArray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array))[None].to(self._torch_device)


def _load(network: nn.Module, stored: dict[str, Tensor], model_dir: Path) -> None:
    try:
        network.load_state_dict(stored)
    except RuntimeError as error:
        raise ConfigurationError(f"The weights in {model_dir} do not fit {CARD_NAME}: install them again. {error}") from error


def _choose_device(wanted: str) -> tuple[str, str]:
    """The device for torch and in words."""
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted
    if chosen == "cpu":
        return chosen, "CPU"
    if not torch.cuda.is_available():
        raise ConfigurationError(f"Device {wanted!r} is asked for, but PyTorch finds no GPU: set it to auto or cpu.")
    return chosen, f"GPU ({torch.cuda.get_device_name(chosen)})"


def _coverage(query: Segmentation, frame: Frame) -> tuple[Reason, ...]:
    """A note where the query has tissue outside of the box that the network saw."""
    seen = np.zeros(query.shape[1:], bool)
    seen[tuple(slice(a, b) for a, b in frame.source_box())] = True
    outside = int((query.any(0) & ~seen).sum())
    if not outside:
        return ()
    share = 100 * outside / int(query.any(0).sum())
    return (Reason(ReasonCode.PARTIAL_COVERAGE, f"{share:.1f} % of the segmented voxels lie outside of the box that the network sees."),)
