"""Labelled volumes to learn from; one file here is one data set's layout.

A cohort is a module with STRUCTURES (what label i + 1 shows), CONTRASTS (names of the volumes of a case, in order), `patients(folder)`
(the patients of each split, "train" and "val") and `load(folder, names)` (their volumes; every missing or broken file is found first and
reported in one ConfigurationError).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from qcnode.imaging.grid import Volume


@dataclass(frozen=True, slots=True)
class LabelledVolume:
    """The volumes of one examination and its expert labels.

    contrasts: in the order of the cohort's CONTRASTS, all on one grid. labels: (z, y, x), 0 background, i + 1 is STRUCTURES[i].
    queries: labels of query segmentations that came with the examination, where a site has some.
    """

    patient: str
    name: str
    contrasts: tuple[Volume, ...]
    labels: npt.NDArray[np.uint8]
    queries: tuple[npt.NDArray[np.uint8], ...] = ()

    @property
    def volume(self) -> Volume:
        """The first contrast."""
        return self.contrasts[0]


class Cohort(Protocol):
    """What a module of this package offers."""

    STRUCTURES: tuple[str, ...]
    CONTRASTS: tuple[str, ...]

    def patients(self, folder: Path) -> dict[str, tuple[str, ...]]:
        """Patients by split, "train" and "val"; a patient is in one split with everything of theirs."""

    def load(self, folder: Path, names: Sequence[str]) -> list[LabelledVolume]:
        """All volumes of these patients."""
