"""BraTS glioma MR, a folder per case, at any depth: CASE/CASE_{t1,t1ce,t2,flair,seg} until 2021, CASE/CASE-{t1n,t1c,t2w,t2f,seg} from 2023.

The four contrasts lie on one grid; .nii.gz or .nii. Labels: 1 necrosis (NCR, with the non-enhancing core), 2 oedema (ED), and the enhancing
tumour (ET), 4 until 2021 (3 in some copies) and 3 from 2023. In the newer layout 4 is the resection cavity of BraTS 2024, which is no
structure here: such cases are refused. Whole tumour and tumour core are tissues, unions of structures, made by the recipe's card.

Patients: BraTS-GLI-NNNNN-TTT is time point TTT of patient BraTS-GLI-NNNNN, Brats18_SITE_N_T (2017 to 2019) time point T of Brats18_SITE_N;
any other folder is a patient of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from training.cohorts import LabelledVolume
from training.cohorts.nifti import Examination, find_all, find_file, load_examinations
from training.cohorts.splits import check_folder, split_patients

STRUCTURES: tuple[str, ...] = ("necrosis", "oedema", "enhancing tumour")
CONTRASTS: tuple[str, ...] = ("t1", "t1c", "t2", "flair")

_OLD = ("t1", "t1ce", "t2", "flair")
_NEW = ("t1n", "t1c", "t2w", "t2f")
_OLD_LABELS = {0: 0, 1: 1, 2: 2, 3: 3, 4: 3}
_NEW_LABELS = {0: 0, 1: 1, 2: 2, 3: 3}
_TIME_POINT = re.compile(r"(?P<patient>.+-\d{4,5})-\d{3}|(?P<older>brats1[789]_.+)_\d+", re.IGNORECASE)


def patients(folder: Path) -> dict[str, tuple[str, ...]]:
    """Patients of the folder by split; without lists every 8th is for validation."""
    check_folder(folder)
    return split_patients(folder, (e.patient for e in _examinations(folder)))


def load(folder: Path, names: Sequence[str]) -> list[LabelledVolume]:
    """All time points of these patients. Every missing or broken file is found first and reported in one ConfigurationError."""
    return load_examinations(_examinations(folder), names)


def _examinations(folder: Path) -> list[Examination]:
    return [_examination(case) for case in sorted({path.parent for path in find_all(folder, "**/*")} - {folder})]


def _examination(case: Path) -> Examination:
    newer = any(path.name.startswith(f"{case.name}-") for path in find_all(case, "*"))
    separator, names, values = ("-", _NEW, _NEW_LABELS) if newer else ("_", _OLD, _OLD_LABELS)
    contrasts = tuple(find_file(case, f"{case.name}{separator}{name}") for name in names)
    return Examination(_patient(case.name), case.name, contrasts, find_file(case, f"{case.name}{separator}seg"), values)


def _patient(case: str) -> str:
    parts = _TIME_POINT.fullmatch(case)
    return case if parts is None else parts["patient"] or parts["older"]
