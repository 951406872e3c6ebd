import math
from dataclasses import replace
from io import BytesIO

import pydicom
import pytest
from highdicom.sr import Comprehensive3DSR
from pydicom import Dataset
from report_cases import STUDY, build, enhanced, with_intervals, without_geometry
from validators import PROGRAMS, dciodvfy_errors, dsrdump_errors, problems, problems_of_all

from qcnode.case import Stack, Verdict
from qcnode.report.write_seg import write_error_map
from qcnode.report.write_sr import write_report
from qcnode.tissues import Tissue

VARIANTS = {
    "pass": lambda: build(Verdict.PASS),
    "fail": lambda: build(Verdict.FAIL),
    "review": lambda: build(Verdict.REVIEW),
    "unassessable": lambda: build(Verdict.UNASSESSABLE),
    "no images": lambda: build(Verdict.UNASSESSABLE, images=False),
    "no geometry": lambda: without_geometry(build()),
    "enhanced": lambda: build(is_enhanced=True),
    "predecessor": lambda: build(predecessor=True),
    "intervals": lambda: with_intervals(build()),
    "nothing readable": lambda: _bare(build(Verdict.UNASSESSABLE, images=False)),
    "brain": lambda: _unions(build()),
    "no weights": lambda: _without_weights(build(Verdict.UNASSESSABLE, images=False)),
}


def _bare(inputs):
    """A query of which no more than its UIDs is known, from matching."""
    return replace(inputs, query=Dataset())


def _unions(inputs):
    """Tissues that are unions of segments, as of a glioma, and one without a number."""
    names = ("whole tumour", "tumour core", "enhancing tumour")
    prediction = replace(inputs.assessment.prediction, tissues=names, per_tissue_dsc={"whole tumour": 0.8, "tumour core": 0.7})
    tissues = tuple(Tissue(n, (n,), ("86049000", "SCT", "Neoplasm, Primary")) for n in names)
    segments = {"whole tumour": (1, 2, 3), "tumour core": (2, 3), "enhancing tumour": (3,)}
    return replace(inputs, assessment=replace(inputs.assessment, prediction=prediction), tissues=tissues, tissue_segments=segments)


def _without_weights(inputs):
    return replace(inputs, assessment=replace(inputs.assessment, weights=None))


def written(inputs):
    """The report as a peer reads it."""
    buffer = BytesIO()
    write_report(inputs, write_error_map(inputs)).save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    return pydicom.dcmread(buffer)


def items(node, value=None):
    """All content items below `node`, or those whose concept name has this code value."""
    for item in node.get("ContentSequence", ()):
        if value is None or item.ConceptNameCodeSequence[0].get("CodeValue") == value:
            yield item
        yield from items(item, value)


def groups(report):
    return list(items(report, "125007"))


def numbers(node):
    return {
        i.ConceptNameCodeSequence[0].CodeMeaning: float(i.MeasuredValueSequence[0].NumericValue)
        for i in node.ContentSequence
        if i.ValueType == "NUM"
    }


def referenced_segments(group):
    (image,) = items(group, "121191")
    found = image.ReferencedSOPSequence[0].ReferencedSegmentNumber
    return [int(found)] if isinstance(found, int) else [int(n) for n in found]


def test_the_document():
    report = written(build())
    assert report.SOPClassUID == pydicom.uid.Comprehensive3DSRStorage
    assert report.ConceptNameCodeSequence[0].CodeValue == "126000"
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert (report.CompletionFlag, report.PreliminaryFlag, report.VerificationFlag) == ("COMPLETE", "FINAL", "UNVERIFIED")
    assert report.StudyInstanceUID == STUDY
    assert report.SeriesDescription == "QC FAIL 0.47 predicted DSC report"
    assert report.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99QCNODE"


def test_a_group_for_all_segments_and_one_for_each():
    report = written(build())
    assert [referenced_segments(g) for g in groups(report)] == [[1, 2, 3], [1], [2], [3]]
    pooled, right, myocardium, left = groups(report)
    assert numbers(pooled) == {"Predicted Dice Similarity Coefficient": 0.47, "Predicted Normalized Surface Dice": 0.39}
    assert numbers(right) == {"Predicted Dice Similarity Coefficient": 0.47}
    assert numbers(myocardium) == {"Predicted Dice Similarity Coefficient": 0.42}
    assert numbers(left) == {"Predicted Dice Similarity Coefficient": 0.37}
    for group in groups(report):
        assert next(items(group, "112039")).TextValue
        assert next(items(group, "112040")).UID
    assert next(items(right, "112040")).UID == "1.2.3.5.1"  # the query's own


