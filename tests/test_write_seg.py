from dataclasses import replace
from io import BytesIO

import highdicom as hd
import numpy as np
import pydicom
import pytest
from report_cases import FRAME, OBLIQUE, STUDY, TISSUES, build, position
from validators import PROGRAMS, problems

from qcnode.case import ReasonCode, Verdict
from qcnode.errors import Rejected
from qcnode.imaging.grid import Grid
from qcnode.report.write_seg import write_error_map

VARIANTS = {
    "classic": lambda: build(),
    "enhanced": lambda: build(is_enhanced=True),
    "one tissue, one slice": lambda: with_errors(build(), _one_slice()),
    "axial": lambda: build(grid=Grid(OBLIQUE.size, (5.0, 0.7, 0.9), (-50.0, 20.0, -300.0), ((0.0, 0, 1), (0.0, 1, 0), (1.0, 0, 0)))),
    "upside down": lambda: build(grid=Grid(OBLIQUE.size, (8.0, 1.5, 1.5), (0.0, 0, 0), ((0.0, 0, -1), (0.0, 1, 0), (1.0, 0, 0)))),
}


def _one_slice():
    errors = np.zeros_like(build().assessment.prediction.error_map)
    errors[1, 4, 50:60, 30:40] = True
    return errors


def with_errors(inputs, errors):
    return replace(inputs, assessment=replace(inputs.assessment, prediction=replace(inputs.assessment.prediction, error_map=errors)))


def as_bytes(inputs):
    buffer = BytesIO()
    write_error_map(inputs).save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def read(inputs):
    """The error map as a peer reads it."""
    return pydicom.dcmread(BytesIO(as_bytes(inputs)))


def frames_by_position(seg, inputs):
    """Error maps (tissue, z, y, x) of a SEG by its frames' own positions and segment numbers, with plain pydicom."""
    found = np.zeros_like(inputs.assessment.prediction.error_map)
    pixels = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    shared = seg.SharedFunctionalGroupsSequence[0]
    names = {s.SegmentNumber: s.SegmentLabel.removeprefix("ERROR ") for s in seg.SegmentSequence}
    at = [np.array(position(inputs.volume.grid, z)) for z in range(inputs.volume.grid.size[0])]
    for pixel_array, groups in zip(pixels, seg.PerFrameFunctionalGroupsSequence, strict=True):
        identification = (groups if "SegmentIdentificationSequence" in groups else shared).SegmentIdentificationSequence[0]
        row = inputs.assessment.prediction.tissues.index(names[identification.ReferencedSegmentNumber])
        written = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        distances = [float(np.linalg.norm(written - p)) for p in at]
        assert min(distances) < 0.001
        found[row, int(np.argmin(distances))] = pixel_array
    return found


@pytest.mark.parametrize("name", VARIANTS)
def test_it_reads_back_voxel_for_voxel(name):
    inputs = VARIANTS[name]()
    assert np.array_equal(frames_by_position(read(inputs), inputs), inputs.assessment.prediction.error_map)


@pytest.mark.parametrize("name", ["classic", "enhanced", "axial", "upside down"])
def test_highdicom_reads_it_back_voxel_for_voxel(name):
    inputs = VARIANTS[name]()
    seg = hd.seg.segread(BytesIO(as_bytes(inputs)))
    grid = inputs.volume.grid
    expected = np.moveaxis(inputs.assessment.prediction.error_map, 0, -1)
    target = hd.VolumeGeometry(np.array(grid.affine), spatial_shape=grid.size, coordinate_system="PATIENT", frame_of_reference_uid=FRAME)
    volume = seg.get_volume().match_geometry(target)
    assert np.array_equal(volume.array.astype(bool), expected)


def test_every_frame_names_the_image_at_its_position():
    inputs = build()
    positions = {h.SOPInstanceUID: list(h.ImagePositionPatient) for h in inputs.sources}
    seg = read(inputs)
    for groups in seg.PerFrameFunctionalGroupsSequence:
        (source,) = groups.DerivationImageSequence[0].SourceImageSequence
        assert source.SpatialLocationsPreserved == "YES"
        assert "ReferencedFrameNumber" not in source
        written = groups.PlanePositionSequence[0].ImagePositionPatient
        assert np.allclose(np.array(written, float), np.array(positions[source.ReferencedSOPInstanceUID], float), atol=1e-3)


def test_every_frame_names_the_enhanced_frame_of_its_phase():
    inputs = build(is_enhanced=True)
    (header,) = inputs.sources
    used = {p.frame_number for p in inputs.planes}
    assert used != set(range(1, header.NumberOfFrames + 1))  # there is another phase at the same positions
    for groups in read(inputs).PerFrameFunctionalGroupsSequence:
        (source,) = groups.DerivationImageSequence[0].SourceImageSequence
        assert source.ReferencedSOPInstanceUID == header.SOPInstanceUID
        assert source.ReferencedSOPClassUID == header.SOPClassUID
        assert source.ReferencedFrameNumber in used
        frame = header.PerFrameFunctionalGroupsSequence[source.ReferencedFrameNumber - 1]
        expected = frame.PlanePositionSequence[0].ImagePositionPatient
        assert np.allclose(np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float), np.array(expected, float), atol=1e-3)


