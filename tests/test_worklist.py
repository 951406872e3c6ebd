"""How items move: one reader at a time, decisions that can be taken back, every move audited."""

import threading
from datetime import timedelta
from pathlib import Path

import pytest
from store_samples import EVERYTHING, START, at, case, put_item, result

from qcnode.case import Verdict
from qcnode.store.audit import Audit
from qcnode.store.database import Database, open_database
from qcnode.store.jobs import Jobs
from qcnode.store.worklist import Decision, Item, Judgement, Worklist, WorklistError

LEASE = timedelta(seconds=900)
HOLD = timedelta(seconds=300)
REJECT = Judgement(Decision.REJECT)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(tmp_path)


@pytest.fixture
def worklist(database: Database) -> Worklist:
    return Worklist(database)


def claim(worklist: Worklist, number: int, reader: str, seconds: float) -> Item:
    return worklist.claim(number, reader, at(seconds), at(seconds) + LEASE)


def hold(worklist: Worklist, number: int, reader: str, seconds: float, judgement: Judgement = REJECT) -> Item:
    return worklist.hold(number, reader, judgement, at(seconds), at(seconds) + HOLD)


def undo(worklist: Worklist, number: int, reader: str, seconds: float) -> Item:
    return worklist.undo(number, reader, at(seconds), at(seconds) + LEASE)


def code(error: pytest.ExceptionInfo[WorklistError]) -> str:
    return error.value.code


def test_from_claim_to_a_final_decision(database: Database, worklist: Worklist) -> None:
    number = put_item(database, "1").item_id
    claimed = claim(worklist, number, "ann", 1)
    assert (claimed.state, claimed.reader, claimed.claimed_at, claimed.lease_until) == ("CLAIMED", "ann", at(1), at(901))
    said = Judgement(Decision.NEEDS_CORRECTION, ("slices left out", "other"), "the apex is missing", 2)
    held = hold(worklist, number, "ann", 3, said)
    assert (held.state, held.held_until, held.lease_until, held.decided_at) == ("HELD", at(303), None, at(3))
    assert worklist.finalise_due(at(302)) == []
    (decided,) = worklist.finalise_due(at(303))
    assert (decided.state, decided.decision, decided.comment, decided.rating) == (
        "DECIDED",
        Decision.NEEDS_CORRECTION,
        "the apex is missing",
        2,
    )
    assert (decided.decision_reasons, decided.decided_at, decided.reader) == (("slices left out", "other"), at(3), "ann")
    assert worklist.list() == []
    assert worklist.list("DECIDED") == [decided]
    assert worklist.counts() == {"DECIDED": 1}
    entries = worklist.history(number)
    assert [(entry.actor, entry.action, entry.at) for entry in entries] == [
        ("qcnode", "create", at(0)),
        ("ann", "claim", at(1)),
        ("ann", "decide", at(3)),
        ("qcnode", "finalise", at(303)),
    ]
    assert entries[2].details == {
        "case_id": "1",
        "comment": "the apex is missing",
        "decision": "NEEDS_CORRECTION",
        "rating": 2,
        "reasons": ["slices left out", "other"],
        "verdict": "FAIL",
    }


def test_a_final_decision_is_handed_out_until_it_is_passed_on(database: Database, worklist: Worklist) -> None:
    first, second = (put_item(database, name).item_id for name in "12")
    for number, seconds in ((second, 1), (first, 2)):
        claim(worklist, number, "ann", seconds)
        hold(worklist, number, "ann", seconds)
    assert [item.item_id for item in worklist.finalise_due(at(400))] == [second, first]
    worklist.passed_on(second, at(401))
    assert [item.item_id for item in worklist.finalise_due(at(402))] == [first]
    worklist.passed_on(first, at(403))
    assert worklist.finalise_due(at(404)) == []


