"""Purging: what has served goes, what anybody still needs stays, and a crash in between loses and leaves nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from store_samples import at, case, receive, result
from ups_samples import report
from web_samples import open_site

from qcnode.case import Verdict
from qcnode.config import Config, Matching, ReviewSettings, Storage
from qcnode.doctor import examine
from qcnode.judging.here import JudgeHere
from qcnode.review import Review
from qcnode.store.database import Database, open_database
from qcnode.store.inbox import Inbox
from qcnode.store.items import Item
from qcnode.store.jobs import Jobs
from qcnode.store.outbox import Outbox
from qcnode.store.proofs import Proofs
from qcnode.store.result_retention import ResultRetention
from qcnode.store.schema import case_table, delivery_table, object_table
from qcnode.store.worklist import Decision, Judgement, Worklist, WorklistError
from qcnode.workers.assess import AssessStep
from qcnode.workers.purge import PurgeStep

DAY = 24 * 3600.0
MB = 2**20


@dataclass
class Store:
    """A node's storage without the node, whose disk and clock the test has in its hand."""

    directory: Path
    seconds: float = 0
    free_mb: Callable[[], int] = lambda: 100_000
    storage: Storage = field(default_factory=lambda: Storage(minimum_free_mb=1000))

    def __post_init__(self) -> None:
        self.database: Database = open_database(self.directory)
        self.inbox = Inbox(self.database, self.directory, 0)
        self.jobs, self.outbox = Jobs(self.database), Outbox(self.database)
        self.review = Review(Worklist(self.database), ReviewSettings(hold_minutes=0))
        self.restart()

    def restart(self) -> None:
        storage = self.storage.model_copy(update={"directory": self.directory})
        self.step = PurgeStep(self.inbox, ResultRetention(self.database), storage, Matching(), self.now, self.free_bytes)

    def now(self) -> datetime:
        return at(self.seconds)

    def free_bytes(self) -> int:
        return self.free_mb() * MB

    def purge_at(self, days: float) -> None:
        self.seconds = days * DAY
        self.step()

    def settle_matching(self, *studies: str) -> None:
        for study in self.inbox.dirty_studies():
            if not studies or study.study_instance_uid in studies:
                self.inbox.mark_matched(study.study_instance_uid, study.last_received_at)

    def objects(self) -> set[str]:
        with self.database.read() as connection:
            alive = connection.execute(select(object_table).where(object_table.c.purged_at.is_(None))).all()
        assert {self.directory / row.path for row in alive} == set((self.directory / "objects").glob("*/*"))
        return {row.sop_instance_uid for row in alive}

    def put(self, name: str, verdict: Verdict = Verdict.FAIL, seconds: float = 0) -> Item | None:
        """A settled case with files, and what is due of it at the destination "pacs"; its worklist item, if it has one."""
        folder = self.directory / "results/00" / name
        (folder / "viewer").mkdir(parents=True)
        report().save_as(folder / "report.dcm", enforce_file_format=True)
        self.jobs.put_case(case(name, query=f"2.25.{name}"), at(seconds))
        claimed = self.jobs.claim("w", at(seconds), timedelta(seconds=9))
        assert claimed
        settled = result(claimed.case, verdict, 0.5, folder.parent)
        self.jobs.settle(claimed, settled, {"pacs": frozenset({"report"})}, at(seconds))
        return next((item for item in Worklist(self.database).list(None) if item.case_id == name), None)

    def deliver(self, name: str, state: str = "PROVEN") -> None:
        with self.database.begin() as connection:
            connection.execute(delivery_table.update().where(delivery_table.c.case_id == name).values(state=state))

    def decide(self, item: Item) -> None:
        self.review.claim(item.item_id, "ann", self.now())
        self.review.decide(item.item_id, "ann", Judgement(Decision.REJECT), self.now())
        for due in self.review.finalise_due(self.now()):
            self.review.passed_on(due.item_id, self.now())

    def results(self) -> set[str]:
        return {path.name for path in (self.directory / "results/00").glob("*")}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_results_stay_until_every_destination_provably_has_them(store: Store) -> None:
    for number, state in enumerate(("DELIVERED", "UNPROVEN", "PROVEN", "DROPPED"), start=1):
        store.put(str(number), Verdict.PASS)
        store.deliver(str(number), state)
    before = at(DAY)
    assert {served.case_id for served in ResultRetention(store.database).served(before, 9)} == {"3", "4"}
    assert {served.case_id for served in ResultRetention(store.database, {"pacs"}).served(before, 9)} == {"1", "3", "4"}


