"""The loops: what fails for now comes back, what can not work goes to a person, and nothing stops the others."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pydicom
import pytest
from made_judges import told_pipeline
from moved_clock import Clock
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from said_predictor import judge_that_says
from store_samples import EVERYTHING, START, case, put_item, result

from qcnode.case import QueryRef, Verdict
from qcnode.config import Retry, ReviewSettings
from qcnode.deliver.destination import CannotRetrieve, Check, DeliveryRefused
from qcnode.demo.phantom_dicom import phantom_study
from qcnode.errors import Retryable, where
from qcnode.judging.here import JudgeHere
from qcnode.judging.process import JudgingProcess
from qcnode.review import Review
from qcnode.store.database import Database, open_database
from qcnode.store.jobs import Jobs
from qcnode.store.outbox import Outbox
from qcnode.store.worklist import Decision, Item, Judgement, Worklist
from qcnode.workers.assess import ATTEMPTS, AssessStep
from qcnode.workers.deliver import DeliverStep
from qcnode.workers.finalise import FinaliseStep
from qcnode.workers.worker import Worker


class ToldDestination:
    """Does to each object what it was told; afterwards it takes everything."""

    name = "pacs"

    def __init__(self, *told: Exception) -> None:
        self.told = list(told)
        self.sent: list[bytes] = []
        self.attributes: Dataset | None = None

    def send(self, path: Path) -> None:
        self.sent.append(path.read_bytes())
        if self.told:
            raise self.told.pop(0)

    def check(self) -> list[Check]:
        return []

    def series_instance_count(self, study_instance_uid: str, series_instance_uid: str) -> int | None:
        return None

    def instances(self, study_instance_uid: str, series_instance_uid: str) -> tuple[str, ...] | None:
        return None

    def retrieve(self, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str) -> Dataset | None:
        raise CannotRetrieve("told nothing")

    def study_attributes(self, study_instance_uid: str) -> Dataset | None:
        return self.attributes


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(tmp_path)


def test_a_loop_goes_on_after_an_error_and_does_not_log_its_text(caplog: pytest.LogCaptureFixture) -> None:
    calls = []

    def step() -> bool:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("PHANTOM^QCNODE")
        worker.stop()
        return False

    worker = Worker("test", step, idle_seconds=0.01)
    with caplog.at_level(logging.ERROR):
        worker.start()
        worker.join(5)
    assert len(calls) == 2
    assert "ValueError at test_workers.py" in caplog.text
    assert "PHANTOM" not in caplog.text


def test_where_names_the_place_and_not_the_text() -> None:
    with pytest.raises(ValueError, match="PHANTOM") as raised:
        int("PHANTOM")
    assert where(raised.value).startswith("ValueError at test_workers.py:")


def _report(path: Path) -> Path:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.34", "2.25.5"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.PatientName = "2.25.1", "2.25.6", "OLD^NAME"
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def deliver_step(
    database: Database, destination: ToldDestination, clock: Clock, folder: Path, names: Sequence[str] = ("pacs",)
) -> DeliverStep:
    """One case whose report waits for delivery to each of `names`."""
    jobs = Jobs(database)
    jobs.put_case(case("a", directory=folder), clock())
    if (claimed := jobs.claim("w", clock(), timedelta(minutes=1))) is not None:
        settled = result(claimed.case, directory=folder / "results")
        digest = sha256(_report(settled.directory / "report.dcm").read_bytes()).hexdigest()
        settled = replace(settled, objects=tuple(replace(written, sha256=digest) for written in settled.objects))
        jobs.settle(claimed, settled, dict.fromkeys(names, frozenset({"report"})), clock())
    retry = Retry(first_seconds=10, longest_seconds=60, give_up_hours=1)
    return DeliverStep(Outbox(database), destination, True, folder / "outbox", retry, "w", clock)


def test_a_failed_delivery_comes_back_with_growing_pauses(database: Database, clock: Clock, tmp_path: Path) -> None:
    destination = ToldDestination(*[Retryable("refused")] * 5)
    step = deliver_step(database, destination, clock, tmp_path)
    pauses = []
    while Outbox(database).counts()["pacs"] != {"DELIVERED": 1}:
        assert step()
        (row,) = Outbox(database).list()
        pauses.append((row.next_attempt_at - clock.time).total_seconds())
        assert not step(), "not before its time"
        clock.pass_by(seconds=max(pauses[-1], 0))
    assert pauses[:5] == [10, 20, 40, 60, 60]
    assert len(set(destination.sent)) == 1


def test_a_delivery_is_given_up_after_its_time(database: Database, clock: Clock, tmp_path: Path) -> None:
    step = deliver_step(database, ToldDestination(*[Retryable("refused")] * 9), clock, tmp_path)
    step()
    clock.pass_by(hours=2)
    step()
    assert Outbox(database).counts()["pacs"] == {"DEAD": 1}


def test_a_pacs_that_is_dead_for_three_days_gets_its_answers(
    database: Database, clock: Clock, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """With the retries that qcnode has by default: at least every half an hour, for four days."""
    destination = ToldDestination(*[Retryable("not established")] * 1000)
    step = replace(deliver_step(database, destination, clock, tmp_path), retry=Retry())
    tried: list[datetime] = []
    while clock() < START + timedelta(hours=72):
        assert step()
        tried.append(clock())
        (row,) = Outbox(database).list()
        assert row.state == "PENDING"
        clock.time = row.next_attempt_at
    assert max(later - earlier for earlier, later in pairwise(tried)) == timedelta(minutes=30)
    assert len(tried) == 151
    record_property("attempts_in_72_hours", len(tried))
    destination.told.clear()
    step()
    assert Outbox(database).counts()["pacs"] == {"DELIVERED": 1}


def test_a_destination_that_hangs_holds_up_no_other(database: Database, clock: Clock, tmp_path: Path) -> None:
    hangs = threading.Event()

    class Hanging(ToldDestination):
        def send(self, path: Path) -> None:
            assert hangs.wait(30)
            super().send(path)

    dead, alive = Hanging(), ToldDestination()
    dead.name, alive.name = "dead", "alive"
    steps = []
    for destination in (dead, alive):
        step = deliver_step(database, destination, clock, tmp_path, names=("dead", "alive"))
        steps.append(Worker(destination.name, step, idle_seconds=0.01))
    for worker in steps:
        worker.start()
    end = time.monotonic() + 20
    while Outbox(database).counts()["alive"] != {"DELIVERED": 1}:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert Outbox(database).counts()["dead"] == {"SENDING": 1}
    hangs.set()
    for worker in steps:
        worker.stop()
        worker.join(20)
    assert Outbox(database).counts()["dead"] == {"DELIVERED": 1}, "and comes through once it answers"


def test_what_a_destination_will_not_take_is_not_offered_again(database: Database, clock: Clock, tmp_path: Path) -> None:
    step = deliver_step(database, ToldDestination(DeliveryRefused("no context")), clock, tmp_path)
    step()
    (row,) = Outbox(database).list()
    assert (row.state, row.last_error) == ("DEAD", "no context")


def test_attributes_are_refreshed_once_before_the_first_send(database: Database, clock: Clock, tmp_path: Path) -> None:
    destination = ToldDestination(Retryable("cut off"))
    destination.attributes = Dataset()
    destination.attributes.PatientName = "NEW^NAME"
    step = deliver_step(database, destination, clock, tmp_path)
    step()
    destination.attributes.PatientName = "NEWER^NAME"
    clock.pass_by(seconds=10)
    step()
    assert len(destination.sent) == 2
    assert destination.sent[0] == destination.sent[1], "every send of a UID carries the same bytes"
    (row,) = Outbox(database).list()
    assert pydicom.dcmread(row.path).PatientName == "NEW^NAME"


def assess_step(database: Database, clock: Clock, folder: Path, said: Exception, case_id: str = "a") -> AssessStep:
    query = phantom_study(5, phases=1, phase=0).queries[0].dataset
    query.save_as(folder / "query.dcm", enforce_file_format=True)
    judged = replace(
        case(case_id, directory=folder), query=QueryRef(folder / "query.dcm", str(query.SeriesInstanceUID), str(query.SOPInstanceUID))
    )
    jobs = Jobs(database)
    jobs.put_case(judged, clock())
    judge = JudgeHere({"cardiac-sax": judge_that_says(said)}, "1")
    return AssessStep(jobs, judge, folder / "results", EVERYTHING, "w", clock, lambda: None)


def test_a_case_that_can_not_be_judged_goes_to_a_person(
    database: Database, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = assess_step(database, clock, tmp_path, RuntimeError("PHANTOM^QCNODE"))
    monkeypatch.setattr("qcnode.pipeline._read_source", _raise)
    for _ in range(ATTEMPTS):
        assert step()
        assert Jobs(database).counts().cases == {"PENDING": 1}
        clock.pass_by(hours=1)
    assert step()
    (item,) = Worklist(database).list()
    assert item.verdict is Verdict.UNASSESSABLE
    assert item.reasons[0].code == "assessment-failed"
    assert "PHANTOM" not in item.reasons[0].text
    assert not step()


def test_a_case_that_kills_its_judge_goes_to_a_person_and_the_others_are_judged(database: Database, clock: Clock, tmp_path: Path) -> None:
    """In a real process; what it died of stands in the reason, and the last attempt does not look at the images any more."""
    judge = JudgingProcess(told_pipeline, deadline_seconds=60)
    step = replace(assess_step(database, clock, tmp_path, RuntimeError(), "crash-1"), judge=judge)
    poison = Jobs(database).cases_of_study("2.25.1")[0]
    try:
        for attempt in range(ATTEMPTS):
            assert step()
            assert Jobs(database).counts().cases == {"PENDING": 1} | ({"DONE": 1} if attempt else {})
            if attempt == 0:
                other = replace(poison, case_id="good", query=replace(poison.query, sop_instance_uid="2.25.9"), contrasts={})
                Jobs(database).put_case(other, clock())
                assert step()
                assert Jobs(database).result("good") is not None
            clock.pass_by(hours=1)
        assert step()
    finally:
        judge.stop()
    settled = Jobs(database).result(poison.case_id)
    assert settled is not None
    assert settled.verdict is Verdict.UNASSESSABLE
    assert settled.reasons[0].text == f"judging failed {ATTEMPTS} times, at last because: the judging process died (signal 11)"


def test_a_case_that_the_end_of_the_node_breaks_off_was_not_tried(database: Database, clock: Clock, tmp_path: Path) -> None:
    judge = JudgingProcess(told_pipeline, deadline_seconds=60)
    judge.stop()
    step = replace(assess_step(database, clock, tmp_path, RuntimeError()), judge=judge)
    assert step()
    assert Jobs(database).counts().cases == {"PENDING": 1}
    again = Jobs(database).claim("next node", clock(), timedelta(minutes=1))
    assert again is not None
    assert again.attempts == 1


def test_a_final_decision_is_handed_on_until_that_succeeds(database: Database, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    review = Review(Worklist(database), ReviewSettings(hold_minutes=1))
    told: list[int] = []
    for name in "12":
        number = put_item(database, name).item_id
        review.claim(number, "ann", clock())
        review.decide(number, "ann", Judgement(Decision.REJECT, comment="PATIENT^NAME"), clock())

    def tell(item: Item, now: datetime) -> None:
        if item.item_id == 1 and told.count(2) != 2:
            told.append(2)
            raise ValueError(item.comment)
        told.append(item.item_id * 10)

    step = FinaliseStep(review, tell, clock)
    step()
    assert told == []
    clock.pass_by(minutes=1)
    for _ in range(4):
        step()
    assert told == [2, 20, 2, 10], "the first failed twice, the second did not wait for it, neither came again"
    assert "PATIENT" not in caplog.text
    assert "worklist item 1: ValueError" in caplog.text


def test_without_a_hook_decisions_become_final_all_the_same(database: Database, clock: Clock) -> None:
    review = Review(Worklist(database), ReviewSettings(hold_minutes=0))
    number = put_item(database, "1").item_id
    review.claim(number, "ann", clock())
    review.decide(number, "ann", Judgement(Decision.ACCEPT), clock())
    FinaliseStep(review, None, clock)()
    assert review.show(number, clock()).state == "DECIDED"
    assert review.finalise_due(clock()) == []


def _raise(case, findings):
    if case.contrasts:
        raise RuntimeError("PHANTOM^QCNODE")
