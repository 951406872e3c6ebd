import warnings
from dataclasses import replace
from io import BytesIO

import pydicom
import pytest
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from report_cases import STUDY, build

from qcnode.report.identity import identity, items_of, numbers_of, text_of
from qcnode.report.write_sr import write_report


def of(**attributes):
    """Identity of a case without images whose query has these attributes only."""
    query = Dataset()
    for keyword, value in attributes.items():
        setattr(query, keyword, value)
    return identity(replace(build(images=False), query=query))


def test_absent_attributes_are_empty():
    attributes = of()
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
        assert attributes[keyword].is_empty, keyword
    assert attributes.StudyInstanceUID == STUDY
    assert "StudyDescription" not in attributes


@pytest.mark.parametrize(
    ("keyword", "written", "kept"),
    [
        ("StudyDate", "20260304", "20260304"),
        ("StudyDate", "2026.03.04", "20260304"),
        ("StudyDate", "04/03/2026", ""),
        ("StudyDate", "20261399", ""),
        ("StudyTime", "010203.5", "010203.5"),
        ("StudyTime", "1:02", ""),
        ("PatientSex", "F", "F"),
        ("PatientSex", "X", ""),
        ("PatientID", "  A-1 ", "A-1"),
        ("PatientID", "A" * 70, "A" * 64),
        ("AccessionNumber", "1\n2", "12"),
    ],
)
def test_values_that_would_be_invalid_are_left_out(keyword, written, kept):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, about the odd value that the test writes
        assert str(of(**{keyword: written})[keyword].value or "") == kept


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("ISO_IR 144", "Люкceмбypг^Анна"),
        ("ISO_IR 100", "Müller^Jürgen"),
        ("ISO_IR 192", "王^小东"),
    ],
)
def test_names_of_any_character_set_are_written_as_utf8(character_set, name):
    query = Dataset()
    query.SpecificCharacterSet, query.PatientName = character_set, name
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, query, implicit_vr=False, little_endian=True)
    buffer.seek(0)
    inputs = build(images=False)
    received = pydicom.dcmread(buffer, force=True)
    received.update({e.tag: e for e in inputs.query if e.tag not in received})
    report = write_report(replace(inputs, query=received), None)
    answer = BytesIO()
    report.save_as(answer, enforce_file_format=True)
    answer.seek(0)
    read = pydicom.dcmread(answer)
    assert read.SpecificCharacterSet == "ISO_IR 192"
    assert str(read.PatientName) == name


def test_the_images_come_first_but_only_of_the_same_study():
    inputs = build()
    inputs.query.PatientID = "from query"
    assert identity(inputs).PatientID == "P1"
    strangers = tuple(Dataset() for _ in inputs.sources)
    for stranger in strangers:
        stranger.StudyInstanceUID, stranger.PatientID = "9.9", "other"
    assert identity(replace(inputs, sources=strangers)).PatientID == "from query"


def test_unreadable_values_count_as_absent():
    header = Dataset()
    header[0x00280030] = RawDataElement(Tag(0x00280030), "DS", 6, b"a\\b   ", 0, False, True)
    header[0x00620002] = RawDataElement(Tag(0x00620002), "SQ", 4, b"\x01\x02\x03\x04", 0, False, True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert numbers_of(header, "PixelSpacing", 2) is None
        assert list(items_of(header, "SegmentSequence")) == []
        assert text_of(header, "PatientName") == ""


def test_numbers_must_be_as_many_as_expected_and_finite():
    header = Dataset()
    header.PixelSpacing = [1.5, 1.5]
    assert numbers_of(header, "PixelSpacing", 2) == (1.5, 1.5)
    assert numbers_of(header, "PixelSpacing", 3) is None
    header.add_new(0x00181030, "LO", "nan\\inf")
    assert numbers_of(header, "ProtocolName", 2) is None


@pytest.mark.parametrize("name", ["Bono", "Doe^Jane"])
def test_no_name_reaches_a_warning_or_a_log(name, caplog):
    inputs = build()
    for header in (*inputs.sources, inputs.query):
        header.PatientName = name
    with warnings.catch_warnings(), caplog.at_level(0):
        warnings.simplefilter("error")
        report = write_report(inputs, None)
    assert str(report.PatientName) == name
    assert name not in caplog.text
