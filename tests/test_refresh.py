"""Corrections in the archive reach a settled result, and nothing else of it changes."""

from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from pynetdicom.dsutils import decode, encode

from qcnode.config import CStoreDestination
from qcnode.deliver.c_store import CStore
from qcnode.deliver.refresh import refreshed
from qcnode.demo.pacs import DemoPacs


def write_result(path: Path, character_set: str | None = "ISO_IR 192", **elements: str) -> Path:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "2.25.10"
    if character_set is not None:
        dataset.SpecificCharacterSet = character_set
    dataset.PatientName = "Doe^Jane"
    dataset.PatientID = "P1"
    dataset.PatientBirthDate = "19700101"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "2.25.1", "2.25.2"
    dataset.StudyDescription = "Heart"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def attributes(**elements: str) -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.StudyInstanceUID = "2.25.1"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def test_nothing_differs(tmp_path: Path) -> None:
    path = write_result(tmp_path / "a.dcm")
    same = attributes(PatientName="Doe^Jane^^", PatientID="P1 ", StudyDescription="Heart")
    assert refreshed(path, same, tmp_path / "b.dcm") is None
    assert not (tmp_path / "b.dcm").exists()


def test_correction_is_taken_over_and_only_that(tmp_path: Path) -> None:
    path = write_result(tmp_path / "a.dcm")
    before = path.read_bytes()
    target = refreshed(path, attributes(PatientName="Doe^Janet", PatientID="P2", IssuerOfPatientID="HOSPITAL"), tmp_path / "b.dcm")
    assert target == tmp_path / "b.dcm"
    old, new = dcmread(path), dcmread(target)
    assert (new.PatientName, new.PatientID, new.IssuerOfPatientID) == ("Doe^Janet", "P2", "HOSPITAL")
    changed = {"PatientName", "PatientID", "IssuerOfPatientID"}
    assert {e.keyword: e.value for e in new if e.keyword not in changed} == {e.keyword: e.value for e in old if e.keyword not in changed}
    assert new.file_meta == old.file_meta
    assert path.read_bytes() == before


def test_what_the_archive_leaves_empty_stays(tmp_path: Path) -> None:
    path = write_result(tmp_path / "a.dcm")
    target = refreshed(path, attributes(PatientName="", PatientBirthDate="", PatientID="P2"), tmp_path / "b.dcm")
    assert target is not None
    assert dcmread(target).PatientName == "Doe^Jane"
    assert dcmread(target).PatientBirthDate == "19700101"


def test_uids_never_change(tmp_path: Path) -> None:
    path = write_result(tmp_path / "a.dcm")
    other = attributes(PatientID="P2", SeriesInstanceUID="2.25.77", SOPInstanceUID="2.25.78")
    target = refreshed(path, other, tmp_path / "b.dcm")
    assert target is not None
    new = dcmread(target)
    assert (new.StudyInstanceUID, new.SeriesInstanceUID, new.SOPInstanceUID) == ("2.25.1", "2.25.2", "2.25.10")


def test_attributes_of_another_study_are_an_error(tmp_path: Path) -> None:
    path = write_result(tmp_path / "a.dcm")
    other = attributes(PatientID="P2")
    other.StudyInstanceUID = "2.25.3"
    with pytest.raises(ValueError, match="another study"):
        refreshed(path, other, tmp_path / "b.dcm")


def test_same_attributes_give_the_same_bytes(tmp_path: Path) -> None:
    path = write_result(tmp_path / "a.dcm")
    for name in ("b.dcm", "c.dcm"):
        refreshed(path, attributes(PatientName="Müller^Änne"), tmp_path / name)
    assert (tmp_path / "b.dcm").read_bytes() == (tmp_path / "c.dcm").read_bytes()


@pytest.mark.parametrize("character_set", [None, "ISO_IR 100", "ISO_IR 192"])
def test_name_in_another_script(tmp_path: Path, character_set: str | None) -> None:
    description = "Heart" if character_set is None else "Cœur é" if character_set == "ISO_IR 192" else "Coeur é"
    path = write_result(tmp_path / "a.dcm", character_set, SeriesDescription=description)
    target = refreshed(path, attributes(PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう"), tmp_path / "b.dcm")
    assert target is not None
    new = dcmread(target)
    assert new.PatientName.ideographic == "山田^太郎"
    assert new.SeriesDescription == description
    assert new.SpecificCharacterSet == "ISO_IR 192"


def test_latin_answer_of_the_archive(tmp_path: Path) -> None:
    path = write_result(tmp_path / "a.dcm")
    answer = attributes(PatientName="Müller^Änne")
    answer.SpecificCharacterSet = "ISO_IR 100"
    received = encode(answer, False, True)
    assert received is not None
    target = refreshed(path, decode(BytesIO(received), False, True), tmp_path / "b.dcm")
    assert target is not None
    assert str(dcmread(target).PatientName) == "Müller^Änne"
    assert "Müller^Änne".encode() in target.read_bytes()


def test_nested_text_is_re_encoded(tmp_path: Path) -> None:
    path = write_result(tmp_path / "a.dcm", "ISO_IR 100")
    dataset = dcmread(path)
    item = Dataset()
    item.CodeMeaning = "Ventrículo"
    dataset.ProcedureCodeSequence = [item]
    dataset.save_as(path)
    target = refreshed(path, attributes(PatientID="P2"), tmp_path / "b.dcm")
    assert target is not None
    assert dcmread(target).ProcedureCodeSequence[0].CodeMeaning == "Ventrículo"


def test_with_an_archive_that_renamed_the_patient(tmp_path: Path) -> None:
    path = write_result(tmp_path / "a.dcm")
    image = dcmread(path)
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = "2.25.11"
    image.PatientName = "Doe^Janet"
    with DemoPacs(tmp_path / "archive") as pacs:
        pacs.keep(image)
        settings = CStoreDestination(name="pacs", kind="c-store", ae_title="DEMOPACS", host="127.0.0.1", port=pacs.port)
        now = CStore(settings, "QCNODE").study_attributes("2.25.1")
    assert now is not None
    target = refreshed(path, now, tmp_path / "b.dcm")
    assert target is not None
    assert dcmread(target).PatientName == "Doe^Janet"
    assert dcmread(target).PatientID == "P1"
