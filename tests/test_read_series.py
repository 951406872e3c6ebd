"""Frames -> volume: geometry, order, rescale, repetition, and every refusal that the real data does not hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dicom_objects import enhanced_mr, item, mr_slice, mr_stack, new_object, save, save_all, set_pixels
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from qcnode.case import FrameRef, ReasonCode
from qcnode.errors import Rejected
from qcnode.imaging.read_series import read_series

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
DRAW = np.random.default_rng(3)
VALUES = DRAW.integers(0, 4000, (5, 6, 4))
HEIGHTS = (-20.0, -10.0, 0.0, 10.0, 20.0)


def refusal_of(datasets: list[Dataset], folder: Path) -> ReasonCode:
    with pytest.raises(Rejected) as refusal:
        read_series(save_all(datasets, folder))
    return refusal.value.reason.code


def test_axial_stack_in_any_order(tmp_path: Path) -> None:
    datasets = mr_stack(VALUES, HEIGHTS)
    refs = save_all([datasets[i] for i in (3, 0, 4, 2, 1)], tmp_path)
    series = read_series(refs)
    np.testing.assert_array_equal(series.volume.array, VALUES)
    assert series.volume.array.dtype == np.float32
    assert series.volume.grid.size == (5, 6, 4)
    assert series.volume.grid.spacing == pytest.approx((10, 1.5, 1.25))
    assert series.volume.grid.origin == pytest.approx((-10, 20, -20))
    np.testing.assert_allclose(series.volume.grid.direction, [(0, 0, 1), (0, 1, 0), (1, 0, 0)])
    assert [ref.sop_instance_uid for ref in series.planes] == [dataset.SOPInstanceUID for dataset in datasets]
    assert (series.frame_of_reference_uid, series.modality, series.monochrome1) == ("2.25.3", "MR", False)


def test_oblique_stack_lies_where_its_planes_lie(tmp_path: Path) -> None:
    row, column = np.array([0.8, 0.6, 0.0]), np.array([0.0, 0.0, -1.0])
    normal = np.cross(row, column)
    origin = np.array([5.0, -7.0, 30.0])
    datasets = [mr_slice(VALUES[i], origin + 4 * i * normal, orientation=(*row, *column)) for i in range(5)]
    grid = read_series(save_all(datasets[::-1], tmp_path)).volume.grid
    for index in ((0, 0, 0), (4, 5, 3), (2, 1, 3)):
        z, y, x = index
        expected = origin + 4 * z * normal + 1.5 * y * column + 1.25 * x * row
        np.testing.assert_allclose(grid.affine @ [*index, 1], [*expected, 1], atol=1e-9)


def test_normal_decides_the_order_not_the_coordinate(tmp_path: Path) -> None:
    # Rows run to the patient's right: the normal points to the feet, so that z falls with the index.
    datasets = [mr_slice(VALUES[i], (0, 0, HEIGHTS[i]), orientation=(-1, 0, 0, 0, 1, 0)) for i in range(5)]
    volume = read_series(save_all(datasets, tmp_path)).volume
    np.testing.assert_array_equal(volume.array, VALUES[::-1])
    assert volume.grid.origin[2] == 20


def test_orientation_may_wobble_and_frame_of_reference_be_absent(tmp_path: Path) -> None:
    datasets = mr_stack(VALUES, HEIGHTS)
    for i, dataset in enumerate(datasets):
        dataset.ImageOrientationPatient = [1, i * 1e-8, 0, 0, 1, i * 1e-7]
        del dataset.FrameOfReferenceUID
    assert read_series(save_all(datasets, tmp_path)).frame_of_reference_uid is None


def test_spacing_comes_from_positions(tmp_path: Path) -> None:
    datasets = mr_stack(VALUES, [2.7 * i for i in range(5)])
    for dataset in datasets:
        dataset.SpacingBetweenSlices = dataset.SliceThickness = 2.9
    assert read_series(save_all(datasets, tmp_path)).volume.grid.spacing[0] == pytest.approx(2.7)


def test_rescale_is_per_slice(tmp_path: Path) -> None:
    datasets = mr_stack(VALUES, HEIGHTS)
    for i, dataset in enumerate(datasets):
        dataset.RescaleSlope, dataset.RescaleIntercept = 0.5 + i, -i
    expected = VALUES * (0.5 + np.arange(5))[:, None, None] - np.arange(5)[:, None, None]
    np.testing.assert_allclose(read_series(save_all(datasets, tmp_path)).volume.array, expected)


@pytest.mark.parametrize(("slope", "intercept"), [("", ""), ("0", "5"), (None, None)])
def test_unusable_rescale_is_none(tmp_path: Path, slope: object, intercept: object) -> None:
    datasets = mr_stack(VALUES, HEIGHTS)
    for dataset in datasets:
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
    np.testing.assert_array_equal(read_series(save_all(datasets, tmp_path)).volume.array, VALUES)


def test_signed_values_and_dirty_upper_bits(tmp_path: Path) -> None:
    signed = VALUES - 2000
    datasets = []
    for plane, height in zip(signed, HEIGHTS, strict=True):
        dirty = (plane & 0x0FFF) | (DRAW.integers(0, 16, plane.shape) << 12)
        dataset = mr_slice(dirty, (0, 0, height), bits_stored=12)
        dataset.PixelRepresentation = 1
        datasets.append(dataset)
    np.testing.assert_array_equal(read_series(save_all(datasets, tmp_path)).volume.array, signed)


def test_enhanced_frames_with_their_own_rescale(tmp_path: Path) -> None:
    dataset = enhanced_mr(VALUES, [(0, 0, height) for height in reversed(HEIGHTS)])
    path = save(dataset, tmp_path)
    series = read_series([FrameRef(path, dataset.SOPInstanceUID, number) for number in (2, 1, 5, 4, 3)])
    factors = np.arange(1, 6)[:, None, None]
    np.testing.assert_array_equal(series.volume.array, (VALUES * factors - (factors - 1))[::-1])
    assert [ref.frame_number for ref in series.planes] == [5, 4, 3, 2, 1]
    assert series.volume.grid.spacing == pytest.approx((10, 1.5, 1.25))


def test_shared_rescale_of_an_enhanced_object(tmp_path: Path) -> None:
    dataset = enhanced_mr(VALUES, [(0, 0, height) for height in HEIGHTS])
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        del groups.PixelValueTransformationSequence
    dataset.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence = [item(RescaleSlope=3, RescaleIntercept=1)]
    path = save(dataset, tmp_path)
    series = read_series([FrameRef(path, dataset.SOPInstanceUID, number) for number in range(1, 6)])
    np.testing.assert_array_equal(series.volume.array, VALUES * 3 + 1)


def test_repeated_identical_planes_are_taken_once(tmp_path: Path) -> None:
    datasets = mr_stack(VALUES, HEIGHTS)
    again = mr_slice(VALUES[2], (-10, 20, 0), sop_instance_uid="2.25.0")
    refs = save_all([*datasets, again], tmp_path)
    series = read_series([*refs, refs[0]])
    np.testing.assert_array_equal(series.volume.array, VALUES)
    assert series.planes[2].sop_instance_uid == min("2.25.0", datasets[2].SOPInstanceUID)


def test_monochrome1_is_noted(tmp_path: Path) -> None:
    datasets = mr_stack(VALUES, HEIGHTS)
    for dataset in datasets:
        dataset.PhotometricInterpretation = "MONOCHROME1"
    series = read_series(save_all(datasets, tmp_path))
    assert series.monochrome1
    np.testing.assert_array_equal(series.volume.array, VALUES)


def change_at(index: int, **elements: object) -> Callable[[list[Dataset]], None]:
    def change(datasets: list[Dataset]) -> None:
        for keyword, value in elements.items():
            setattr(datasets[index], keyword, value)

    return change


def drop(index: int) -> Callable[[list[Dataset]], None]:
    return lambda datasets: datasets.__delitem__(index)


def repeat(**elements: object) -> Callable[[list[Dataset]], None]:
    def change(datasets: list[Dataset]) -> None:
        again = mr_slice(VALUES[1], (-10, 20, -10))
        for keyword, value in elements.items():
            setattr(again, keyword, value)
        datasets.append(again)

    return change


REFUSALS: dict[str, tuple[Callable[[list[Dataset]], None], ReasonCode]] = {
    "missing slice": (drop(2), ReasonCode.MISSING_SLICE),
    "uneven spacing": (change_at(2, ImagePositionPatient=[-10, 20, 3]), ReasonCode.UNEVEN_SPACING),
    "slice shifted in plane": (change_at(2, ImagePositionPatient=[-9, 20, 0]), ReasonCode.UNEVEN_SPACING),
    "slice turned": (change_at(4, ImageOrientationPatient=[0.9998, 0.02, 0, -0.02, 0.9998, 0]), ReasonCode.SEVERAL_ORIENTATIONS),
    "skewed axes": (change_at(1, ImageOrientationPatient=[1, 0, 0, 0.5, 0.866, 0]), ReasonCode.NO_GEOMETRY),
    "zero cosines": (change_at(1, ImageOrientationPatient=[0, 0, 0, 0, 0, 0]), ReasonCode.NO_GEOMETRY),
    "no position": (change_at(3, ImagePositionPatient=None), ReasonCode.NO_GEOMETRY),
    "position out of bounds": (change_at(3, ImagePositionPatient=[0, 0, 1e30]), ReasonCode.NO_GEOMETRY),
    "no pixel spacing": (change_at(0, PixelSpacing=None), ReasonCode.NO_GEOMETRY),
    "other pixel spacing": (change_at(0, PixelSpacing=[1.5, 1.3]), ReasonCode.DIFFERING_MATRIX),
    "other frame of reference": (change_at(0, FrameOfReferenceUID="2.25.99"), ReasonCode.FRAME_OF_REFERENCE_DIFFERS),
    "mosaic": (change_at(0, ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]), ReasonCode.MOSAIC),
    "CT": (change_at(0, SOPClassUID=CT_IMAGE), ReasonCode.NOT_MR),
    "two echoes": (repeat(EchoTime=5), ReasonCode.SEVERAL_IMAGES_PER_POSITION),
    "two phases": (repeat(TriggerTime=30), ReasonCode.SEVERAL_IMAGES_PER_POSITION),
    "two b-values": (repeat(DiffusionBValue=500), ReasonCode.SEVERAL_IMAGES_PER_POSITION),
    "magnitude and phase": (repeat(ImageType=["ORIGINAL", "PRIMARY", "P"]), ReasonCode.SEVERAL_IMAGES_PER_POSITION),
    "other values, nothing else": (repeat(PixelData=b"\1\0" * 24), ReasonCode.SEVERAL_IMAGES_PER_POSITION),
    "no pixels": (change_at(1, PixelData=None), ReasonCode.SERIES_UNREADABLE),
    "too few pixels": (change_at(1, PixelData=b"\0" * 40), ReasonCode.SERIES_UNREADABLE),
    "colour": (change_at(1, SamplesPerPixel=3), ReasonCode.SERIES_UNREADABLE),
    "rescale to infinity": (change_at(1, RescaleSlope="1e300", RescaleIntercept="0"), ReasonCode.SERIES_UNREADABLE),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(tmp_path: Path, name: str) -> None:
    datasets = mr_stack(VALUES, HEIGHTS)
    change, code = REFUSALS[name]
    change(datasets)
    assert refusal_of(datasets, tmp_path) is code


def test_differing_matrix_is_refused(tmp_path: Path) -> None:
    datasets = mr_stack(VALUES, HEIGHTS)
    set_pixels(datasets[0], VALUES[0].T)
    assert refusal_of(datasets, tmp_path) is ReasonCode.DIFFERING_MATRIX


def test_one_slice_is_no_volume(tmp_path: Path) -> None:
    assert refusal_of(mr_stack(VALUES[:1], HEIGHTS[:1]), tmp_path) is ReasonCode.SINGLE_SLICE


def test_nothing_and_frames_that_are_not_there_are_refused(tmp_path: Path) -> None:
    refs = save_all(mr_stack(VALUES, HEIGHTS), tmp_path)
    for frames in ([], [FrameRef(refs[0].path, refs[0].sop_instance_uid, 2)], [FrameRef(tmp_path / "gone.dcm", generate_uid())]):
        with pytest.raises(Rejected) as refusal:
            read_series(frames)
        assert refusal.value.reason.code is ReasonCode.SERIES_UNREADABLE


def test_truncated_file_is_refused(tmp_path: Path) -> None:
    refs = save_all(mr_stack(VALUES, HEIGHTS), tmp_path)
    whole = refs[2].path.read_bytes()
    for length in (len(whole) - 1, len(whole) - 30, len(whole) // 2, 150):
        refs[2].path.write_bytes(whole[:length])
        with pytest.raises(Rejected) as refusal:
            read_series(refs)
        assert refusal.value.reason.code in (ReasonCode.SERIES_UNREADABLE, ReasonCode.NO_GEOMETRY)


def test_reason_holds_no_patient_data(tmp_path: Path) -> None:
    datasets = mr_stack(VALUES, HEIGHTS)
    for dataset in datasets:
        dataset.PatientName = "SECRET^NAME"
    del datasets[1].PixelData
    with pytest.raises(Rejected) as refusal:
        read_series(save_all(datasets, tmp_path))
    assert "SECRET" not in str(refusal.value)
    assert refusal.value.__suppress_context__ or refusal.value.__cause__ is None


def test_spectroscopy_in_the_series_is_not_mr(tmp_path: Path) -> None:
    spectrum = new_object("1.2.840.10008.5.1.4.1.1.4.2")
    assert refusal_of([*mr_stack(VALUES, HEIGHTS), spectrum], tmp_path) is ReasonCode.NOT_MR


def test_a_volume_larger_than_any_is_refused_before_it_is_allocated(tmp_path: Path) -> None:
    slices = [mr_slice(np.zeros((3, 4)), (0, 0, 8.0 * z)) for z in range(3)]
    for dataset in slices:
        dataset.Rows = dataset.Columns = 32768
    with pytest.raises(Rejected) as refusal:
        read_series(save_all(slices, tmp_path))
    assert refusal.value.reason.code is ReasonCode.TOO_LARGE
