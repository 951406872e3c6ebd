"""Queries and cases: claimed by one worker at a time, settled once, in one transaction with what follows from the verdict."""

import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from store_samples import EVERYTHING, at, case, result

from qcnode.case import Reason, ReasonCode, Verdict
from qcnode.outcome import CaseResult
from qcnode.store.audit import Audit
from qcnode.store.database import Database, open_database
from qcnode.store.jobs import ClaimedCase, Jobs, LeaseLost
from qcnode.store.leases import release_leases
from qcnode.store.outbox import Outbox
from qcnode.store.worklist import Decision, Judgement, Worklist

LEASE = timedelta(seconds=60)
MISSING = Reason(ReasonCode.IMAGES_MISSING, "the images never came")


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(tmp_path)


@pytest.fixture
def jobs(database: Database) -> Jobs:
    return Jobs(database)


def _claim(jobs: Jobs, seconds: float, owner: str = "a") -> ClaimedCase:
    claimed = jobs.claim(owner, at(seconds), LEASE)
    assert claimed is not None
    return claimed


def _judge(jobs: Jobs, case_id: str, seconds: float, verdict: Verdict = Verdict.FAIL, **changes: object) -> None:
    jobs.put_case(case(case_id, **changes), at(seconds))  # type: ignore[arg-type]
    claimed = _claim(jobs, seconds)
    assert claimed.case.case_id == case_id
    jobs.settle(claimed, result(claimed.case, verdict), EVERYTHING, at(seconds))


def test_a_query_is_visible_with_its_reason(jobs: Jobs) -> None:
    jobs.record_query("2.25.9", "2.25.1", "WAITING", MISSING, at(0))
    jobs.record_query("2.25.9", "2.25.1", "WAITING", MISSING, at(5))
    (query,) = jobs.queries("WAITING")
    assert (query.reason, query.first_seen_at, query.changed_at) == (MISSING, at(0), at(0))
    jobs.record_query("2.25.9", "2.25.1", "MATCHED", None, at(9))
    (query,) = jobs.queries(study_instance_uid="2.25.1")
    assert (query.state, query.reason, query.first_seen_at, query.changed_at) == ("MATCHED", None, at(0), at(9))
    assert jobs.queries("WAITING") == []
    assert jobs.counts().queries == {"MATCHED": 1}


def test_a_result_stays_a_result(jobs: Jobs) -> None:
    jobs.record_query("2.25.9", "2.25.1", "RESULT", None, at(0))
    with pytest.raises(ValueError, match="does not become"):
        jobs.record_query("2.25.9", "2.25.1", "WAITING", None, at(1))


def test_a_case_comes_back_as_it_was(jobs: Jobs, database: Database) -> None:
    put = case("a", directory=database.directory, problem=MISSING, corrects_query_uid="2.25.7")
    assert jobs.put_case(put, at(0))
    assert not jobs.put_case(put, at(1))
    claimed = _claim(jobs, 2)
    assert claimed.case == put
    assert (claimed.attempts, claimed.lease_until) == (1, at(62))
    (query,) = jobs.queries()
    assert (query.state, query.reason) == ("UNASSESSABLE", MISSING)


def test_a_moved_storage_directory_moves_the_paths(jobs: Jobs, database: Database, tmp_path: Path) -> None:
    jobs.put_case(case("a", directory=database.directory), at(0))
    database.close()
    moved = tmp_path.parent / f"{tmp_path.name}-moved"
    tmp_path.rename(moved)
    claimed = _claim(Jobs(open_database(moved)), 1)
    assert claimed.case == case("a", directory=moved)


def test_the_oldest_case_is_claimed_by_one(jobs: Jobs) -> None:
    for i, name in enumerate("bca"):
        jobs.put_case(case(name, query=f"2.25.{i}"), at(i))
    assert [_claim(jobs, 9).case.case_id for _ in range(3)] == ["b", "c", "a"]
    assert jobs.claim("late", at(9), LEASE) is None
    assert jobs.counts().cases == {"RUNNING": 3}


