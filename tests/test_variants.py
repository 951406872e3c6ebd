"""Which differences under one SOP Instance UID are routine, and which are another content."""

import os
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from dicom_objects import enhanced_mr, mr_slice, save, segmentation
from pydicom import uid
from pydicom.dataset import Dataset

from qcnode.ingest.variants import compare

PLANE = np.arange(64, dtype=np.uint16).reshape(8, 8)


def _mr() -> Dataset:
    return mr_slice(PLANE, (-10.0, 20.0, 5.0), sop_instance_uid="2.25.77")


def _seg(moved: bool = False) -> Dataset:
    drawn = np.zeros((5, 7), np.bool_)
    drawn[1:4, 2 + moved : 5 + moved] = True
    dataset = segmentation([(1, (0, 0, 0), drawn), (1, (0, 0, 8), drawn)])
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "2.25.78"
    return dataset


def _changed(make: Callable[[], Dataset], change: Callable[[Dataset], object]) -> Dataset:
    dataset = make()
    change(dataset)
    return dataset


def _outcome(tmp_path: Path, first: Dataset, second: Dataset) -> str:
    return compare(save(first, tmp_path), save(second, tmp_path))


def _set(**elements: object) -> Callable[[Dataset], None]:
    return lambda dataset: [setattr(dataset, keyword, value) for keyword, value in elements.items()] and None


def _syntax(transfer_syntax: uid.UID) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = transfer_syntax
        if transfer_syntax == uid.ExplicitVRBigEndian:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()

    return change


def _big_endian_words(dataset: Dataset) -> None:
    """As DCMTK writes a BINARY SEG: bits packed into swapped 16-bit words, which pydicom's decoder does not expect."""
    _syntax(uid.ExplicitVRBigEndian)(dataset)
    dataset["PixelData"].VR = "OW"


def _private(dataset: Dataset) -> None:
    dataset.private_block(0x0029, "QCNODE TEST", create=True).add_new(0x01, "LO", "from the archive")


def test_file_meta_and_notation_do_not_count(tmp_path: Path) -> None:
    second = _mr()
    second.file_meta.ImplementationVersionName = "ANOTHER"
    second.file_meta.SourceApplicationEntityTitle = "PACS"
    second.ImagePositionPatient = ["-10", "20.0", "5.000"]  # the same numbers, written otherwise
    assert _outcome(tmp_path, _mr(), second) == "same"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_set(PatientName="CORRECTED^NAME", PatientID="2", PatientBirthDate="19700101"), id="patient"),
        pytest.param(_set(AccessionNumber="A2", StudyDescription="corrected", StudyID="2"), id="study"),
        pytest.param(_private, id="private"),
        pytest.param(_set(WindowCenter=40, WindowWidth=400), id="window"),
        pytest.param(_syntax(uid.ImplicitVRLittleEndian), id="implicit"),
        pytest.param(_syntax(uid.ExplicitVRBigEndian), id="big-endian"),
        pytest.param(_syntax(uid.DeflatedExplicitVRLittleEndian), id="deflated"),
        pytest.param(lambda dataset: dataset.compress(uid.RLELossless, generate_instance_uid=False), id="rle"),
        pytest.param(lambda dataset: dataset.compress(uid.JPEGLSLossless, generate_instance_uid=False), id="jpeg-ls"),
    ],
)
def test_routine(tmp_path: Path, change: Callable[[Dataset], object]) -> None:
    assert _outcome(tmp_path, _mr(), _changed(_mr, change)) == "routine"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_set(PixelData=(PLANE + (PLANE == 9)).astype("<u2").tobytes()), id="one-pixel"),
        pytest.param(_set(ImagePositionPatient=[-10.0, 20.0, 5.5]), id="position"),
        pytest.param(_set(ImageOrientationPatient=[0, 1, 0, 0, 0, 1]), id="orientation"),
        pytest.param(_set(PixelSpacing=[1.5, 1.5]), id="spacing"),
        pytest.param(_set(FrameOfReferenceUID="2.25.99"), id="frame-of-reference"),
        pytest.param(_set(RescaleSlope=2, RescaleIntercept=0), id="rescale"),
        pytest.param(_set(SeriesInstanceUID="2.25.99"), id="series"),
        pytest.param(_set(SOPClassUID="1.2.840.10008.5.1.4.1.1.7"), id="sop-class"),
        pytest.param(_set(EchoTime=80), id="echo"),
        pytest.param(_set(PixelRepresentation=1, PixelData=(PLANE - 1).astype("<u2").tobytes()), id="signed"),
        pytest.param(lambda dataset: dataset.__delitem__("PixelData"), id="no-pixels"),
    ],
)
def test_conflict(tmp_path: Path, change: Callable[[Dataset], object]) -> None:
    assert _outcome(tmp_path, _mr(), _changed(_mr, change)) == "conflict"


