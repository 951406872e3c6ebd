from io import BytesIO

import numpy as np
import pydicom
import pytest
from report_cases import STUDY, build
from validators import PROGRAMS, problems

from qcnode.case import Verdict
from qcnode.report.write_summary import write_summary

PAGE = np.random.default_rng(0).integers(0, 255, (31, 21, 3), dtype=np.uint8)  # an odd number of bytes


def as_bytes(inputs, page=PAGE):
    buffer = BytesIO()
    write_summary(inputs, page).save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def read(inputs):
    return pydicom.dcmread(BytesIO(as_bytes(inputs)))


def test_the_page_reads_back():
    summary = read(build())
    assert summary.SOPClassUID == pydicom.uid.SecondaryCaptureImageStorage
    assert not summary.file_meta.TransferSyntaxUID.is_compressed
    assert (summary.PhotometricInterpretation, summary.BitsAllocated, summary.SamplesPerPixel) == ("RGB", 8, 3)
    assert np.array_equal(summary.pixel_array, PAGE)


def test_it_is_a_series_of_its_own_in_the_study_of_the_query():
    inputs = build()
    summary = read(inputs)
    assert summary.StudyInstanceUID == STUDY
    assert summary.SeriesInstanceUID not in {inputs.query.SeriesInstanceUID, inputs.sources[0].SeriesInstanceUID}
    assert summary.SeriesDescription == "QC FAIL 0.47 predicted DSC"
    assert str(summary.PatientName) == "Doe^Jane"
    assert summary.SourceImageSequence[0].ReferencedSOPInstanceUID == inputs.query.SOPInstanceUID


def test_it_says_what_it_is():
    summary = read(build())
    assert summary.BurnedInAnnotation == "NO"
    assert summary.ConversionType == "SYN"
    assert "not for diagnosis" in summary.ImageComments
    assert (summary.Manufacturer, summary.ManufacturerModelName, summary.SoftwareVersions) == ("qcnode", "qcnode", "0.1.0")


def test_the_same_inputs_give_the_same_bytes():
    assert as_bytes(build()) == as_bytes(build())


@pytest.mark.peers
@pytest.mark.parametrize("images", [True, False])
def test_validators_find_nothing(images, tmp_path, require_peers):
    require_peers(*PROGRAMS)
    path = tmp_path / "summary.dcm"
    path.write_bytes(as_bytes(build(Verdict.UNASSESSABLE, images=images)))
    assert problems(path) == []
