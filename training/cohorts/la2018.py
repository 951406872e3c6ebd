"""The 2018 Atrial Segmentation Challenge, late-gadolinium MR, as flat files: CASE.nii.gz and CASE_gt.nii.gz; 1 is the left atrium.

Arrays in the files are (x, y, z) and run to L, P and S, as the anatomy shows; the files do not tell. Without lists (see
training.cohorts.splits) every 8th case in sorted order is for validation. Each case counts as a patient: the challenge has 154 volumes of
60 patients (Xiong et al., Medical Image Analysis 67, 2021), and its names do not tell which belong together, so that a patient may be on
both sides of a split.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from training.cohorts import LabelledVolume
from training.cohorts.nifti import Examination, find_all, find_file, load_examinations, stem_of
from training.cohorts.splits import check_folder, split_patients

STRUCTURES: tuple[str, ...] = ("left atrium",)
CONTRASTS: tuple[str, ...] = ("lge",)


def patients(folder: Path) -> dict[str, tuple[str, ...]]:
    """Cases of the folder by split."""
    check_folder(folder)
    return split_patients(folder, (e.patient for e in _examinations(folder)))


def load(folder: Path, names: Sequence[str]) -> list[LabelledVolume]:
    """The volumes of these cases. Every missing or broken file is found first and reported in one ConfigurationError."""
    return load_examinations(_examinations(folder), names)


def _examinations(folder: Path) -> list[Examination]:
    names = sorted({stem_of(path).removesuffix("_gt") for path in find_all(folder, "*")})
    return [
        Examination(name, name, (find_file(folder, name),), find_file(folder, f"{name}_gt"), {0: 0, 1: 1}, plain=True) for name in names
    ]
