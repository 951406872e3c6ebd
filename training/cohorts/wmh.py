"""The WMH segmentation challenge 2017, T1 and FLAIR: CASE/pre/{T1,FLAIR}.nii.gz and CASE/wmh.nii.gz, with or without site folders above.

Both contrasts are those of pre/ (bias-corrected, T1 moved to the FLAIR's grid); copies that have dropped orig/ and pre/ and keep T1.nii.gz
and FLAIR.nii.gz beside wmh.nii.gz are read as well. Volumes on different grids, such as orig/3DT1.nii.gz renamed, are refused by case.

Labels: 1 white matter hyperintensity, 2 other pathology. The challenge leaves label 2 out of its scores; here it is background, because it
is no hyperintensity: a query that marks it is wrong there.

A patient is the case's folder below the cohort's, sites joined with "-": Utrecht-0, Amsterdam-GE3T-100.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from training.cohorts import LabelledVolume
from training.cohorts.nifti import Examination, find_all, find_file, load_examinations
from training.cohorts.splits import check_folder, split_patients

STRUCTURES: tuple[str, ...] = ("white matter hyperintensity",)
CONTRASTS: tuple[str, ...] = ("t1", "flair")

_LABELS = {0: 0, 1: 1, 2: 0}


def patients(folder: Path) -> dict[str, tuple[str, ...]]:
    """Patients of the folder by split; without lists every 8th is for validation."""
    check_folder(folder)
    return split_patients(folder, (e.patient for e in _examinations(folder)))


def load(folder: Path, names: Sequence[str]) -> list[LabelledVolume]:
    """The volumes of these patients. Every missing or broken file is found first and reported in one ConfigurationError."""
    return load_examinations(_examinations(folder), names)


def _examinations(folder: Path) -> list[Examination]:
    files = [path for name in ("wmh", "T1", "FLAIR") for path in find_all(folder, f"**/{name}")]
    places = {path.parent.parent if path.parent.name in ("pre", "orig") else path.parent for path in files}
    return [_examination(folder, case) for case in sorted(places - {folder})]


def _examination(folder: Path, case: Path) -> Examination:
    name = "-".join(case.relative_to(folder).parts)
    place = case / "pre" if (case / "pre").is_dir() else case
    return Examination(name, name, (find_file(place, "T1"), find_file(place, "FLAIR")), find_file(case, "wmh"), _LABELS)
