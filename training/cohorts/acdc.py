"""ACDC short-axis cine MR as flat files: patientNNN_frameMM.nii.gz and patientNNN_frameMM_gt.nii.gz, and val.list beside them.

Arrays in the files are (x, y, z), base first. Labels: 1 right ventricle, 2 myocardium, 3 left ventricle. Some copies have lost their voxel
size and carry a nominal one; the spacing that is returned is the file's. Directions are a plain L, P, S: the files do not tell more.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qcnode.errors import ConfigurationError
from qcnode.imaging.grid import Grid, Volume
from training.cohorts import LabelledVolume

STRUCTURES = ("right ventricle", "myocardium", "left ventricle")
CONTRASTS = ("cine",)


def patients(folder: Path) -> dict[str, tuple[str, ...]]:
    """Patients of the folder by split, "train" and "val"; a patient is in one split with all its volumes."""
    if not folder.is_dir():
        raise ConfigurationError(f"No folder {folder}: give the data folder with --data or in QCNODE_REALDATA (it holds acdc/).")
    found = sorted({path.name.split("_")[0] for path in folder.glob("patient*_frame*.nii.gz")})
    listed = folder / "val.list"
    if not found or not listed.is_file():
        raise ConfigurationError(f"{folder} holds {len(found)} patients and {'a' if listed.is_file() else 'no'} val.list; both are needed.")
    validation = {line.strip() for line in listed.read_text().splitlines() if line.strip()}
    missing = sorted(validation - set(found))
    if missing:
        raise ConfigurationError(f"val.list names patients without files: {', '.join(missing)}")
    return {"train": tuple(p for p in found if p not in validation), "val": tuple(p for p in found if p in validation)}


def load(folder: Path, names: Sequence[str]) -> list[LabelledVolume]:
    """All volumes of these patients. Every missing or broken file is found first and reported in one ConfigurationError."""
    broken: list[str] = []
    loaded: list[LabelledVolume] = []
    for patient in names:
        frames = sorted(p for p in folder.glob(f"{patient}_frame*.nii.gz") if not p.name.endswith("_gt.nii.gz"))
        if not frames:
            broken.append(f"{patient}: no volume")
        for path in frames:
            try:
                loaded.append(_read(patient, path))
            except (OSError, EOFError, ValueError) as error:
                broken.append(f"{path.name}: {error}")
    if broken:
        raise ConfigurationError("These cases can not be used:\n  " + "\n  ".join(broken))
    return loaded


def _read(patient: str, path: Path) -> LabelledVolume:
    values, spacing = _array(path)
    labels, _ = _array(path.with_name(path.name.replace(".nii.gz", "_gt.nii.gz")))
    if values.shape != labels.shape:
        raise ValueError(f"volume {values.shape} and labels {labels.shape} differ in shape")
    unknown = sorted(set(np.unique(labels).tolist()) - {0, 1, 2, 3})
    if unknown:
        raise ValueError(f"unknown labels {unknown}")
    z, y, x = values.shape
    grid = Grid((z, y, x), spacing, (0.0, 0.0, 0.0), ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))
    return LabelledVolume(patient, path.name.removesuffix(".nii.gz"), (Volume(values.astype(np.float32), grid),), labels.astype(np.uint8))


def _array(path: Path) -> tuple[npt.NDArray[np.float32], tuple[float, float, float]]:
    """Values (z, y, x) and spacing (z, y, x) in mm of a NIfTI file."""
    import nibabel  # an optional dependency: only training reads NIfTI
    from nibabel.filebasedimages import ImageFileError

    try:
        stored = nibabel.load(path)
        values = np.asarray(stored.dataobj, np.float32)
    except (ImageFileError, zlib.error) as error:
        raise ValueError(str(error)) from error
    if values.ndim != 3:
        raise ValueError(f"{values.ndim} dimensions instead of 3")
    x, y, z = (float(v) for v in stored.header.get_zooms()[:3])
    return np.ascontiguousarray(values.transpose(2, 1, 0)), (z, y, x)
