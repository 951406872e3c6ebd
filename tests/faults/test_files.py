"""Damaged files: received objects, results, weights. Never a wrong verdict or a wrong answer, and everything else goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from faulty_road import Road, Taker
from small_study import SmallStudy, small_study

from qcnode.audit.run import audit
from qcnode.case import Verdict
from qcnode.config import Config
from qcnode.errors import ConfigurationError
from qcnode.node import Node
from qcnode.store.worklist import Worklist
from qcnode.tasks import weights_directory
from qcnode.workers.assess import ATTEMPTS


def flip_a_pixel(path: Path) -> None:
    """Nothing that a parser could notice."""
    content = bytearray(path.read_bytes())
    content[-100] ^= 0x40
    path.write_bytes(content)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


DAMAGES: dict[str, Callable[[Path], object]] = {"flipped": flip_a_pixel, "cut-off": cut_off, "removed": Path.unlink}


@pytest.fixture(scope="module")
def study() -> SmallStudy:
    return small_study("damaged")


@pytest.fixture(scope="module")
def arrived(tmp_path_factory: pytest.TempPathFactory, study: SmallStudy) -> Path:
    """The storage of a node that has received a study and matched it."""
    directory = tmp_path_factory.mktemp("arrived")
    road = Road(directory)
    road.receive(study.datasets)
    road.match_all()
    road.database.close()
    return directory


@pytest.fixture
def road(tmp_path: Path, arrived: Path) -> Iterator[Road]:
    shutil.copytree(arrived, tmp_path / "node")
    road = Road(tmp_path / "node", [Taker()])
    road.clock.pass_by(minutes=1)
    yield road
    road.database.close()


def stored(road: Road, sop_instance_uid: str) -> Path:
    (path,) = (
        h.path
        for study in [road.inbox.study_of(sop_instance_uid) or ""]
        for h in road.inbox.headers_of_study(study)
        if h.header.sop_instance_uid == sop_instance_uid
    )
    return path


@pytest.mark.parametrize(("part", "damage"), [("image", "flipped"), ("image", "removed"), ("query", "cut-off")])
def test_a_damaged_object_is_not_judged_and_one_that_comes_again_is(road: Road, study: SmallStudy, part: str, damage: str) -> None:
    dataset = study.images[0] if part == "image" else study.queries[0]
    DAMAGES[damage](stored(road, str(dataset.SOPInstanceUID)))
    other = small_study("whole")
    road.receive(other.datasets)
    road.match_all()
    assert road.assess()
    assert road.verdicts() == {}
    assert road.assess()
    assert road.verdicts() == {Verdict.FAIL: 1}, "the other case is judged all the same"
    road.receive([dataset])
    road.match_all()
    road.clock.pass_by(hours=1)
    while road.assess():
        road.clock.pass_by(hours=1)
    assert road.verdicts() == {Verdict.FAIL: 2}
    road.deliver_all()
    assert len(road.outbox.list()) == 6, "one answer each"


def test_an_object_that_stays_damaged_ends_with_a_person(road: Road, study: SmallStudy) -> None:
    """Nobody sends it again: the study is matched without it; what comes of that is no verdict about the segmentation."""
    for image in study.images:
        flip_a_pixel(stored(road, str(image.SOPInstanceUID)))
    for _ in range(ATTEMPTS + 1):
        road.assess()
        road.match_all()
        road.clock.pass_by(hours=30)
        road.match.match_overdue()
    assert set(road.verdicts()) <= {Verdict.UNASSESSABLE}
    assert {item.verdict for item in Worklist(road.database).list()} == {Verdict.UNASSESSABLE}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_result_is_not_delivered_until_it_is_restored(road: Road, damage: str) -> None:
    assert road.assess()
    (summary,) = (d for d in road.outbox.list() if d.kind == "summary")
    kept = summary.path.read_bytes()
    DAMAGES[damage](summary.path)
    road.deliver_all()
    assert {d.kind: d.state for d in road.outbox.list()} == {"error_map": "DELIVERED", "summary": "DEAD", "report": "DELIVERED"}
    (dead,) = road.outbox.list(state="DEAD")
    assert "restore it from the backup" in (dead.last_error or "")
    config = Config.model_validate({"storage": {"directory": str(road.directory)}, "web": {"enabled": False}})
    assert audit(config, pauses_seconds=()).findings, "qcnode audit names it"
    summary.path.write_bytes(kept)
    assert road.outbox.try_now(dead.delivery_id, "admin", road.clock())
    road.deliver_all()
    assert road.outbox.counts()["pacs"] == {"DELIVERED": 3}
    assert audit(config, pauses_seconds=()).findings == ()


def test_a_predecessor_whose_report_is_damaged_costs_the_reference_alone(road: Road, study: SmallStudy) -> None:
    assert road.assess()
    report = next(d.path for d in road.outbox.list() if d.kind == "report")
    cut_off(report)
    (case,) = road.jobs.cases_of_study(study.uid)
    assert road.jobs.put_case(replace(case, case_id="later"), road.clock())
    assert road.assess()
    assert road.verdicts() == {Verdict.FAIL: 2}


@pytest.mark.parametrize("damage", ["flipped", "cut-off"])
def test_damaged_weights_are_not_started_with(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(weights_directory("cardiac-sax"), folder)
    DAMAGES[damage](max(folder.iterdir(), key=lambda path: path.stat().st_size))
    sections = {"listen": {"port": 0}, "web": {"port": 0}, "storage": {"directory": str(tmp_path / "node")}}
    config = Config.model_validate(sections | {"tasks": {"cardiac-sax": {"weights": str(folder)}}})
    with pytest.raises(ConfigurationError, match=r"is not the file that model_card\.json describes"):
        Node(config).start()
    shutil.rmtree(folder)
    shutil.copytree(weights_directory("cardiac-sax"), folder)
    node = Node(config)
    node.start()
    node.stop()
