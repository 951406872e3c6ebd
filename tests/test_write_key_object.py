from dataclasses import replace
from io import BytesIO

import pydicom
import pytest
from highdicom.ko import KeyObjectSelectionDocument
from pydicom import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage
from report_cases import STUDY, build, without_geometry
from validators import PROGRAMS, problems

from qcnode.case import Verdict
from qcnode.headers import read_header
from qcnode.report.write_key_object import write_key_object
from qcnode.report.write_sr import write_report

VARIANTS = {
    "fail": lambda: build(Verdict.FAIL),
    "review": lambda: build(Verdict.REVIEW),
    "no images": lambda: build(Verdict.UNASSESSABLE, images=False),
    "no geometry": lambda: without_geometry(build()),
    "nothing readable": lambda: replace(build(Verdict.UNASSESSABLE, images=False), query=Dataset()),
}


def encoded(inputs):
    buffer = BytesIO()
    write_key_object(inputs, write_report(inputs, None)).save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def written(inputs):
    """The key object as a peer reads it."""
    return pydicom.dcmread(BytesIO(encoded(inputs)))


def references(key_object):
    return [
        (i.ValueType, i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for i in key_object.ContentSequence
        if "ReferencedSOPSequence" in i
    ]


def test_it_announces_the_query_and_the_report_and_no_image_of_the_patient():
    inputs = build()
    key_object, report = written(inputs), write_report(inputs, None)
    assert references(key_object) == [("IMAGE", "1.2.3.3.1"), ("COMPOSITE", report.SOPInstanceUID)]
    (study,) = key_object.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == STUDY
    named = {i.ReferencedSOPInstanceUID for s in study.ReferencedSeriesSequence for i in s.ReferencedSOPSequence}
    assert named == {"1.2.3.3.1", report.SOPInstanceUID}


def test_its_title_asks_for_a_look_and_rejects_nothing():
    key_object = written(build())
    title = key_object.ConceptNameCodeSequence[0]
    assert (title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning) == ("113010", "DCM", "Quality Issue")
    assert key_object.ContentTemplateSequence[0].TemplateIdentifier == "2010"
    (description,) = (i.TextValue for i in key_object.ContentSequence if i.ValueType == "TEXT" and i.RelationshipType == "CONTAINS")
    assert "FAIL" in description
    assert "predicted DSC 0.47 is below 0.75" in description


def test_the_document_belongs_to_the_study_in_a_series_of_its_own():
    inputs = build()
    key_object, report = written(inputs), write_report(inputs, None)
    assert (key_object.SOPClassUID, key_object.Modality) == (KeyObjectSelectionDocumentStorage, "KO")
    assert (key_object.StudyInstanceUID, key_object.PatientID, key_object.AccessionNumber) == (STUDY, "P1", "A1")
    assert key_object.SeriesInstanceUID != report.SeriesInstanceUID
    assert key_object.SeriesNumber == report.SeriesNumber + 1
    assert key_object.SeriesDescription == "QC FAIL 0.47 predicted DSC key object"
    assert (key_object.ContentDate, key_object.ContentTime) == ("20260304", "050607.000890")


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_inputs_give_the_same_bytes(name):
    assert encoded(VARIANTS[name]()) == encoded(VARIANTS[name]())


def test_another_case_gives_another_key_object():
    inputs = build()
    other = replace(inputs, case=replace(inputs.case, case_id="d" * 64))
    assert written(inputs).SOPInstanceUID != written(other).SOPInstanceUID


def test_highdicom_reads_it_back():
    key_object = KeyObjectSelectionDocument.from_dataset(written(build()))
    study, series, instance = key_object.resolve_reference("1.2.3.3.1")
    assert (study, series, instance) == (STUDY, "1.2.3.3", "1.2.3.3.1")


def test_the_node_knows_it_as_its_own(tmp_path):
    (tmp_path / "ko.dcm").write_bytes(encoded(build()))
    assert read_header(tmp_path / "ko.dcm").kind == "qcnode-result"


@pytest.mark.peers
@pytest.mark.parametrize("name", VARIANTS)
def test_validators_find_nothing(name, tmp_path, require_peers):
    require_peers(*PROGRAMS)
    (tmp_path / "ko.dcm").write_bytes(encoded(VARIANTS[name]()))
    assert problems(tmp_path / "ko.dcm") == []
