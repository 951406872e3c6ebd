"""Figures and health as a monitoring system gets them: by HTTP, from a real store."""

from __future__ import annotations

import json
import re
import socket
import sqlite3
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http.client import HTTPConnection
from pathlib import Path
from time import sleep
from types import SimpleNamespace

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError
from sqlalchemy import event
from store_samples import at, case, put_item, receive, result
from web_samples import Clock

from qcnode.case import Reason, ReasonCode
from qcnode.config import Config, Monitoring
from qcnode.errors import ConfigurationError
from qcnode.node import Node
from qcnode.observe.health import Health
from qcnode.observe.metrics import Tally, Watched, make_registry
from qcnode.observe.server import MonitoringServer
from qcnode.outcome import write_outcome
from qcnode.rejection import Rejection, Times
from qcnode.store.database import FILE_NAME, Database, open_database
from qcnode.store.inbox import Inbox
from qcnode.store.jobs import Jobs
from qcnode.store.outbox import Outbox
from qcnode.store.rejected_callers import RejectedCallers
from qcnode.store.schema import metadata
from qcnode.workers.worker import Worker

TOKEN = "a token of some length"


@dataclass
class Watch:
    """A monitored store, and who watches it."""

    database: Database
    port: int
    clock: Clock
    answered: Tally
    running: dict[str, bool] = field(default_factory=lambda: {"match": True, "assess": True})
    listening: dict[str, bool] = field(default_factory=lambda: {"listen": True})
    free: list[int] = field(default_factory=lambda: [0])

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        found = answer.status, answer.read().decode()
        connection.close()
        return found

    def figures(self) -> dict[tuple[str, ...], float]:
        """(name, label values...) -> value."""
        status, text = self.get("/metrics")
        assert status == 200
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if not sample.name.endswith("_bucket")
        }

    def findings(self, path: str = "/ready") -> tuple[int, dict[str, str]]:
        status, text = self.get(path)
        return status, {finding["name"]: finding["state"] for finding in json.loads(text)["findings"]}


@contextmanager
def watching(directory: Path, **settings: object) -> Iterator[Watch]:
    database, clock, answered = open_database(directory), Clock(), Tally()
    watch = Watch(database, 0, clock, answered)
    health = Health(database, lambda: watch.running, lambda: watch.listening, watch.free[0], timedelta(hours=1), clock)
    registry = make_registry(Watched(database, directory, answered, lambda: watch.running, clock, "1.2"))
    server = MonitoringServer(Monitoring.model_validate({"port": 0} | settings), registry, health)
    watch.port = server.port
    try:
        yield watch
    finally:
        server.stop()
        database.close()


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    with watching(tmp_path) as found:
        yield found


def settle(database: Database, case_id: str, received: float, settled: float) -> None:
    """A query that was received and judged at those seconds, with its verdict.json."""
    inbox, jobs = Inbox(database, database.directory, 0), Jobs(database)
    receive(inbox, f"2.25.{case_id}", at(received), kind="segmentation")
    jobs.put_case(case(case_id, query=f"2.25.{case_id}"), at(received))
    claimed = jobs.claim("w", at(received), timedelta(minutes=1))
    assert claimed is not None
    judged = result(claimed.case, directory=database.directory / "results")
    outcome = replace(judged.outcome, device="cuda", timings_ms={"predict": 2000.0, "report": 500.0})
    judged.directory.mkdir(parents=True)
    write_outcome(outcome, judged.directory)
    jobs.settle(claimed, replace(judged, outcome=outcome), {"pacs": frozenset({"report", "error_map"})}, at(settled))


def test_what_happens_is_counted_and_measured(watch: Watch) -> None:
    assert watch.figures()[("qcnode_build_info", "1.2")] == 1
    settle(watch.database, "11", 10, 52)
    outbox = Outbox(watch.database)
    first = outbox.claim("pacs", "w", at(53), timedelta(minutes=1))
    assert first is not None
    outbox.delivered(first, at(55))
    watch.answered.add(0x0000)
    watch.answered.add(0xA700)
    watch.answered.add(0xA700)
    stranger = Rejection("listen", "caller-unknown", "192.0.2.66", "STRANGER", "QCNODE")
    RejectedCallers(watch.database).add({stranger: Times(3, at(60), at(60))})
    found = watch.figures()
    assert found[("qcnode_callers_rejected_total", "listen", "caller-unknown")] == 3
    assert found[("qcnode_objects_received_total", "segmentation")] == 1
    assert found[("qcnode_cases_judged_total", "cardiac-sax", "FAIL")] == 1
    assert found[("qcnode_case_reasons_total", "below-threshold", "FAIL")] == 1
    assert found[("qcnode_cases_by_device_total", "cuda")] == 1
    assert found[("qcnode_receive_to_verdict_seconds_sum", "cardiac-sax")] == 42
    assert found[("qcnode_judging_seconds_sum", "cardiac-sax")] == 2.5
    assert found[("qcnode_judging_step_seconds_sum", "predict")] == 2
    assert (found[("qcnode_verdict_to_delivery_seconds_sum", "pacs")], found[("qcnode_verdict_to_delivery_seconds_count", "pacs")]) == (
        3,
        1,
    )
    assert (found[("qcnode_store_responses_total", "0000")], found[("qcnode_store_responses_total", "A700")]) == (1, 2)
    second = outbox.claim("pacs", "w", at(60), timedelta(minutes=1))
    assert second is not None
    outbox.delivered(second, at(62))
    again = watch.figures()
    assert again[("qcnode_verdict_to_delivery_seconds_count", "pacs")] == 2
    assert again[("qcnode_cases_judged_total", "cardiac-sax", "FAIL")] == 1, "counted once"


