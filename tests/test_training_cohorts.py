"""Cohorts of NIfTI files: found, split by patient, and every broken file named before anything is computed."""

import gzip
from dataclasses import dataclass

import numpy as np
import pytest

from qcnode.errors import ConfigurationError
from training.cohorts import acdc, brats, la2018, mmwhs, wmh
from training.cohorts.catalogue import NAMES, cohort_of
from training.cohorts.nifti import read_volume
from training.cohorts.splits import split_patients

nibabel = pytest.importorskip("nibabel")

SHAPE = (12, 10, 4)  # x, y, z
SPACING = np.diag([1.5, 1.5, 10, 1])


@dataclass(frozen=True)
class Layout:
    """A cohort's files of patient `i`: contrasts and labels below the cohort's folder, what the case is called, label values in order."""

    cohort: object
    patient: str
    name: str
    contrasts: tuple[str, ...]
    labels: str
    values: tuple[int, ...]

    def of(self, i):
        return [text.format(i=i) for text in self.contrasts], self.labels.format(i=i), self.name.format(i=i), self.patient.format(i=i)


def _brats(case, separator, names, values):
    files = tuple(f"HGG/{case}/{case}{separator}{name}.nii.gz" for name in names)
    return brats, case, files, f"HGG/{case}/{case}{separator}seg.nii.gz", values


def _layout(cohort, name, contrasts, labels, values, patient=None):
    return Layout(cohort, patient or name, name, contrasts, labels, values)


LAYOUTS = {
    "acdc": _layout(
        acdc, "patient{i:03}_frame01", ("patient{i:03}_frame01.nii.gz",), "patient{i:03}_frame01_gt.nii.gz", (1, 2, 3), "patient{i:03}"
    ),
    "la2018": _layout(la2018, "CASE{i}", ("CASE{i}.nii.gz",), "CASE{i}_gt.nii.gz", (1,)),
    "brats 2020": _layout(*_brats("BraTS20_Training_{i:03}", "_", ("t1", "t1ce", "t2", "flair"), (1, 2, 4))),
    "brats 2023": _layout(*_brats("BraTS-GLI-{i:05}-000", "-", ("t1n", "t1c", "t2w", "t2f"), (1, 2, 3)), patient="BraTS-GLI-{i:05}"),
    "mmwhs": _layout(
        mmwhs, "mr_train_{i}", ("mr_train_{i}_image.nii.gz",), "mr_train_{i}_label.nii.gz", (500, 600, 420, 550, 205, 820, 850)
    ),
    "wmh": _layout(wmh, "Utrecht-{i}", ("Utrecht/{i}/pre/T1.nii.gz", "Utrecht/{i}/pre/FLAIR.nii.gz"), "Utrecht/{i}/wmh.nii.gz", (1,)),
    "wmh flat": _layout(wmh, "{i}", ("{i}/T1.nii.gz", "{i}/FLAIR.nii.gz"), "{i}/wmh.nii.gz", (1,)),
}
NIFTI = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


def save(path, array, affine=SPACING):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)


def drawn(values, shape=SHAPE):
    """Labels in the file that hold every value."""
    labels = np.zeros(shape, np.int16)
    for i, value in enumerate(values):
        labels[i + 1, 2:5, 1] = value
    return labels


def write(folder, layout, i, labels=None):
    contrasts, labels_path, _, _ = layout.of(i)
    rng = np.random.default_rng(i)
    for path in contrasts:
        save(folder / path, rng.integers(0, 255, SHAPE, np.uint8))
    save(folder / labels_path, drawn(layout.values) if labels is None else labels)


def tree(folder, layout, count, validation=(2,)):
    for i in range(1, count + 1):
        write(folder, layout, i)
    (folder / "val.list").write_text("".join(layout.patient.format(i=i) + "\n" for i in validation))
    return folder


def faults_of(layout, folder, patients):
    with pytest.raises(ConfigurationError) as caught:
        layout.cohort.load(folder, patients)
    lines = str(caught.value).splitlines()[1:]
    return {line.split(": ", 1)[0].strip(): line.split(": ", 1)[1] for line in lines}


