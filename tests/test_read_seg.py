"""SEG -> segments on the image grid: placement by geometry, packing, types, resampling and refusals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from dicom_objects import group, item, mr_slice, save, save_all, segment_item, segmentation
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from qcnode.case import ReasonCode
from qcnode.demo.phantom_dicom import Study, mr_series, seg_of
from qcnode.errors import Rejected
from qcnode.imaging.grid import Grid, Volume
from qcnode.imaging.read_seg import QuerySegmentation, read_segmentation
from qcnode.imaging.read_series import read_series

Voxels = npt.NDArray[np.bool_]

# 5 x 7 pixels: 35 bits a frame, so that frames begin inside bytes.
GRID = Grid((4, 5, 7), (8.0, 1.5, 1.25), (-10.0, 20.0, -30.0), ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))
TISSUE: Voxels = np.random.default_rng(4).random((4, 5, 7)) < 0.4


def place(z: float, y: float = 0, x: float = 0) -> list[float]:
    """Position of the voxel at a continuous grid index."""
    return [float(v) for v in (GRID.affine @ [z, y, x, 1.0])[:3]]


def frames_of(tissue: Voxels, slices: Sequence[int], segment_number: int = 1) -> list[tuple[int, list[float], Voxels]]:
    return [(segment_number, place(z), tissue[z]) for z in slices]


def read(dataset: Dataset, folder: Path, grid: Grid = GRID) -> QuerySegmentation:
    return read_segmentation(save(dataset, folder), grid)


def refusal_of(dataset: Dataset, folder: Path) -> ReasonCode:
    with pytest.raises(Rejected) as refusal:
        read(dataset, folder)
    return refusal.value.reason.code


def test_frames_go_by_position_not_by_order(tmp_path: Path) -> None:
    found = read(segmentation(frames_of(TISSUE, (2, 0, 3, 1))), tmp_path)
    np.testing.assert_array_equal(found.masks, TISSUE[None])
    assert found.masks.dtype == np.bool_
    assert (found.segment_numbers, found.resampled, found.outside_voxels, found.frame_of_reference_uid) == ((1,), False, 0, "2.25.3")


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("vr", ["OB", "OW"])
def test_bits_run_over_frame_borders_in_every_native_syntax(tmp_path: Path, syntax: str, vr: str) -> None:
    dataset = segmentation(frames_of(TISSUE, range(4)))
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset["PixelData"].VR = vr
    if vr == "OW" and syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    np.testing.assert_array_equal(read(dataset, tmp_path).masks[0], TISSUE)


def test_absent_frames_are_empty_slices(tmp_path: Path) -> None:
    found = read(segmentation(frames_of(TISSUE, (3, 1))), tmp_path)
    expected = TISSUE.copy()
    expected[[0, 2]] = False
    np.testing.assert_array_equal(found.masks[0], expected)
    assert not found.resampled


def test_overlapping_segments_stay_apart(tmp_path: Path) -> None:
    other = ~TISSUE | (np.arange(7) > 3)
    dataset = segmentation(frames_of(TISSUE, range(4), 3) + frames_of(other, range(4), 1), segments=(1, 2, 3))
    path = save(dataset, tmp_path)
    found = read_segmentation(path, GRID)
    assert found.segment_numbers == (1, 2, 3)
    np.testing.assert_array_equal(found.masks, np.stack([other, np.zeros_like(other), TISSUE]))
    some = read_segmentation(path, GRID, segment_numbers=(3, 2))
    assert some.segment_numbers == (2, 3)
    np.testing.assert_array_equal(some.masks, found.masks[1:])


@pytest.mark.parametrize("turn", [(1, -1), (-1, 1), (-1, -1)])
def test_mirrored_frames(tmp_path: Path, turn: tuple[int, int]) -> None:
    down, right = turn
    frames = []
    for z in range(4):
        corner = place(z, 0 if down == 1 else 4, 0 if right == 1 else 6)
        frames.append((1, corner, TISSUE[z][::down, ::right]))
    dataset = segmentation(frames)
    dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = [right, 0, 0, 0, down, 0]
    found = read(dataset, tmp_path)
    np.testing.assert_array_equal(found.masks[0], TISSUE)
    assert not found.resampled


def test_transposed_frames_with_geometry_per_frame(tmp_path: Path) -> None:
    dataset = segmentation([(1, place(z), TISSUE[z].T) for z in range(4)])
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        groups.PlaneOrientationSequence = [item(ImageOrientationPatient=[0, 1, 0, 1, 0, 0])]
        groups.PixelMeasuresSequence = [item(PixelSpacing=[1.25, 1.5])]
    found = read(dataset, tmp_path)
    np.testing.assert_array_equal(found.masks[0], TISSUE)
    assert not found.resampled


def test_frames_across_the_slices(tmp_path: Path) -> None:
    # Coronal frames of an axial volume: rows run along x, columns along z.
    dataset = segmentation([(1, place(0, y), TISSUE[:, y]) for y in range(5)])
    shared = dataset.SharedFunctionalGroupsSequence[0]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, 0, 1]
    shared.PixelMeasuresSequence[0].PixelSpacing = [8, 1.25]
    found = read(dataset, tmp_path)
    np.testing.assert_array_equal(found.masks[0], TISSUE)
    assert not found.resampled


def test_smaller_frames_and_tissue_outside(tmp_path: Path) -> None:
    dataset = segmentation([(1, place(1, 2, 5), np.ones((2, 4), np.bool_)), (1, place(-1), np.ones((2, 4), np.bool_))])
    found = read(dataset, tmp_path)
    expected = np.zeros_like(TISSUE)
    expected[1, 2:4, 5:7] = True
    np.testing.assert_array_equal(found.masks[0], expected)
    assert (found.resampled, found.outside_voxels) == (False, 4 + 8)


@pytest.mark.parametrize("maximum", [255, 100])
def test_fractional_counts_from_one_half(tmp_path: Path, maximum: int) -> None:
    values = np.random.default_rng(1).integers(0, maximum + 1, TISSUE.shape).astype(np.uint8)
    values[0, 0, :2] = maximum // 2, maximum // 2 + 1
    dataset = segmentation(frames_of(TISSUE, range(4)))
    dataset.SegmentationType, dataset.SegmentationFractionalType, dataset.MaximumFractionalValue = "FRACTIONAL", "PROBABILITY", maximum
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = values.tobytes()
    for compressed in (False, True):
        if compressed:
            dataset.compress(RLELossless, generate_instance_uid=False)
        np.testing.assert_array_equal(read(dataset, tmp_path).masks[0], values >= maximum / 2)


def test_slices_between_those_of_the_images_are_resampled(tmp_path: Path) -> None:
    slab = np.zeros((5, 7), np.bool_)
    slab[1:3, 2:6] = True
    dataset = segmentation([(1, place(z + 0.3), slab) for z in (1, 2)])
    found = read(dataset, tmp_path)
    assert found.resampled
    np.testing.assert_array_equal(found.masks[0], np.stack([np.zeros_like(slab), slab, slab, np.zeros_like(slab)]))
    assert found.outside_voxels == 0


def test_finer_grid_is_resampled_and_tissue_outside_counted(tmp_path: Path) -> None:
    fine = TISSUE.repeat(2, axis=1).repeat(2, axis=2)
    frames = [(1, place(z, -0.25, -0.25), fine[z]) for z in (0, 2, 3)]
    frames.append((1, place(5, -0.25, -0.25), np.ones((10, 14), np.bool_)))
    dataset = segmentation(frames)
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.PixelSpacing, measures.SpacingBetweenSlices = [0.75, 0.625], 8
    found = read(dataset, tmp_path)
    expected = TISSUE.copy()
    expected[1] = False
    assert found.resampled
    np.testing.assert_array_equal(found.masks[0], expected)
    assert found.outside_voxels == 140


def test_lesions_far_apart_do_not_become_slabs(tmp_path: Path) -> None:
    dot = np.ones((5, 7), np.bool_)
    found = read(segmentation([(1, place(z + 0.2), dot) for z in (0, 3)]), tmp_path)
    np.testing.assert_array_equal(found.masks[0].any(axis=(1, 2)), [True, False, False, True])


def test_single_frame_off_the_grid(tmp_path: Path) -> None:
    dot = np.ones((5, 7), np.bool_)
    found = read(segmentation([(1, place(1.6), dot)]), tmp_path)
    np.testing.assert_array_equal(found.masks[0].any(axis=(1, 2)), [False, False, True, False])


@pytest.mark.parametrize("frames", [[], frames_of(np.zeros_like(TISSUE), range(4))])
def test_no_frame_and_no_tissue_are_empty_not_an_error(tmp_path: Path, frames: list[tuple[int, list[float], Voxels]]) -> None:
    found = read(segmentation(frames, segments=(1, 2)), tmp_path)
    assert found.masks.shape == (2, 4, 5, 7)
    assert not found.masks.any()
    assert not found.resampled


def test_no_frame_and_no_pixel_data(tmp_path: Path) -> None:
    dataset = segmentation([])
    del dataset.PixelData, dataset.NumberOfFrames, dataset.PerFrameFunctionalGroupsSequence
    assert not read(dataset, tmp_path).masks.any()


def test_empty_frames_need_no_place(tmp_path: Path) -> None:
    dataset = segmentation([*frames_of(TISSUE, range(4)), (1, place(9), np.zeros((5, 7), np.bool_))])
    del dataset.PerFrameFunctionalGroupsSequence[4].PlanePositionSequence
    np.testing.assert_array_equal(read(dataset, tmp_path).masks[0], TISSUE)


@pytest.mark.parametrize(
    "position",
    [None, [0.0, 0.0], [float("nan"), 0.0, 0.0], [1e20, 0.0, 0.0]],
    ids=["absent", "two values", "not a number", "out of bounds"],
)
def test_frames_without_a_place_are_refused(tmp_path: Path, position: list[float] | None) -> None:
    dataset = segmentation(frames_of(TISSUE, range(4)))
    plane = dataset.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence[0]
    del plane.ImagePositionPatient
    if position is not None:
        plane.add_new(0x00200032, "LO", "\\".join(str(value) for value in position))
    assert refusal_of(dataset, tmp_path) is ReasonCode.SEG_GEOMETRY


def test_skewed_frames_are_refused(tmp_path: Path) -> None:
    dataset = segmentation(frames_of(TISSUE, range(4)))
    dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0.6, 0.8, 0]
    assert refusal_of(dataset, tmp_path) is ReasonCode.SEG_GEOMETRY


def test_frames_that_make_no_volume_are_refused(tmp_path: Path) -> None:
    uneven = segmentation([(1, place(z), TISSUE[0]) for z in (0.3, 1.3, 1.9)])
    assert refusal_of(uneven, tmp_path) is ReasonCode.SEG_GEOMETRY
    turned = segmentation([(1, place(z + 0.3), TISSUE[0]) for z in (0, 1)])
    turned.PerFrameFunctionalGroupsSequence[1].PlaneOrientationSequence = [item(ImageOrientationPatient=[0, 1, 0, 0, 0, 1])]
    assert refusal_of(turned, tmp_path) is ReasonCode.SEG_GEOMETRY
    far = segmentation([(1, place(z + 0.3), TISSUE[0]) for z in (0, 10000)])
    assert refusal_of(far, tmp_path) is ReasonCode.SEG_GEOMETRY


def test_contradictions_are_refused(tmp_path: Path) -> None:
    broken = {
        "unknown segment": segmentation(frames_of(TISSUE, range(4), 2)),
        "no segment number": segmentation(frames_of(TISSUE, range(4))),
        "more frames than stated": segmentation(frames_of(TISSUE, range(4))),
        "too few pixels": segmentation(frames_of(TISSUE, range(4))),
        "no pixels": segmentation(frames_of(TISSUE, range(4))),
        "no segments": segmentation(frames_of(TISSUE, range(4)), segments=()),
        "a segment twice": segmentation(frames_of(TISSUE, range(4))),
        "no type": segmentation(frames_of(TISSUE, range(4))),
        "no maximum": segmentation(frames_of(TISSUE, range(4))),
    }
    del broken["no segment number"].PerFrameFunctionalGroupsSequence[0].SegmentIdentificationSequence
    broken["more frames than stated"].NumberOfFrames = 3
    broken["too few pixels"].PixelData = broken["too few pixels"].PixelData[:16]
    del broken["no pixels"].PixelData
    broken["a segment twice"].SegmentSequence.append(segment_item(1))
    broken["no type"].SegmentationType = ""
    fractional = broken["no maximum"]
    fractional.SegmentationType, fractional.BitsAllocated, fractional.BitsStored, fractional.HighBit = "FRACTIONAL", 8, 8, 7
    fractional.PixelData = bytes(140)
    for name, dataset in broken.items():
        assert refusal_of(dataset, tmp_path) is ReasonCode.SEG_UNREADABLE, name


def test_other_objects_are_refused(tmp_path: Path) -> None:
    assert refusal_of(mr_slice(np.ones((5, 7), int), (0, 0, 0)), tmp_path) is ReasonCode.SEG_UNREADABLE
    label_map = segmentation(frames_of(TISSUE, range(4)))
    label_map.SegmentationType = "LABELMAP"
    assert refusal_of(label_map, tmp_path) is ReasonCode.LABELMAP_NOT_SUPPORTED
    path = tmp_path / "text.dcm"
    path.write_text("no DICOM")
    with pytest.raises(Rejected) as refusal:
        read_segmentation(path, GRID)
    assert refusal.value.reason.code is ReasonCode.SEG_UNREADABLE


def test_segment_and_plane_may_be_shared(tmp_path: Path) -> None:
    dataset = segmentation(frames_of(TISSUE, (2,)))
    own = dataset.PerFrameFunctionalGroupsSequence[0]
    shared = dataset.SharedFunctionalGroupsSequence[0]
    shared.SegmentIdentificationSequence = own.SegmentIdentificationSequence
    shared.PlanePositionSequence = own.PlanePositionSequence
    dataset.PerFrameFunctionalGroupsSequence = [group("FrameContentSequence", DimensionIndexValues=[1, 1])]
    np.testing.assert_array_equal(read(dataset, tmp_path).masks[0][2], TISSUE[2])


@pytest.mark.filterwarnings("ignore")
def test_any_corrupted_byte_is_read_or_refused(tmp_path: Path) -> None:
    dataset = segmentation(frames_of(TISSUE, range(4)))
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    good = save(dataset, tmp_path).read_bytes()
    path = tmp_path / "broken.dcm"
    draw = np.random.default_rng(8)
    refused = 0
    for _ in range(150):
        broken = bytearray(good)
        for at in draw.integers(132, len(good), 3):
            broken[at] = draw.integers(0, 256)
        path.write_bytes(bytes(broken))
        try:
            assert read_segmentation(path, GRID).masks.shape[1:] == GRID.size
        except Rejected:
            refused += 1
    assert 0 < refused < 150


def test_what_highdicom_writes_on_an_oblique_series(tmp_path: Path) -> None:
    row, column = (0.6, 0.8, 0.0), (0.0, 0.0, -1.0)
    normal = tuple(float(v) for v in np.cross(row, column))
    grid = Grid((4, 5, 7), (8.0, 1.5, 1.25), (11.0, -3.5, 40.25), (normal, column, row))
    values = np.random.default_rng(2).integers(0, 900, grid.size).astype(np.float32)
    study = Study("oblique")
    images = mr_series(Volume(values, grid), study)
    tissue = np.stack([TISSUE, ~TISSUE, TISSUE[::-1]])
    query = seg_of(tissue, images[::-1], study)
    series = read_series(save_all(images, tmp_path))
    found = read_segmentation(save(query, tmp_path), series.volume.grid)
    assert series.volume.grid.same_as(grid)
    np.testing.assert_array_equal(series.volume.array, values)
    # The sources were handed over in reverse: slice z of the segmentation was drawn on slice 3 - z of the images.
    np.testing.assert_array_equal(found.masks, tissue[:, ::-1])
    assert (found.resampled, found.outside_voxels) == (False, 0)


def test_more_segments_than_memory_are_refused(tmp_path: Path) -> None:
    tissue = np.ones(GRID.size[1:], np.bool_)
    dataset = segmentation(frames_of(np.stack([tissue] * GRID.size[0]), [0]), segments=range(1, 60))
    large = Grid((512, 512, 512), GRID.spacing, GRID.origin, GRID.direction)
    with pytest.raises(Rejected) as refusal:
        read(dataset, tmp_path, large)
    assert refusal.value.reason.code is ReasonCode.TOO_LARGE
