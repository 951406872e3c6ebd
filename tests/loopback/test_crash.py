"""kill -9 at any moment loses nothing that was acknowledged, and gives no second answer."""

import threading
import time
from collections import defaultdict
from hashlib import sha256
from pathlib import Path

import pytest
import yaml
from loopback_node import SEG, SR, answers, free_port, node_config, serve, wait_until

from qcnode.config import Config
from qcnode.demo.pacs import DemoPacs
from qcnode.demo.phantom_dicom import PhantomStudy
from qcnode.store.database import open_database
from qcnode.store.inbox import Inbox
from qcnode.store.jobs import Jobs
from qcnode.store.outbox import Outbox

BAD = 1


class SlowPacs(DemoPacs):
    """Takes an object, and its time before it says so: a sender can die in between."""

    pause = 0.0

    def _on_store(self, event) -> int:
        status = super()._on_store(event)
        time.sleep(self.pause)
        return status


@pytest.fixture
def slow_pacs(tmp_path: Path):
    with SlowPacs(tmp_path / "pacs") as archive:
        yield archive


class Scene:
    """An archive with one phantom study and a bad query, and a node that can be killed and started again."""

    def __init__(self, folder: Path, pacs: SlowPacs, phantom: PhantomStudy) -> None:
        self.pacs = pacs
        self.study = str(phantom.study.study_instance_uid)
        for dataset in (*phantom.images, phantom.queries[BAD].dataset):
            pacs.keep(dataset)
        self.port = free_port()
        self.config: Config = node_config(folder / "node", pacs, port=self.port)
        self.directory = self.config.storage.directory
        self._config_file = folder / "config.yaml"
        self._config_file.write_text(yaml.safe_dump(self.config.model_dump(mode="json")))
        self._log = folder / "qcnode.log"
        self.database = open_database(self.directory)
        self.start()

    def start(self) -> None:
        self.serving = serve(self._config_file, self.port, self._log)

    def forward(self) -> list[str]:
        return self.pacs.forward(self.study, "QCNODE", "127.0.0.1", self.port)

    def children(self) -> list[int]:
        """Processes that the node has started (proc(5))."""
        threads = Path(f"/proc/{self.serving.process.pid}/task").iterdir()
        return [int(pid) for thread in threads for pid in (thread / "children").read_text().split()]

    def held(self) -> set[str]:
        """SOP Instance UIDs that the node has, each checked against the digest in its row."""
        inbox = Inbox(self.database, self.directory, 0)
        found = set()
        for stored in inbox.headers_of_study(self.study):
            assert sha256(stored.path.read_bytes()).hexdigest() == stored.sha256
            found.add(stored.header.sop_instance_uid)
        return found

    def assert_one_answer(self) -> None:
        wait_until(lambda: bool(answers(self.pacs, self.study, SR)), 120, "report in the archive")
        wait_until(lambda: set(Outbox(self.database).counts().get("pacs", {})) == {"PROVEN"}, 60, "proven outbox")
        assert self.serving.end() == 0, "SIGTERM ends it cleanly"
        digests = defaultdict(set)
        for record in self.pacs.stores():
            digests[record.sop_instance_uid].add(record.sha256)
        assert all(len(found) == 1 for found in digests.values()), "every C-STORE of a UID carries the same bytes"
        assert [len(answers(self.pacs, self.study, kind)) for kind in (SR, SEG)] == [1, 1]
        assert Jobs(self.database).counts().cases == {"DONE": 1}


@pytest.fixture
def scene(tmp_path: Path, slow_pacs: SlowPacs, phantom: PhantomStudy):
    scene = Scene(tmp_path, slow_pacs, phantom)
    yield scene
    if scene.serving.process.poll() is None:
        scene.serving.kill()


@pytest.mark.timeout(240)
def test_killed_while_it_receives(scene: Scene) -> None:
    acknowledged: list[str] = []
    sender = threading.Thread(target=lambda: acknowledged.extend(scene.forward()))
    sender.start()
    inbox = Inbox(scene.database, scene.directory, 0)
    wait_until(lambda: sum(inbox.counts().by_kind.values()) >= 5, 30, "first objects")
    scene.serving.kill()
    sender.join()
    assert acknowledged, "the kill came too early to show anything"
    scene.start()
    wait_until(lambda: set(acknowledged) <= scene.held(), 30, "every acknowledged object after the restart")
    scene.forward()
    scene.assert_one_answer()


@pytest.mark.timeout(360)
def test_stopped_and_killed_while_it_judges(scene: Scene) -> None:
    sent = scene.forward()
    jobs = Jobs(scene.database)
    wait_until(lambda: jobs.counts().cases.get("RUNNING", 0) == 1, 60, "case in work")
    start = time.monotonic()
    assert scene.serving.end() == 0
    assert time.monotonic() - start < 20, "it does not wait for the case"
    assert jobs.counts().cases == {"PENDING": 1}
    scene.start()
    wait_until(lambda: jobs.counts().cases.get("RUNNING", 0) == 1, 60, "case in work again")
    wait_until(lambda: bool(scene.children()), 30, "judging process")
    judging = scene.children()
    scene.serving.kill()
    assert jobs.counts().cases == {"RUNNING": 1}
    wait_until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in judging), 5, "end of the judging process")
    scene.start()
    assert set(sent) <= scene.held()
    scene.assert_one_answer()


@pytest.mark.timeout(240)
def test_killed_while_it_delivers(scene: Scene) -> None:
    scene.pacs.pause = 2.0
    scene.forward()
    wait_until(lambda: any(r.calling_ae_title == "QCNODE" for r in scene.pacs.stores()), 120, "first answer on its way")
    scene.serving.kill()
    assert set(Outbox(scene.database).counts()["pacs"]) & {"SENDING"}, "the archive had it, the node did not know"
    scene.pacs.pause = 0.0
    scene.start()
    scene.assert_one_answer()
    resent = [r.sop_instance_uid for r in scene.pacs.stores()]
    assert len(resent) > len(set(resent)), "the object that was cut off was sent again"
