"""Steps as rows: they follow their items, once and for all, also after a crash between any two moves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import Dataset
from store_samples import at, put_item
from ups_samples import OTHER, RIGHT, dataset, decided, performed
from web_samples import Clock

from qcnode.config import ReviewSettings
from qcnode.review import Review
from qcnode.store import ups_steps
from qcnode.store.audit import Audit
from qcnode.store.database import Database, open_database
from qcnode.store.items import Decision, Judgement
from qcnode.store.ups_steps import Performer, Step, StepMoved, UpsSteps
from qcnode.store.worklist import Worklist
from qcnode.ups.attributes import Archive, step_uid
from qcnode.ups.service import UpsWorklist

BY = Performer("READING1", "meyer")


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(tmp_path)


@pytest.fixture
def steps(database: Database) -> UpsSteps:
    return UpsSteps(database, step_uid)


@pytest.fixture
def review(database: Database) -> Review:
    return Review(Worklist(database), ReviewSettings())


def states(steps: UpsSteps, seconds: float = 0) -> list[str]:
    return [step.state for step, _ in steps.find(at(seconds))]


def only(steps: UpsSteps, seconds: float = 0) -> Step:
    ((step, _),) = steps.find(at(seconds), states=("SCHEDULED", "IN PROGRESS"))
    return step


def test_each_waiting_item_has_one_step_whose_uid_is_derived(database: Database, steps: UpsSteps) -> None:
    items = [put_item(database, str(number), seconds=number) for number in range(1, 4)]
    assert steps.follow(at(9)) == 3
    assert steps.follow(at(9)) == 0
    found = steps.find(at(9))
    assert {item.item_id: step.sop_instance_uid for step, item in found} == {
        item.item_id: step_uid(item.case_id, item.created_at, 1) for item in items
    }
    assert [step.state for step, _ in found] == ["SCHEDULED"] * 3


def test_many_items_are_followed_in_several_transactions(database: Database, steps: UpsSteps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ups_steps, "BATCH", 2)
    for number in range(5):
        put_item(database, str(number))
    assert steps.follow(at(0)) == 5
    assert len(steps.find(at(0))) == 5


def test_one_item_is_followed_alone(database: Database, steps: UpsSteps) -> None:
    first, _ = put_item(database, "1"), put_item(database, "2")
    assert steps.follow(at(0), first.item_id) == 1
    assert [item.item_id for _, item in steps.find(at(0))] == [first.item_id]


def test_what_a_reader_has_is_begun_under_a_uid_of_its_own(database: Database, steps: UpsSteps, review: Review) -> None:
    number = put_item(database, "1").item_id
    review.claim(number, "ann", at(1))
    steps.follow(at(2))
    step = only(steps)
    assert (step.state, step.reader, step.ae_title) == ("IN PROGRESS", "ann", None)
    assert step.transaction_uid is not None
    assert step.transaction_uid.startswith("2.25.")


def test_a_decided_item_without_a_step_gets_none(database: Database, steps: UpsSteps, review: Review) -> None:
    number = put_item(database, "1").item_id
    review.claim(number, "ann", at(1))
    review.decide(number, "ann", Judgement(Decision.ACCEPT), at(2))
    review.finalise_due(at(1000))
    assert steps.follow(at(1001)) == 0


def test_moves_are_refused_where_the_step_has_moved_on(database: Database, steps: UpsSteps, review: Review) -> None:
    number = put_item(database, "1").item_id
    steps.follow(at(0))
    before = only(steps)
    review.claim(number, "ann", at(1))
    steps.follow(at(2))
    for move in (
        lambda: steps.intend(before, BY, RIGHT, at(3)),
        lambda: steps.begin(before, BY, at(3)),
        lambda: steps.cancel(before, BY, "no", at(3)),
    ):
        with pytest.raises(StepMoved):
            move()
    review.release(number, "ann", at(4))
    steps.follow(at(5))
    with pytest.raises(ValueError, match="does not become COMPLETED"):
        steps.complete(only(steps), BY, "{}", None, at(6))


# ---------------------------------------------------------------- killed between two moves


class Killed(BaseException):
    """The process is no more."""


def dying(target: object, name: str, monkeypatch: pytest.MonkeyPatch, *, after: bool) -> None:
    """The process dies in front of the call, or behind it."""
    real: Callable[..., object] = getattr(target, name)

    def die(*arguments: object, **options: object) -> None:
        if after:
            real(*arguments, **options)
        raise Killed

    monkeypatch.setattr(target, name, die)


def worklist(review: Review, steps: UpsSteps, clock: Clock) -> UpsWorklist:
    return UpsWorklist(review, steps, Archive(), clock)


@pytest.fixture
def clock() -> Clock:
    return Clock(at(100))


@pytest.mark.parametrize(
    ("target", "name", "after", "expected"),
    [
        ("steps", "intend", True, ("OPEN", "SCHEDULED")),  # nothing was claimed
        ("review", "claim", True, ("CLAIMED", "IN PROGRESS")),  # the claim is the workstation's
        ("steps", "begin", True, ("CLAIMED", "IN PROGRESS")),
    ],
)
def test_killed_while_it_claims(
    database: Database, monkeypatch: pytest.MonkeyPatch, clock: Clock, target: str, name: str, after: bool, expected: tuple[str, str]
) -> None:
    number = put_item(database, "1").item_id
    parts = {"steps": UpsSteps(database, step_uid), "review": Review(Worklist(database), ReviewSettings())}
    parts["steps"].follow(at(0))
    uid = only(parts["steps"]).sop_instance_uid
    dying(parts[target], name, monkeypatch, after=after)
    with pytest.raises(Killed):
        worklist(parts["review"], parts["steps"], clock).change_state(uid, "IN PROGRESS", RIGHT, BY)

    steps, review = UpsSteps(database, step_uid), Review(Worklist(database), ReviewSettings())  # the next process
    clock.move(seconds=10)
    again = worklist(review, steps, clock)
    again.follow()
    assert (review.show(number, clock()).state, only(steps, 110).state) == expected
    if expected[0] == "CLAIMED":
        assert again.change_state(uid, "IN PROGRESS", OTHER, BY) == 0xC301
        assert again.change_state(uid, "IN PROGRESS", RIGHT, BY) == 0xC302
        assert again.modify(uid, decided("ACCEPT")) == 0
        assert again.change_state(uid, "COMPLETED", RIGHT, BY) == 0
    else:
        review.claim(number, "meyer", clock())  # in the browser: what was intended is no claim
        assert again.change_state(uid, "IN PROGRESS", RIGHT, BY) == 0xC301


@pytest.mark.parametrize(
    ("target", "name", "item_state"),
    [("review", "decide", "HELD"), ("steps", "complete", "HELD")],
)
def test_killed_while_it_completes_with_a_decision(
    database: Database, monkeypatch: pytest.MonkeyPatch, clock: Clock, target: str, name: str, item_state: str
) -> None:
    number, parts, uid = claimed(database, clock, decided("REJECT", stars=1))
    dying(parts[target], name, monkeypatch, after=True)
    with pytest.raises(Killed):
        worklist(parts["review"], parts["steps"], clock).change_state(uid, "COMPLETED", RIGHT, BY)

    steps, review = UpsSteps(database, step_uid), Review(Worklist(database), ReviewSettings())
    again = worklist(review, steps, clock)
    assert review.show(number, clock()).state == item_state
    assert again.change_state(uid, "COMPLETED", RIGHT, BY) in (0, 0xB306)
    assert states(steps, 200) == ["COMPLETED"]
    clock.move(minutes=6)
    assert [item.decision for item in review.finalise_due(clock())] == [Decision.REJECT]
    again.follow()
    assert states(steps, 200) == ["COMPLETED"]


@pytest.mark.parametrize(("wanted", "name"), [("COMPLETED", "complete"), ("CANCELED", "cancel")])
def test_killed_before_the_item_is_given_back(
    database: Database, monkeypatch: pytest.MonkeyPatch, clock: Clock, wanted: str, name: str
) -> None:
    number, parts, uid = claimed(database, clock, performed())
    dying(parts["steps"], name, monkeypatch, after=True)
    with pytest.raises(Killed):
        worklist(parts["review"], parts["steps"], clock).change_state(uid, wanted, RIGHT, BY)

    steps, review = UpsSteps(database, step_uid), Review(Worklist(database), ReviewSettings())
    worklist(review, steps, clock).follow()
    assert states(steps) == [wanted, "IN PROGRESS"]  # the claim lasts until its lease runs out
    clock.move(minutes=16)
    worklist(review, steps, clock).follow()
    assert states(steps) == [wanted, "CANCELED", "SCHEDULED"]
    assert review.show(number, clock()).state == "OPEN"


def claimed(database: Database, clock: Clock, said: Dataset) -> tuple[int, dict[str, object], str]:
    """An item that a workstation has claimed, and about which it has said this."""
    number = put_item(database, "1").item_id
    parts = {"steps": UpsSteps(database, step_uid), "review": Review(Worklist(database), ReviewSettings())}
    made = worklist(parts["review"], parts["steps"], clock)  # type: ignore[arg-type]
    made.follow()
    uid = only(parts["steps"]).sop_instance_uid  # type: ignore[arg-type]
    assert made.change_state(uid, "IN PROGRESS", RIGHT, BY) == 0
    assert made.modify(uid, said) == 0
    return number, parts, uid  # type: ignore[return-value]


def test_what_workstations_do_is_audited_with_their_title(database: Database, clock: Clock) -> None:
    number, parts, uid = claimed(database, clock, decided("ACCEPT"))
    worklist(parts["review"], parts["steps"], clock).change_state(uid, "COMPLETED", RIGHT, BY)  # type: ignore[arg-type]
    entries = Audit(database).entries(f"worklist-item/{number}")
    told = [(e.actor, e.action, e.details.get("ae_title")) for e in entries]
    assert told == [
        ("qcnode", "create", None),
        ("meyer", "claim", None),
        ("meyer", "workstation-claim", "READING1"),
        ("meyer", "decide", None),
        ("meyer", "workstation-complete", "READING1"),
    ]


def test_too_much_is_not_kept(database: Database, clock: Clock) -> None:
    _, parts, uid = claimed(database, clock, performed())
    much = performed(PerformedProcessingParametersSequence=[dataset(TextValue="x" * 300_000)])
    assert worklist(parts["review"], parts["steps"], clock).modify(uid, much) == 0x0213  # type: ignore[arg-type]