def test_objects_go_by_age_and_sooner_where_no_segmentation_is_known(store: Store) -> None:
    receive(store.inbox, "2.25.11", at(0), study="2.25.1", kind="other")
    receive(store.inbox, "2.25.12", at(0), study="2.25.1")  # no segmentation of the study
    receive(store.inbox, "2.25.12", at(1), study="2.25.1", kind=None, PatientID="2")  # and a variant of it
    receive(store.inbox, "2.25.13", at(0), study="2.25.2")  # judged
    receive(store.inbox, "2.25.14", at(0), study="2.25.3")  # its query waits
    receive(store.inbox, "2.25.15", at(0), study="2.25.4")  # not matched yet
    (variant,) = store.inbox.variants_to_compare(9)
    store.inbox.settle_variant(variant.object_id, "routine")
    store.settle_matching("2.25.1", "2.25.2", "2.25.3")
    store.jobs.record_query("2.25.90", "2.25.2", "MATCHED", None, at(0))
    store.jobs.record_query("2.25.91", "2.25.3", "WAITING", None, at(0))
    store.purge_at(0.01)
    assert store.objects() == {"2.25.11", "2.25.12", "2.25.13", "2.25.14", "2.25.15"}
    store.purge_at(1)
    assert store.objects() == {"2.25.12", "2.25.13", "2.25.14", "2.25.15"}
    store.purge_at(8)
    assert store.objects() == {"2.25.13", "2.25.14", "2.25.15"}
    store.purge_at(31)
    assert store.objects() == {"2.25.14", "2.25.15"}
    with store.database.read() as connection:
        gone = connection.execute(select(object_table).where(object_table.c.purged_at.is_not(None))).all()
    assert len(gone) == 4
    assert all(len(row.sha256) == len(row.dataset_sha256) == 64 for row in gone), "what is gone can be told from what is lost"
    receive(store.inbox, "2.25.12", at(32 * DAY), study="2.25.1")
    assert "2.25.12" in store.objects(), "sent again, it is taken again"


def test_results_go_only_when_nobody_needs_them(store: Store) -> None:
    open_item, undelivered, dead, done, other = (store.put(name) for name in "12345")
    store.put("6", Verdict.PASS)
    store.put("7", Verdict.PASS)
    for name in "1456":
        store.deliver(name)
    store.deliver("3", "DEAD")
    assert open_item
    assert undelivered
    assert dead
    assert done
    assert other
    for item in (undelivered, dead, done):
        store.decide(item)
    store.purge_at(364)
    assert store.results() == set("1234567")
    store.purge_at(366)
    assert store.results() == set("12357"), "open, undelivered, given up, open, undelivered"
    store.decide(open_item)
    store.decide(other)
    store.deliver("7")
    store.purge_at(367)
    assert store.results() == set("23")
    store.deliver("2")
    store.deliver("3")
    store.purge_at(368)
    assert store.results() == set()
    assert store.jobs.counts().verdicts == {"FAIL": 5, "PASS": 2}
    kept = store.jobs.result("4")
    assert kept
    assert {o.sha256 for o in kept.objects} == {"digest-report", "digest-error_map", "digest-summary"}
    assert store.review.show(done.item_id, store.now()).decision is Decision.REJECT
    assert "decide" in {entry.action for entry in store.review.history(done.item_id, store.now())}


def test_without_a_destination_results_are_the_only_copy(store: Store) -> None:
    store.jobs.put_case(case("a"), at(0))
    claimed = store.jobs.claim("w", at(0), timedelta(seconds=9))
    assert claimed
    store.jobs.settle(claimed, result(claimed.case, Verdict.PASS, 0.9, store.directory / "results/00"), {}, at(0))
    (store.directory / "results/00/a").mkdir(parents=True)
    store.purge_at(4000)
    assert store.results() == {"a"}


def test_a_later_report_still_names_the_one_before(store: Store) -> None:
    store.put("1", Verdict.PASS)
    store.deliver("1")
    store.jobs.put_case(case("late", query="2.25.1"), at(0))
    step = AssessStep(store.jobs, JudgeHere({}, "1"), store.directory / "results", {}, "w", store.now, lambda: None)
    claimed = store.jobs.claim("w", at(0), timedelta(seconds=9))
    assert claimed
    assert claimed.case.predecessor_case_id == "1"
    before = step._predecessor(claimed)
    store.purge_at(366)
    assert store.results() == {"1"}, "its successor is in work"
    store.jobs.settle(claimed, result(claimed.case, Verdict.NOT_APPLICABLE, None), {}, store.now())
    store.purge_at(367)
    assert store.results() == set()
    assert before is not None
    assert step._predecessor(claimed) == before
    assert before.series_instance_uid == report().SeriesInstanceUID


