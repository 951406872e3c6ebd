"""Every set of the real DICOM collection is read as its manifest says: dcm2niix's volume, or a refusal with a coded reason."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from qcnode.case import FrameRef, ReasonCode
from qcnode.errors import Rejected
from qcnode.headers import read_header
from qcnode.imaging.grid import Grid
from qcnode.imaging.pixels import decode_frame
from qcnode.imaging.planes import Plane, stack_planes
from qcnode.imaging.read_seg import read_segmentation
from qcnode.imaging.read_series import read_series

pytestmark = pytest.mark.realdata

VOLUMES = (
    "siemens/t1-sag-hfs",
    "siemens/xa30-enhanced-t1",
    "ge/epi-1-volume-interleaved",
    "ge/t1-sag-oblique-4",
    "philips/epi-oblique-1-volume",
    "philips/t1-tse-enhanced-plus-raw",
    "philips/t1-enhanced-8",
    "canon-toshiba/toshiba-b0-rotated-30",
    "transfer-syntax/t1-jpeg-lossless-fragments",
    "derived/nifti2dicom-t1-oblique",
)
SMALL_VARIANTS = ("bigendian", "implicit", "rle", "jp2klossless", "jpeg-ls-lossless", "expb", "padded")
ENHANCED_VARIANTS = ("", "-RLE", "-big-endian", "-jpeg-2k-lossless", "-jpeg-ls-lossless")
REFUSALS = {
    "siemens/mosaic-epi": ReasonCode.MOSAIC,
    "siemens/xa-scout-mpr-enhanced": ReasonCode.SEVERAL_ORIENTATIONS,
    "ge/epi-2-timepoints-interleaved": ReasonCode.SEVERAL_IMAGES_PER_POSITION,
    "ge/localizer-3plane-ffs": ReasonCode.SEVERAL_ORIENTATIONS,
    "ge/single-slice": ReasonCode.SINGLE_SLICE,
    "philips/epi-oblique-3-timepoints": ReasonCode.SEVERAL_IMAGES_PER_POSITION,
    "philips/b0map-enhanced": ReasonCode.SEVERAL_IMAGES_PER_POSITION,
    "philips/fmri-enhanced-timepoints": ReasonCode.SEVERAL_IMAGES_PER_POSITION,
    "philips/dual-echo-mag-phase": ReasonCode.SEVERAL_IMAGES_PER_POSITION,
    "philips/localizer-two-orientations": ReasonCode.SEVERAL_ORIENTATIONS,
    **{f"transfer-syntax/mr-small-{variant}": ReasonCode.SINGLE_SLICE for variant in SMALL_VARIANTS},
    **{f"transfer-syntax/emri-small{variant}": ReasonCode.NO_GEOMETRY for variant in ENHANCED_VARIANTS},
}
SEGMENTATIONS_AND_REPORTS = (
    "seg-sr/liver-ct3-seg",
    "seg-sr/seg-24x38x3",
    "seg-sr/sr-tid1500-with-seg",
    "seg-sr/seg-binary-overlap-highdicom",
    "seg-sr/seg-rle",
    "seg-sr/sr-comprehensive-3d-highdicom",
    "seg-sr/sr-demo-features",
)


def all_frames(folder: Path) -> list[FrameRef]:
    """Every frame of every MR image of a folder, in the order of the file names."""
    headers = [(path, read_header(path)) for path in sorted(folder.glob("*.dcm"))]
    return [FrameRef(path, h.sop_instance_uid, f.frame_number) for path, h in headers if h.kind == "image" for f in h.frames]


def header_grid(paths: Sequence[Path]) -> Grid:
    """The grid of single-frame instances, whatever their modality."""
    headers = [read_header(path) for path in paths]
    return stack_planes([Plane(h.frames[0], h.rows, h.columns) for h in headers]).grid


def empty_grid(size: tuple[int, int, int]) -> Grid:
    return Grid(size, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))


def manifest(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "dicom" / "MANIFEST.csv").open(newline="") as lines:
        return {row["path"]: row for row in csv.DictReader(lines)}


def test_every_set_of_the_manifest_is_judged_here(realdata: Path) -> None:
    sets = manifest(realdata)
    assert {name for name, row in sets.items() if row["expected"].startswith("volume")} == set(VOLUMES)
    assert {name for name, row in sets.items() if row["expected"].startswith("clear refusal")} - {"seg-sr/seg-rle"} == set(REFUSALS)
    assert set(sets) == {*VOLUMES, *REFUSALS, *SEGMENTATIONS_AND_REPORTS}


@pytest.mark.parametrize("name", VOLUMES)
def test_volume_equals_dcm2niix(realdata: Path, name: str) -> None:
    folder = realdata / "dicom" / name
    series = read_series(all_frames(folder))
    reference = nibabel.load(folder.parent / "reference" / f"{folder.name}.nii.gz")
    ras_to_lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    to_reference = np.linalg.inv(ras_to_lps @ reference.affine) @ series.volume.grid.affine
    turned = np.rint(to_reference[:3, :3])
    assert (np.abs(turned).sum(axis=0) == 1).all()
    assert (np.abs(turned).sum(axis=1) == 1).all()
    size = np.array(series.volume.grid.size)
    corners = np.array(np.meshgrid(*((0, n - 1) for n in size), indexing="ij")).reshape(3, -1).T
    indices = np.rint(corners @ to_reference[:3, :3].T + to_reference[:3, 3])
    there = np.c_[indices, np.ones(8)] @ (ras_to_lps @ reference.affine).T
    here = np.c_[corners, np.ones(8)] @ series.volume.grid.affine.T
    assert np.linalg.norm((there - here)[:, :3], axis=1).max() <= 0.01

    order = np.argmax(np.abs(turned), axis=0)
    values = np.asarray(reference.dataobj, np.float64).transpose(order)
    flips = tuple(axis for axis in range(3) if turned[order[axis], axis] < 0)
    # Stored values are whole numbers times the slope: less than a hundredth of the smallest step apart means the same stored value.
    step = np.diff(np.unique(values)).min()
    assert np.abs(series.volume.array - np.flip(values, flips)).max() <= min(0.01 * step, 1e-6 * np.abs(values).max())


def test_volume_does_not_depend_on_the_order_of_files(realdata: Path) -> None:
    frames = all_frames(realdata / "dicom/ge/epi-1-volume-interleaved")
    first, second = read_series(frames), read_series(frames[7:] + frames[:7][::-1])
    assert first.planes == second.planes
    np.testing.assert_array_equal(first.volume.array, second.volume.array)


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal_has_its_reason(realdata: Path, name: str) -> None:
    with pytest.raises(Rejected) as refusal:
        read_series(all_frames(realdata / "dicom" / name))
    assert refusal.value.reason.code is REFUSALS[name]


def test_one_of_several_time_points_is_a_volume(realdata: Path) -> None:
    frames = all_frames(realdata / "dicom/philips/epi-oblique-3-timepoints")
    temporal_positions = [read_header(frame.path).frames[0].time_key[0] for frame in frames]
    assert len(set(temporal_positions)) == 3
    for position in set(temporal_positions):
        chosen = [frame for frame, found in zip(frames, temporal_positions, strict=True) if found == position]
        assert read_series(chosen).volume.grid.size == (9, 64, 64)


@pytest.mark.parametrize(
    ("name", "planes_per_position"),
    [
        ("philips/epi-oblique-3-timepoints", 3),
        ("philips/dual-echo-mag-phase", 4),
        ("philips/b0map-enhanced", 2),
        ("philips/fmri-enhanced-timepoints", 4),
    ],
)
def test_header_tells_planes_at_one_position_apart(realdata: Path, name: str, planes_per_position: int) -> None:
    headers = [read_header(path) for path in sorted((realdata / "dicom" / name).glob("*.dcm"))]
    traits: dict[object, set[object]] = {}
    for frame in (frame for header in headers for frame in header.frames):
        traits.setdefault(frame.image_position, set()).add((frame.frame_type, frame.echo_time, frame.time_key, frame.extra_key))
    assert {len(found) for found in traits.values()} == {planes_per_position}


def test_reencoded_variants_decode_identically(realdata: Path) -> None:
    folder = realdata / "dicom/transfer-syntax"
    for variants, frames in ((sorted(folder.glob("mr-small-*")), 1), (sorted(folder.glob("emri-small*")), 10)):
        assert len(variants) in (len(SMALL_VARIANTS), len(ENHANCED_VARIANTS))
        datasets = [pydicom.dcmread(variant / "0001.dcm") for variant in variants]
        for number in range(1, frames + 1):
            first = decode_frame(datasets[0], number)
            assert first.std() > 0
            for dataset in datasets[1:]:
                np.testing.assert_array_equal(decode_frame(dataset, number), first)


@pytest.mark.parametrize("name", ["seg-sr/liver-ct3-seg", "seg-sr/seg-24x38x3"])
def test_segmentation_lies_on_its_images_and_ct_is_no_mr(realdata: Path, name: str) -> None:
    folder = realdata / "dicom" / name
    kinds = {path: read_header(path) for path in sorted(folder.glob("*.dcm"))}
    images = [path for path, header in kinds.items() if header.modality == "CT"]
    (query,) = (path for path, header in kinds.items() if header.kind == "seg")
    with pytest.raises(Rejected) as refusal:
        read_series([FrameRef(path, kinds[path].sop_instance_uid) for path in images])
    assert refusal.value.reason.code is ReasonCode.NOT_MR

    grid = header_grid(images)
    segmentation = read_segmentation(query, grid)
    assert (segmentation.resampled, segmentation.outside_voxels, segmentation.segment_numbers) == (False, 0, (1,))
    assert set(kinds[query].referenced_instances) == {kinds[path].sop_instance_uid for path in images}
    packed = np.frombuffer(pydicom.dcmread(query).PixelData, np.uint8)
    stored = np.unpackbits(packed, bitorder="little")[: np.prod(grid.size)].reshape(grid.size)
    heights = np.argsort([frame.image_position[2] for frame in kinds[query].frames if frame.image_position])
    np.testing.assert_array_equal(segmentation.masks[0], stored[heights].astype(bool))


def test_small_segmentation_is_not_transposed(realdata: Path) -> None:
    grid = header_grid(sorted((realdata / "dicom/seg-sr/seg-24x38x3").glob("IMG*.dcm")))
    assert grid.size == (3, 38, 24)


def test_overlapping_segments_stay_apart(realdata: Path) -> None:
    path = realdata / "dicom/seg-sr/seg-binary-overlap-highdicom/seg_image_ct_binary_overlap.dcm"
    header = read_header(path)
    positions = sorted({frame.image_position for frame in header.frames if frame.image_position}, key=lambda p: p[2])
    total, overlap = 0, 0
    for x, y, z in positions:
        spacing = header.frames[0].pixel_spacing or (0.0, 0.0)
        grid = Grid((1, 16, 16), (1.25, *spacing), (x, y, z), ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))
        segmentation = read_segmentation(path, grid)
        assert segmentation.segment_numbers == (1, 2)
        assert not segmentation.resampled
        total += int(segmentation.masks.sum())
        overlap += int(segmentation.masks.all(axis=0).sum())
    assert overlap > 0
    packed = np.unpackbits(np.frombuffer(pydicom.dcmread(path).PixelData, np.uint8), bitorder="little")
    assert total == int(packed[: 8 * 256].sum())


def test_segmentation_without_images_is_read_on_its_own_positions(realdata: Path) -> None:
    path = realdata / "dicom/seg-sr/sr-tid1500-with-seg/seg.dcm"
    header = read_header(path)
    grid = stack_planes([Plane(frame, header.rows, header.columns) for frame in header.frames]).grid
    segmentation = read_segmentation(path, grid)
    packed = np.unpackbits(np.frombuffer(pydicom.dcmread(path).PixelData, np.uint8), bitorder="little")
    assert not segmentation.resampled
    assert int(segmentation.masks.sum()) == int(packed[: np.prod(grid.size)].sum()) > 0


def test_one_bit_rle_is_refused(realdata: Path) -> None:
    with pytest.raises(Rejected) as refusal:
        read_segmentation(realdata / "dicom/seg-sr/seg-rle/liver_nonbyte_aligned_rle.dcm", empty_grid((3, 510, 510)))
    assert refusal.value.reason.code is ReasonCode.SEG_UNREADABLE


@pytest.mark.parametrize(
    "name",
    [
        "sr-tid1500-with-seg/sr.dcm",
        "sr-comprehensive-3d-highdicom/sr_document.dcm",
        "sr-demo-features/test-SR.dcm",
        "sr-demo-features/reportsi.dcm",
    ],
)
def test_reports_are_read_and_are_no_volume(realdata: Path, name: str) -> None:
    path = realdata / "dicom/seg-sr" / name
    header = read_header(path)
    assert (header.kind, header.modality) == ("other", "SR")
    with pytest.raises(Rejected) as refusal:
        read_series([FrameRef(path, header.sop_instance_uid)])
    assert refusal.value.reason.code is ReasonCode.NOT_MR
    with pytest.raises(Rejected) as refusal:
        read_segmentation(path, empty_grid((2, 4, 4)))
    assert refusal.value.reason.code is ReasonCode.SEG_UNREADABLE
