"""ACDC short-axis cine MR as flat files: patientNNN_frameMM.nii.gz and patientNNN_frameMM_gt.nii.gz, and val.list beside them.

Arrays in the files are (x, y, z), base first. Labels: 1 right ventricle, 2 myocardium, 3 left ventricle. Some copies have lost their voxel
size and carry a nominal one; the spacing that is returned is the file's. Directions are a plain L, P, S: the files do not tell more.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qcnode.errors import ConfigurationError
from training.cohorts import LabelledVolume
from training.cohorts.nifti import Examination, find_all, find_file, load_examinations, stem_of
from training.cohorts.splits import check_folder, split_patients

STRUCTURES: tuple[str, ...] = ("right ventricle", "myocardium", "left ventricle")
CONTRASTS: tuple[str, ...] = ("cine",)


def patients(folder: Path) -> dict[str, tuple[str, ...]]:
    """Patients of the folder by split (see training.cohorts.splits); val.list is needed, so that everybody has the usual split."""
    check_folder(folder)
    found = {e.patient for e in _examinations(folder)}
    listed = (folder / "val.list").is_file()
    if not found or not listed:
        raise ConfigurationError(f"{folder} holds {len(found)} patients and {'a' if listed else 'no'} val.list; both are needed.")
    return split_patients(folder, found)


def load(folder: Path, names: Sequence[str]) -> list[LabelledVolume]:
    """All volumes of these patients. Every missing or broken file is found first and reported in one ConfigurationError."""
    return load_examinations(_examinations(folder), names)


def _examinations(folder: Path) -> list[Examination]:
    """One per frame of which the volume or the labels are there."""
    names = sorted({stem_of(path).removesuffix("_gt") for path in find_all(folder, "patient*_frame*")})
    values = {0: 0, 1: 1, 2: 2, 3: 3}
    return [
        Examination(name.split("_")[0], name, (find_file(folder, name),), find_file(folder, f"{name}_gt"), values, plain=True)
        for name in names
    ]