def test_a_held_decision_can_be_taken_back(database: Database, worklist: Worklist) -> None:
    number = put_item(database, "1").item_id
    claim(worklist, number, "ann", 1)
    hold(worklist, number, "ann", 2, Judgement(Decision.ACCEPT, ("other",), "fine", 6))
    with pytest.raises(WorklistError, match="by ann, not by bob") as error:
        undo(worklist, number, "bob", 3)
    assert code(error) == "claimed-by-another"
    again = undo(worklist, number, "ann", 301.9)
    assert (again.state, again.reader, again.claimed_at, again.lease_until) == ("CLAIMED", "ann", at(1), at(1201.9))
    assert (again.decision, again.decision_reasons, again.comment, again.rating, again.decided_at, again.held_until) == (
        None,
        (),
        None,
        None,
        None,
        None,
    )
    assert worklist.finalise_due(at(302)) == []
    hold(worklist, number, "ann", 310)
    for take_back in (lambda: undo(worklist, number, "ann", 610), lambda: worklist.release(number, "ann", at(610))):
        with pytest.raises(WorklistError, match="time to be taken back is over") as error:
            take_back()
        assert code(error) == "decided"
    (final,) = worklist.finalise_due(at(611))
    assert final.decision is Decision.REJECT
    assert [entry.action for entry in worklist.history(number)] == ["create", "claim", "decide", "undo", "decide", "finalise"]


def test_release(database: Database, worklist: Worklist) -> None:
    number = put_item(database, "1").item_id
    claim(worklist, number, "ann", 1)
    with pytest.raises(WorklistError, match="claimed by ann, not by bob"):
        worklist.release(number, "bob", at(2))
    released = worklist.release(number, "ann", at(3))
    assert (released.state, released.reader, released.lease_until) == ("OPEN", None, None)
    claim(worklist, number, "bob", 4)
    hold(worklist, number, "bob", 5)
    released = worklist.release(number, "bob", at(6))
    assert (released.state, released.decision, released.held_until) == ("OPEN", None, None)
    assert [entry.action for entry in Audit(database).entries()] == ["create", "claim", "release", "claim", "decide", "release"]


def test_an_action_renews_the_lease(database: Database, worklist: Worklist) -> None:
    number = put_item(database, "1").item_id
    claim(worklist, number, "ann", 0)
    assert claim(worklist, number, "ann", 100).lease_until == at(1000)
    assert worklist.renew(number, "ann", at(200), at(200) + LEASE).lease_until == at(1100)
    with pytest.raises(WorklistError) as error:
        worklist.renew(number, "bob", at(300), at(300) + LEASE)
    assert code(error) == "claimed-by-another"
    assert [entry.action for entry in worklist.history(number)] == ["create", "claim"]


def test_a_lease_that_ran_out_frees_the_item(database: Database, worklist: Worklist) -> None:
    first, second = (put_item(database, name).item_id for name in "12")
    claim(worklist, first, "ann", 0)
    claim(worklist, second, "ann", 0)
    assert worklist.show(first, at(900)).state == "CLAIMED"
    free = worklist.show(first, at(900.1))
    assert (free.state, free.reader, free.claimed_at, free.lease_until) == ("OPEN", None, None, None)
    assert claim(worklist, first, "bob", 901).reader == "bob"
    with pytest.raises(WorklistError) as error:
        hold(worklist, first, "ann", 902)
    assert code(error) == "claimed-by-another"
    assert hold(worklist, second, "ann", 903).state == "HELD", "nobody else had begun"
    worklist.release(second, "ann", at(904))
    claim(worklist, second, "ann", 1000)
    assert worklist.finalise_due(at(1850)) == []
    assert worklist.counts() == {"OPEN": 1, "CLAIMED": 1}, "bob's lease ended at 1801, ann's ends at 1900"
    assert worklist.finalise_due(at(1950)) == []
    assert worklist.counts() == {"OPEN": 2}
    with pytest.raises(WorklistError, match="claim it first") as error:
        hold(worklist, second, "ann", 1951)
    assert code(error) == "not-claimed"
    expired = [(e.actor, e.action, e.details["reader"]) for e in worklist.history(first) if e.action == "expire"]
    assert expired == [("qcnode", "expire", "ann"), ("qcnode", "expire", "bob")]


def test_reassign(database: Database, worklist: Worklist) -> None:
    number = put_item(database, "1").item_id
    assert worklist.reassign(number, "chief", "ann", at(1), at(1) + LEASE).reader == "ann"
    given = worklist.reassign(number, "chief", "bob", at(2), at(2) + LEASE)
    assert (given.state, given.reader, given.claimed_at, given.lease_until) == ("CLAIMED", "bob", at(2), at(902))
    last = worklist.history(number)[-1]
    assert (last.actor, last.action, last.details["from"], last.details["to"]) == ("chief", "reassign", "ann", "bob")
    hold(worklist, number, "bob", 3)
    with pytest.raises(WorklistError, match="is HELD by bob") as error:
        worklist.reassign(number, "chief", "ann", at(4), at(4) + LEASE)
    assert code(error) == "held"


