"""MM-WHS 2017 whole-heart MR: mr_train_NNNN_image.nii.gz and mr_train_NNNN_label.nii.gz, also in sub-folders; CT volumes are passed over.

Labels: 500 left ventricle, 600 right ventricle, 420 left atrium, 550 right atrium, 205 myocardium of the left ventricle, 820 ascending
aorta, 850 pulmonary artery. 421 occurs in the challenge's own files at the border of the left atrium and is read as 420.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from training.cohorts import LabelledVolume
from training.cohorts.nifti import Examination, find_all, find_file, load_examinations, stem_of
from training.cohorts.splits import check_folder, split_patients

STRUCTURES: tuple[str, ...] = (
    "left ventricle",
    "right ventricle",
    "left atrium",
    "right atrium",
    "myocardium",
    "ascending aorta",
    "pulmonary artery",
)
CONTRASTS: tuple[str, ...] = ("bssfp",)

_LABELS = {0: 0, 500: 1, 600: 2, 420: 3, 421: 3, 550: 4, 205: 5, 820: 6, 850: 7}


def patients(folder: Path) -> dict[str, tuple[str, ...]]:
    """Patients (mr_train_NNNN) of the folder by split; without lists every 8th is for validation."""
    check_folder(folder)
    return split_patients(folder, (e.patient for e in _examinations(folder)))


def load(folder: Path, names: Sequence[str]) -> list[LabelledVolume]:
    """The volumes of these patients. Every missing or broken file is found first and reported in one ConfigurationError."""
    return load_examinations(_examinations(folder), names)


def _examinations(folder: Path) -> list[Examination]:
    places = {(p.parent, stem_of(p).rsplit("_", 1)[0]) for kind in ("image", "label") for p in find_all(folder, f"**/mr_train_*_{kind}")}
    return [
        Examination(name, name, (find_file(place, f"{name}_image"),), find_file(place, f"{name}_label"), _LABELS)
        for place, name in sorted(places)
    ]
