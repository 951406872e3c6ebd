"""Examinations that lie in a cohort's folder as NIfTI files: found as paths, then read and checked.

Arrays in the files are (x, y, z) and positions RAS; here arrays are (z, y, x) and positions LPS.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qcnode.imaging.grid import Grid, Volume
from training.cohorts import LabelledVolume
from training.cohorts.loading import Faults

SAME_PLACE_MM = 0.1  # corners of volumes on one grid: affines are stored in single precision
_MOST_NAMED = 5
_PLAIN = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))


@dataclass(frozen=True, slots=True)
class Examination:
    """Where an examination lies. contrasts: a file each, in the cohort's order.

    label_values: value in the file -> 0 (background) or i + 1 (structure i); any other value is unknown.
    plain: the files do not tell directions or position, only the voxel size; axes x, y, z are taken for L, P, S.
    """

    patient: str
    name: str
    contrasts: tuple[Path, ...]
    labels: Path
    label_values: Mapping[int, int]
    plain: bool = False


def find_file(folder: Path, stem: str) -> Path:
    """`folder`/`stem`.nii.gz, or .nii where only that is there; it may be missing."""
    packed = folder / f"{stem}.nii.gz"
    flat = folder / f"{stem}.nii"
    return flat if flat.is_file() and not packed.is_file() else packed


def find_all(folder: Path, pattern: str) -> list[Path]:
    """Files below `folder` whose name without .nii or .nii.gz matches the glob pattern `pattern`, sorted; hidden ones are none."""
    found = (p for ending in (".nii", ".nii.gz") for p in folder.glob(pattern + ending))
    return sorted(p for p in found if p.is_file() and not p.name.startswith("."))


def stem_of(path: Path) -> str:
    """The file's name without .nii or .nii.gz."""
    return path.name.removesuffix(".gz").removesuffix(".nii")


def load_examinations(found: Iterable[Examination], names: Sequence[str]) -> list[LabelledVolume]:
    """The examinations of these patients, in the order of `names`.

    Raises one ConfigurationError that names every examination that is missing or broken: missing files, no NIfTI, shapes or affines that
    differ, values that are not finite, unknown label values, empty labels.
    """
    faults = Faults()
    loaded: list[LabelledVolume] = []
    by_patient: dict[str, list[Examination]] = {}
    for examination in found:
        by_patient.setdefault(examination.patient, []).append(examination)
    for patient in names:
        if patient not in by_patient:
            faults.note(patient, "no volume")
        examinations = by_patient.get(patient, [])
        for name, count in Counter(e.name for e in examinations).items():
            if count > 1:
                faults.note(name, f"{count} folders hold it")
        for examination in examinations:
            with faults.of(examination.name):
                loaded.append(read_examination(examination))
    faults.tell()
    return loaded


def read_examination(examination: Examination) -> LabelledVolume:
    """The volumes and labels of one examination. Raises ValueError or OSError that says what is wrong with which file."""
    missing = [p.name for p in (*examination.contrasts, examination.labels) if not p.is_file()]
    if missing:
        raise ValueError(f"missing {', '.join(missing)}")
    volumes = [read_volume(path) for path in examination.contrasts]
    drawn = read_volume(examination.labels)
    for path, volume in zip((*examination.contrasts[1:], examination.labels), (*volumes[1:], drawn), strict=True):
        _check_grid(volumes[0].grid, volume.grid, f"{examination.contrasts[0].name} and {path.name}")
    labels = _labels(drawn.array, examination.label_values)
    if examination.plain:
        volumes = [Volume(v.array, Grid(v.grid.size, v.grid.spacing, (0.0, 0.0, 0.0), _PLAIN)) for v in volumes]
    return LabelledVolume(examination.patient, examination.name, tuple(volumes), labels)


def read_volume(path: Path) -> Volume:
    """A NIfTI file's values (z, y, x) and its grid. Raises ValueError or OSError."""
    import nibabel  # an optional dependency: only training reads NIfTI
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    try:
        stored = nibabel.load(path)
        values = np.asarray(stored.dataobj, np.float32)
        affine = np.asarray(stored.affine, float)
    except (ImageFileError, HeaderDataError, WrapStructError, zlib.error, EOFError, TypeError, ValueError) as error:
        raise ValueError(f"{path.name} can not be read: {error}") from error
    if values.ndim != 3:
        raise ValueError(f"{path.name} has {values.ndim} dimensions instead of 3")
    if not np.isfinite(values).all():
        raise ValueError(f"{path.name} holds values that are not finite")
    z, y, x = values.shape[::-1]
    return Volume(np.ascontiguousarray(values.transpose(2, 1, 0)), _grid((z, y, x), affine, path.name))


def _grid(size: tuple[int, int, int], affine: npt.NDArray[np.float64], name: str) -> Grid:
    """The grid of an affine from (x, y, z) indices to RAS mm."""
    columns = np.diag([-1.0, -1.0, 1.0]) @ affine[:3, :3][:, ::-1]
    lengths = np.linalg.norm(columns, axis=0)
    if not np.isfinite(affine).all() or not (lengths > 0).all():
        raise ValueError(f"the affine of {name} gives no voxel size")
    unit = columns / lengths
    if np.abs(unit.T @ unit - np.eye(3)).max() > 1e-3:
        raise ValueError(f"the affine of {name} is sheared")
    z, y, x = (_triple(axis) for axis in unit.T)
    return Grid(size, _triple(lengths), _triple(affine[:3, 3] * (-1, -1, 1)), (z, y, x))


def _triple(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    a, b, c = (round(float(v), 6) + 0.0 for v in values)
    return (a, b, c)


def _check_grid(first: Grid, other: Grid, names: str) -> None:
    if first.size != other.size:
        raise ValueError(f"{names} differ in shape: {first.size} and {other.size} (z, y, x)")
    if not first.same_as(other, SAME_PLACE_MM):
        raise ValueError(f"{names} differ in their affine: they lie on different grids")


def _labels(values: npt.NDArray[np.float32], known: Mapping[int, int]) -> npt.NDArray[np.uint8]:
    """Labels of the cohort out of the file's values."""
    labels = np.zeros(values.shape, np.uint8)
    understood = 0
    for value, label in known.items():
        here = values == value
        labels[here] = label
        understood += int(here.sum())
    if understood < values.size:
        unknown = [v for v in np.unique(values).tolist() if v not in known]
        named = ", ".join(f"{v:g}" for v in unknown[:_MOST_NAMED]) + (" ..." if len(unknown) > _MOST_NAMED else "")
        raise ValueError(f"unknown labels {named}")
    if not labels.any():
        raise ValueError("the labels are empty")
    return labels
