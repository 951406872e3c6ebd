"""Headers of classic, Enhanced and segmentation objects, of qcnode's own results, and of what is broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_objects import MR_IMAGE, code, enhanced_mr, group, item, mr_slice, new_object, save, segmentation
from pydicom.uid import ImplicitVRLittleEndian

from qcnode.case import ReasonCode
from qcnode.errors import Rejected
from qcnode.headers import EXTRA_KEY, TIME_KEY, header_of, read_header

COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"
KEY_OBJECT = "1.2.840.10008.5.1.4.1.1.88.59"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
VALUES = np.arange(12).reshape(3, 4)


def test_classic_mr(tmp_path: Path) -> None:
    dataset = mr_slice(VALUES, (1, 2, 3.5))
    dataset.SeriesDescription, dataset.InstanceNumber, dataset.EchoTime = "cine", 7, 1.5
    dataset.TemporalPositionIdentifier, dataset.TriggerTime, dataset.AcquisitionNumber = 2, 40.5, 3
    dataset.AcquisitionDate, dataset.AcquisitionTime = "20260101", "101112.5"
    header = read_header(save(dataset, tmp_path))
    assert (header.kind, header.modality, header.rows, header.columns, header.instance_number) == ("image", "MR", 3, 4, 7)
    assert (header.frame_of_reference_uid, header.series_description) == ("2.25.3", "cine")
    (frame,) = header.frames
    assert (frame.frame_number, frame.image_position, frame.pixel_spacing, frame.echo_time) == (1, (1, 2, 3.5), (1.5, 1.25), 1.5)
    assert frame.frame_type == ("ORIGINAL", "PRIMARY", "M")
    times = dict(zip(TIME_KEY, frame.time_key, strict=True))
    assert times["acquisition_time"] == "20260101101112.5"
    assert [float(times[name]) for name in TIME_KEY[:3]] == [2, 40.5, 3]


def test_time_keys_sort_as_numbers_do(tmp_path: Path) -> None:
    keys = []
    for time in (0, 9.5, 40, 125.25, 1000):
        dataset = mr_slice(VALUES, (0, 0, 0))
        dataset.TriggerTime = time
        keys.append(header_of(dataset).frames[0].time_key)
    assert keys == sorted(keys)
    assert len(set(keys)) == 5


def test_enhanced_mr_has_its_own_and_shared_groups() -> None:
    dataset = enhanced_mr(np.stack([VALUES, VALUES]), [(0, 0, 0), (0, 0, 5)])
    groups = dataset.PerFrameFunctionalGroupsSequence
    groups[1].MRDiffusionSequence = [item(DiffusionBValue=500.0)]
    groups[1].CardiacSynchronizationSequence = [item(NominalCardiacTriggerDelayTime=30.0)]
    header = header_of(dataset)
    assert [frame.image_position for frame in header.frames] == [(0, 0, 0), (0, 0, 5)]
    assert {frame.pixel_spacing for frame in header.frames} == {(1.5, 1.25)}
    assert {frame.image_orientation for frame in header.frames} == {(1, 0, 0, 0, 1, 0)}
    first, second = (dict(zip(TIME_KEY + EXTRA_KEY, f.time_key + f.extra_key, strict=True)) for f in header.frames)
    assert (first["b_value"], first["trigger_delay"], first["complex_component"]) == ("", "", "MAGNITUDE")
    assert (float(second["b_value"]), float(second["trigger_delay"])) == (500, 30)
    assert header.frames[0].echo_time == 2.5


def test_segmentation() -> None:
    tissue = np.ones((3, 4), np.bool_)
    dataset = segmentation([(2, (0, 0, 0), tissue), (1, (0, 0, 5), tissue)], segments=(1, 2))
    dataset.SegmentSequence[0].TrackingUID = "2.25.9"
    dataset.SegmentSequence[0].AnatomicRegionSequence = [code("80891009", "SCT", "Heart")]
    dataset.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
        code("7771000", "SCT", "Left")
    ]
    source = item(ReferencedSOPClassUID=MR_IMAGE, ReferencedSOPInstanceUID="2.25.11", ReferencedFrameNumber=[3, 4])
    plain = item(ReferencedSOPClassUID=MR_IMAGE, ReferencedSOPInstanceUID="2.25.12")
    dataset.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence = [item(SourceImageSequence=[source, plain])]
    named = item(ReferencedSOPClassUID=MR_IMAGE, ReferencedSOPInstanceUID="2.25.13")
    dataset.ReferencedSeriesSequence = [item(SeriesInstanceUID="2.25.10", ReferencedInstanceSequence=[named])]
    header = header_of(dataset)
    assert (header.kind, header.segmentation_type) == ("seg", "BINARY")
    assert [frame.segment_number for frame in header.frames] == [2, 1]
    assert header.frames[0].source_instances == (("2.25.11", 3), ("2.25.11", 4), ("2.25.12", None))
    assert header.frames[1].source_instances == ()
    assert header.referenced_series == ("2.25.10",)
    assert header.referenced_instances == ("2.25.13", "2.25.11", "2.25.12")
    assert header.referenced_sop_classes == (MR_IMAGE,)
    segment = header.segments[0]
    assert segment.property_type == ("87878005", "SCT", "Left ventricle")
    assert (segment.tracking_uid, segment.property_modifiers) == ("2.25.9", (("7771000", "SCT", "Left"),))
    assert segment.anatomic_region == ("80891009", "SCT", "Heart")


@pytest.mark.parametrize(
    ("sop_class_uid", "kind"),
    [
        ("1.2.840.10008.5.1.4.1.1.4.4", "image"),
        ("1.2.840.10008.5.1.4.1.1.4.2", "other"),  # MR Spectroscopy
        ("1.2.840.10008.5.1.4.1.1.66", "other"),  # Raw Data
        ("1.2.840.10008.5.1.4.1.1.2", "other"),  # CT
        ("1.2.840.10008.5.1.4.1.1.66.7", "labelmap"),
        (COMPREHENSIVE_SR, "other"),
    ],
)
def test_kind_follows_from_the_sop_class(sop_class_uid: str, kind: str) -> None:
    assert header_of(new_object(sop_class_uid)).kind == kind


@pytest.mark.parametrize("sop_class_uid", [COMPREHENSIVE_SR, KEY_OBJECT, SECONDARY_CAPTURE, "1.2.840.10008.5.1.4.1.1.66.4"])
def test_own_results_are_known_by_their_equipment(sop_class_uid: str) -> None:
    dataset = new_object(sop_class_uid)
    dataset.Manufacturer = "qcnode"
    assert header_of(dataset).kind != "qcnode-result"
    dataset.ManufacturerModelName = "qcnode"
    assert header_of(dataset).kind == "qcnode-result"


def test_images_are_never_own_results() -> None:
    dataset = mr_slice(VALUES, (0, 0, 0))
    dataset.Manufacturer = dataset.ManufacturerModelName = "qcnode"
    assert header_of(dataset).kind == "image"


def test_own_error_map_is_known_by_its_codes() -> None:
    dataset = segmentation([], segments=(1, 2))
    dataset.SegmentSequence[1].SegmentedPropertyTypeCodeSequence = [code("error", "99QCNODE", "Predicted segmentation error")]
    assert header_of(dataset).kind == "qcnode-result"


def test_own_report_is_known_by_its_concepts() -> None:
    dataset = new_object(COMPREHENSIVE_SR)
    measurement = group("ConceptNameCodeSequence", CodeValue="112039", CodingSchemeDesignator="DCM", CodeMeaning="Tracking Identifier")
    dataset.ContentSequence = [item(ContentSequence=[item(ContentSequence=[measurement])])]
    assert header_of(dataset).kind == "other"
    measurement.ConceptNameCodeSequence = [code("pdsc", "99QCNODE", "Predicted Dice Similarity Coefficient")]
    assert header_of(dataset).kind == "qcnode-result"


def test_missing_empty_and_odd_values_are_absent(tmp_path: Path) -> None:
    dataset = mr_slice(VALUES, (0, 0, 0))
    del dataset.FrameOfReferenceUID, dataset.ImagePositionPatient
    dataset.PixelSpacing, dataset.ImageOrientationPatient, dataset.SeriesNumber, dataset.EchoTime = [1.5], None, None, ""
    header = read_header(save(dataset, tmp_path))
    assert (header.frame_of_reference_uid, header.series_number) == (None, None)
    frame = header.frames[0]
    assert (frame.image_position, frame.image_orientation, frame.pixel_spacing, frame.echo_time) == (None, None, None, None)


@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [
        (0x00200032, "OB", b"\xff\xfe\x00\x00"),
        (0x00200032, "LO", "left\\right\\up"),
        (0x00200032, "DS", "1\\nan\\2"),
        (0x00200037, "FD", [1.0, 0.0, float("nan"), 0.0, 1.0, 0.0]),
        (0x00280030, "DS", "0\\-1"),
        (0x00280010, "LO", "many"),
        (0x00201041, "SQ", []),
        (0x00200013, "LO", "1e400"),
        (0x00620002, "LO", "no sequence"),
        (0x52009230, "LO", "no sequence"),
        (0x00280008, "LO", "99999999999"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_wrong_values_never_crash(tmp_path: Path, tag: int, vr: str, value: object) -> None:
    dataset = mr_slice(VALUES, (0, 0, 0))
    try:
        dataset.add_new(tag, vr, value)
        path = save(dataset, tmp_path)
    except (ValueError, TypeError):  # pydicom itself refuses to write it: read it from memory
        header_of(dataset)
    else:
        read_header(path)


@pytest.mark.filterwarnings("ignore")
def test_any_corrupted_byte_is_read_or_refused(tmp_path: Path) -> None:
    dataset = segmentation([(1, (0, 0, 5), np.ones((3, 4), np.bool_))])
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    good = save(dataset, tmp_path).read_bytes()
    path = tmp_path / "broken.dcm"
    draw = np.random.default_rng(5)
    refused = 0
    for _ in range(150):
        broken = bytearray(good)
        for at in draw.integers(132, len(good), 4):
            broken[at] = draw.integers(0, 256)
        path.write_bytes(bytes(broken))
        try:
            read_header(path)
        except Rejected:
            refused += 1
    assert refused < 150


@pytest.mark.parametrize("length", [0, 10, 132, 140, 200])
def test_what_is_no_dicom_file_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "truncated.dcm"
    path.write_bytes(save(mr_slice(VALUES, (0, 0, 0)), tmp_path).read_bytes()[:length])
    with pytest.raises(Rejected) as refusal:
        read_header(path)
    assert refusal.value.reason.code is ReasonCode.SERIES_UNREADABLE
    path.write_text("not DICOM, but long enough to hold a preamble. " * 20)
    with pytest.raises(Rejected):
        read_header(path)
