"""A site's own studies: references and queries told by folders, images found by what a SEG names, all faults told at once."""

import re

import numpy as np
import pytest

from qcnode.assess.model_card import Contrast, SeriesRule, StructureFacts
from qcnode.demo.phantom_dicom import CARDIAC_TISSUES, mr_series, seg_of
from qcnode.demo.scanner import Study
from qcnode.errors import ConfigurationError
from qcnode.imaging.grid import Grid, Volume
from training.cohorts.catalogue import cohort_of

GRID = Grid((5, 20, 24), (8.0, 1.5, 1.25), (-10.0, 5.0, 30.0), ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))
COARSE = Grid((5, 10, 12), (8.0, 3.0, 2.5), (-9.375, 5.75, 30.0), GRID.direction)
STRUCTURES = tuple(StructureFacts(name=t.name, codes=(t.code[:2],), label_pattern="(?!)") for t in CARDIAC_TISSUES)
CINE = (Contrast(name="cine", series_rule=SeriesRule(series_description="short axis")),)
TWO = (
    Contrast(name="t1", series_rule=SeriesRule(series_description="t1")),
    Contrast(name="flair", series_rule=SeriesRule(series_description="flair")),
)


def volume(seed=0, grid=GRID):
    return Volume(np.random.default_rng(seed).integers(50, 900, grid.size).astype(np.float32), grid)


def heart(shift=0):
    """Structures (3, z, y, x), drawn on slices 1 to 3 of 5."""
    segmentation = np.zeros((3, *GRID.size), bool)
    for i in range(3):
        segmentation[i, 1:4, 5 + shift : 12 + shift, 4 * i + 2 : 4 * i + 6] = True
    return segmentation


def as_labels(segmentation):
    return sum((i + 1) * part.astype(np.uint8) for i, part in enumerate(segmentation))


def put(folder, *datasets):
    folder.mkdir(parents=True, exist_ok=True)
    for dataset in datasets:
        dataset.save_as(folder / f"{len(list(folder.iterdir())):03}.dcm", enforce_file_format=True)


def patient(folder, name, *, phases=1, phase=0, queries=(1,), enhanced=False):
    """A patient with a reference SEG and queries on one phase of a cine series."""
    study = Study(name)
    images = mr_series(volume(), study, phases=phases, phase=phase, enhanced=enhanced)
    put(folder / name / "export/series1", *images)
    put(folder / name / "reference", seg_of(heart(), images, study, phase=phase, series_number=100))
    for number, shift in enumerate(queries):
        put(folder / name / "query", seg_of(heart(shift), images, study, phase=phase, series_number=200 + number))
    return study, images


@pytest.fixture
def cohort():
    return cohort_of("dicom", STRUCTURES, CINE)


def faults_of(cohort, folder, names):
    with pytest.raises(ConfigurationError) as caught:
        cohort.load(folder, names)
    return str(caught.value).splitlines()[1:]


def test_an_examination_with_its_queries(cohort, tmp_path):
    patient(tmp_path, "a", phases=3, phase=1, queries=(1, 4))
    patient(tmp_path, "b", queries=())
    (tmp_path / "a/export/LIESMICH.txt").write_text("not DICOM")
    assert cohort.patients(tmp_path) == {"train": ("b",), "val": ("a",)}
    first, second = cohort.load(tmp_path, ["a", "b"])
    assert (first.patient, first.name, second.name) == ("a", "a", "b")
    assert tuple(t.name for t in CARDIAC_TISSUES) == cohort.STRUCTURES
    np.testing.assert_array_equal(first.volume.array, volume().array)  # the phase that it was drawn on, empty slices and all
    assert first.volume.grid.same_as(GRID)
    np.testing.assert_array_equal(first.labels, as_labels(heart()))
    for query, shift in zip(first.queries, (1, 4), strict=True):
        np.testing.assert_array_equal(query, as_labels(heart(shift)))
    assert second.queries == ()


def test_labels_follow_the_order_that_is_asked_for(tmp_path):
    patient(tmp_path, "a", queries=())
    cohort = cohort_of("dicom", STRUCTURES, CINE, labels=("left ventricle", "right ventricle"))
    (loaded,) = cohort.load(tmp_path, ["a"])
    assert cohort.STRUCTURES == ("left ventricle", "right ventricle")
    right, myocardium, left = heart()
    np.testing.assert_array_equal(loaded.labels, 2 * right + 1 * left)
    assert myocardium.any()
    with pytest.raises(ConfigurationError, match="aorta"):
        cohort_of("dicom", STRUCTURES, CINE, labels=("aorta",))


def test_enhanced_images(cohort, tmp_path):
    patient(tmp_path, "a", enhanced=True)
    (loaded,) = cohort.load(tmp_path, ["a"])
    np.testing.assert_array_equal(loaded.volume.array, volume().array)
    np.testing.assert_array_equal(loaded.labels, as_labels(heart()))


