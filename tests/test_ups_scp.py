"""The worklist for workstations over real associations: found, claimed, completed, in step with the pages and the command line."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pynetdicom.sop_class import UnifiedProcedureStepPull, UnifiedProcedureStepPush, UnifiedProcedureStepQuery
from store_samples import at
from ups_samples import OTHER, RIGHT, UpsSite, code, dataset, decided, performed, put, ups_site

from qcnode.case import Verdict
from qcnode.config import Ups
from qcnode.errors import ConfigurationError
from qcnode.report import codes
from qcnode.store.items import Decision, Judgement, WorklistError
from qcnode.ups.scp import start_ups_scp

ACCEPT = Judgement(Decision.ACCEPT)


@pytest.fixture
def ups(tmp_path: Path) -> Iterator[UpsSite]:
    with ups_site(tmp_path) as made:
        yield made


def states(ups: UpsSite) -> list[tuple[int, str]]:
    """Number and state of every step, as a workstation finds them."""
    _, found = ups.called().find()
    by_uid = {step.sop_instance_uid: step for step, _ in ups.steps.find(ups.clock())}
    return sorted((by_uid[str(step.SOPInstanceUID)].number, str(step.ProcedureStepState)) for step in found)


def scheduled(ups: UpsSite) -> str:
    (uid,) = ups.called().found(ProcedureStepState="SCHEDULED")
    return uid


def actions(ups: UpsSite, item_id: int = 1) -> list[tuple[str, str, object]]:
    entries = ups.site.review.history(item_id, ups.clock())
    return [(entry.actor, entry.action, entry.details["ae_title"]) for entry in entries if "ae_title" in entry.details]


# ---------------------------------------------------------------- found, claimed, completed


def test_a_workstation_finds_claims_and_completes_an_item_and_the_web_shows_it(ups: UpsSite) -> None:
    put(ups.site, "1")
    workstation, browser = ups.called(), ups.site.browser("lund")
    uid = scheduled(ups)
    status, step = workstation.get(uid)
    assert (status, step.ProcedureStepState, step.InputReadinessState) == (0, "SCHEDULED", "READY")
    assert workstation.change(uid, "IN PROGRESS") == 0
    _, shown = browser.call("/items/1", method="GET")
    assert (shown["state"], shown["reader"]) == ("CLAIMED", "meyer")
    assert workstation.set(uid, decided("REJECT", "wrong tissue", "other", comment="Apex, größer", stars=2)) == 0
    assert workstation.change(uid, "COMPLETED") == 0
    _, shown = browser.call("/items/1", method="GET")
    assert (shown["state"], shown["reader"], shown["decision"], shown["rating"]) == ("HELD", "meyer", "REJECT", 2)
    assert (shown["decision_reasons"], shown["comment"]) == (["wrong tissue", "other"], "Apex, größer")
    ups.clock.move(minutes=6)
    (final,) = ups.site.review.finalise_due(ups.clock())
    assert final.decision is Decision.REJECT
    assert states(ups) == [(1, "COMPLETED")]
    _, step = workstation.get(uid)
    (done,) = step.UnifiedProcedureStepPerformedProcedureSequence
    assert done.PerformedProcessingParametersSequence[3].TextValue == "Apex, größer"
    assert done.PerformedWorkitemCodeSequence[0].CodeValue == "110002"
    assert done.PerformedStationNameCodeSequence[0].CodeValue == "READING1"
    assert done.PerformedProcedureStepEndDateTime >= done.PerformedProcedureStepStartDateTime
    assert "TransactionUID" not in step
    assert actions(ups) == [("meyer", "workstation-claim", "READING1"), ("meyer", "workstation-complete", "READING1")]


def test_a_second_claim_is_refused(ups: UpsSite) -> None:
    put(ups.site, "1")
    uid = scheduled(ups)
    assert ups.called("READING1").change(uid, "IN PROGRESS") == 0
    assert ups.called("READING2").change(uid, "IN PROGRESS", OTHER) == 0xC301
    assert ups.called("READING1").change(uid, "IN PROGRESS") == 0xC302
    assert ups.site.review.show(1, ups.clock()).reader == "meyer"


def test_what_a_reader_has_in_the_browser_no_workstation_can_take(ups: UpsSite) -> None:
    put(ups.site, "1")
    uid = scheduled(ups)
    ups.site.review.claim(1, "okafor", ups.clock())
    assert ups.called().change(uid, "IN PROGRESS") == 0xC301
    assert ups.called("READING2").change(uid, "IN PROGRESS") == 0xC301  # whose reader okafor is
    assert states(ups) == [(1, "IN PROGRESS")]
    ups.site.review.decide(1, "okafor", ACCEPT, ups.clock())
    assert states(ups) == [(1, "IN PROGRESS")]  # it can still be taken back
    ups.clock.move(minutes=6)
    ups.site.review.finalise_due(ups.clock())
    assert states(ups) == [(1, "COMPLETED")]
    assert ups.called().change(uid, "COMPLETED") == 0xC301


@pytest.mark.parametrize("given", [OTHER, ""])
def test_without_the_right_transaction_uid_nothing_is_done(ups: UpsSite, given: str) -> None:
    put(ups.site, "1")
    uid, workstation = scheduled(ups), ups.called()
    assert workstation.change(uid, "IN PROGRESS", "") == 0xC301
    assert workstation.change(uid, "IN PROGRESS") == 0
    assert workstation.set(uid, decided("ACCEPT", transaction_uid=given)) == 0xC301
    assert workstation.change(uid, "COMPLETED", given) == 0xC301
    assert workstation.change(uid, "CANCELED", given) == 0xC301
    assert ups.site.review.show(1, ups.clock()).state == "CLAIMED"


def test_completed_without_a_decision_leaves_the_item_open(ups: UpsSite) -> None:
    put(ups.site, "1")
    uid, workstation = scheduled(ups), ups.called()
    workstation.change(uid, "IN PROGRESS")
    assert workstation.set(uid, performed(PerformedProcedureStepStartDateTime="20260504")) == 0
    assert workstation.change(uid, "COMPLETED") == 0
    assert ups.site.review.show(1, ups.clock()).state == "OPEN"
    assert states(ups) == [(1, "COMPLETED"), (2, "SCHEDULED")]
    _, successor = workstation.get(scheduled(ups))
    assert successor.ReplacedProcedureStepSequence[0].ReferencedSOPInstanceUID == uid
    assert workstation.get(uid)[1].UnifiedProcedureStepPerformedProcedureSequence[0].PerformedProcedureStepStartDateTime == "20260504"
    assert workstation.change(uid, "COMPLETED") == 0xB306


def test_canceled_by_its_performer_the_item_is_open_again(ups: UpsSite) -> None:
    put(ups.site, "1")
    uid, workstation = scheduled(ups), ups.called()
    workstation.change(uid, "IN PROGRESS")
    assert workstation.change(uid, "CANCELED") == 0
    assert ups.site.review.show(1, ups.clock()).state == "OPEN"
    assert states(ups) == [(1, "CANCELED"), (2, "SCHEDULED")]
    _, step = workstation.get(uid, "ProcedureStepProgressInformationSequence")
    assert step.ProcedureStepProgressInformationSequence[0].ProcedureStepCancellationDateTime
    assert workstation.change(uid, "CANCELED") == 0xB304
    assert workstation.change(uid, "IN PROGRESS") == 0xC300
    assert workstation.set(uid, decided("ACCEPT")) == 0xC300


def test_a_decision_can_be_the_performed_workitem(ups: UpsSite) -> None:
    put(ups.site, "1")
    uid, workstation = scheduled(ups), ups.called()
    workstation.change(uid, "IN PROGRESS")
    assert workstation.set(uid, performed(PerformedWorkitemCodeSequence=code(codes.decision_concept("NEEDS_CORRECTION")))) == 0
    assert workstation.change(uid, "COMPLETED") == 0
    assert ups.site.review.show(1, ups.clock()).decision is Decision.NEEDS_CORRECTION


def test_what_is_no_decision_is_refused_before_it_is_one(ups: UpsSite) -> None:
    put(ups.site, "1")
    uid, workstation = scheduled(ups), ups.called()
    workstation.change(uid, "IN PROGRESS")
    contradictory = decided("ACCEPT")
    contradictory.UnifiedProcedureStepPerformedProcedureSequence[0].PerformedWorkitemCodeSequence = code(codes.decision_concept("REJECT"))
    assert workstation.set(uid, decided("REJECT", "ugly")) == 0x0106
    assert workstation.set(uid, decided("MAYBE")) == 0x0106
    assert workstation.set(uid, contradictory) == 0x0106
    assert workstation.get(uid)[1].UnifiedProcedureStepPerformedProcedureSequence == []


# ---------------------------------------------------------------- in step with the pages


def test_telling_of_its_progress_prolongs_the_claim(ups: UpsSite) -> None:
    put(ups.site, "1")
    uid, workstation = scheduled(ups), ups.called()
    workstation.change(uid, "IN PROGRESS")
    ups.clock.move(minutes=14)
    progress = dataset(TransactionUID=RIGHT, ProcedureStepProgressInformationSequence=[dataset(ProcedureStepProgress="50")])
    assert workstation.set(uid, progress) == 0
    ups.clock.move(minutes=14)
    _, step = workstation.get(uid, "ProcedureStepState", "ProcedureStepProgressInformationSequence")
    assert (step.ProcedureStepState, step.ProcedureStepProgressInformationSequence[0].ProcedureStepProgress) == ("IN PROGRESS", "50.0")
    progress.ProcedureStepLabel = "mine"
    assert workstation.set(uid, progress) == 0x0001  # what qcnode has scheduled is not the performer's to change
    assert workstation.get(uid, "ProcedureStepLabel")[1].ProcedureStepLabel.startswith("cardiac-sax: FAIL")


def test_a_lease_that_runs_out_cancels_the_step(ups: UpsSite) -> None:
    put(ups.site, "1")
    uid, workstation = scheduled(ups), ups.called()
    workstation.change(uid, "IN PROGRESS")
    ups.clock.move(minutes=16)
    assert workstation.change(uid, "COMPLETED") == 0xC300
    assert states(ups) == [(1, "CANCELED"), (2, "SCHEDULED")]
    assert ups.called("READING2").change(scheduled(ups), "IN PROGRESS", OTHER) == 0
    assert ups.site.review.show(1, ups.clock()).reader == "okafor"


def test_release_and_reassigning_in_the_browser_cancel_the_step(ups: UpsSite) -> None:
    put(ups.site, "1")
    workstation = ups.called()
    workstation.change(scheduled(ups), "IN PROGRESS")
    ups.site.review.release(1, "meyer", ups.clock())
    assert states(ups) == [(1, "CANCELED"), (2, "SCHEDULED")]
    second = scheduled(ups)
    ups.clock.move(seconds=1)
    assert workstation.change(second, "IN PROGRESS") == 0
    ups.clock.move(seconds=1)
    ups.site.review.reassign(1, "lund", "okafor", ups.clock())
    assert workstation.change(second, "COMPLETED") == 0xC300
    assert states(ups) == [(1, "CANCELED"), (2, "CANCELED"), (3, "IN PROGRESS")]


def test_undo_makes_a_successor(ups: UpsSite) -> None:
    put(ups.site, "1")
    uid, workstation = scheduled(ups), ups.called()
    workstation.change(uid, "IN PROGRESS")
    workstation.set(uid, decided("REJECT"))
    workstation.change(uid, "COMPLETED")
    ups.site.review.undo(1, "meyer", ups.clock())
    assert states(ups) == [(1, "COMPLETED"), (2, "IN PROGRESS")]
    ups.site.review.decide(1, "meyer", ACCEPT, ups.clock())
    assert states(ups) == [(1, "COMPLETED"), (2, "IN PROGRESS")]
    ups.site.review.undo(1, "meyer", ups.clock())
    assert states(ups) == [(1, "COMPLETED"), (2, "CANCELED"), (3, "IN PROGRESS")]
    ups.site.review.release(1, "meyer", ups.clock())
    assert states(ups)[-1] == (4, "SCHEDULED")


def test_a_decision_in_the_browser_ends_the_workstations_step(ups: UpsSite) -> None:
    put(ups.site, "1")
    uid, workstation = scheduled(ups), ups.called()
    workstation.change(uid, "IN PROGRESS")
    ups.site.review.decide(1, "meyer", ACCEPT, ups.clock())
    assert workstation.set(uid, performed(OutputInformationSequence=[])) == 0
    assert workstation.change(uid, "COMPLETED") == 0
    assert ups.site.review.show(1, ups.clock()).decision is Decision.ACCEPT
    assert states(ups) == [(1, "COMPLETED")]


def test_a_later_result_cancels_the_step(ups: UpsSite) -> None:
    put(ups.site, "1")
    uid = scheduled(ups)
    assert ups.called().change(uid, "IN PROGRESS") == 0
    with ups.site.database.begin() as connection:
        connection.exec_driver_sql("UPDATE worklist_item SET state = 'SUPERSEDED'")
    assert ups.called().change(uid, "COMPLETED") == 0xC300
    assert states(ups) == [(1, "CANCELED")]


def test_whoever_asks_for_canceling_gets_a_successor_or_no(ups: UpsSite) -> None:
    put(ups.site, "1")
    first = scheduled(ups)
    assert ups.called("READING2").act(first, 2) == 0
    second = scheduled(ups)
    assert second != first
    assert ups.called("READING2").act(first, 2) == 0xB304
    ups.called().change(second, "IN PROGRESS")
    assert ups.called("READING2").act(second, 2) == 0xC312
    assert actions(ups)[0] == ("okafor", "workstation-cancel", "READING2")


# ---------------------------------------------------------------- finding


def test_keys(ups: UpsSite) -> None:
    put(ups.site, "1", patient_name="DOE^JANE", patient_id="P1", accession_number="A1")
    put(ups.site, "2", Verdict.REVIEW, patient_name="ROE^RICHARD", patient_id="P2", accession_number="A2", seconds=86400)
    workstation = ups.called()
    everything = workstation.found()
    assert len(everything) == 2
    one, two = everything
    assert workstation.found(PatientName="doe*") == workstation.found(PatientID="P1") == [one]
    assert workstation.found(ScheduledProcedureStepPriority="MEDIUM") == [two]
    assert workstation.found(ReferencedRequestSequence=[dataset(AccessionNumber="A2")]) == [two]
    assert workstation.found(StudyInstanceUID="2.25.1") == everything
    assert workstation.found(StudyInstanceUID="2.25.404") == []
    first = f"{at(0).astimezone():%Y%m%d%H%M}"
    assert workstation.found(ScheduledProcedureStepStartDateTime=f"-{first}") == [one]
    assert workstation.found(ScheduledProcedureStepStartDateTime=f"{at(1000).astimezone():%Y%m%d%H%M}-") == [two]
    assert workstation.found(SOPInstanceUID=two) == [two]
    workstation.change(one, "IN PROGRESS")
    assert workstation.found(ProcedureStepState="SCHEDULED") == [two]
    assert workstation.found(ProcedureStepState="IN PROGRESS") == [one]
    assert workstation.found(ProcedureStepState="COMPLETED") == []
    assert workstation.find(sop_class=UnifiedProcedureStepQuery, PatientName="ROE*")[1][0].PatientName == "ROE^RICHARD"


def test_names_in_other_alphabets(ups: UpsSite) -> None:
    put(ups.site, "1", patient_name="Müller^Žofie")
    latin = dataset(SpecificCharacterSet="ISO_IR 100", PatientName="MÜLLER*")
    for keys in ({"SpecificCharacterSet": "ISO_IR 192", "PatientName": "*žofie"}, {element.keyword: element.value for element in latin}):
        _, (step,) = ups.called().find(**keys)
        assert step.PatientName == "Müller^Žofie"
    _, (step,) = ups.called().find(PatientName="M*")  # asks for no character set
    assert (step.SpecificCharacterSet, step.PatientName) == ("ISO_IR 192", "Müller^Žofie")


def test_a_key_that_can_not_be_read(ups: UpsSite) -> None:
    put(ups.site, "1")
    key = dataset(SOPInstanceUID="")
    key.add_new("ScheduledProcedureStepStartDateTime", "LO", "yesterday")
    key["ScheduledProcedureStepStartDateTime"].VR = "DT"
    assert ups.called().find(ScheduledProcedureStepStartDateTime=key["ScheduledProcedureStepStartDateTime"].value)[0] == 0xA900


def test_inputs_are_found_with_the_step(ups: UpsSite) -> None:
    put(ups.site, "1")
    _, (step,) = ups.called().find(InputInformationSequence=[], PatientSex="")
    assert {item.DICOMRetrievalSequence[0].RetrieveAETitle for item in step.InputInformationSequence} == {"PACS"}
    assert step.PatientSex == "F"


def test_a_hidden_item_tells_nothing_of_its_prediction(ups: UpsSite) -> None:
    put(ups.site, "1", Verdict.PASS, blind=True)
    uid = scheduled(ups)
    _, step = ups.called().get(uid)
    assert step.ProcedureStepLabel == "cardiac-sax: prediction hidden"
    assert step.ScheduledProcedureStepPriority == "HIGH"
    text = str(step)
    assert "PASS" not in text
    assert "0.4" not in text
    classes = {one.ReferencedSOPClassUID.name for item in step.InputInformationSequence for one in item.ReferencedSOPSequence}
    assert classes == {"Segmentation Storage", "MR Image Storage"}


def test_two_readers_at_workstations_judge_on_their_own(ups: UpsSite) -> None:
    put(ups.site, "1", read_twice=True)
    first, second, uid = ups.called(), ups.called("READING2"), scheduled(ups)
    assert first.change(uid, "IN PROGRESS") == 0
    assert first.set(uid, decided("REJECT", "wrong tissue", comment="Apex")) == 0
    assert first.change(uid, "COMPLETED") == 0
    ups.clock.move(minutes=6)
    ups.site.review.finalise_due(ups.clock())
    successor = scheduled(ups)
    assert successor != uid
    _, said = second.get(uid)
    assert said.ProcedureStepState == "COMPLETED"
    assert "Apex" not in str(said)
    assert "reject" not in str(said).lower()
    assert first.change(successor, "IN PROGRESS", OTHER) == 0x0124, "whoever has read it is not the second reader"
    assert second.change(successor, "IN PROGRESS", OTHER) == 0


def test_a_report_that_can_not_be_read_is_a_failure_of_its_own(ups: UpsSite) -> None:
    put(ups.site, "1")
    uid = scheduled(ups)
    (ups.site.database.directory / "results/1/report.dcm").unlink()
    assert ups.called().get(uid)[0] == 0x0110
    assert ups.called().find(InputInformationSequence=[])[0] == 0xC000


# ---------------------------------------------------------------- who may call, and for what


def test_only_configured_workstations_are_accepted(ups: UpsSite) -> None:
    assert ups.called().echo() == 0
    assert not ups.called("ANYBODY").is_accepted()


@pytest.mark.peers
def test_another_program_gets_the_same_answer(ups: UpsSite, require_peers: Callable[..., None]) -> None:
    require_peers("echoscu")

    def echo(ae_title: str) -> int:
        command = ["echoscu", "-aet", ae_title, "127.0.0.1", str(ups.listener.port)]
        return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode

    assert echo("READING1") == 0
    assert echo("ANYBODY") != 0


def test_a_workstation_must_come_from_its_address(ups: UpsSite) -> None:
    callers = [{"ae_title": "READING1", "reader": "meyer", "address": "192.0.2.1"}]
    listener = start_ups_scp(Ups.model_validate({"port": 0, "callers": callers}), ups.worklist)
    try:
        assert not UpsSite(ups.site, ups.steps, ups.worklist, listener).called().is_accepted()
    finally:
        listener.stop()


def test_what_is_not_offered_is_refused(ups: UpsSite) -> None:
    put(ups.site, "1")
    uid, workstation = scheduled(ups), ups.called()
    assert workstation.create() == 0x0124
    assert workstation.act(uid, 3, dataset(ReceivingAE="READING1", DeletionLock="FALSE")) == 0xC315
    assert workstation.act(uid, 9, dataset(ReceivingAE="READING1")) == 0x0123
    assert workstation.change(uid, "SCHEDULED") == 0xC303
    assert workstation.change(uid, "COMPLETED") == 0xC310
    assert workstation.set(uid, decided("ACCEPT")) == 0xC310
    assert workstation.get(uid, "ProcedureStepState", "PatientWeight")[0] == 0x0001
    for status in (
        workstation.get("2.25.404")[0],
        workstation.change("2.25.404", "IN PROGRESS"),
        workstation.set("2.25.404", decided("ACCEPT")),
    ):
        assert status == 0xC307
    assert workstation.act("2.25.404", 2) == 0xC307


def test_a_data_set_that_is_too_large_is_not_taken_for_an_empty_one(ups: UpsSite) -> None:
    put(ups.site, "1")
    uid, settings = scheduled(ups), {"port": 0, "callers": [{"ae_title": "READING1", "reader": "meyer"}], "maximum_object_mb": 1}
    listener = start_ups_scp(Ups.model_validate(settings), ups.worklist)
    try:
        workstation = UpsSite(ups.site, ups.steps, ups.worklist, listener).called()
        assert workstation.is_accepted()
        too_large = dataset(TextValue="x" * 2**21)
        status, _ = workstation.association.send_n_set(too_large, UnifiedProcedureStepPush, uid, meta_uid=UnifiedProcedureStepPull)
        assert "Status" not in status, "the association is aborted"
    finally:
        listener.stop()


def test_the_address_must_be_free(ups: UpsSite) -> None:
    with pytest.raises(ConfigurationError, match="ups: can not listen"):
        start_ups_scp(Ups(port=ups.listener.port), ups.worklist)


def test_patients_are_in_no_log_line(ups: UpsSite, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="qcnode")
    put(ups.site, "1", patient_name="SECRET^NAME", patient_id="SECRETID")
    uid, workstation = scheduled(ups), ups.called()
    workstation.find(PatientName="SECRET*")
    workstation.change(uid, "IN PROGRESS")
    workstation.set(uid, decided("REJECT", "SECRET"))
    lines = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("qcnode"))
    assert "0106H" in lines
    assert "SECRET" not in lines


def test_listener_stops_twice(ups: UpsSite) -> None:
    assert ups.called().echo() == 0
    ups.listener.stop()
    ups.listener.stop()
    assert not ups.called().is_accepted()


def test_what_was_given_back_in_the_browser_is_not_set(ups: UpsSite, monkeypatch: pytest.MonkeyPatch) -> None:
    put(ups.site, "1")
    uid, workstation = scheduled(ups), ups.called()
    workstation.change(uid, "IN PROGRESS")
    review = ups.site.review

    def late(item_id: int, reader: str, now: object) -> object:
        monkeypatch.undo()
        review.release(item_id, reader, ups.clock())
        return review.renew(item_id, reader, ups.clock())

    monkeypatch.setattr(type(review), "renew", lambda _, *arguments: late(*arguments))
    assert workstation.set(uid, decided("ACCEPT")) == 0xC300
    assert states(ups) == [(1, "CANCELED"), (2, "SCHEDULED")]


def test_a_race_with_the_browser_is_lost_politely(ups: UpsSite, monkeypatch: pytest.MonkeyPatch) -> None:
    put(ups.site, "1")
    uid = scheduled(ups)
    claim = ups.site.review.claim

    def quicker(item_id: int, reader: str, now: object) -> object:
        monkeypatch.undo()
        claim(item_id, "okafor", ups.clock())
        raise WorklistError("taken", "claimed-by-another")

    monkeypatch.setattr(type(ups.site.review), "claim", lambda _, *arguments: quicker(*arguments))
    assert ups.called().change(uid, "IN PROGRESS") == 0xC301
    assert states(ups) == [(1, "IN PROGRESS")]
