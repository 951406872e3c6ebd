"""What the neural segmenters share: the square that they see, fitting on it, and predicting on the same square.

A network whose layers normalise over what they are given must be fitted on what it will be given: whole squares, never crops of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from qcnode.assess.inputs import neighbours
from qcnode.errors import ConfigurationError
from qcnode.imaging.preprocess import Frame, Orientation, normalise
from training.augment import augment_planes, draw_look, draw_warp
from training.cohorts import LabelledVolume
from training.losses import segmentation_loss
from training.schedule import Schedule
from training.segmenters import KEPT_OUT, FloatArray, Predictor, Report, SegmenterSettings
from training.train import fit, read_weights

Build = Callable[[SegmenterSettings, int, int], nn.Module]
"""(settings, contrasts, classes) -> a network: planes (batch, contrast * slice, y, x) -> logits (batch, class, slice, y, x), a list of
them where there are side outputs, the final ones first. A 2-D network gives the middle slice, a 3-D network all of them."""

_SHIFT = 0.08  # of the side
_SCALES = (0.75, 1.3)
_SIDE_WEIGHT = 0.4  # of a side output in the loss
_AT_ONCE = 12  # windows


@dataclass(frozen=True, slots=True)
class Seen:
    """A volume as a segmenter sees it: planes (contrast, z, side, side) and labels (z, side, side)."""

    planes: npt.NDArray[np.float16]
    labels: npt.NDArray[np.uint8]


def central_frame(source_size: tuple[int, int, int], part: float, side: int) -> Frame:
    """The square in the middle of every slice, `part` of the longer side wide, as `side` x `side`; slices are left as they are."""
    z, y, x = source_size
    width = max(round(part * max(y, x)), 1)
    top, left = (y - width) // 2, (x - width) // 2
    return Frame(source_size, Orientation(), ((0, z), (top, top + width), (left, left + width)), (z, side, side))


def seen(contrasts: Sequence[npt.NDArray[np.float32]], frame: Frame) -> FloatArray:
    """Normalised contrasts (contrast, z, side, side) in the frame."""
    return frame.take(np.stack([normalise(c) for c in contrasts]))


def seen_volume(volume: LabelledVolume, settings: SegmenterSettings) -> Seen:
    """A labelled volume as a segmenter sees it."""
    z, y, x = volume.labels.shape
    frame = central_frame((z, y, x), settings.part, settings.side)
    planes = seen([c.array for c in volume.contrasts], frame)
    return Seen(planes.astype(np.float16), np.asarray(frame.take_nearest(volume.labels), np.uint8))


def on_source(structures: FloatArray, frame: Frame) -> FloatArray:
    """Class probabilities on the source grid out of those of the structures (structure, z, side, side); outside is background."""
    found = np.clip(frame.put_back_linear(structures), 0, 1)
    return np.concatenate([np.maximum(1 - found.sum(0, keepdims=True), 0), found])


class Folded(nn.Module):
    """A network behind a fold: squares of pixels become channels, and its output's channels pixels again.

    Makes a network of (batch, channel, [slice,] y, x) one that fits `Build`.
    """

    def __init__(self, inner: nn.Module, *, fold: int, slices: int, volumetric: bool) -> None:
        super().__init__()
        self.inner = inner
        self.fold = fold
        self.slices = slices
        self.volumetric = volumetric

    def forward(self, planes: Tensor) -> Tensor:
        """Logits (batch, class, slice, y, x)."""
        folded = functional.pixel_unshuffle(planes, self.fold)
        if not self.volumetric:
            return functional.pixel_shuffle(self.inner(folded), self.fold).unsqueeze(2)
        batch, _, y, x = folded.shape
        stack = folded.reshape(batch, -1, self.slices, self.fold**2, y, x).transpose(2, 3).flatten(1, 2)
        by_slice = self.inner(stack.contiguous(memory_format=torch.channels_last_3d)).transpose(1, 2)
        return functional.pixel_shuffle(by_slice, self.fold).transpose(1, 2)


class FieldSegmenter:
    """A neural segmenter; see training.segmenters.Segmenter.

    Side outputs (VoxResNet) are stages as well: of the finished weights, the coarsest at 1 - n/100 up to the finest at 0.99 for n of them.
    """

    def __init__(self, settings: SegmenterSettings, build: Build, *, contrasts: int, classes: int) -> None:
        """`classes` counts the background."""
        if settings.schedule is None:
            raise ValueError("a network needs a schedule")
        self.name: str = settings.family
        self.kept_out = settings.family in KEPT_OUT
        self.settings = settings
        self.schedule: Schedule = settings.schedule
        self._volumetric = settings.family == "dynunet-3d"
        self._build: Callable[[], nn.Module] = lambda: build(settings, contrasts, classes)
        self._sides = int(getattr(self._build(), "side_outputs", 0))

    def stages(self) -> tuple[float, ...]:
        """Snapshots, side outputs, and 1 for the finished weights."""
        early = sorted(s for s in self.schedule.snapshots if s < 1)
        return (*early, *(round(1 - n / 100, 2) for n in range(self._sides, 0, -1)), 1.0)

    def fit(self, volumes: Sequence[LabelledVolume], folder: Path, *, seed: int, report: Report) -> None:
        """See training.segmenters.Segmenter."""
        if (folder / "average.pt").is_file():
            return
        stacks = [seen_volume(v, self.settings) for v in volumes]
        torch.manual_seed(seed)
        network = self._build()
        total = self.schedule.steps
        fit(
            network, lambda rng: self.draw(rng, stacks), _loss, self.schedule, folder,
            seed=seed, report=lambda step, values: report(step, total, values),
        )  # fmt: skip

    def draw(self, rng: np.random.Generator, stacks: Sequence[Seen]) -> tuple[Tensor, Tensor]:
        """A batch of augmented windows (batch, contrast * slice, side, side) and their labels (batch, slice, side, side)."""
        settings = self.settings
        planes, labels, warps, looks = [], [], [], []
        for _ in range(self.schedule.batch):
            stack = stacks[int(rng.integers(len(stacks)))]
            k = self._draw_centre(rng, len(stack.labels))
            near = neighbours(stack.planes, k, settings.slices)
            drawn = neighbours(stack.labels[None].astype(np.float32), k, settings.slices if self._volumetric else 1)
            if rng.random() < 0.5:  # stacks run from either end
                near, drawn = near[:, ::-1], drawn[:, ::-1]
            planes.append(near.reshape(-1, *near.shape[2:]))
            labels.append(drawn[0])
            x, y = rng.uniform(-_SHIFT, _SHIFT, 2) * settings.side
            warps.append(draw_warp(rng, (float(x), float(y)), any_turn=settings.turn, flip=settings.flip, scales=_SCALES))
            looks.append(draw_look(rng))
        return augment_planes(np.stack(planes), np.stack(labels), warps, looks, settings.side)

    def predictor(self, folder: Path, stage: float) -> Predictor:
        """See training.segmenters.Segmenter."""
        if stage not in self.stages():
            raise ConfigurationError(f"{self.name} has no stage {stage}; it has {', '.join(map(str, self.stages()))}.")
        early = stage in self.schedule.snapshots and stage < 1
        path = folder / (f"snapshot-{stage:.2f}.pt" if early else "average.pt")
        if not path.is_file():
            raise ConfigurationError(f"{path} is missing: fit the segmenter {self.name} first.")
        network = read_weights(self._build(), path)
        output = 0 if early else round((1 - stage) * 100)
        return lambda contrasts: self._predict(network, contrasts, output)

    @torch.inference_mode()
    def _predict(self, network: nn.Module, contrasts: Sequence[npt.NDArray[np.float32]], output: int) -> FloatArray:
        """Class probabilities (class, z, y, x); where windows overlap, their mean."""
        z, y, x = contrasts[0].shape
        frame = central_frame((z, y, x), self.settings.part, self.settings.side)
        planes = seen(contrasts, frame)
        centres = self._centres(z)
        total: FloatArray | None = None
        count = np.zeros(z, np.float32)
        for start in range(0, len(centres), _AT_ONCE):
            some = centres[start : start + _AT_ONCE]
            near = np.stack([neighbours(planes, k, self.settings.slices).reshape(-1, *planes.shape[2:]) for k in some])
            logits = _outputs(network(torch.from_numpy(near).contiguous(memory_format=torch.channels_last)))[output]
            found = logits.softmax(1).numpy()
            total = np.zeros((found.shape[1], z, *found.shape[3:]), np.float32) if total is None else total
            for k, window in zip(some, found, strict=True):
                reach = window.shape[1] // 2
                first, last = max(k - reach, 0), min(k + reach + 1, z)
                total[:, first:last] += window[:, first - k + reach : last - k + reach]
                count[first:last] += 1
        if total is None:
            raise ValueError("a volume has at least one slice")
        return on_source((total / count[:, None, None])[1:], frame)

    def _draw_centre(self, rng: np.random.Generator, depth: int) -> int:
        if not self._volumetric:
            return int(rng.integers(depth))
        reach = self.settings.slices // 2
        return int(rng.integers(reach, depth - reach)) if depth > self.settings.slices else depth // 2

    def _centres(self, depth: int) -> list[int]:
        """Middle slices of the windows that cover a stack."""
        if not self._volumetric:
            return list(range(depth))
        if depth <= self.settings.slices:
            return [depth // 2]
        reach = self.settings.slices // 2
        return sorted({*range(reach, depth - reach, reach + 1), depth - 1 - reach})


def _outputs(result: Tensor | list[Tensor]) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else result


def _loss(network: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy and Dice of the final output, and with less weight of the side outputs."""
    planes, labels = batch
    flat = labels.flatten(1, 2)
    losses = [segmentation_loss(logits.flatten(2, 3), flat) for logits in _outputs(network(planes))]
    final, *sides = losses
    return final + _SIDE_WEIGHT * sum(sides, final.new_zeros(())), {}
