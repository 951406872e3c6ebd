from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from io import BytesIO

import pydicom
import pytest
from highdicom.sr import Comprehensive3DSR
from pydicom import Dataset
from report_cases import STUDY, build
from validators import PROGRAMS, problems_of_all

from qcnode.case import Verdict
from qcnode.headers import read_header
from qcnode.outcome import ReaderDecision
from qcnode.regions import ErrorRegion, Mark, MarkedRegion
from qcnode.report.inputs import Predecessor
from qcnode.report.write_decision import DecisionInputs, Observer, write_decision
from qcnode.report.write_sr import write_report

SAID = ReaderDecision(
    decision="NEEDS_CORRECTION",
    reasons=("part of the structure is missing", "leaks into the lung"),
    comment="base: slices 1\\2\nsee there \x07ß",
    rating=3,
    reader="jane",
    decided_at=datetime(2026, 3, 4, 6, 7, 8, 9, tzinfo=UTC),
)
PREDECESSOR = Predecessor("1.2.840.10008.5.1.4.1.1.88.34", "1.2.3.9.1", "1.2.3.9", STUDY)
VERIFYING = Observer("jane", "Doe^Jane^^Dr.", "St. Elsewhere", verifies=True)


@cache
def report(images: bool = True) -> bytes:
    buffer = BytesIO()
    made = build() if images else replace(build(Verdict.UNASSESSABLE, images=False), query=Dataset())
    write_report(made, None).save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def inputs(*, images: bool = True, **changes) -> DecisionInputs:
    read = pydicom.dcmread(BytesIO(report(images)))
    return replace(DecisionInputs(read, "1.2.3.3.1", SAID, Observer("jane", "jane"), "0.1.0"), **changes)


MARKED = (
    MarkedRegion(ErrorRegion(1, "myocardium", 3, 5, 4, 210, 3.78, (-12.5, 30.0, 101.2)), Mark.REAL),
    MarkedRegion(ErrorRegion(3, "left ventricle", 0, 0, 0, 12, 0.216, (-10.0, 28.1, 77.0)), Mark.NOT_REAL),
)

VARIANTS = {
    "needs correction": lambda: inputs(),
    "accept": lambda: inputs(decision=replace(SAID, decision="ACCEPT", reasons=(), comment=" ", rating=None)),
    "reject, verified, successor": lambda: inputs(
        decision=replace(SAID, decision="REJECT", rating=1), observer=VERIFYING, predecessor=PREDECESSOR
    ),
    "revised by two, with marked regions": lambda: inputs(
        decision=replace(SAID, regions=MARKED, because="the base was read wrongly"),
        agreeing=(Observer("joe", "joe"),),
        predecessor=PREDECESSOR,
    ),
    "nothing readable": lambda: inputs(images=False),
}


def encoded(made: DecisionInputs) -> bytes:
    buffer = BytesIO()
    write_decision(made).save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def written(made: DecisionInputs) -> Dataset:
    """The decision as a peer reads it."""
    return pydicom.dcmread(BytesIO(encoded(made)))


def items(node: Dataset, value: str):
    """Content items below `node` whose concept name has this code value."""
    for item in node.get("ContentSequence", ()):
        if item.ConceptNameCodeSequence[0].CodeValue == value:
            yield item
        yield from items(item, value)


def said(document: Dataset, value: str) -> list[str]:
    return [i.ConceptCodeSequence[0].CodeValue if i.ValueType == "CODE" else i.TextValue for i in items(document, value)]


def test_the_decision_is_about_the_query_and_rests_on_the_report():
    made = inputs()
    document = written(made)
    (container,) = items(document, "C0034375")
    (subject,) = items(container, "query-seg")
    (evidence,) = items(container, "qc-report")
    assert (subject.ValueType, subject.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) == ("IMAGE", "1.2.3.3.1")
    assert (evidence.ValueType, evidence.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) == ("COMPOSITE", made.report.SOPInstanceUID)
    (study,) = document.CurrentRequestedProcedureEvidenceSequence
    named = {(s.SeriesInstanceUID, i.ReferencedSOPInstanceUID) for s in study.ReferencedSeriesSequence for i in s.ReferencedSOPSequence}
    assert named == {("1.2.3.3", "1.2.3.3.1"), (made.report.SeriesInstanceUID, made.report.SOPInstanceUID)}


def test_what_was_said_is_all_there_and_what_a_value_forbids_is_left_out():
    document = written(inputs())
    assert said(document, "qc-decision") == ["needs-correction"]
    assert said(document, "decision-reason") == list(SAID.reasons)
    assert said(document, "star-rating") == ["stars-3"]
    assert said(document, "decision-comment") == ["base: slices 1\\2\nsee there ß"]


@pytest.mark.parametrize(("decision", "value"), [("ACCEPT", "accept"), ("REJECT", "reject"), ("NEEDS_CORRECTION", "needs-correction")])
def test_each_decision_has_its_code_and_its_series_description(decision, value):
    document = written(inputs(decision=replace(SAID, decision=decision)))
    assert said(document, "qc-decision") == [value]
    assert document.SeriesDescription == f"QC {decision.replace('_', ' ')} by reader"


def test_what_was_not_said_is_not_there():
    document = written(VARIANTS["accept"]())
    assert [said(document, v) for v in ("decision-reason", "star-rating", "decision-comment")] == [[], [], []]


def test_the_observer_is_the_reader_and_the_document_is_not_verified():
    document = written(inputs())
    assert (document.CompletionFlag, document.VerificationFlag, document.PreliminaryFlag) == ("COMPLETE", "UNVERIFIED", "FINAL")
    assert "VerifyingObserverSequence" not in document
    assert [i.PersonName for i in items(document, "121008")] == ["jane^"]
    assert said(document, "128774") == ["jane"]
    assert said(document, "121005") == ["121006"]  # a person, no device
    assert list(items(document, "121009")) == []


