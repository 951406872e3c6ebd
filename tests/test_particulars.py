"""Whose study, which scanner, which segmenter: from whatever a SEG and an image say."""

from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from store_samples import encoded_object

from qcnode.errors import Rejected
from qcnode.headers.particulars import read_particulars


def stored(folder: Path, name: str, **elements: object) -> Path:
    path = folder / name
    path.write_bytes(encoded_object("2.25.7", **elements))
    return path


def segment(**elements: object) -> list[Dataset]:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return [item]


def test_the_patient_and_study_are_the_query_s(tmp_path: Path) -> None:
    patient = {"PatientID": "T1", "PatientBirthDate": "19700101", "StudyDate": "20260504", "AccessionNumber": "A1"}
    query = stored(tmp_path, "query", **patient)
    image = stored(tmp_path, "image", PatientID="other", InstitutionName="North", Manufacturer="SIEMENS", StationName="MR2")
    found = read_particulars(query, image)
    assert (found.patient_name, found.patient_id, found.birth_date, found.study_date, found.accession_number) == (
        "TEST^ONLY",
        "T1",
        "19700101",
        "20260504",
        "A1",
    )
    assert (found.institution, found.scanner) == ("North", "SIEMENS, MR2")


@pytest.mark.parametrize(
    ("elements", "scanner"),
    [
        ({"Manufacturer": "SIEMENS", "ManufacturerModelName": "Aera", "StationName": "MR2"}, "SIEMENS Aera, MR2"),
        ({"Manufacturer": "Philips", "ManufacturerModelName": "PHILIPS Ingenia"}, "PHILIPS Ingenia"),
        ({"ManufacturerModelName": "Aera"}, "Aera"),
        ({"StationName": "MR2"}, "MR2"),
        ({}, ""),
    ],
)
def test_the_scanner(tmp_path: Path, elements: dict[str, str], scanner: str) -> None:
    assert read_particulars(stored(tmp_path, "query"), stored(tmp_path, "image", **elements)).scanner == scanner


@pytest.mark.parametrize("image", [None, "absent", "broken"])
def test_without_images_the_query_says_what_it_can(tmp_path: Path, image: str | None) -> None:
    (tmp_path / "broken").write_bytes(b"no DICOM")
    query = stored(tmp_path, "query", InstitutionName="South", Manufacturer="Segmenting Ltd")
    found = read_particulars(query, tmp_path / image if image else None)
    assert (found.institution, found.scanner) == ("South", "")


@pytest.mark.parametrize(
    ("elements", "segmenter"),
    [
        ({"SegmentSequence": segment(SegmentAlgorithmName="hasty"), "Manufacturer": "M", "ManufacturerModelName": "N"}, "hasty"),
        ({"SegmentSequence": segment(SegmentationAlgorithmIdentificationSequence=segment(AlgorithmName="deep"))}, "deep"),
        ({"SegmentSequence": segment(SegmentLabel="LV"), "Manufacturer": "M", "ManufacturerModelName": "N"}, "M N"),
        ({"SeriesDescription": "LV by hand"}, "LV by hand"),
        ({}, ""),
    ],
)
def test_the_segmenter(tmp_path: Path, elements: dict[str, object], segmenter: str) -> None:
    assert read_particulars(stored(tmp_path, "query", **elements), None).segmenter == segmenter


def test_a_query_that_is_no_dicom_file_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(b"no DICOM")
    with pytest.raises(Rejected):
        read_particulars(tmp_path / "broken", None)