def test_threads_never_share_a_case(jobs: Jobs) -> None:
    for i in range(30):
        jobs.put_case(case(f"{i:02}", query=f"2.25.{i}"), at(i))
    claimed: list[str] = []

    def work() -> None:
        while (mine := jobs.claim(threading.current_thread().name, at(99), LEASE)) is not None:
            claimed.append(mine.case.case_id)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == [f"{i:02}" for i in range(30)]


def test_a_crashed_worker_loses_its_case(jobs: Jobs) -> None:
    jobs.put_case(case("a"), at(0))
    crashed = _claim(jobs, 0)
    assert jobs.claim("b", at(60), LEASE) is None
    taken = _claim(jobs, 61, "a")  # even a worker of the same name
    assert taken.attempts == 2
    for late in (
        lambda: jobs.settle(crashed, result(crashed.case), EVERYTHING, at(62)),
        lambda: jobs.retry(crashed, "x", at(62), LEASE),
        lambda: jobs.extend(crashed, at(62), LEASE),
    ):
        with pytest.raises(LeaseLost):
            late()
    jobs.settle(taken, result(taken.case), EVERYTHING, at(63))
    with pytest.raises(LeaseLost):
        jobs.settle(crashed, result(crashed.case), EVERYTHING, at(64))


def test_an_extended_lease_holds(jobs: Jobs) -> None:
    jobs.put_case(case("a"), at(0))
    extended = jobs.extend(_claim(jobs, 0), at(50), LEASE)
    assert extended.lease_until == at(110)
    assert jobs.claim("b", at(100), LEASE) is None
    jobs.settle(extended, result(extended.case), EVERYTHING, at(105))


def test_a_failed_attempt_comes_back_later(jobs: Jobs, database: Database) -> None:
    jobs.put_case(case("a"), at(0))
    jobs.put_case(case("b", query="2.25.8"), at(1))
    jobs.retry(_claim(jobs, 2), "RuntimeError", at(3), timedelta(seconds=30))
    assert _claim(jobs, 4).case.case_id == "b"
    assert jobs.claim("a", at(32), LEASE) is None
    again = _claim(jobs, 33)
    assert (again.case.case_id, again.attempts) == ("a", 2)


def test_settling_keeps_the_result_and_what_follows(jobs: Jobs, database: Database) -> None:
    jobs.put_case(case("a"), at(0))
    claimed = _claim(jobs, 1)
    assert jobs.result("a") is None
    settled = result(claimed.case)
    for seconds in (2, 3):
        jobs.settle(claimed, settled, {"pacs": frozenset({"report", "error_map"}), "archive": frozenset({"report"})}, at(seconds))
    found = jobs.result("a")
    assert found is not None
    assert (found.verdict, found.predicted_dsc, found.predicted_nsd, found.tolerance_mm) == (Verdict.FAIL, 0.4, 0.5, 2.0)
    assert (found.reasons, found.weights, found.device) == (settled.outcome.reasons, settled.outcome.weights, "cpu")
    assert (found.directory, found.settled_at) == (settled.directory, at(2))
    assert sorted(found.objects, key=lambda o: o.kind) == sorted(settled.objects, key=lambda o: o.kind)
    assert jobs.latest_result("2.25.9") == found
    sent = Outbox(database).list()
    assert sorted((d.destination, d.kind) for d in sent) == [("archive", "report"), ("pacs", "error_map"), ("pacs", "report")]
    assert len(Worklist(database).list()) == 1
    assert len(Audit(database).entries()) == 1
    assert (jobs.counts().cases, jobs.counts().verdicts) == ({"DONE": 1}, {"FAIL": 1})


