"""ACDC: patient-level splits, and every broken file named before anything is computed."""

import numpy as np
import pytest

from qcnode.errors import ConfigurationError
from training.cohorts import acdc

nibabel = pytest.importorskip("nibabel")


def write(folder, name, shape=(12, 10, 4), labels=3, label_shape=None):
    rng = np.random.default_rng(0)
    for suffix, array in (
        ("", rng.integers(0, 255, shape, np.uint8)),
        ("_gt", rng.integers(0, labels + 1, label_shape or shape, np.uint8)),
    ):
        nibabel.save(nibabel.Nifti1Image(array, np.diag([1.5, 1.5, 10, 1])), folder / f"{name}{suffix}.nii.gz")


@pytest.fixture
def folder(tmp_path):
    for patient in ("patient001", "patient002", "patient003"):
        write(tmp_path, f"{patient}_frame01")
    (tmp_path / "val.list").write_text("patient002\n")
    return tmp_path


def test_splits_and_axes(folder):
    assert acdc.patients(folder) == {"train": ("patient001", "patient003"), "val": ("patient002",)}
    (loaded,) = acdc.load(folder, ["patient002"])
    assert loaded.labels.shape == loaded.volume.grid.size == (4, 10, 12)
    assert loaded.volume.grid.spacing == (10.0, 1.5, 1.5)


def test_all_broken_files_are_reported_at_once(folder):
    write(folder, "patient001_frame01", label_shape=(12, 10, 5))
    write(folder, "patient002_frame01", labels=7)
    (folder / "patient003_frame01.nii.gz").write_bytes(b"not gzip")
    with pytest.raises(ConfigurationError) as caught:
        acdc.load(folder, ["patient001", "patient002", "patient003", "patient009"])
    for text in ("patient001_frame01", "unknown labels", "patient003_frame01", "patient009: no volume"):
        assert text in str(caught.value)


def test_missing_folder_or_split(folder, tmp_path):
    with pytest.raises(ConfigurationError, match="QCNODE_REALDATA"):
        acdc.patients(tmp_path / "nowhere")
    (folder / "val.list").write_text("patient077\n")
    with pytest.raises(ConfigurationError, match="patient077"):
        acdc.patients(folder)


@pytest.mark.realdata
def test_the_real_cohort(realdata):
    split = acdc.patients(realdata / "acdc")
    assert (len(split["train"]), len(split["val"])) == (70, 10)
    assert not set(split["train"]) & set(split["val"])
    assert len(acdc.load(realdata / "acdc", split["val"])) == 20