def test_what_stands_is_asked_of_the_store_whoever_put_it_there(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    inbox, jobs, outbox = Inbox(database, tmp_path, 0), Jobs(database), Outbox(database)
    put_item(database, "11", seconds=60)
    receive(inbox, "2.25.1", at(70), kind=None)
    jobs.put_case(case("12", query="2.25.12"), at(3000))
    jobs.record_query("2.25.13", "2.25.1", "WAITING", Reason(ReasonCode.IMAGES_MISSING, "some"), at(80))
    dead = outbox.claim("pacs", "w", at(90), timedelta(minutes=1))
    assert dead is not None
    outbox.dead(dead, "refused", at(91))
    database.close()
    with watching(tmp_path) as watch:  # the clock is at 3600 s
        found = watch.figures()
        assert found[("qcnode_objects_unindexed",)] == 1
        assert found[("qcnode_studies_to_match",)] == 1
        assert found[("qcnode_queries", "WAITING")] == 1
        assert (found[("qcnode_cases", "PENDING")], found[("qcnode_cases", "DONE")]) == (1, 1)
        assert found[("qcnode_cases_oldest_seconds",)] == 600
        assert (found[("qcnode_worklist_items", "OPEN")], found[("qcnode_worklist_items_oldest_seconds",)]) == (1, 3540)
        assert (found[("qcnode_deliveries", "pacs", "DEAD")], found[("qcnode_deliveries", "pacs", "PENDING")]) == (1, 2)
        assert found[("qcnode_deliveries_oldest_seconds", "pacs")] == 3540
        assert ("qcnode_cases_judged_total", "cardiac-sax", "FAIL") not in found, "of an earlier run"
        assert found[("qcnode_disk_free_bytes",)] > 0
        assert found[("qcnode_database_bytes",)] == (tmp_path / FILE_NAME).stat().st_size
        watch.running["assess"] = False
        assert (watch.figures()[("qcnode_worker_up", "assess")], found[("qcnode_worker_up", "assess")]) == (0, 1)


def test_monitoring_asks_no_question_that_no_index_answers(watch: Watch) -> None:
    """However many objects and cases there are, a scrape is quick."""
    put_item(watch.database, "11")
    statements: list[tuple[str, tuple[object, ...]]] = []
    raw = sqlite3.connect(watch.database.directory / FILE_NAME)
    event.listen(watch.database._engine, "before_cursor_execute", lambda *a: statements.append((a[2], a[3])))
    watch.figures()
    scanned = set()
    for text, values in statements:
        if text.lstrip().startswith("SELECT"):
            scanned |= {row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {text}", values) if row[3].startswith("SCAN")}
    raw.close()
    tables = {f"SCAN {table}" for table in metadata.tables}
    assert scanned & tables <= {"SCAN study"}, "its rows are short"


def test_ready_says_what_is_missing_and_recovers(watch: Watch) -> None:
    assert watch.findings() == (
        200,
        {"worker match": "ok", "worker assess": "ok", "listener listen": "ok", "disk": "ok", "database": "ok", "cases": "ok"},
    )
    watch.running["match"] = watch.listening["listen"] = False
    status, found = watch.findings()
    assert (status, found["worker match"], found["listener listen"], found["worker assess"]) == (503, "failed", "failed", "ok")
    assert watch.findings("/health") == (503, {"worker match": "failed", "worker assess": "ok"})
    watch.running["match"] = watch.listening["listen"] = True
    assert watch.findings()[0] == 200


def test_a_full_disk_and_a_database_that_can_not_be_written_are_not_ready(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=-1))
    status, found = watch.findings()
    assert (status, found["disk"]) == (503, "failed")
    monkeypatch.undo()
    path = watch.database.directory / FILE_NAME
    with watch.database.begin() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")
    status, found = watch.findings()
    assert (status, found["database"]) == (503, "failed")
    watch.database.close()
    assert path.exists()
    assert watch.findings()[0] == 200


def test_what_was_given_up_or_waits_for_long_is_a_warning(watch: Watch) -> None:
    put_item(watch.database, "11")
    Jobs(watch.database).put_case(case("12", query="2.25.12"), at(0))
    dead = Outbox(watch.database).claim("pacs", "w", at(90), timedelta(minutes=1))
    assert dead is not None
    Outbox(watch.database).dead(dead, "refused", at(91))
    watch.clock.move(seconds=1)
    status, found = watch.findings()
    assert (status, found["cases"], found["destination pacs"]) == (200, "warning", "warning")


def test_metrics_ask_for_the_token_and_health_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METRICS_TOKEN", TOKEN)
    with watching(tmp_path, token_env="METRICS_TOKEN") as watch:
        assert [watch.get("/metrics", **headers)[0] for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN})] == [
            401
        ] * 3
        assert watch.get("/metrics", Authorization=f"Bearer {TOKEN}")[0] == 200
        assert watch.get("/health")[0] == watch.get("/ready")[0] == 200
    monkeypatch.setenv("METRICS_TOKEN", "short")
    with pytest.raises(ConfigurationError, match="shorter"), watching(tmp_path, token_env="METRICS_TOKEN"):
        pass