@pytest.mark.parametrize("is_enhanced", [False, True])
def test_only_the_images_series_is_referenced_and_the_query_is_a_source(is_enhanced):
    inputs = build(is_enhanced=is_enhanced)
    (images,) = read(inputs).ReferencedSeriesSequence
    assert images.SeriesInstanceUID == "1.2.3.2"
    assert {i.ReferencedSOPInstanceUID for i in images.ReferencedInstanceSequence} == {h.SOPInstanceUID for h in inputs.sources}
    assert len(images.ReferencedInstanceSequence) == len(inputs.sources)
    assert "1.2.3.3.1" in [s.ReferencedSOPInstanceUID for s in read(inputs).SourceImageSequence]
    assert not [u for u in _uids(read(inputs)) if u.startswith("2.25.") and len(u) < 12]  # no stand-in is left


def _uids(dataset):
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _uids(item)
        elif element.VR == "UI":
            yield str(element.value)


def test_the_order_of_files_does_not_matter():
    inputs = build()
    assert inputs.sources[0].SOPInstanceUID == inputs.planes[-1].sop_instance_uid
    assert as_bytes(inputs) == as_bytes(replace(inputs, sources=inputs.sources[::-1])) == as_bytes(build())


def test_segments_are_errors_and_not_anatomy():
    seg = read(build())
    assert seg.SegmentationType == "BINARY"
    assert seg.StudyInstanceUID == STUDY
    assert seg.SeriesDescription == "QC FAIL 0.47 predicted DSC ERROR MAP"
    for segment, tissue in zip(seg.SegmentSequence, TISSUES, strict=True):
        assert segment.SegmentLabel == f"ERROR {tissue.name}"
        assert segment.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "predicted segmentation error"
        assert segment.SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator == "99QCNODE"
        assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning == "Spatial and Relational Concept"
        assert segment.AnatomicRegionSequence[0].CodeValue == tissue.code[0]
        assert "ab" * 32 in segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters


def test_only_tissues_and_slices_with_errors_are_written():
    seg = read(VARIANTS["one tissue, one slice"]())
    assert [s.SegmentLabel for s in seg.SegmentSequence] == ["ERROR myocardium"]
    assert seg.NumberOfFrames == 1


def test_without_prediction_or_without_error_there_is_none():
    assert write_error_map(build(Verdict.UNASSESSABLE)) is None
    assert write_error_map(build(Verdict.UNASSESSABLE, images=False)) is None
    inputs = build()
    assert write_error_map(with_errors(inputs, np.zeros_like(inputs.assessment.prediction.error_map))) is None


@pytest.mark.parametrize("is_enhanced", [False, True])
def test_images_without_frame_of_reference_are_refused(is_enhanced):
    inputs = build(is_enhanced=is_enhanced)
    for header in inputs.sources:
        del header.FrameOfReferenceUID
    with pytest.raises(Rejected) as refusal:
        write_error_map(inputs)
    assert refusal.value.reason.code is ReasonCode.NO_FRAME_OF_REFERENCE


def test_planes_of_another_volume_are_not_drawn_on():
    inputs = build()
    with pytest.raises(ValueError, match="slice 0"):
        write_error_map(replace(inputs, planes=inputs.planes[::-1]))
    with pytest.raises(ValueError, match="one size"):
        write_error_map(replace(inputs, planes=inputs.planes[1:]))


def test_headers_with_missing_or_odd_attributes_do_not_crash_it():
    inputs = build()
    for header in inputs.sources:
        for keyword in ("PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "SliceThickness"):
            del header[keyword]
        header.ImageOrientationPatient = [v + 1e-8 for v in header.ImageOrientationPatient]
        header.add_new(0x00291010, "OB", b"private")
        header.LossyImageCompression = "01"
    inputs.query.FrameOfReferenceUID = "9.9"
    assert np.array_equal(frames_by_position(read(inputs), inputs), inputs.assessment.prediction.error_map)


def test_positions_that_are_not_written_come_from_the_grid():
    inputs = build()
    for header in inputs.sources:
        del header.ImagePositionPatient
    assert np.array_equal(frames_by_position(read(inputs), inputs), inputs.assessment.prediction.error_map)


@pytest.mark.peers
@pytest.mark.parametrize("name", VARIANTS)
def test_validators_find_nothing(name, tmp_path, require_peers):
    require_peers(*PROGRAMS)
    path = tmp_path / "error_map.dcm"
    path.write_bytes(as_bytes(VARIANTS[name]()))
    assert problems(path) == []