def test_forbidden_moves_say_what_is_wrong(database: Database, worklist: Worklist) -> None:
    number = put_item(database, "1").item_id
    with pytest.raises(WorklistError, match="claim it first") as error:
        hold(worklist, number, "ann", 1)
    assert code(error) == "not-claimed"
    claim(worklist, number, "ann", 1)
    with pytest.raises(WorklistError, match="CLAIMED by ann") as error:
        claim(worklist, number, "bob", 2)
    assert code(error) == "claimed-by-another"
    with pytest.raises(WorklistError, match="no decision to take back") as error:
        undo(worklist, number, "ann", 2)
    assert code(error) == "not-held"
    hold(worklist, number, "ann", 3)
    for move in (lambda: hold(worklist, number, "ann", 4), lambda: claim(worklist, number, "ann", 4)):
        with pytest.raises(WorklistError) as error:
            move()
        assert code(error) == "held"
    worklist.finalise_due(at(303))
    for move in (lambda: claim(worklist, number, "bob", 304), lambda: hold(worklist, number, "ann", 304)):
        with pytest.raises(WorklistError, match="is DECIDED") as error:
            move()
        assert code(error) == "decided"
    with pytest.raises(WorklistError, match="no worklist item 99") as error:
        worklist.show(99, at(305))
    assert code(error) == "gone"
    assert worklist.show(number, at(306)).decision is Decision.REJECT


def test_nobody_says_what_is_no_judgement() -> None:
    for rating in (0, 7):
        with pytest.raises(WorklistError, match="1 to 6") as error:
            Judgement(Decision.ACCEPT, rating=rating)
        assert code(error) == "bad-judgement"
    with pytest.raises(WorklistError, match="MAYBE"):
        Judgement("MAYBE")  # type: ignore[arg-type]


@pytest.mark.parametrize("held", [False, True])
def test_a_superseded_item_is_not_decided_any_more(database: Database, worklist: Worklist, held: bool) -> None:
    number = put_item(database, "1").item_id
    claim(worklist, number, "ann", 1)
    if held:
        hold(worklist, number, "ann", 2)
    jobs = Jobs(database)
    jobs.put_case(case("later", query="2.25.1"), at(2))
    judged = jobs.claim("w", at(2), timedelta(seconds=9))
    assert judged is not None
    jobs.settle(judged, result(judged.case, Verdict.PASS, 0.9), EVERYTHING, at(3))
    with pytest.raises(WorklistError, match="SUPERSEDED") as error:
        hold(worklist, number, "ann", 4)
    assert code(error) == ("superseded")
    assert worklist.finalise_due(at(999)) == []
    last = worklist.history(number)[-1]
    assert (last.actor, last.action, last.details) == ("qcnode", "supersede", {"by_case_id": "later", "verdict": "PASS"})


def test_of_many_readers_who_claim_at_once_one_wins(database: Database, tmp_path: Path) -> None:
    numbers = [put_item(database, str(n)).item_id for n in range(5)]
    worklists = [Worklist(database), Worklist(open_database(tmp_path))]  # the node, and the command line beside it
    won: list[tuple[int, str]] = []
    lost: list[str] = []
    start = threading.Barrier(8)

    def compete(reader: str, worklist: Worklist) -> None:
        start.wait()
        for number in numbers:
            try:
                worklist.claim(number, reader, START, START + LEASE)
            except WorklistError as error:
                lost.append(error.code)
            else:
                won.append((number, reader))

    threads = [threading.Thread(target=compete, args=(f"reader {n}", worklists[n % 2])) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(number for number, _ in won) == numbers
    assert lost == ["claimed-by-another"] * 35
    assert {item.item_id: item.reader for item in worklists[0].list()} == dict(won)


def test_a_view_is_audited(database: Database, worklist: Worklist) -> None:
    number = put_item(database, "1").item_id
    worklist.viewed(number, "ann", at(1))
    assert [(e.actor, e.action) for e in worklist.history(number)] == [("qcnode", "create"), ("ann", "view")]
    with pytest.raises(WorklistError):
        worklist.viewed(99, "ann", at(1))