def test_settling_is_all_or_nothing(jobs: Jobs, database: Database) -> None:
    jobs.put_case(case("a"), at(0))
    claimed = _claim(jobs, 1)
    with pytest.raises(KeyError):
        jobs.settle(claimed, _with_unknown_kind(claimed), {"pacs": frozenset({"report", "hologram"})}, at(2))
    assert jobs.result("a") is None
    assert Outbox(database).list() == []
    assert Worklist(database).list(None) == []
    jobs.settle(claimed, result(claimed.case), EVERYTHING, at(3))


def _with_unknown_kind(claimed: ClaimedCase) -> CaseResult:
    settled = result(claimed.case)
    return replace(settled, objects=(*settled.objects, replace(settled.objects[0], kind="hologram", sop_instance_uid="2.25.77")))


def test_the_result_must_be_of_the_claimed_case(jobs: Jobs) -> None:
    jobs.put_case(case("a"), at(0))
    with pytest.raises(ValueError, match="another case"):
        jobs.settle(_claim(jobs, 1), result(case("b")), EVERYTHING, at(2))


@pytest.mark.parametrize(
    ("verdict", "items", "deliveries", "query_state"),
    [
        (Verdict.PASS, 0, 3, "MATCHED"),
        (Verdict.FAIL, 1, 3, "MATCHED"),
        (Verdict.REVIEW, 1, 3, "MATCHED"),
        (Verdict.UNASSESSABLE, 1, 3, "UNASSESSABLE"),
        (Verdict.NOT_APPLICABLE, 0, 0, "NOT_APPLICABLE"),
    ],
)
def test_what_follows_from_each_verdict(
    jobs: Jobs, database: Database, verdict: Verdict, items: int, deliveries: int, query_state: str
) -> None:
    _judge(jobs, "a", 0, verdict)
    assert len(Worklist(database).list()) == items
    assert len(Outbox(database).list()) == deliveries
    assert [query.state for query in jobs.queries()] == [query_state]


def test_without_prediction_the_numbers_are_absent(jobs: Jobs) -> None:
    jobs.put_case(case("a"), at(0))
    claimed = _claim(jobs, 1)
    settled = result(claimed.case, Verdict.UNASSESSABLE, predicted_dsc=None)
    jobs.settle(claimed, replace(settled, outcome=replace(settled.outcome, weights=None), objects=()), EVERYTHING, at(2))
    found = jobs.result("a")
    assert found is not None
    assert (found.predicted_dsc, found.predicted_nsd, found.weights, found.objects) == (None, None, None, ())


def test_a_late_slice_supersedes_the_unfinished_case(jobs: Jobs, database: Database) -> None:
    jobs.put_case(case("a"), at(0))
    running = _claim(jobs, 1)
    jobs.put_case(case("b"), at(2))
    with pytest.raises(LeaseLost):
        jobs.settle(running, result(running.case), EVERYTHING, at(3))
    later = _claim(jobs, 4)
    assert (later.case.case_id, later.case.predecessor_case_id) == ("b", None)
    assert jobs.counts().cases == {"SUPERSEDED": 1, "RUNNING": 1}
    assert jobs.put_case(case("a"), at(5))  # matching returns to the earlier one, which was never judged
    assert jobs.counts().cases == {"SUPERSEDED": 1, "PENDING": 1}


@pytest.mark.parametrize("verdict", [Verdict.PASS, Verdict.FAIL])
def test_a_late_slice_supersedes_the_earlier_result(jobs: Jobs, database: Database, verdict: Verdict) -> None:
    _judge(jobs, "a", 0)
    jobs.put_case(case("b"), at(10))
    claimed = _claim(jobs, 11)
    assert claimed.case.predecessor_case_id == "a"
    assert [item.state for item in Worklist(database).list(None)] == ["OPEN"]  # until there is a new answer
    jobs.settle(claimed, result(claimed.case, verdict), EVERYTHING, at(12))
    states = {item.case_id: (item.state, item.superseded_by_case_id) for item in Worklist(database).list(None)}
    assert states["a"] == ("SUPERSEDED", "b")
    assert states.get("b") == (("OPEN", None) if verdict is Verdict.FAIL else None)
    latest = jobs.latest_result("2.25.9")
    assert latest is not None
    assert (latest.case_id, latest.predecessor_case_id) == ("b", "a")


