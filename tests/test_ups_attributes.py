"""A step as a data set: what it names, where that can be fetched, and what a reader who must not know is not told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from report_cases import QUERY_SERIES, SERIES
from store_samples import at, put_item
from ups_samples import code, dataset, decided, performed, report
from validators import dciodvfy_errors

from qcnode.case import Verdict
from qcnode.report import codes
from qcnode.review import as_shown
from qcnode.store.database import open_database
from qcnode.store.items import Decision, Item, Judgement
from qcnode.store.ups_states import StepState
from qcnode.store.ups_steps import Step
from qcnode.ups.attributes import PUSH, Archive, step_dataset, step_uid
from qcnode.ups.performed import (
    BadDecisionError,
    as_text,
    completed,
    judgement_of,
    performed_of,
    with_modifications,
    with_performed,
)


@pytest.fixture
def item(tmp_path: Path) -> Item:
    made = put_item(open_database(tmp_path), "1", patient_name="Müller^Jane", birth_date="19600229")
    return replace(made, query_series_instance_uid=QUERY_SERIES)


def step(state: StepState = StepState.SCHEDULED, **changes: object) -> Step:
    made = Step("2.25.5", 1, 2, state, None, "READING1", "ann", at(5), None, at(0), at(9), at(5), at(9), None, None)
    return replace(made, **changes)  # type: ignore[arg-type]


def test_inputs_are_the_query_the_images_and_the_report(item: Item) -> None:
    made = step_dataset(step(), item, report(), Archive(url="https://pacs.example.org/dicom-web/"), None)
    series = [one.SeriesInstanceUID for one in made.InputInformationSequence]
    assert series == [QUERY_SERIES, SERIES, report().SeriesInstanceUID]
    first, images, last = made.InputInformationSequence
    assert [one.ReferencedSOPInstanceUID for one in first.ReferencedSOPSequence] == ["1.2.3.3.1"]
    assert len(images.ReferencedSOPSequence) == 9
    assert last.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == report().SOPInstanceUID
    url = first.WADORSRetrievalSequence[0].RetrieveURL
    assert url == f"https://pacs.example.org/dicom-web/studies/{first.StudyInstanceUID}/series/{QUERY_SERIES}"
    assert "DICOMRetrievalSequence" not in first


def test_labels_and_priorities(item: Item) -> None:
    def told(changed: Item) -> tuple[str, str, str]:
        made = step_dataset(step(), as_shown(changed), None, Archive(), None)
        return made.ProcedureStepLabel, made.ScheduledProcedureStepPriority, made.CommentsOnTheScheduledProcedureStep

    reason = "the predicted DSC is below the threshold"
    assert told(item) == ("cardiac-sax: FAIL, predicted DSC 0.40", "HIGH", reason)
    assert told(replace(item, verdict=Verdict.REVIEW))[1] == "MEDIUM"
    assert told(replace(item, verdict=Verdict.UNASSESSABLE, predicted_dsc=None))[0] == "cardiac-sax: UNASSESSABLE"
    assert told(replace(item, blind=True)) == ("cardiac-sax: prediction hidden", "HIGH", "")


def test_values_that_no_data_set_may_hold_are_left_out(item: Item) -> None:
    """One broken patient must not break the answer to everybody's query."""
    broken = replace(item, patient_name="A\x00^B", patient_id="P" * 99, birth_date="unknown", accession_number="A" * 20)
    made = step_dataset(step(), broken, None, Archive(), None)
    assert (made.PatientName, made.PatientID, made.PatientBirthDate) == ("A^B", "P" * 64, "")
    assert made.ReferencedRequestSequence[0].AccessionNumber == "A" * 16