def test_every_number_is_estimated_and_the_tolerance_is_stated():
    report = written(build())
    for item in items(report):
        if item.ValueType == "NUM" and item.ConceptNameCodeSequence[0].CodeMeaning.startswith("Predicted"):
            assert item.ConceptNameCodeSequence[0].CodingSchemeDesignator == "99QCNODE"
            (derivation,) = items(item, "121401")
            assert derivation.ConceptCodeSequence[0].CodeValue == "414135002"
    (tolerance,) = items(report, "nsd-tolerance")
    assert tolerance.RelationshipType == "INFERRED FROM"
    assert tolerance.MeasuredValueSequence[0].NumericValue == 2
    assert tolerance.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue == "mm"


def test_the_pooled_numbers_carry_their_intervals_and_no_further_number():
    report = written(with_intervals(build()))
    pooled, *tissues = groups(report)
    assert numbers(pooled) == {"Predicted Dice Similarity Coefficient": 0.47, "Predicted Normalized Surface Dice": 0.39}
    found = {n.ConceptNameCodeSequence[0].CodeValue: list(items(n, "qc-interval")) for n in pooled.ContentSequence if n.ValueType == "NUM"}
    assert [i.TextValue for i in found["predicted-dsc"]] == ["90 % interval 0.3800 to 0.5200"]
    assert [i.TextValue for i in found["predicted-nsd"]] == ["90 % interval 0.2100 to 0.6200"]
    assert {i.RelationshipType for i in items(report, "qc-interval")} == {"HAS PROPERTIES"}
    assert not any(list(items(group, "qc-interval")) for group in tissues)
    assert not list(items(written(build()), "qc-interval"))


@pytest.mark.parametrize("verdict", [Verdict.PASS, Verdict.FAIL, Verdict.REVIEW, Verdict.UNASSESSABLE])
def test_the_verdict_is_about_the_query(verdict):
    (container,) = items(written(build(verdict)), "C0034375")
    (said,) = items(container, "qc-verdict")
    assert said.ConceptCodeSequence[0].CodeMeaning == verdict
    assert next(items(container, "qc-explanation")).TextValue == build(verdict).assessment.reasons[0].text
    about = next(items(container, "query-seg")).ReferencedSOPSequence[0]
    assert about.ReferencedSOPInstanceUID == "1.2.3.3.1"


def test_images_are_not_rated():
    for item in items(written(build())):
        assert item.ConceptNameCodeSequence[0].get("CodeValue") not in ("111236", "111237")


@pytest.mark.parametrize("name", ["unassessable", "no images", "no geometry", "nothing readable"])
def test_what_could_not_be_computed_is_no_number(name):
    report = written(VARIANTS[name]())
    assert not [i for i in items(report) if i.ValueType == "NUM" and i.ConceptNameCodeSequence[0].CodingSchemeDesignator == "99QCNODE"]
    for value in ("predicted-dsc", "predicted-nsd"):
        failed = next(items(report, value))
        assert failed.ConceptCodeSequence[0].CodeValue == "114006"


def test_a_number_that_is_none_fails_alone():
    inputs = build()
    inputs = replace(
        inputs, assessment=replace(inputs.assessment, prediction=replace(inputs.assessment.prediction, predicted_nsd=math.nan))
    )
    pooled = groups(written(inputs))[0]
    assert list(numbers(pooled)) == ["Predicted Dice Similarity Coefficient"]
    assert next(items(pooled, "predicted-nsd")).ConceptCodeSequence[0].CodeValue == "114006"


def test_a_union_of_segments_has_a_group_of_its_own():
    report = written(_unions(build()))
    found = {tuple(referenced_segments(g)): numbers(g) for g in groups(report)[1:]}
    assert found[1, 2, 3] == {"Predicted Dice Similarity Coefficient": 0.8}
    assert found[2, 3] == {"Predicted Dice Similarity Coefficient": 0.7}
    assert found[3,] == found[1,] == {}


def test_evidence_is_complete_and_the_library_short():
    inputs = build()
    further = enhanced()[0]
    further.SeriesInstanceUID, further.SOPInstanceUID = "1.2.3.8", "1.2.3.8.1"
    report = written(replace(inputs, further_sources=(further,)))
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    named = {i.ReferencedSOPInstanceUID for s in study.ReferencedSeriesSequence for i in s.ReferencedSOPSequence}
    error_map = write_error_map(inputs)
    assert named == {h.SOPInstanceUID for h in inputs.sources} | {"1.2.3.3.1", "1.2.3.8.1", error_map.SOPInstanceUID}
    assert len(list(items(report, "260753009"))) == 2  # one image per series