@NIFTI
def test_a_cohort_is_split_and_read(layout, tmp_path):
    folder = tree(tmp_path, layout, 3)
    one, two, three = (layout.patient.format(i=i) for i in (1, 2, 3))
    assert layout.cohort.patients(folder) == {"train": (one, three), "val": (two,)}
    (loaded,) = layout.cohort.load(folder, [two])
    assert (loaded.patient, loaded.name, loaded.queries) == (two, layout.name.format(i=2), ())
    assert len(loaded.contrasts) == len(layout.cohort.CONTRASTS)
    assert len(layout.values) == len(layout.cohort.STRUCTURES)
    for volume, path in zip(loaded.contrasts, layout.of(2)[0], strict=True):
        stored = np.asarray(nibabel.load(folder / path).dataobj)
        np.testing.assert_array_equal(volume.array, stored.transpose(2, 1, 0))
        assert volume.grid.size == (4, 10, 12)
        assert volume.grid.spacing == (10.0, 1.5, 1.5)
    for i in range(len(layout.values)):
        assert (loaded.labels[1, 2:5, i + 1] == i + 1).all()
    assert loaded.labels.dtype == np.uint8
    assert (loaded.labels > 0).sum() == 3 * len(layout.values)


@NIFTI
def test_all_broken_cases_are_reported_at_once(layout, tmp_path):
    folder = tree(tmp_path, layout, 9)
    names = [layout.name.format(i=i) for i in range(10)]
    first, labels = ([""] * 10, [""] * 10)
    for i in range(1, 10):
        contrasts, labels[i], _, _ = layout.of(i)
        first[i] = contrasts[0]
    (folder / labels[1]).unlink()
    save(folder / labels[2], drawn((*layout.values, 77)))
    save(folder / labels[3], drawn(layout.values, (12, 10, 5)))
    save(folder / labels[4], drawn(layout.values), np.diag([1.5, 1.5, 9, 1]))
    save(folder / first[5], np.full(SHAPE, np.nan, np.float32))
    save(folder / labels[6], drawn(()))
    (folder / first[7]).write_bytes(b"not gzip")
    packed = (folder / first[8]).read_bytes()
    (folder / first[8]).write_bytes(packed[: len(packed) // 2])
    faults = faults_of(layout, folder, [layout.patient.format(i=i) for i in range(1, 10)] + ["nobody"])
    expected = {
        names[1]: f"missing {labels[1].split('/')[-1]}",
        names[2]: "unknown labels 77",
        names[3]: "differ in shape",
        names[4]: "differ in their affine",
        names[5]: "not finite",
        names[6]: "the labels are empty",
        names[7]: "can not be read",
        names[8]: "can not be read",
        "nobody": "no volume",
    }
    assert set(faults) == set(expected)  # patient 9 is whole
    for name, text in expected.items():
        assert text in faults[name], name


@NIFTI
def test_a_case_without_its_volume_is_missed(layout, tmp_path):
    folder = tree(tmp_path, layout, 2)
    contrasts, _, name, patient = layout.of(1)
    for path in contrasts:
        (folder / path).unlink()
    assert patient in layout.cohort.patients(folder)["train"]
    (fault,) = faults_of(layout, folder, [patient]).items()
    assert fault == (name, "missing " + ", ".join(path.split("/")[-1] for path in contrasts))


def test_missing_folder_or_split(tmp_path):
    for layout in LAYOUTS.values():
        with pytest.raises(ConfigurationError, match="QCNODE_REALDATA"):
            layout.cohort.patients(tmp_path / "nowhere")
    folder = tree(tmp_path, LAYOUTS["acdc"], 2)
    (folder / "val.list").unlink()
    with pytest.raises(ConfigurationError, match=r"2 patients and no val\.list"):
        acdc.patients(folder)


def test_values_that_are_no_whole_labels_are_unknown(tmp_path):
    folder = tree(tmp_path, LAYOUTS["la2018"], 2)
    save(folder / "CASE1_gt.nii.gz", np.linspace(0, 1, np.prod(SHAPE), dtype=np.float32).reshape(SHAPE))
    assert faults_of(LAYOUTS["la2018"], folder, ["CASE1"])["CASE1"].endswith(" ...")


def test_hidden_files_are_no_cases(tmp_path):
    folder = tree(tmp_path, LAYOUTS["la2018"], 3)
    (folder / "._CASE1.nii.gz").write_bytes(b"a Mac was here")
    assert sum(map(len, la2018.patients(folder).values())) == 3


def test_lists_decide(tmp_path):
    found = [f"p{i:02}" for i in range(18)]
    assert split_patients(tmp_path, found)["val"] == ("p00", "p08", "p16")
    (tmp_path / "test.list").write_text("p00\np05\n")
    split = split_patients(tmp_path, found)
    assert split["test"] == ("p00", "p05")
    assert split["val"] == ("p01", "p10")
    assert sorted(p for members in split.values() for p in members) == found
    (tmp_path / "train.list").write_text("p02\n\np03\n")
    assert len(split_patients(tmp_path, found)["val"]) == 14
    (tmp_path / "val.list").write_text("p04\n")
    assert split_patients(tmp_path, found) == {"train": ("p02", "p03"), "val": ("p04",), "test": ("p00", "p05")}
    (tmp_path / "val.list").write_text("p03\nsomebody\n")
    with pytest.raises(ConfigurationError, match=r"somebody\n.*p03 is in train.list and in val.list"):
        split_patients(tmp_path, found)
    with pytest.raises(ConfigurationError, match="no patient"):
        split_patients(tmp_path, [])


def test_time_points_stay_with_their_patient(tmp_path):
    layout = LAYOUTS["brats 2023"]
    folder = tree(tmp_path, layout, 2)
    later = [text.format(i=1).replace("00001-000", "00001-001") for text in (*layout.contrasts, layout.labels)]
    for path in later:
        save(folder / path, drawn((1, 2, 3)))
    assert brats.patients(folder)["train"] == ("BraTS-GLI-00001",)
    assert [v.name for v in brats.load(folder, ["BraTS-GLI-00001"])] == ["BraTS-GLI-00001-000", "BraTS-GLI-00001-001"]
    write(folder, _layout(*_brats("Brats18_TCIA02_135_1", "_", ("t1", "t1ce", "t2", "flair"), (1, 2, 4))), 0)
    (folder / "val.list").unlink()
    assert "Brats18_TCIA02_135" in brats.patients(folder)["val"] + brats.patients(folder)["train"]


def test_the_resection_cavity_is_no_enhancing_tumour(tmp_path):
    layout = LAYOUTS["brats 2023"]
    folder = tree(tmp_path, layout, 2)
    write(folder, layout, 1, labels=drawn((1, 2, 4)))
    assert "unknown labels 4" in faults_of(layout, folder, ["BraTS-GLI-00001"])["BraTS-GLI-00001-000"]


def test_a_case_in_two_folders_is_refused(tmp_path):
    layout = LAYOUTS["brats 2020"]
    folder = tree(tmp_path, layout, 2)
    (folder / "LGG").mkdir()
    (folder / "HGG/BraTS20_Training_001").rename(folder / "LGG/BraTS20_Training_001")
    write(folder, layout, 1)
    assert "2 folders" in faults_of(layout, folder, ["BraTS20_Training_001"])["BraTS20_Training_001"]


def test_uncompressed_files_serve_as_well(tmp_path):
    folder = tree(tmp_path, LAYOUTS["brats 2020"], 1, validation=(1,))
    for path in folder.rglob("*.nii.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert len(brats.load(folder, ["BraTS20_Training_001"])) == 1


def test_the_left_atrium_has_a_second_value_in_the_challenge_files(tmp_path):
    folder = tree(tmp_path, LAYOUTS["mmwhs"], 1, validation=(1,))
    labels = drawn(LAYOUTS["mmwhs"].values)
    labels[3, 2, 1] = 421
    save(folder / "mr_train_1_label.nii.gz", labels)
    (loaded,) = mmwhs.load(folder, ["mr_train_1"])
    assert loaded.labels[1, 2, 3] == mmwhs.STRUCTURES.index("left atrium") + 1


def test_other_pathology_is_background(tmp_path):
    folder = tree(tmp_path, LAYOUTS["wmh"], 1, validation=(1,))
    save(folder / "Utrecht/1/wmh.nii.gz", drawn((1, 2)))
    (loaded,) = wmh.load(folder, ["Utrecht-1"])
    assert np.unique(loaded.labels).tolist() == [0, 1]
    assert (loaded.labels[1, 2:5, 2] == 0).all()
    save(folder / "Utrecht/1/wmh.nii.gz", drawn((2,)))
    assert "empty" in faults_of(LAYOUTS["wmh"], folder, ["Utrecht-1"])["Utrecht-1"]


def test_a_flair_on_another_grid_is_refused(tmp_path):
    folder = tree(tmp_path, LAYOUTS["wmh"], 2)
    save(folder / "Utrecht/1/pre/FLAIR.nii.gz", np.ones(SHAPE, np.uint8), np.diag([1.2, 1.2, 3, 1]))
    assert "T1.nii.gz and FLAIR.nii.gz differ in their affine" in faults_of(LAYOUTS["wmh"], folder, ["Utrecht-1", "Utrecht-2"])["Utrecht-1"]


def test_directions_become_lps(tmp_path):
    # x runs to the right, y to the back, z upwards and tilted: RAS (+, -, +)
    turn = np.array([[1.0, 0, 0], [0, -0.8, 0.6], [0, 0.6, 0.8]])
    affine = np.eye(4)
    affine[:3, :3] = turn * (1.5, 2, 5)
    affine[:3, 3] = (10, -20, 30)
    save(tmp_path / "v.nii.gz", np.zeros(SHAPE, np.uint8), affine)
    grid = read_volume(tmp_path / "v.nii.gz").grid
    assert grid.size == (4, 10, 12)
    np.testing.assert_allclose(grid.spacing, (5, 2, 1.5), atol=1e-5)
    assert grid.origin == (-10, 20, 30)
    np.testing.assert_allclose(grid.direction, ((0, -0.6, 0.8), (0, 0.8, 0.6), (-1, 0, 0)), atol=1e-5)
    ras = affine @ (3, 2, 1, 1)
    np.testing.assert_allclose((grid.affine @ (1, 2, 3, 1))[:3], ras[:3] * (-1, -1, 1), atol=1e-4)


def test_affines_that_are_no_grid_are_refused(tmp_path):
    sheared = SPACING.copy()
    sheared[0, 1] = 0.5
    save(tmp_path / "sheared.nii.gz", np.zeros(SHAPE, np.uint8), sheared)
    save(tmp_path / "four.nii.gz", np.zeros((*SHAPE, 2), np.uint8))
    for name, text in (("sheared", "sheared"), ("four", "4 dimensions")):
        with pytest.raises(ValueError, match=text):
            read_volume(tmp_path / f"{name}.nii.gz")


def test_the_catalogue(tmp_path):
    assert set(NAMES) == {"acdc", "brats", "dicom", "la2018", "mmwhs", "wmh"}
    for name in set(NAMES) - {"dicom"}:
        assert cohort_of(name).CONTRASTS
    with pytest.raises(ConfigurationError, match="known are acdc, brats, dicom, la2018, mmwhs, wmh"):
        cohort_of("adcc")
    with pytest.raises(ConfigurationError, match="card"):
        cohort_of("dicom")


@pytest.mark.realdata
def test_the_real_acdc(realdata):
    split = acdc.patients(realdata / "acdc")
    assert (len(split["train"]), len(split["val"])) == (70, 10)
    assert not set(split["train"]) & set(split["val"])
    assert len(acdc.load(realdata / "acdc", split["val"])) == 20


@pytest.mark.realdata
def test_the_real_atria(realdata):
    split = la2018.patients(realdata / "la2018")
    assert (len(split["train"]), len(split["val"])) == (70, 10)
    loaded = la2018.load(realdata / "la2018", split["val"])
    assert len(loaded) == 10
    assert all(v.labels.max() == 1 and v.volume.grid.spacing == (1.25, 1.25, 1.25) for v in loaded)
