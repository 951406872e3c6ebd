"""Back-pressure: when it begins, when it ends, and what peers, the log and `qcnode status` are told."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pydantic import ValidationError
from senders import OUT_OF_RESOURCES, STORED, Sender, small_mr
from store_samples import at, case, receive

from qcnode.config import Config, Listen, Storage
from qcnode.errors import Retryable
from qcnode.ingest.back_pressure import BackPressure, Cause, Marks
from qcnode.ingest.storage_scp import start_storage_scp
from qcnode.status import describe_state
from qcnode.store.backlog import Load, measure_load
from qcnode.store.database import open_database
from qcnode.store.inbox import Inbox
from qcnode.store.jobs import Jobs

MB = 2**20
MARKS = Marks.of(Listen(maximum_unindexed_objects=100, maximum_waiting_cases=10), Storage(minimum_free_mb=1000))
EASY = Load(free_bytes=5000 * MB, unindexed_objects=0, waiting_cases=0)


@dataclass
class Scene:
    """What the back-pressure of a listener measures, on a clock that the test moves."""

    load: Load | Exception = EASY
    seconds: float = 0
    measured: int = 0

    def measure(self) -> Load:
        self.measured += 1
        if isinstance(self.load, Exception):
            raise self.load
        return self.load

    def becomes(self, load: Load | Exception) -> None:
        self.load = load
        self.seconds += 2


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def pressure(scene: Scene) -> BackPressure:
    return BackPressure(MARKS, scene.measure, lambda: scene.seconds)


@pytest.fixture
def sender(pressure: BackPressure, tmp_path: Path) -> Iterator[Sender]:
    inbox = Inbox(open_database(tmp_path), tmp_path, 0)
    server = start_storage_scp(Listen(port=0), inbox, now=lambda: at(0), on_stored=lambda _: None, back_pressure=pressure)
    yield Sender(server.port)
    server.stop()


@pytest.mark.parametrize(
    ("cause", "key", "loads"),
    [
        (Cause.DISK, "free_bytes", [1001 * MB, 999 * MB, 1001 * MB, 1249 * MB, 1250 * MB, 1001 * MB]),
        (Cause.OBJECTS, "unindexed_objects", [100, 101, 99, 81, 80, 100]),
        (Cause.CASES, "waiting_cases", [10, 11, 10, 9, 8, 10]),
    ],
)
def test_between_the_marks_it_stays_as_it_was(scene: Scene, pressure: BackPressure, cause: Cause, key: str, loads: list[int]) -> None:
    found = []
    for load in loads:
        scene.becomes(replace(EASY, **{key: load}))
        found.append(pressure.causes())
    assert found == [frozenset(), {cause}, {cause}, {cause}, frozenset(), frozenset()]


def test_it_is_measured_once_a_second_however_often_it_is_asked(scene: Scene, pressure: BackPressure) -> None:
    for _ in range(50):
        pressure.causes()
    assert scene.measured == 1
    scene.seconds += 1
    pressure.causes()
    assert scene.measured == 2


def test_what_can_not_be_measured_changes_nothing(scene: Scene, pressure: BackPressure) -> None:
    scene.becomes(replace(EASY, waiting_cases=11))
    assert pressure.causes() == {Cause.CASES}
    for failure in (Retryable("the database is busy"), OSError("gone")):
        scene.becomes(failure)
        assert pressure.causes() == {Cause.CASES}
    scene.becomes(EASY)
    assert pressure.causes() == frozenset()


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        pytest.param(replace(EASY, free_bytes=1), 2, id="disk-local-limit-exceeded"),
        pytest.param(replace(EASY, waiting_cases=11), 1, id="cases-temporary-congestion"),
        pytest.param(replace(EASY, unindexed_objects=101), 1, id="objects-temporary-congestion"),
        pytest.param(Load(1, 101, 11), 2, id="both"),
    ],
)
def test_peers_are_told_to_come_back(
    scene: Scene, sender: Sender, caplog: pytest.LogCaptureFixture, load: Load, reason: int, tmp_path: Path
) -> None:
    before = sender.associate()
    assert before.send_c_store(small_mr(0)).Status == STORED
    with caplog.at_level(logging.INFO, "qcnode"):
        scene.becomes(load)
        assert [int(before.send_c_store(small_mr(n)).Status) for n in range(1, 6)] == [OUT_OF_RESOURCES] * 5
        assert [sender.rejection() for _ in range(3)] == [(2, 3, reason)] * 3
        assert sender.echo() == 0x0000, "who only asks whether we are there is told"
        scene.becomes(EASY)
        assert before.send_c_store(small_mr(1)).Status == STORED
        assert sender.send(small_mr(2)) == [STORED]
    before.release()
    told = [r.message for r in caplog.records if r.name.startswith("qcnode")]
    assert [m.split(" (")[0].split(":")[0] for m in told] == ["objects are refused for now", "objects are taken again"]
    assert len(Inbox(open_database(tmp_path), tmp_path, 0).unindexed(10)) == 3


def test_a_storage_that_failed_is_left_alone_for_a_while(
    scene: Scene, sender: Sender, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried = []

    def fail(*_: object) -> None:
        tried.append(1)
        raise OSError(30, "a path")

    with monkeypatch.context() as patch:
        patch.setattr("qcnode.store.object_files.os.fsync", fail)
        association = sender.associate()
        assert [int(association.send_c_store(small_mr(n)).Status) for n in range(6)] == [OUT_OF_RESOURCES] * 6
        assert sender.rejection() == (2, 3, 2)
        scene.seconds += 6
        assert association.send_c_store(small_mr(0)).Status == OUT_OF_RESOURCES
        assert len(tried) == 2, "once, and once more after the pause"
    scene.seconds += 6
    assert [int(association.send_c_store(small_mr(n)).Status) for n in range(6)] == [STORED] * 6
    association.release()
    told = [r.message for r in caplog.records if r.name.startswith("qcnode")]
    assert told == [
        "objects are refused for now: the storage directory can not be written (Read-only file system)",
        "objects can be stored again",
    ]


def test_the_load_is_what_is_still_before_the_node(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    inbox, jobs = Inbox(database, tmp_path, 0), Jobs(database)
    receive(inbox, "2.25.1", at(0))
    receive(inbox, "2.25.2", at(0), kind=None)
    jobs.put_case(case("a", query="2.25.7"), at(0))
    jobs.put_case(case("b", query="2.25.8"), at(0))
    jobs.record_query("2.25.9", "2.25.1", "WAITING", None, at(0))
    load = measure_load(database)
    assert (load.unindexed_objects, load.waiting_cases) == (1, 2)
    assert load.free_bytes > 0


def test_status_shows_figures_and_marks(tmp_path: Path) -> None:
    def shown(**listen: object) -> dict[str, object]:
        config = Config.model_validate({"storage": {"directory": str(tmp_path), "minimum_free_mb": 1}, "listen": listen})
        return dict(describe_state(config)["back-pressure"])

    jobs = Jobs(open_database(tmp_path))
    for name in "abcde":
        jobs.put_case(case(name, query=f"2.25.{ord(name)}"), at(0))
    assert shown()["objects are taken"] == "yes"
    assert shown(maximum_waiting_cases=4)["objects are taken"] == "no: cases"
    assert str(shown(maximum_waiting_cases=5)["objects are taken"]).startswith("yes, unless they were refused before (cases")
    assert shown()["cases waiting"] == "5 (refused above 1000, taken again at 800)"


def test_the_marks_do_not_cross() -> None:
    with pytest.raises(ValidationError, match="resume_free_mb"):
        Storage(minimum_free_mb=10, resume_free_mb=9)
