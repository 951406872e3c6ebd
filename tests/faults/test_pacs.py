"""A destination that is down, slow, refuses, aborts or drops connections: the other one is served meanwhile, and it gets all later."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from faulty_road import Road, Taker
from small_study import small_study

from qcnode.config import CStoreDestination, Retry, StowDestination
from qcnode.deliver.c_store import CStore
from qcnode.deliver.destination import Destination
from qcnode.deliver.stow_rs import StowRs
from qcnode.demo.pacs import DemoPacs
from qcnode.workers.worker import Worker

KINDS = {"error_map", "summary", "report"}


class FaultyPacs(DemoPacs):
    """An archive that does something else to each C-STORE as long as `fault` is set: return a status, or None to go on as usual."""

    fault: Callable[[Any], int | None] | None = None

    def _on_store(self, event: Any) -> int:
        status = self.fault(event) if self.fault else None
        return super()._on_store(event) if status is None else status


class Site:
    """A judged case whose answers wait for two destinations, "bad" and "good", and the loops that deliver them."""

    def __init__(self, judged: Path, folder: Path, bad: Destination, good: DemoPacs) -> None:
        shutil.copytree(judged, folder / "node")
        self.road = Road(folder / "node", [bad, c_store("good", good)])
        self.road.clock.pass_by(minutes=1)
        self.good = good
        began, start = time.monotonic(), self.road.clock()
        retry = Retry(first_seconds=0.1, longest_seconds=0.2)

        def now() -> datetime:
            return start + timedelta(seconds=time.monotonic() - began)

        steps = {name: replace(step, now=now, retry=retry, refresh_attributes=False) for name, step in self.road.deliver.items()}
        self.loops = [Worker(name, step, idle_seconds=0.05) for name, step in steps.items()]

    def states(self, destination: str) -> dict[str, str]:
        return {d.kind: d.state for d in self.road.outbox.list(destination=destination)}

    def errors(self, destination: str) -> list[str]:
        return [d.last_error or "" for d in self.road.outbox.list(destination=destination) if d.last_error]

    def wait(self, done: Callable[[], bool], what: str, seconds: float = 30) -> None:
        """Until it is so."""
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, f"no {what}: {self.road.outbox.counts()} {self.errors('bad')}"
            time.sleep(0.05)

    def is_delivered(self, destination: str) -> bool:
        return self.states(destination) == dict.fromkeys(KINDS, "DELIVERED")

    def assert_good_is_served(self) -> None:
        self.wait(lambda: self.is_delivered("good"), "delivery to the good destination")
        assert not self.is_delivered("bad")


@contextmanager
def delivering(site: Site) -> Iterator[Site]:
    for loop in site.loops:
        loop.start()
    try:
        yield site
    finally:
        for loop in site.loops:
            loop.stop()
        for loop in site.loops:
            loop.join(10)
        site.road.database.close()


def c_store(name: str, pacs: DemoPacs, timeout_seconds: float = 10) -> CStore:
    where = {"ae_title": pacs.ae_title, "host": "127.0.0.1", "port": pacs.port, "timeout_seconds": timeout_seconds}
    return CStore(CStoreDestination.model_validate({"name": name, "kind": "c-store"} | where), "QCNODE")


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The storage of a node that has judged one case and delivered nothing yet."""
    directory = tmp_path_factory.mktemp("judged")
    road = Road(directory, [Taker("bad"), Taker("good")])
    road.receive(small_study("pacs").datasets)
    road.match_all()
    assert road.assess()
    road.database.close()
    return directory


@pytest.fixture
def good(tmp_path: Path) -> Iterator[DemoPacs]:
    with DemoPacs(tmp_path / "good") as pacs:
        yield pacs


@pytest.fixture
def bad(tmp_path: Path) -> Iterator[FaultyPacs]:
    with FaultyPacs(tmp_path / "bad") as pacs:
        yield pacs


def assert_once_each(pacs: DemoPacs) -> None:
    """Every C-STORE of a UID carried the same bytes, and the archive holds the three answers."""
    digests: dict[str, set[str]] = {}
    for record in pacs.stores():
        digests.setdefault(record.sop_instance_uid, set()).add(record.sha256)
    assert len(digests) == len(pacs.instances()) == 3
    assert all(len(found) == 1 for found in digests.values())


def test_an_archive_that_is_down(judged: Path, tmp_path: Path, bad: FaultyPacs, good: DemoPacs) -> None:
    bad.stop()
    with delivering(Site(judged, tmp_path, c_store("bad", bad), good)) as site:
        site.assert_good_is_served()
        assert set(site.states("bad").values()) <= {"PENDING", "SENDING"}
        bad.start()
        site.wait(lambda: site.is_delivered("bad"), "delivery after the recovery")
    assert_once_each(bad)


def test_a_slow_archive_holds_up_no_other(judged: Path, tmp_path: Path, bad: FaultyPacs, good: DemoPacs) -> None:
    bad.fault = lambda _: time.sleep(1.5)
    with delivering(Site(judged, tmp_path, c_store("bad", bad), good)) as site:
        site.assert_good_is_served()
        bad.fault = None
        site.wait(lambda: site.is_delivered("bad"), "slow delivery")
        assert {d.attempts for d in site.road.outbox.list(destination="bad")} == {1}, "slow is not failed"
    assert_once_each(bad)


