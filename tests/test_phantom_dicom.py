"""Volumes written as DICOM read back as what they were: values, geometry, phase, segments."""

import subprocess
from collections.abc import Callable, Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread, dcmwrite

from qcnode.case import FrameRef
from qcnode.demo.phantom import Phantom, make_phantom
from qcnode.demo.phantom_dicom import CARDIAC_TISSUES, mr_series, phantom_study, seg_of
from qcnode.demo.scanner import Study
from qcnode.imaging.grid import Grid, Volume, resample
from qcnode.imaging.read_seg import read_segmentation
from qcnode.imaging.read_series import read_series

STUDY = Study("test")
PHASES = 3
TRUE_PHASE = 2


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(11)


def write(folder: Path, datasets: Sequence[Dataset]) -> list[FrameRef]:
    refs = []
    for i, dataset in enumerate(datasets):
        path = folder / f"{i:03}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        refs += [FrameRef(path, dataset.SOPInstanceUID, n + 1) for n in range(int(dataset.get("NumberOfFrames", 1)))]
    return refs


def of_phase(refs: list[FrameRef], phase: int) -> list[FrameRef]:
    slices = len(refs) // PHASES
    return refs[phase * slices : (phase + 1) * slices]


@pytest.mark.parametrize("enhanced", [False, True])
def test_true_phase_reads_back_exactly(phantom: Phantom, tmp_path: Path, enhanced: bool) -> None:
    refs = write(tmp_path, mr_series(phantom.volume, STUDY, phases=PHASES, phase=TRUE_PHASE, enhanced=enhanced))
    read = read_series(of_phase(refs, TRUE_PHASE)).volume
    assert np.abs(np.sort(read.grid.corners(), axis=0) - np.sort(phantom.volume.grid.corners(), axis=0)).max() < 0.001
    back = resample(read.array, read.grid, phantom.volume.grid, nearest=True)
    np.testing.assert_array_equal(back, np.rint(phantom.volume.array))


@pytest.mark.parametrize("enhanced", [False, True])
def test_other_phases_are_other_pictures_of_the_same_place(phantom: Phantom, tmp_path: Path, enhanced: bool) -> None:
    refs = write(tmp_path, mr_series(phantom.volume, STUDY, phases=PHASES, phase=TRUE_PHASE, enhanced=enhanced))
    volumes = [read_series(of_phase(refs, p)).volume for p in range(PHASES)]
    assert all(v.grid.same_as(volumes[0].grid) for v in volumes)
    differences = [float(np.abs(v.array - volumes[TRUE_PHASE].array).mean()) for v in volumes]
    assert min(differences[:TRUE_PHASE]) > 10


def test_values_beyond_16_bits_are_an_error(phantom: Phantom) -> None:
    with pytest.raises(ValueError, match="65535"):
        mr_series(Volume(phantom.volume.array - 100, phantom.volume.grid), STUDY)


@pytest.mark.parametrize("enhanced", [False, True])
def test_segmentation_reads_back_voxel_for_voxel(phantom: Phantom, tmp_path: Path, enhanced: bool) -> None:
    images = mr_series(phantom.volume, STUDY, phases=PHASES, phase=TRUE_PHASE, enhanced=enhanced)
    path = tmp_path / "seg.dcm"
    seg_of(phantom.reference, images, STUDY, phase=TRUE_PHASE).save_as(path)
    read = read_segmentation(path, phantom.volume.grid)
    assert list(read.segment_numbers) == [1, 2, 3]
    np.testing.assert_array_equal(read.masks, phantom.reference)
    codes = [s.SegmentedPropertyTypeCodeSequence[0] for s in dcmread(path).SegmentSequence]
    assert [(c.CodeValue, c.CodingSchemeDesignator) for c in codes] == [t.code[:2] for t in CARDIAC_TISSUES]


def source_references(seg: Dataset) -> set[tuple[str, int | None]]:
    return {
        (source.ReferencedSOPInstanceUID, source.get("ReferencedFrameNumber"))
        for group in seg.PerFrameFunctionalGroupsSequence
        for derivation in group.DerivationImageSequence
        for source in derivation.SourceImageSequence
    }