def test_a_canceled_step_says_why_and_when(item: Item) -> None:
    made = step_dataset(step(StepState.CANCELED, reason="claimed anew"), item, None, Archive(), "2.25.4")
    (progress,) = made.ProcedureStepProgressInformationSequence
    assert progress.ReasonForCancellation == "claimed anew"
    assert progress.ProcedureStepDiscontinuationReasonCodeSequence[0].CodeValue == "110513"
    assert made.ReplacedProcedureStepSequence[0].ReferencedSOPInstanceUID == "2.25.4"
    own = step(
        StepState.CANCELED, performed=as_text(dataset(ProcedureStepProgressInformationSequence=[dataset(ReasonForCancellation="mine")]))
    )
    (progress,) = with_performed(made, own).ProcedureStepProgressInformationSequence
    assert (progress.ReasonForCancellation, "ProcedureStepCancellationDateTime" in progress) == ("mine", True)


def test_uids_tell_items_and_steps_apart() -> None:
    assert len({step_uid("1", at(0), 1), step_uid("1", at(0), 2), step_uid("1", at(1), 1), step_uid("2", at(0), 1)}) == 4


def test_what_a_performer_sets_replaces_only_what_it_names() -> None:
    first = replace(step(), performed=with_modifications(step(), decided("REJECT", stars=6)))
    second = with_modifications(
        first, dataset(ProcedureStepProgressInformationSequence=[dataset(ProcedureStepProgress="9")], PatientName="X")
    )
    kept = performed_of(second)
    assert {element.keyword for element in kept} == {
        "ProcedureStepProgressInformationSequence",
        "UnifiedProcedureStepPerformedProcedureSequence",
    }
    assert judgement_of(kept) == Judgement(Decision.REJECT, rating=6)


def test_what_the_performer_said_is_not_overwritten_at_the_end() -> None:
    said = performed(PerformedProcedureStepEndDateTime="20260504", PerformedWorkitemCodeSequence=code(codes.decision_concept("ACCEPT")))
    (done,) = completed(said, step(StepState.IN_PROGRESS), at(9)).UnifiedProcedureStepPerformedProcedureSequence
    assert done.PerformedProcedureStepEndDateTime == "20260504"
    assert done.PerformedWorkitemCodeSequence[0].CodeValue == "accept"
    assert done.PerformedProcedureStepStartDateTime.startswith(f"{at(5).astimezone():%Y%m%d%H%M%S}")
    assert done.PerformedStationNameCodeSequence[0].CodeValue == "READING1"


def test_decisions_in_both_ways_and_in_none() -> None:
    accepted = code(codes.decision_concept("ACCEPT"))
    assert judgement_of(Dataset()) is None
    assert judgement_of(performed(PerformedWorkitemCodeSequence=code(codes.QUALITY_ISSUE))) is None
    assert judgement_of(performed(PerformedWorkitemCodeSequence=accepted)) == Judgement(Decision.ACCEPT)
    both = decided("ACCEPT", "other", comment="one")
    both.UnifiedProcedureStepPerformedProcedureSequence[0].PerformedWorkitemCodeSequence = accepted
    assert judgement_of(both) == Judgement(Decision.ACCEPT, ("other",), "one")
    foreign = decided("ACCEPT")
    foreign.UnifiedProcedureStepPerformedProcedureSequence[0].PerformedProcessingParametersSequence[0].ConceptCodeSequence[
        0
    ].CodingSchemeDesignator = "99OTHER"
    with pytest.raises(BadDecisionError):
        judgement_of(foreign)


@pytest.mark.peers
def test_other_peoples_tools_read_a_step(item: Item, tmp_path: Path, require_peers: Callable[..., None]) -> None:
    """dciodvfy knows no IOD of a normalized class, but says what is wrong with values, VRs and sequences."""
    require_peers("dciodvfy")
    ended = step(StepState.COMPLETED)
    done = as_text(completed(decided("REJECT", "other", comment="größer", stars=2), ended, at(9)))
    made = with_performed(step_dataset(ended, item, report(), Archive(ae_title="PACS"), "2.25.4"), replace(ended, performed=done))
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.save_as(tmp_path / "step.dcm", enforce_file_format=True)
    assert dcmread(tmp_path / "step.dcm").SOPClassUID == PUSH
    assert dciodvfy_errors(tmp_path / "step.dcm") == ["Error - Information Object Not found"]