def test_a_configured_observer_verifies_for_the_organization():
    document = written(inputs(observer=VERIFYING))
    assert document.VerificationFlag == "VERIFIED"
    (observer,) = document.VerifyingObserverSequence
    assert (observer.VerifyingObserverName, observer.VerifyingOrganization) == ("Doe^Jane^^Dr.", "St. Elsewhere")
    assert observer.VerificationDateTime == "20260304060708.000009"
    assert said(document, "121009") == ["St. Elsewhere"]


def test_a_known_observer_does_not_verify_unasked():
    assert written(inputs(observer=replace(VERIFYING, verifies=False))).VerificationFlag == "UNVERIFIED"


def test_the_earlier_decision_is_named_as_predecessor():
    (study,) = written(inputs(predecessor=PREDECESSOR)).PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    assert (series.SeriesInstanceUID, series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) == ("1.2.3.9", "1.2.3.9.1")
    assert "PredecessorDocumentsSequence" not in written(inputs())


def test_marks_are_codes_and_say_which_region_they_are_about():
    document = written(inputs(decision=replace(SAID, regions=MARKED)))
    (container,) = items(document, "C0034375")
    marks = [item for item in container.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "region-mark"]
    assert [mark.ConceptCodeSequence[0].CodeValue for mark in marks] == ["real", "not-real"]
    assert [mark.ContentSequence[0].RelationshipType for mark in marks] == ["HAS PROPERTIES"] * 2
    assert [mark.ContentSequence[0].TextValue for mark in marks] == [
        "Region 1: myocardium, slices 4 to 6, 3.78 ml (210 voxels) around L -12.5, P 30, H 101.2 mm",
        "Region 3: left ventricle, slice 1, 0.216 ml (12 voxels) around L -10, P 28.1, H 77 mm",
    ]
    assert said(written(inputs()), "region-mark") == []


def test_a_revision_says_why_and_two_readers_are_both_named():
    document = written(VARIANTS["revised by two, with marked regions"]())
    assert said(document, "revision-reason") == ["the base was read wrongly"]
    assert [i.PersonName for i in items(document, "121008")] == ["jane^"], "the document is in the words of one"
    assert [i.PersonName for i in items(document, "agreeing-reader")] == ["joe^"]
    assert said(written(inputs()), "revision-reason") == []


def test_the_document_belongs_to_the_study_of_the_query():
    made = inputs()
    document = written(made)
    assert (document.StudyInstanceUID, document.PatientID, document.PatientName, document.AccessionNumber) == (
        STUDY,
        "P1",
        "Doe^Jane",
        "A1",
    )
    assert document.SeriesInstanceUID != made.report.SeriesInstanceUID
    assert document.SeriesNumber == made.report.SeriesNumber + 2
    assert (document.Manufacturer, document.DeviceSerialNumber) == ("qcnode", made.report.DeviceSerialNumber)
    assert (document.ContentDate, document.ContentTime) == ("20260304", "060708.000009")


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_inputs_give_the_same_bytes(name):
    assert encoded(VARIANTS[name]()) == encoded(VARIANTS[name]())


CHANGES = {
    "decision": {"decision": replace(SAID, decision="REJECT")},
    "reasons": {"decision": replace(SAID, reasons=SAID.reasons[:1])},
    "comment": {"decision": replace(SAID, comment="")},
    "rating": {"decision": replace(SAID, rating=None)},
    "because": {"decision": replace(SAID, because="again")},
    "regions": {"decision": replace(SAID, regions=MARKED)},
    "mark": {"decision": replace(SAID, regions=(replace(MARKED[0], mark=Mark.UNSURE), MARKED[1]))},
    "agreeing": {"agreeing": (Observer("joe", "joe"),)},
    "time": {"decision": replace(SAID, decided_at=SAID.decided_at + timedelta(microseconds=1))},
    "observer": {"observer": VERIFYING},
    "predecessor": {"predecessor": PREDECESSOR},
    "version": {"version": "0.1.1"},
}


def test_every_input_changes_the_uids():
    made = [inputs(**change) for change in ({}, *CHANGES.values())]
    made.append(inputs())
    made[-1].report.SOPInstanceUID = "1.2.3.10"
    found = [written(m) for m in made]
    assert len({d.SOPInstanceUID for d in found} | {d.SeriesInstanceUID for d in found}) == 2 * len(found)


def test_the_zone_in_which_a_time_is_told_changes_no_uid():
    elsewhere = replace(SAID, decided_at=SAID.decided_at.astimezone(timezone(timedelta(hours=2))))
    assert written(inputs(decision=elsewhere)).SOPInstanceUID == written(inputs()).SOPInstanceUID


def test_a_report_about_something_else_is_refused():
    with pytest.raises(ValueError, match="does not name the query"):
        write_decision(inputs(query_sop_instance_uid="1.2.3.3.2"))


def test_highdicom_reads_it_back():
    document = Comprehensive3DSR.from_dataset(written(inputs()))
    assert document.SOPInstanceUID == written(inputs()).SOPInstanceUID


def test_the_node_knows_it_as_its_own(tmp_path):
    (tmp_path / "decision.dcm").write_bytes(encoded(inputs()))
    assert read_header(tmp_path / "decision.dcm").kind == "qcnode-result"


@pytest.mark.peers
@pytest.mark.timeout(600)
def test_validators_find_nothing(tmp_path, require_peers):
    require_peers(*PROGRAMS)
    for name, make in VARIANTS.items():
        (tmp_path / f"{name}.dcm").write_bytes(encoded(make()))
    assert problems_of_all(tmp_path.glob("*.dcm")) == {}