def test_the_predecessor_is_named():
    (study,) = written(build(predecessor=True)).PredecessorDocumentsSequence
    assert study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3.6.1"
    assert "PredecessorDocumentsSequence" not in written(build())


def test_algorithm_identification_holds_the_weights_digest():
    pooled = groups(written(build()))[0]
    assert next(items(pooled, "111001")).TextValue == "cardiac-sax"
    assert next(items(pooled, "111003")).TextValue == "1.0"
    assert any("ab" * 32 in i.TextValue for i in items(pooled, "111002"))


def test_the_source_series_is_the_image_series_or_what_the_query_says():
    assert {i.UID for i in items(written(build()), "121232")} == {"1.2.3.2"}
    moved = build()
    moved = replace(moved, case=replace(moved.case, contrasts={"cine": Stack("1.2.3.9", ())}))
    assert {i.UID for i in items(written(moved), "121232")} == {"1.2.3.9"}
    unknown = written(VARIANTS["nothing readable"]())
    assert groups(unknown) == []  # better no group than a series that is made up
    assert not list(items(unknown, "121232"))


def test_images_without_frame_of_reference_cost_the_error_map_only():
    inputs = build()
    for header in inputs.sources:
        del header.FrameOfReferenceUID
    report = write_report(inputs, None)
    assert any("no frame of reference" in i.TextValue for i in items(report, "qc-explanation"))


@pytest.mark.parametrize("keyword", ["PixelSpacing", "SliceThickness", "ImagePositionPatient", "Rows", "SOPClassUID", "SeriesInstanceUID"])
def test_images_with_missing_attributes_do_not_crash_it(keyword):
    inputs = build(Verdict.UNASSESSABLE)
    for header in inputs.sources:
        del header[keyword]
    assert written(inputs).SOPInstanceUID


def test_segments_without_number_or_code_do_not_crash_it():
    inputs = build()
    del inputs.query.SegmentSequence[0].SegmentNumber
    del inputs.query.SegmentSequence[1].SegmentedPropertyTypeCodeSequence
    report = written(inputs)
    assert [referenced_segments(g) for g in groups(report)] == [[2, 3], [2], [3]]


def test_highdicom_reads_it_back():
    report = Comprehensive3DSR.from_dataset(written(build()))
    assert len(report.content.get_volumetric_roi_measurement_groups()) == 4


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_inputs_give_the_same_bytes(name):
    def content():
        buffer = BytesIO()
        inputs = VARIANTS[name]()
        write_report(inputs, write_error_map(inputs)).save_as(buffer, enforce_file_format=True)
        return buffer.getvalue()

    assert content() == content()


def write_variants(folder, names):
    for name in names:
        inputs = VARIANTS[name]()
        path = folder / f"{name}.dcm"
        write_report(inputs, write_error_map(inputs)).save_as(path, enforce_file_format=True)
        yield path


@pytest.mark.peers
def test_dciodvfy_and_dsrdump_find_nothing(tmp_path, require_peers):
    require_peers(*PROGRAMS)
    found = {path.name: dciodvfy_errors(path) + dsrdump_errors(path) for path in write_variants(tmp_path, VARIANTS)}
    assert not any(found.values()), found


@pytest.mark.peers
@pytest.mark.timeout(600)
def test_all_validators_find_nothing_in_what_differs_in_structure(tmp_path, require_peers):
    require_peers(*PROGRAMS)
    alike = {"fail", "no geometry", "no weights"}  # as "predecessor", "unassessable", "no images"
    assert problems_of_all(write_variants(tmp_path, set(VARIANTS) - alike)) == {}


@pytest.mark.peers
def test_validators_find_something(tmp_path, require_peers):
    require_peers(*PROGRAMS)
    report = write_report(build(), None)
    groups(report)[0].ContentSequence = [i for i in groups(report)[0].ContentSequence if i.ConceptNameCodeSequence[0].CodeValue != "121232"]
    del report.CompletionFlag
    report.save_as(tmp_path / "report.dcm", enforce_file_format=True)
    found = "\n".join(problems(tmp_path / "report.dcm"))
    assert "CompletionFlag" in found
    assert "Template 1411" in found