def test_other_pixels_under_compression_are_a_conflict(tmp_path: Path) -> None:
    second = mr_slice(PLANE[::-1], (-10.0, 20.0, 5.0), sop_instance_uid="2.25.77")
    second.compress(uid.RLELossless, generate_instance_uid=False)
    assert _outcome(tmp_path, _mr(), second) == "conflict"


def test_signed_values_read_otherwise_are_a_conflict(tmp_path: Path) -> None:
    def make() -> Dataset:
        return mr_slice(PLANE + np.uint16(65000), (0.0, 0.0, 0.0), sop_instance_uid="2.25.77")

    assert _outcome(tmp_path, make(), _changed(make, _set(PixelRepresentation=1))) == "conflict"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(_set(PatientID="2"), "routine", id="patient"),
        pytest.param(_syntax(uid.ImplicitVRLittleEndian), "routine", id="implicit"),
        pytest.param(_big_endian_words, "routine", id="big-endian"),
        pytest.param(lambda dataset: setattr(dataset.SegmentSequence[0], "SegmentLabel", "other"), "conflict", id="label"),
        pytest.param(
            lambda dataset: _set(ImagePositionPatient=[0, 0, 9])(dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0]),
            "conflict",
            id="frame-position",
        ),
        pytest.param(lambda dataset: _private(dataset.PerFrameFunctionalGroupsSequence[0]), "routine", id="private-in-frame"),
    ],
)
def test_segmentations(tmp_path: Path, change: Callable[[Dataset], object], expected: str) -> None:
    assert _outcome(tmp_path, _seg(), _changed(_seg, change)) == expected


def test_another_drawing_is_a_conflict(tmp_path: Path) -> None:
    assert _outcome(tmp_path, _seg(), _seg(moved=True)) == "conflict"


def test_enhanced_frames_are_compared_one_by_one(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 4000, (3, 8, 8), dtype=np.uint16)
    positions = [(0, 0, z) for z in (0, 9, 18)]
    first, second, third = enhanced_mr(values, positions), enhanced_mr(values, positions), enhanced_mr(values[[0, 2, 1]], positions)
    for dataset in (second, third):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
        dataset.compress(uid.RLELossless, generate_instance_uid=False)
    assert _outcome(tmp_path, first, second) == "routine"
    assert _outcome(tmp_path, first, third) == "conflict"


def test_what_can_not_be_read_is_a_conflict(tmp_path: Path) -> None:
    whole = save(_mr(), tmp_path)
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(whole.read_bytes()[:-40])
    garbage = tmp_path / "garbage.dcm"
    garbage.write_bytes(os.urandom(500))
    empty = tmp_path / "empty.dcm"
    empty.write_bytes(b"")
    assert [compare(whole, other) for other in (broken, garbage, empty)] == ["conflict"] * 3


def test_a_given_decoder_is_used_where_bytes_differ(tmp_path: Path) -> None:
    asked = []

    def decode(dataset: Dataset, frame_number: int) -> np.ndarray:
        asked.append(frame_number)
        return PLANE

    compressed = _changed(_mr, lambda dataset: dataset.compress(uid.RLELossless, generate_instance_uid=False))
    assert compare(save(_mr(), tmp_path), save(compressed, tmp_path), decode_frame=decode) == "routine"
    assert asked == [1, 1]


@pytest.mark.realdata
def test_reencoded_objects_of_the_field_are_routine(realdata: Path) -> None:
    folder = realdata / "dicom" / "transfer-syntax"
    for family in ("mr-small", "emri-small"):
        files = [next(p for p in sorted(d.rglob("*")) if p.is_file()) for d in sorted(folder.glob(f"{family}*")) if "expb" not in d.name]
        assert len(files) >= 4
        for first, second in combinations(files, 2):
            assert compare(first, second) in ("same", "routine"), (first.parent.name, second.parent.name)