def test_segmentation_refers_to_its_phase_only(phantom: Phantom) -> None:
    images = mr_series(phantom.volume, STUDY, phases=PHASES, phase=TRUE_PHASE)
    slices = len(images) // PHASES
    drawn = np.flatnonzero(phantom.reference.any((0, 2, 3)))
    seg = seg_of(phantom.reference, images, STUDY, phase=TRUE_PHASE)
    assert {uid for uid, _ in source_references(seg)} == {images[TRUE_PHASE * slices + z].SOPInstanceUID for z in drawn}
    (enhanced,) = mr_series(phantom.volume, STUDY, phases=PHASES, phase=TRUE_PHASE, enhanced=True)
    seg = seg_of(phantom.reference, [enhanced], STUDY, phase=TRUE_PHASE)
    assert source_references(seg) == {(enhanced.SOPInstanceUID, TRUE_PHASE * slices + z + 1) for z in drawn}
    assert enhanced.NumberOfFrames == len(enhanced.PerFrameFunctionalGroupsSequence) == PHASES * slices


@pytest.mark.parametrize("enhanced", [False, True])
def test_segmenter_that_was_given_some_slices_refers_to_these_only(phantom: Phantom, enhanced: bool) -> None:
    images = mr_series(phantom.volume, STUDY, phases=PHASES, enhanced=enhanced)
    seg = seg_of(phantom.reference, images, STUDY, slices=[4, 3])
    assert len(source_references(seg)) == 2
    named = {i.ReferencedSOPInstanceUID for s in seg.ReferencedSeriesSequence for i in s.ReferencedInstanceSequence}
    assert named == ({images[0].SOPInstanceUID} if enhanced else {images[3].SOPInstanceUID, images[4].SOPInstanceUID})


def test_same_seed_gives_the_same_bytes_and_another_seed_other_uids() -> None:
    def digests(seed: int) -> list[str]:
        study = phantom_study(seed, phases=2)
        result = []
        for dataset in (*study.images, *(q.dataset for q in study.queries)):
            stream = BytesIO()
            dcmwrite(stream, dataset)
            result.append(sha256(stream.getvalue()).hexdigest())
        return result

    assert digests(3) == digests(3)
    assert phantom_study(3).study.study_instance_uid != phantom_study(4).study.study_instance_uid


def test_phantom_study_has_one_good_and_two_bad_queries() -> None:
    study = phantom_study(5)
    assert [q.segmenter for q in study.queries] == ["careful", "displaced", "hasty"]
    assert len({q.dataset.SeriesInstanceUID for q in study.queries}) == 3
    assert len({i.SOPInstanceUID for i in study.images}) == 3 * study.phantom.volume.grid.size[0]
    assert {str(d.PatientName) for d in (*study.images, *(q.dataset for q in study.queries))} == {"PHANTOM^QCNODE"}


@pytest.mark.realdata
def test_real_volume_and_its_segmentation_read_back(realdata: Path, tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    array, labels = (np.asarray(nibabel.load(realdata / "acdc" / f"patient002_frame01{kind}.nii.gz").dataobj).T for kind in ("", "_gt"))
    grid = Grid(array.shape, (10.0, 1.5, 1.5), (0.0, 0.0, 0.0), ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))
    masks = np.stack([labels == label for label in (1, 2, 3)])
    images = mr_series(Volume(array.astype(np.float32), grid), STUDY, phases=PHASES)
    refs = write(tmp_path, [*images, seg_of(masks, images, STUDY)])
    read = read_series(of_phase(refs[: len(images)], 0)).volume
    assert read.grid.same_as(grid)
    np.testing.assert_array_equal(read.array, array)
    np.testing.assert_array_equal(read_segmentation(refs[len(images)].path, grid).masks, masks)


@pytest.mark.peers
def test_validator_finds_no_error(phantom: Phantom, tmp_path: Path, require_peers: Callable[..., None]) -> None:
    require_peers("dciodvfy")
    classic = mr_series(phantom.volume, STUDY, phases=2)
    enhanced = mr_series(phantom.volume, STUDY, phases=2, series_number=2, enhanced=True)
    segs = [seg_of(phantom.reference, s, STUDY, phase=1, series_number=n) for n, s in ((100, classic), (101, enhanced))]
    for ref in write(tmp_path, [classic[0], classic[-1], *enhanced, *segs]):
        found = subprocess.run(["dciodvfy", "-new", str(ref.path)], capture_output=True, text=True, check=False).stderr
        assert [line for line in found.splitlines() if line.startswith("Error")] == []