def test_only_allowed_addresses_are_answered(tmp_path: Path) -> None:
    with watching(tmp_path, allowed_addresses=["192.0.2.0/24"]) as watch:
        assert [watch.get(path)[0] for path in ("/metrics", "/health", "/ready")] == [403] * 3
    with watching(tmp_path, allowed_addresses=["192.0.2.1", "127.0.0.0/8"]) as watch:
        assert [watch.get(path)[0] for path in ("/metrics", "/health", "/ready")] == [200] * 3


def test_beyond_this_machine_it_is_not_open_to_all() -> None:
    with pytest.raises(ValidationError, match="beyond this machine"):
        Monitoring(enabled=True, host="0.0.0.0")
    assert Monitoring(enabled=True, host="0.0.0.0", allowed_addresses=("192.0.2.0/24",)).enabled


def test_nothing_else_is_served(watch: Watch) -> None:
    assert [watch.get(path)[0] for path in ("/", "/metrics/", "/../etc/passwd", "/worklist")] == [404] * 4
    assert watch.get("/metrics", "POST")[0] == watch.get("/ready", "DELETE")[0] == 405


def test_a_silent_client_holds_up_nobody(watch: Watch) -> None:
    with socket.create_connection(("127.0.0.1", watch.port)), socket.create_connection(("127.0.0.1", watch.port)) as rude:
        rude.sendall(b"\x16\x03\x01garbage\r\n\r\n")
        assert watch.get("/health")[0] == 200


def test_a_worker_that_ended_or_hangs_is_noticed() -> None:
    release, entered = threading.Event(), threading.Event()

    def hang() -> bool:
        entered.set()
        release.wait(30)
        return False

    patient, hanging = Worker("patient", hang, idle_seconds=0.01), Worker("hanging", hang, idle_seconds=0.01, lease=timedelta(seconds=0.05))
    assert not patient.is_well, "not started"
    for worker in (patient, hanging):
        worker.start()
    assert entered.wait(10)
    sleep(0.1)
    assert patient.is_well
    assert not hanging.is_well, "its step takes longer than its lease"
    release.set()
    for worker in (patient, hanging):
        worker.stop()
        worker.join(10)
    assert not patient.is_well, "ended"


def test_the_documentation_names_the_figures_that_there_are(watch: Watch) -> None:
    page = (Path(__file__).parent.parent / "docs/operations.md").read_text()
    chapter = page[page.index("## Metrics") : page.index("## Health")]
    blocks = re.findall(r"(?:^    .*\n|^\n)+", chapter, re.MULTILINE)
    scrape, rules = [yaml.safe_load(textwrap.dedent(block)) for block in blocks if block.strip()]
    assert scrape["scrape_configs"][0]["job_name"] == "qcnode"
    alerts = rules["groups"][0]["rules"]
    assert all(alert["expr"] for alert in alerts)
    families = {family.name for family in text_string_to_metric_families(watch.get("/metrics")[1])}
    named = set(re.findall(r"qcnode_\w+", re.sub(r"qcnode\.token", "", chapter)))
    assert {name.removesuffix("_total") for name in named} == families
    assert {name for alert in alerts for name in re.findall(r"qcnode_\w+", alert["expr"])} <= named


def test_a_node_is_watched(tmp_path: Path) -> None:
    settings = {"listen": {"port": 0}, "web": {"enabled": False}, "monitoring": {"enabled": True, "port": 0}}
    node = Node(Config.model_validate(settings | {"storage": {"directory": str(tmp_path), "minimum_free_mb": 1}}))
    node.start()
    try:
        assert node.monitoring_port
        watch = Watch(open_database(tmp_path), node.monitoring_port, Clock(), Tally())
        status, found = watch.findings()
        assert (status, set(found.values())) == (200, {"ok"})
        assert {"worker match", "worker assess", "listener listen"} <= found.keys()
        assert watch.figures()[("qcnode_worker_up", "match")] == 1
    finally:
        node.stop()
    with pytest.raises(OSError, match="refused"):
        watch.get("/health")