def test_when_the_disk_is_nearly_full_the_oldest_go_first_and_no_more_than_needed(store: Store) -> None:
    """Purged until 1500 MB are free."""
    for number in range(5):
        receive(store.inbox, f"2.25.1{number}", at(number * DAY), study=f"2.25.{number + 1}")
    store.settle_matching()
    for name in "123":
        store.put(name, Verdict.PASS, seconds=int(name))
        store.deliver(name)
    store.free_mb = lambda: 1500
    store.purge_at(4.5)
    assert len(store.objects()) == 5
    assert store.results() == set("123")
    store.free_mb = lambda: 1500 if len(store.results()) < 3 else 1499
    store.purge_at(4.6)
    assert store.objects() == {"2.25.14"}, "a segmentation may still come for what came within images_missing_hours"
    assert store.results() == set("23"), "the oldest result first, until there is room"


def test_files_that_a_crash_left_go_at_the_next_start(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("1", Verdict.PASS)
    store.deliver("1")
    receive(store.inbox, "2.25.11", at(0))
    store.settle_matching()

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", crash)
        with pytest.raises(KeyboardInterrupt):
            store.purge_at(366)
    assert store.results() == {"1"}
    store.restart()
    store.purge_at(366)
    assert store.results() == set()


def test_a_purge_fails_without_harm_and_comes_back(store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    receive(store.inbox, "2.25.11", at(0), kind="other")

    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "a path")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", fail)
        store.purge_at(1)
    assert "purging: OSError" in caplog.text
    assert store.inbox.recover(store.now()).removed_unacknowledged == 1, "the row said so first"
    receive(store.inbox, "2.25.12", at(0), kind="other")
    store.purge_at(2)
    assert store.objects() == set()


def test_purging_much_lets_others_write_in_between(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        receive(store.inbox, f"2.25.1{number:03d}", at(0), kind="other")
    batches = []
    of_inbox = Inbox.purge
    monkeypatch.setattr(Inbox, "purge", lambda *given: batches.append(found := of_inbox(*given, limit=10)) or found)
    store.purge_at(1)
    assert batches[:4] == [10, 10, 10, 0]


def test_the_web_says_that_a_case_was_purged(tmp_path: Path) -> None:
    site = open_site(tmp_path)
    item = site.put("1")
    report().save_as(tmp_path / "results/1/report.dcm", enforce_file_format=True)
    browser = site.browser("lund")
    assert browser.get(f"/cases/{item.item_id}/thumbnail").status_code == 200
    site.review.claim(item.item_id, "lund", site.clock())
    site.review.decide(item.item_id, "lund", Judgement(Decision.REJECT), site.clock())
    site.clock.move(minutes=10)
    for due in site.review.finalise_due(site.clock()):
        site.review.passed_on(due.item_id, site.clock())
    outbox = Outbox(site.database)
    while delivery := outbox.claim("pacs", "w", site.clock(), timedelta(seconds=9)):
        outbox.delivered(delivery, site.clock())
    proofs = Proofs(site.database)
    while delivery := proofs.claim("pacs", "w", site.clock(), timedelta(seconds=9)):
        proofs.proven(delivery, "read-back", site.clock())
    site.clock.move(days=366)
    storage = Storage(directory=tmp_path)
    PurgeStep(Inbox(site.database, tmp_path, 0), ResultRetention(site.database), storage, Matching(), site.clock, lambda: 10**12)()
    assert not (tmp_path / "results/1").exists()
    assert list((tmp_path / "thumbnails").glob("*/*.png")) == []
    browser.sign_in("lund")
    page = browser.get(f"/cases/{item.item_id}")
    assert page.status_code == 200
    assert "removed from qcnode" in page.text
    assert 'id="viewer"' not in page.text
    assert "reopen-button" not in page.text
    assert browser.get(f"/cases/{item.item_id}/thumbnail").status_code == 404
    assert browser.get(f"/cases/{item.item_id}/viewer/viewer.json").status_code == 404
    assert browser.get("/?state=all").status_code == 200
    assert browser.call(f"/items/{item.item_id}/regions", method="GET") == (200, [])
    assert browser.call(f"/items/{item.item_id}/reopen", {"because": "second thoughts"})[0] == 409
    with pytest.raises(WorklistError, match="purged"):
        site.review.reopen(item.item_id, "lund", "doubts", site.clock(), of_anybody=True)


def test_doctor_says_how_long_things_are_kept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("1", Verdict.PASS)

    def found(**storage: object) -> tuple[bool, str]:
        config = Config.model_validate({"storage": {"directory": str(tmp_path), "minimum_free_mb": 1} | storage, "tasks": {}})
        (check,) = (check for check in examine(config) if check.name == "retention")
        return check.ok, check.detail

    assert found() == (True, "results 365 days, images 30 days, unmatched 7 days; 0 results purged")
    with store.database.begin() as connection:
        connection.execute(case_table.update().values(settled_at=at(-4000 * DAY)))
    assert found()[1].endswith("0 results purged, 1 older ones still needed: not delivered everywhere, or not decided about")
    assert found(keep_results_days=None)[1] == "results for good, images 30 days, unmatched 7 days; 0 results purged"
    assert not found(purge_below_free_mb=10**9)[0]