def test_a_given_predecessor_is_kept(jobs: Jobs) -> None:
    _judge(jobs, "a", 0)
    jobs.put_case(case("b", predecessor_case_id="z"), at(1))
    assert _claim(jobs, 2).case.predecessor_case_id == "z"


def test_not_applicable_is_nobodys_predecessor_and_supersedes_nothing(jobs: Jobs, database: Database) -> None:
    _judge(jobs, "a", 0)
    _judge(jobs, "b", 10, Verdict.NOT_APPLICABLE)
    assert [item.state for item in Worklist(database).list(None)] == ["OPEN"]
    jobs.put_case(case("c"), at(20))
    assert _claim(jobs, 21).case.predecessor_case_id == "a"


def test_a_corrected_segmentation_supersedes_the_old_one(jobs: Jobs, database: Database) -> None:
    _judge(jobs, "a", 0, query="2.25.9")
    _judge(jobs, "other", 5, query="2.25.60")
    _judge(jobs, "b", 10, Verdict.PASS, query="2.25.50", corrects_query_uid="2.25.9")
    assert {item.case_id: item.state for item in Worklist(database).list(None)} == {"a": "SUPERSEDED", "other": "OPEN"}


def test_a_correction_that_is_judged_first_wins_too(jobs: Jobs, database: Database) -> None:
    jobs.put_case(case("a", query="2.25.9"), at(0))
    slow = _claim(jobs, 1)
    _judge(jobs, "b", 10, Verdict.PASS, query="2.25.50", corrects_query_uid="2.25.9")
    jobs.settle(slow, result(slow.case), EVERYTHING, at(20))
    (item,) = Worklist(database).list(None)
    assert (item.case_id, item.state, item.superseded_by_case_id) == ("a", "SUPERSEDED", "b")


def test_a_decision_outlives_a_later_result(jobs: Jobs, database: Database) -> None:
    _judge(jobs, "a", 0)
    worklist = Worklist(database)
    (item,) = worklist.list()
    worklist.claim(item.item_id, "reader", at(1), at(60))
    worklist.hold(item.item_id, "reader", Judgement(Decision.REJECT), at(2), at(3))
    worklist.finalise_due(at(4))
    _judge(jobs, "b", 10)
    assert {item.case_id: item.state for item in worklist.list(None)} == {"a": "DECIDED", "b": "OPEN"}


def test_the_cases_of_a_study(jobs: Jobs, database: Database) -> None:
    _judge(jobs, "a", 0)
    jobs.put_case(case("b"), at(10))
    jobs.put_case(case("c"), at(20))  # supersedes b
    jobs.put_case(case("elsewhere", query="2.25.60", study="2.25.2"), at(30))
    assert [put.case_id for put in jobs.cases_of_study("2.25.1")] == ["a", "c"]


def test_a_query_that_waited_again_returns_to_its_case(jobs: Jobs) -> None:
    jobs.put_case(case("a"), at(0))
    jobs.record_query("2.25.9", "2.25.1", "WAITING", MISSING, at(1))
    assert not jobs.put_case(case("a"), at(2))
    assert [(query.state, query.reason) for query in jobs.queries()] == [("MATCHED", None)]


def test_a_restarted_node_goes_on_at_once(jobs: Jobs, database: Database) -> None:
    jobs.put_case(case("a"), at(0))
    died = _claim(jobs, 0)
    release_leases(database)
    assert _claim(jobs, 1).attempts == 2
    with pytest.raises(LeaseLost):
        jobs.settle(died, result(died.case), EVERYTHING, at(2))