def test_an_archive_that_answers_too_late(judged: Path, tmp_path: Path, bad: FaultyPacs, good: DemoPacs) -> None:
    """It has the object and does not say so in time: it is sent again, the same bytes."""
    bad.fault = lambda _: time.sleep(1.2)
    with delivering(Site(judged, tmp_path, c_store("bad", bad, timeout_seconds=0.5), good)) as site:
        site.wait(lambda: bool(site.errors("bad")), "failure")
        site.assert_good_is_served()
        bad.fault = None
        site.wait(lambda: site.is_delivered("bad"), "delivery after the recovery")
    assert_once_each(bad)


def test_an_archive_that_aborts_in_the_middle_of_a_store(judged: Path, tmp_path: Path, bad: FaultyPacs, good: DemoPacs) -> None:
    def abort(event: Any) -> int:
        event.assoc.abort()
        return 0xA700

    bad.fault = abort
    with delivering(Site(judged, tmp_path, c_store("bad", bad), good)) as site:
        site.wait(lambda: bool(site.errors("bad")), "failure")
        site.assert_good_is_served()
        bad.fault = None
        site.wait(lambda: site.is_delivered("bad"), "delivery after the recovery")
    assert_once_each(bad)


def test_an_archive_without_resources(judged: Path, tmp_path: Path, bad: FaultyPacs, good: DemoPacs) -> None:
    bad.fault = lambda _: 0xA700
    with delivering(Site(judged, tmp_path, c_store("bad", bad), good)) as site:
        site.wait(lambda: any("A700H" in error for error in site.errors("bad")), "A700H")
        site.assert_good_is_served()
        bad.fault = None
        site.wait(lambda: site.is_delivered("bad"), "delivery after the recovery")
    assert_once_each(bad)


def test_an_archive_that_refuses_one_class(judged: Path, tmp_path: Path, bad: FaultyPacs, good: DemoPacs) -> None:
    """The SEG is set aside with a text that says why; the others arrive, and after the archive was configured the SEG does, too."""
    bad.fault = lambda event: 0x0122 if event.request.AffectedSOPClassUID.name == "Segmentation Storage" else None
    with delivering(Site(judged, tmp_path, c_store("bad", bad), good)) as site:
        site.wait(lambda: site.states("bad") == {"error_map": "DEAD", "summary": "DELIVERED", "report": "DELIVERED"}, "refusal")
        site.wait(lambda: site.is_delivered("good"), "delivery to the good destination")
        (refused,) = site.road.outbox.list(state="DEAD")
        assert "0122H" in (refused.last_error or "")
        assert site.errors("bad") == [refused.last_error]
        bad.fault = None
        assert site.road.outbox.try_now(refused.delivery_id, "admin", site.road.clock())
        site.wait(lambda: site.is_delivered("bad"), "delivery after the recovery")
    assert_once_each(bad)


def test_an_address_where_connections_are_dropped(judged: Path, tmp_path: Path, bad: FaultyPacs, good: DemoPacs) -> None:
    """A firewall's way: accepted and cut off, or never answered."""
    bad.stop()
    with socket.create_server(("127.0.0.1", bad.port)) as dropping:
        ended = threading.Event()

        def drop() -> None:
            dropping.settimeout(0.1)
            while not ended.is_set():
                try:
                    dropping.accept()[0].close()
                except TimeoutError:
                    continue

        thread = threading.Thread(target=drop)
        thread.start()
        with delivering(Site(judged, tmp_path, c_store("bad", bad, timeout_seconds=0.5), good)) as site:
            site.wait(lambda: bool(site.errors("bad")), "failure")
            site.assert_good_is_served()
            ended.set()
            thread.join()
            dropping.close()
            bad.start()
            site.wait(lambda: site.is_delivered("bad"), "delivery after the recovery")
    assert_once_each(bad)


@pytest.mark.parametrize(("status", "told"), [(503, "503"), (401, "401"), (None, "Timeout")], ids=["503", "401", "hanging"])
def test_a_web_archive_that_fails(judged: Path, tmp_path: Path, good: DemoPacs, status: int | None, told: str) -> None:
    faulty, posts, gone = threading.Event(), [], threading.Event()
    faulty.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self._body()
            if faulty.is_set() and status is None:
                gone.wait(2)
                return
            if not faulty.is_set():
                posts.append(body)
            self._answer(status or 503 if faulty.is_set() else 200, {})

        def do_GET(self) -> None:
            self._answer(200, [])

        def _body(self) -> bytes:
            if self.headers["Content-Length"]:
                return self.rfile.read(int(self.headers["Content-Length"]))
            body = b""
            while size := int(self.rfile.readline(), 16):  # in chunks (RFC 9112 section 7.1)
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def _answer(self, code: int, content: object) -> None:
            encoded = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    settings = {"name": "bad", "kind": "stow-rs", "url": f"http://127.0.0.1:{server.server_address[1]}/", "timeout_seconds": 0.5}
    try:
        with delivering(Site(judged, tmp_path, StowRs(StowDestination.model_validate(settings)), good)) as site:
            site.wait(lambda: any(told in error for error in site.errors("bad")), "failure")
            site.assert_good_is_served()
            assert set(site.states("bad").values()) <= {"PENDING", "SENDING"}, "of the door, not of the object: it comes back"
            faulty.clear()
            gone.set()
            site.wait(lambda: site.is_delivered("bad"), "delivery after the recovery")
        assert len(posts) == 3
    finally:
        server.shutdown()
        server.server_close()