def test_queries_go_with_the_reference_that_was_drawn_on_their_images(cohort, tmp_path):
    study, images = patient(tmp_path, "a", phases=2, phase=0, queries=(1,))
    put(tmp_path / "a/later/reference", seg_of(heart(2), images, study, phase=1, series_number=101))
    put(tmp_path / "a/later/query", seg_of(heart(3), images, study, phase=1, series_number=301))
    loaded = {v.labels[2].argmax(): v for v in cohort.load(tmp_path, ["a"])}
    assert {v.name for v in loaded.values()} == {"a-1", "a-2"}
    for shift in (0, 2):
        (here,) = [v for v in loaded.values() if np.array_equal(v.labels, as_labels(heart(shift)))]
        np.testing.assert_array_equal(here.queries, [as_labels(heart(shift + 1))])


def test_two_contrasts_by_the_rules_of_the_card(tmp_path):
    study = Study("a")
    flair = mr_series(volume(1), study, series_description="AX FLAIR")
    across = np.broadcast_to(20 * np.arange(12, dtype=np.float32), COARSE.size)
    t1 = mr_series(Volume(across, COARSE), study, series_number=2, series_description="AX T1")
    put(tmp_path / "a/images", *flair, *t1)
    put(tmp_path / "a/reference", seg_of(heart(), flair, study))
    cohort = cohort_of("dicom", STRUCTURES, TWO)
    (loaded,) = cohort.load(tmp_path, ["a"])
    assert cohort.CONTRASTS == ("t1", "flair")
    np.testing.assert_array_equal(loaded.contrasts[1].array, volume(1).array)
    assert loaded.contrasts[0].grid == loaded.contrasts[1].grid
    expected = 10 * np.arange(24) - 5  # the finer voxels lie a quarter of a coarse one beside the coarse ones' centres
    np.testing.assert_allclose(loaded.contrasts[0].array[2, 5, 2:22], expected[2:22], atol=0.01)
    put(tmp_path / "a/images", *mr_series(volume(3), study, series_number=3, series_description="T1 again"))
    assert "2 series fit contrast t1" in faults_of(cohort, tmp_path, ["a"])[0]


def test_all_broken_patients_are_reported_at_once(cohort, tmp_path):
    for name in "abcdefghi":
        patient(tmp_path, name, queries=())
    (tmp_path / "a/reference").rename(tmp_path / "a/references")
    next((tmp_path / "b/export/series1").iterdir()).unlink()
    redraw(tmp_path, "c", np.zeros_like(heart()))
    both = heart()
    both[0] |= both[1]
    redraw(tmp_path, "d", both)
    (tmp_path / "e/export/series1/000.dcm").write_bytes(b"no DICOM")
    study, images = Study("f"), mr_series(volume(), Study("f"), phases=2, series_number=5)
    mixed = seg_of(heart(), images, study, series_number=102)
    mixed.FrameOfReferenceUID = study.uid("elsewhere")
    put(tmp_path / "f/export/series5", *images)
    put(tmp_path / "f/reference", mixed)
    other = seg_of(heart(), mr_series(volume(), Study("g")), Study("g"))
    for segment in other.SegmentSequence:
        segment.SegmentedPropertyTypeCodeSequence[0].CodeValue = "64033007"
    (tmp_path / "g/reference/000.dcm").unlink()
    put(tmp_path / "g/reference", other)
    put(tmp_path / "h/query", seg_of(heart(), mr_series(volume(), Study("x")), Study("x")))
    lines = faults_of(cohort, tmp_path, [*"abcdefghi", "nobody"])
    expected = [
        r"a, references/000.dcm: the SEG lies neither in reference/ nor in query/",
        r"a: no SEG in a folder reference/",
        r"b, reference/000.dcm: 1 of the images that it names are missing",
        r"c, reference/000.dcm: the labels are empty",
        r"d, reference/000.dcm: voxels of myocardium belong to another structure as well",
        r"e, export/series1/000.dcm: .*not a readable DICOM file",
        r"e, reference/000.dcm: 1 of the images that it names are missing",
        r"f, reference/001.dcm: it has another frame of reference than its images",
        r"g, reference/000.dcm: no segment is a structure of the card",
        r"h, query/000.dcm: 0 references were drawn on its images instead of one",
        r"nobody: no SEG in a folder reference/",
    ]
    for pattern in expected:
        assert any(re.search(pattern, line) for line in lines), (pattern, lines)
    assert not any(line.strip().startswith("i") for line in lines)


def redraw(folder, name, segmentation):
    """The patient's reference is replaced by this segmentation."""
    study = Study(name)
    (folder / name / "reference/000.dcm").unlink()
    put(folder / name / "reference", seg_of(segmentation, mr_series(volume(), study), study))


def test_a_series_of_several_volumes_needs_a_seg_that_names_one(cohort, tmp_path):
    study, images = patient(tmp_path, "a", phases=2, queries=())
    (tmp_path / "a/reference/000.dcm").unlink()
    put(tmp_path / "a/reference", seg_of(heart(), images, study, slices=(1, 2, 3)))
    assert "several images per position" in faults_of(cohort, tmp_path, ["a"])[0]
