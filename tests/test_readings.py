"""Several readings of one item: decisions that are revised, two readers who know nothing of one another, and a third who settles it."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from store_samples import at, case, put_item, result

from qcnode.case import Verdict
from qcnode.regions import Mark
from qcnode.store.database import Database, open_database
from qcnode.store.items import Stage
from qcnode.store.jobs import Jobs
from qcnode.store.worklist import Decision, Filters, Item, Judgement, Order, Worklist, WorklistError

ACCEPT, REJECT = Decision.ACCEPT, Decision.REJECT


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(tmp_path)


@pytest.fixture
def worklist(database: Database) -> Worklist:
    return Worklist(database)


def judge(worklist: Worklist, number: int, reader: str, judgement: Judgement | Decision, seconds: float) -> Item:
    """Claim, decide and make it final, all at that second; the item afterwards."""
    said = judgement if isinstance(judgement, Judgement) else Judgement(judgement)
    now = at(seconds)
    if worklist.show(number, now).state == "OPEN":
        worklist.claim(number, reader, now, at(seconds + 900))
    worklist.hold(number, reader, said, now, now)
    worklist.finalise_due(now)
    return worklist.show(number, now)


def reopen(worklist: Worklist, number: int, reader: str, seconds: float, *, of_anybody: bool = False) -> Item:
    return worklist.reopen(number, reader, "misread", at(seconds), at(seconds + 900), of_anybody=of_anybody)


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(WorklistError) as error:
        act()
    return error.value.code


def test_a_revised_decision_replaces_the_earlier_one_which_is_kept(database: Database, worklist: Worklist) -> None:
    number = put_item(database, "1").item_id
    first = Judgement(REJECT, ("other",), "base", 2, {1: Mark.REAL, 3: Mark.UNSURE})
    judge(worklist, number, "ann", first, 10)
    worklist.passed_on(number, at(11))
    again = reopen(worklist, number, "ann", 20)
    assert (again.state, again.stage, again.reader, again.because, again.decision, again.marks) == (
        "CLAIMED",
        Stage.REVISION,
        "ann",
        "misread",
        None,
        {},
    )
    worklist.hold(number, "ann", Judgement(ACCEPT), at(30), at(330))
    assert worklist.finalise_due(at(100)) == []
    assert worklist.undo(number, "ann", at(100), at(1000)).stage is Stage.REVISION
    decided = judge(worklist, number, "ann", ACCEPT, 200)
    assert (decided.state, decided.decision, decided.decided_at, decided.because) == ("DECIDED", ACCEPT, at(200), None)
    assert [item.item_id for item in worklist.finalise_due(at(201))] == [number], "the new decision has to be passed on, too"
    earlier, later = worklist.readings(number)
    assert (earlier.decision, earlier.reasons, earlier.comment, earlier.rating, earlier.marks, earlier.because, earlier.settles) == (
        REJECT,
        ("other",),
        "base",
        2,
        {1: Mark.REAL, 3: Mark.UNSURE},
        None,
        True,
    )
    assert (later.decision, later.stage, later.because, later.decided_at) == (ACCEPT, Stage.REVISION, "misread", at(200))
    (reopened,) = (entry for entry in worklist.history(number) if entry.action == "reopen")
    assert (reopened.actor, reopened.details["because"], reopened.details["decision"]) == ("ann", "misread", "REJECT")


@pytest.mark.parametrize("how", ["released", "released while held", "expired", "expired unnoticed"])
def test_a_revision_that_is_given_up_leaves_the_decision_as_it_was(database: Database, worklist: Worklist, how: str) -> None:
    number = put_item(database, "1").item_id
    said = Judgement(REJECT, ("other",), "base", 2, {2: Mark.NOT_REAL})
    before = judge(worklist, number, "ann", said, 10)
    worklist.passed_on(number, at(11))
    reopen(worklist, number, "chief", 20, of_anybody=True)
    if how == "released while held":
        worklist.hold(number, "chief", Judgement(ACCEPT), at(30), at(330))
    if how.startswith("released"):
        worklist.release(number, "chief", at(40))
    elif how == "expired":
        assert worklist.finalise_due(at(921)) == [], "nothing new was decided"
    else:
        assert refusal(lambda: worklist.claim(number, "bob", at(921), at(1000))) == "claimed-by-another"
        worklist.finalise_due(at(921))
    after = worklist.show(number, at(922))
    assert after == replace(before, claimed_at=None)
    assert worklist.finalise_due(at(923)) == []


def test_only_ones_own_decision_is_reopened_unless_any_may_be(database: Database, worklist: Worklist) -> None:
    number = put_item(database, "1").item_id
    assert refusal(lambda: reopen(worklist, number, "ann", 1)) == "not-decided"
    worklist.claim(number, "ann", at(2), at(900))
    worklist.hold(number, "ann", Judgement(REJECT), at(3), at(300))
    assert refusal(lambda: reopen(worklist, number, "ann", 4)) == "not-decided", "what is held is undone, not reopened"
    worklist.finalise_due(at(300))
    assert refusal(lambda: reopen(worklist, number, "bob", 301)) == "not-yours"
    assert reopen(worklist, number, "chief", 302, of_anybody=True).reader == "chief"
    assert refusal(lambda: reopen(worklist, number, "ann", 303)) == "not-decided"


def test_another_result_does_not_undo_a_decision_that_is_being_revised(database: Database, worklist: Worklist) -> None:
    number = put_item(database, "1").item_id
    judge(worklist, number, "ann", REJECT, 10)
    reopen(worklist, number, "ann", 20)
    jobs = Jobs(database)
    jobs.put_case(case("2", query="2.25.1", predecessor_case_id="1"), at(30))
    claimed = jobs.claim("w", at(30), at(60) - at(30))
    assert claimed is not None
    jobs.settle(claimed, result(claimed.case), {}, at(31))
    assert worklist.show(number, at(32)).state == "CLAIMED"
    assert judge(worklist, number, "ann", ACCEPT, 40).state == "DECIDED"


def test_two_who_agree_decide_the_item(database: Database, worklist: Worklist) -> None:
    number = put_item(database, "1", read_twice=True).item_id
    waiting = judge(worklist, number, "ann", Judgement(REJECT, ("other",), "base", 2, {1: Mark.REAL}), 10)
    assert (waiting.state, waiting.stage, waiting.reader, waiting.decision, waiting.comment, waiting.marks, waiting.decided_at) == (
        "OPEN",
        Stage.SECOND,
        None,
        None,
        None,
        {},
        None,
    )
    assert worklist.finalise_due(at(11)) == [], "nothing is settled yet"
    assert waiting.is_independent
    decided = judge(worklist, number, "bob", REJECT, 20)
    assert (decided.state, decided.reader, decided.stage, decided.is_independent) == ("DECIDED", "bob", Stage.SECOND, False)
    assert [item.item_id for item in worklist.finalise_due(at(21))] == [number]
    assert [(r.reader, r.settles) for r in worklist.readings(number)] == [("ann", False), ("bob", True)]


def test_two_who_differ_need_a_third(database: Database, worklist: Worklist) -> None:
    number = put_item(database, "1", read_twice=True).item_id
    judge(worklist, number, "ann", REJECT, 10)
    differing = judge(worklist, number, "bob", ACCEPT, 20)
    assert (differing.state, differing.stage, differing.decision, differing.is_independent) == ("OPEN", Stage.ADJUDICATION, None, False)
    for reader in ("ann", "bob"):
        assert refusal(lambda reader=reader: worklist.claim(number, reader, at(30), at(40))) == "already-read"
        assert refusal(lambda reader=reader: worklist.reassign(number, "chief", reader, at(30), at(40))) == "already-read"
    settled = judge(worklist, number, "chief", Decision.NEEDS_CORRECTION, 50)
    assert (settled.state, settled.reader, settled.decision) == ("DECIDED", "chief", Decision.NEEDS_CORRECTION)
    assert refusal(lambda: reopen(worklist, number, "ann", 60)) == "not-yours", "who was overruled does not overrule"
    reopen(worklist, number, "chief", 70)
    judge(worklist, number, "chief", ACCEPT, 80)
    assert [(r.stage, r.settles) for r in worklist.readings(number)] == [
        (Stage.FIRST, False),
        (Stage.SECOND, False),
        (Stage.ADJUDICATION, True),
        (Stage.REVISION, True),
    ]


def test_the_second_reader_is_another_one_and_may_give_the_case_back(database: Database, worklist: Worklist) -> None:
    number = put_item(database, "1", read_twice=True).item_id
    judge(worklist, number, "ann", REJECT, 10)
    for name in ("ann", "Ann"):
        assert refusal(lambda name=name: worklist.claim(number, name, at(20), at(900))) == "already-read"
        assert worklist.has_read(number, name)
    worklist.claim(number, "bob", at(20), at(900))
    worklist.hold(number, "bob", Judgement(ACCEPT), at(30), at(330))
    assert (worklist.release(number, "bob", at(40)).state, worklist.show(number, at(40)).stage) == ("OPEN", Stage.SECOND)
    worklist.claim(number, "bob", at(50), at(60))
    worklist.finalise_due(at(61))
    assert worklist.show(number, at(61)).state == "OPEN"
    assert not worklist.has_read(number, "bob")


def test_the_queue_finds_what_needs_which_reading(database: Database, worklist: Worklist) -> None:
    first, second, third = (put_item(database, name, read_twice=True).item_id for name in "123")
    judge(worklist, second, "ann", REJECT, 10)
    judge(worklist, third, "ann", REJECT, 20)
    judge(worklist, third, "bob", ACCEPT, 30)

    def found(**filters: object) -> list[int]:
        return [item.item_id for item in worklist.page(Filters(**filters), Order.OLDEST, 0, 9, at(40))[0]]  # type: ignore[arg-type]

    assert [found(stage=stage) for stage in Stage] == [[first], [second], [third], []]
    assert (found(free_for="ann"), found(free_for="bob"), found(free_for="eve")) == ([first], [first, second], [first, second, third])
    assert worklist.facets().stage == ("ADJUDICATION", "FIRST", "SECOND")
    assert worklist.read_by_one() == {second}


def test_only_one_of_several_becomes_the_second_reader(database: Database, worklist: Worklist) -> None:
    number = put_item(database, "1", read_twice=True).item_id
    judge(worklist, number, "ann", REJECT, 10)
    readers = ["ann", *(f"reader{n}" for n in range(7))]
    start, outcomes = threading.Barrier(len(readers)), {}

    def take(reader: str) -> None:
        start.wait()
        try:
            worklist.claim(number, reader, at(20), at(900))
            worklist.hold(number, reader, Judgement(REJECT), at(21), at(21))
            outcomes[reader] = "read"
        except WorklistError as error:
            outcomes[reader] = error.code

    threads = [threading.Thread(target=take, args=(reader,)) for reader in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = sorted(outcomes.values())
    assert outcomes["ann"] in {"already-read", "claimed-by-another", "held"}
    assert said.count("read") == 1
    assert set(said) <= {"read", "already-read", "claimed-by-another", "held"}
    worklist.finalise_due(at(30))
    assert len(worklist.readings(number)) == 2


def test_kappa(database: Database, worklist: Worklist) -> None:
    pairs = [(ACCEPT, ACCEPT)] * 4 + [(REJECT, REJECT)] * 3 + [(ACCEPT, REJECT)] * 2 + [(REJECT, ACCEPT)]
    for n, (first, second) in enumerate(pairs):
        number = put_item(database, f"9{n}", Verdict.FAIL, 0.4, n, read_twice=True).item_id
        judge(worklist, number, "ann", first, 100 + n)
        judge(worklist, number, "bob", second, 200 + n)
    readers = worklist.overview(at(300), 7).readers
    # by hand: observed 7/10, by chance (6 * 5 + 4 * 5) / 100
    assert (readers.read_twice, readers.agreed, readers.kappa) == (10, 7, pytest.approx((0.7 - 0.5) / 0.5))
    assert readers.pairs[ACCEPT, REJECT] == 2
    assert worklist.overview(at(300 + 9 * 86_400), 7).readers.kappa is None


def test_where_everybody_says_the_same_kappa_is_not_defined(database: Database, worklist: Worklist) -> None:
    number = put_item(database, "1", read_twice=True).item_id
    judge(worklist, number, "ann", REJECT, 10)
    judge(worklist, number, "bob", REJECT, 20)
    readers = worklist.overview(at(30), 7).readers
    assert (readers.read_twice, readers.agreed, readers.kappa) == (1, 1, None)
