"""Sources of realistic errors: segmenters that are kept as they were along their training. One file here is one kind of network.

Each sees the central part of the field of view (`SegmenterSettings.part`) as a square of `side` x `side`; what lies outside is background.
Nothing here knows which organ it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from training.cohorts import LabelledVolume
from training.schedule import Frozen, Schedule

FloatArray = npt.NDArray[np.float32]
Family = Literal["dynunet-2d", "dynunet-3d", "voxresnet-2d", "random-forest", "deepmedic", "transformer"]
Predictor = Callable[[Sequence[FloatArray]], FloatArray]
Report = Callable[[int, int, dict[str, float]], None]

KEPT_OUT: tuple[Family, ...] = ("deepmedic",)
"""Families that no quality network learns from, so that they can show how it generalises."""


class Forest(Frozen):
    """A random forest: `voxels` are drawn per volume, half of them labelled; the trees are cut at each of `depths` in turn."""

    trees: int = Field(default=16, gt=0)
    voxels: int = Field(default=400, gt=1)
    depths: tuple[int, ...] = Field(default=(2, 4, 6, 8, 10, 15, 20, 24, 36, 40), min_length=1)


class SegmenterSettings(Frozen):
    """One segmenter of a recipe.

    part: side of the square in the middle of the field of view that is seen, as a fraction of the longer side of a slice.
    slices: neighbours given together (2-D) or the depth of a window (3-D); odd. fold: squares of fold x fold pixels become channels at the
    input and pixels again at the output, so that the network works at a lower resolution. widths: channels per level. turn, flip: how often
    a training sample is turned by any angle, and mirrored.
    """

    family: Family
    side: int = Field(default=112, gt=0)
    part: float = Field(default=0.65, gt=0, le=1)
    slices: int = Field(default=3, gt=0)
    fold: int = Field(default=2, gt=0)
    widths: tuple[int, ...] = ()
    turn: float = Field(default=0.1, ge=0, le=1)
    flip: float = Field(default=0.1, ge=0, le=1)
    schedule: Schedule | None = None
    forest: Forest | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.slices % 2 == 0:
            raise ValueError("slices must be odd: there is one in the middle")
        if self.family == "random-forest":
            if self.forest is None or self.schedule is not None:
                raise ValueError("a random forest has `forest` and no schedule")
        elif self.schedule is None or not self.widths or self.forest is not None:
            raise ValueError("a network has a schedule and widths and no `forest`")
        else:
            _check_snapshots(self.schedule)
        return self


def _check_snapshots(schedule: Schedule) -> None:
    """Every snapshot must be a step of its own and leave room for the stages of side outputs, which lie just below 1."""
    early = [s for s in schedule.snapshots if s < 1]
    steps = {round(s * schedule.steps) for s in early} - {0, schedule.steps}
    if len(steps) < len(early) or any(s > 0.9 or round(s, 2) != s for s in early):
        raise ValueError("snapshots are fractions up to 0.9 with two decimals, each at a step of its own")


class Segmenter(Protocol):
    """A segmenter that can be fitted, and asked for what it makes of a volume at any stage of its training."""

    name: str
    kept_out: bool

    def fit(self, volumes: Sequence[LabelledVolume], folder: Path, *, seed: int, report: Report) -> None:
        """Fit on these volumes; weights of every stage go into `folder`. A killed fit goes on from there; a finished one returns at once.

        report: called with the steps done, all steps and values to show.
        """

    def stages(self) -> tuple[float, ...]:
        """How far trained, above 0 to 1, in order."""

    def predictor(self, folder: Path, stage: float) -> Predictor:
        """The segmenter as it was at `stage`: raw contrasts (z, y, x) of one volume -> class probabilities (class, z, y, x).

        The probabilities are on the grid of the contrasts; class 0 is background. Raises ConfigurationError where the weights are missing.
        """


def make_segmenter(settings: SegmenterSettings, *, contrasts: int, classes: int) -> Segmenter:
    """The segmenter of these settings; classes counts the background."""
    # imported here because the recipe needs the settings and what fits the networks needs the recipe
    from training.segmenters import deepmedic, dynunet, random_forest, transformer, voxresnet
    from training.segmenters.field import FieldSegmenter

    if settings.family == "random-forest":
        return random_forest.ForestSegmenter(settings, contrasts=contrasts, classes=classes)
    build = {
        "dynunet-2d": dynunet.planar,
        "dynunet-3d": dynunet.volumetric,
        "voxresnet-2d": voxresnet.VoxResNet2D,
        "deepmedic": deepmedic.TwoPaths,
        "transformer": transformer.swin,
    }[settings.family]
    return FieldSegmenter(settings, build, contrasts=contrasts, classes=classes)
