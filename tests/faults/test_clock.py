"""A clock that jumps: nothing is stuck, nothing is lost, and there is one answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from faulty_road import Road, Taker
from small_study import small_study
from store_samples import at, put_item, receive

from qcnode.case import Verdict
from qcnode.config import ReviewSettings
from qcnode.errors import Retryable
from qcnode.review import Review
from qcnode.schedule import reset_timers
from qcnode.store.accounts import Accounts, Role
from qcnode.store.clock_steps import pull_back
from qcnode.store.database import open_database
from qcnode.store.inbox import Inbox
from qcnode.store.leases import LeaseLost
from qcnode.store.worklist import Decision, Judgement, Worklist
from qcnode.workers.clock import ClockStep
from qcnode.workers.worker import LEASE

JUMPS = {"a day forward": timedelta(days=1), "an hour back": timedelta(hours=-1), "a day back": timedelta(days=-1)}


class Node:
    """The road, with what a node does about its clock; `run` lets ordinary time pass."""

    def __init__(self, directory: Path) -> None:
        self.taker = Taker()
        self.road = Road(directory, [self.taker])
        self.seconds = 0.0
        self._watch = ClockStep(self.road.clock, lambda: self.seconds, lambda now: pull_back(self.road.database, now))
        self._watch()

    def jump(self, by: timedelta) -> None:
        self.road.clock.time += by

    def run(self, minutes: int) -> None:
        for _ in range(minutes):
            self._watch()
            while any([self.road.match(), self.road.assess(), self.road.deliver["pacs"]()]):
                pass
            self.seconds += 60
            self.road.clock.pass_by(minutes=1)

    def assert_one_answer(self) -> None:
        assert self.road.verdicts() == {Verdict.FAIL: 1}
        assert self.road.outbox.counts()["pacs"] == {"DELIVERED": 3}
        assert len(self.taker.sent) == 3


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.mark.parametrize("jump", JUMPS)
def test_the_clock_jumps_while_a_study_arrives_and_while_its_answers_wait(node: Node, jump: str) -> None:
    """Within five minutes of ordinary time after each jump everything has gone on: the quiet time, and the back-off of deliveries."""
    study = small_study("clock")
    node.road.receive(study.datasets[:2])
    node.run(0)
    node.jump(JUMPS[jump])
    node.road.receive(study.datasets[2:])
    node.taker.told = [Retryable("away")] * 2
    node.run(1)
    node.jump(JUMPS[jump])
    node.run(5)
    node.assert_one_answer()
    node.jump(JUMPS[jump])
    node.run(2)
    node.assert_one_answer()


@pytest.mark.parametrize("jump", JUMPS)
def test_the_clock_jumps_across_a_lease(node: Node, jump: str) -> None:
    node.road.receive(small_study("lease").datasets)
    node.road.match_all()
    claimed = node.road.jobs.claim("w", node.road.clock(), LEASE)
    assert claimed
    node.jump(JUMPS[jump])
    if JUMPS[jump] > timedelta():
        node.run(1)  # the lease is over: somebody else judges
        with pytest.raises(LeaseLost):
            node.road.assess._assess(claimed)
    else:
        node.run(1)
        assert node.road.verdicts() == {}, "it is still at work: nobody takes it away"
        node.road.assess._assess(claimed)
        node.run(1)
    node.assert_one_answer()


def test_a_study_that_was_matched_ahead_of_the_clock_is_matched_again_when_more_comes(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    inbox = Inbox(database, tmp_path, 0)
    receive(inbox, "2.25.11", at(7200))
    (study,) = inbox.dirty_studies()
    inbox.mark_matched(study.study_instance_uid, study.last_received_at)
    receive(inbox, "2.25.12", at(7201), study="2.25.2")
    pull_back(database, at(0))
    assert [(s.study_instance_uid, s.last_received_at) for s in inbox.dirty_studies()] == [("2.25.2", at(0))]
    inbox.mark_matched("2.25.2", at(7201))  # by a round that began before the jump
    assert inbox.dirty_studies() == []
    for number, of_study in enumerate(("2.25.1", "2.25.2")):
        receive(inbox, f"2.25.2{number}", at(1), study=of_study)
    assert {s.study_instance_uid for s in inbox.dirty_studies()} == {"2.25.1", "2.25.2"}


def test_a_clock_set_back_is_noticed_and_slow_corrections_are_not() -> None:
    now, seconds, noticed = at(0), 0.0, []
    step = ClockStep(lambda: now, lambda: seconds, noticed.append)
    for wall, monotonic in ((0, 0), (10, 10), (3610, 20), (3618, 30), (18, 40), (28, 50)):
        now, seconds = at(wall), float(monotonic)
        assert not step()
    assert noticed == [at(18)]


def test_timers_do_not_wait_until_the_clock_has_caught_up() -> None:
    """APScheduler plans by the clock: after it was set back, what is planned lies as far ahead."""
    scheduler, ran = BackgroundScheduler(timezone=UTC), Event()
    scheduler.add_job(ran.set, "interval", minutes=1, next_run_time=datetime.now(UTC) + timedelta(hours=1), misfire_grace_time=None)
    scheduler.start()
    try:
        assert not ran.wait(0.2)
        reset_timers(scheduler, datetime.now(UTC))
        assert ran.wait(5)
    finally:
        scheduler.shutdown()


@pytest.mark.parametrize("jump", JUMPS)
def test_readers_keep_what_they_hold(tmp_path: Path, jump: str) -> None:
    """Forward: a claim and a session end, as after a night; a held decision is final. Back: all of it lasts. Nothing is decided twice."""
    database = open_database(tmp_path)
    review = Review(Worklist(database), ReviewSettings())
    accounts = Accounts(database, idle=timedelta(minutes=30), longest=timedelta(hours=12))
    accounts.add("ann", "hash", Role.READER, by="test", now=at(0))
    claimed, decided = put_item(database, "1").item_id, put_item(database, "2").item_id
    for item_id in (claimed, decided):
        review.claim(item_id, "ann", at(0))
    review.decide(decided, "ann", Judgement(Decision.REJECT), at(0))
    now = at(0) + JUMPS[jump]
    pull_back(database, now)
    final = [item.item_id for item in review.finalise_due(now)]
    if JUMPS[jump] > timedelta():
        assert (review.show(claimed, now).state, final) == ("OPEN", [decided])
    else:
        assert (review.show(claimed, now).state, final) == ("CLAIMED", [])
        review.undo(decided, "ann", now)
        review.decide(decided, "ann", Judgement(Decision.ACCEPT), now)
        assert [item.item_id for item in review.finalise_due(now + timedelta(minutes=6))] == [decided]
    assert review.show(decided, now + timedelta(days=2)).state == "DECIDED"
