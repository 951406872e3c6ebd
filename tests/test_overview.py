"""The figures of the overview, counted by hand."""

from datetime import date, timedelta
from pathlib import Path

import pytest
from store_samples import at, case, put_item, result

from qcnode.case import Verdict
from qcnode.store.database import Database, open_database
from qcnode.store.jobs import Jobs
from qcnode.store.worklist import Decision, Judgement, Worklist

DAY = 86_400


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(tmp_path)


def decide(database: Database, number: int, decision: Decision, seconds: float, rating: int | None = None) -> None:
    worklist = Worklist(database)
    worklist.claim(number, "ann", at(seconds), at(seconds + 900))
    worklist.hold(number, "ann", Judgement(decision, rating=rating), at(seconds), at(seconds))
    worklist.finalise_due(at(seconds))


def settle_pass(database: Database, case_id: str, verdict: Verdict, seconds: float) -> None:
    jobs = Jobs(database)
    jobs.put_case(case(case_id, query=f"2.25.{case_id}"), at(seconds))
    claimed = jobs.claim("w", at(seconds), timedelta(seconds=9))
    assert claimed is not None
    jobs.settle(claimed, result(claimed.case, verdict, 0.9), {}, at(seconds))


def test_figures(database: Database) -> None:
    put_item(database, "1", Verdict.FAIL, 0.3, 0, segmenter="hasty")
    put_item(database, "2", Verdict.FAIL, 0.6, DAY)
    put_item(database, "3", Verdict.REVIEW, 0.78, DAY)
    put_item(database, "4", Verdict.PASS, 0.9, DAY, blind=True)
    put_item(database, "5", Verdict.FAIL, 0.5, 2 * DAY)
    put_item(database, "6", Verdict.UNASSESSABLE, None, 2 * DAY)
    for n in range(4):
        settle_pass(database, f"90{n}", Verdict.PASS, 2 * DAY)
    settle_pass(database, "99", Verdict.NOT_APPLICABLE, 2 * DAY)
    decide(database, 1, Decision.REJECT, DAY + 1, rating=1)
    decide(database, 2, Decision.ACCEPT, DAY + 2)
    decide(database, 3, Decision.ACCEPT, DAY + 3)
    decide(database, 4, Decision.ACCEPT, 2 * DAY, rating=6)
    worklist = Worklist(database)
    worklist.claim(5, "ann", at(2 * DAY), at(2 * DAY + 900))
    worklist.hold(5, "ann", Judgement(Decision.REJECT), at(2 * DAY), at(2 * DAY + 300))

    found = worklist.overview(at(2 * DAY + 100), days=4)
    assert [day.date for day in found.days] == [date(2026, 5, d) for d in (3, 4, 5, 6)]
    assert [dict(day.judged) for day in found.days] == [
        {},
        {Verdict.FAIL: 1},
        {Verdict.FAIL: 1, Verdict.REVIEW: 1, Verdict.PASS: 1},
        {Verdict.FAIL: 1, Verdict.UNASSESSABLE: 1, Verdict.PASS: 4},
    ]
    assert [dict(day.decided) for day in found.days] == [{}, {}, {Decision.REJECT: 1, Decision.ACCEPT: 2}, {Decision.ACCEPT: 1}]
    assert found.review_rate == pytest.approx(5 / 10)
    assert (found.agreed, found.compared, found.agreement) == (2, 3, pytest.approx(2 / 3))
    assert found.decisions[Verdict.FAIL] == {Decision.REJECT: 1, Decision.ACCEPT: 1}
    assert [(p.item_id, p.predicted_dsc, p.decision, p.rating, p.blind) for p in found.pairs] == [
        (1, 0.3, Decision.REJECT, 1, False),
        (2, 0.6, Decision.ACCEPT, None, False),
        (3, 0.78, Decision.ACCEPT, None, False),
        (4, 0.9, Decision.ACCEPT, 6, True),
    ]
    assert (found.pairs[0].verdict, found.pairs[0].segmenter) == (Verdict.FAIL, "hasty")
    assert (found.oldest_item_id, found.oldest_open, found.backlog, found.held) == (6, at(2 * DAY), 1, 1)


def test_earlier_days_do_not_count(database: Database) -> None:
    put_item(database, "1", Verdict.FAIL, 0.3, 0)
    decide(database, 1, Decision.REJECT, 10)
    today = Worklist(database).overview(at(DAY), days=1)
    assert (today.judged, today.decisions, today.pairs) == ({}, {}, ())
    assert Worklist(database).overview(at(DAY), days=2).judged == {Verdict.FAIL: 1}


def test_nothing_yet(database: Database) -> None:
    found = Worklist(database).overview(at(0), days=7)
    assert (found.review_rate, found.agreement, found.oldest_open, found.oldest_item_id, found.backlog) == (None, None, None, None, 0)
    assert len(found.days) == 7
