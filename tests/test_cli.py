"""The commands that others script: their names, help, exit codes; and the worklist from a claim to a decision."""

import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from store_samples import EVERYTHING, at, case, result
from typer.testing import CliRunner

from qcnode import cli_worklist
from qcnode.case import Verdict
from qcnode.cli import app
from qcnode.store.database import open_database
from qcnode.store.jobs import Jobs

RUN = CliRunner()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A node's configuration with two judged cases, one of them failed worse than the other."""
    path = tmp_path / "config.yaml"
    path.write_text("storage: {directory: node, minimum_free_mb: 1}\n")
    jobs = Jobs(open_database(tmp_path / "node"))
    for name, predicted in (("a", 0.6), ("b", 0.2)):
        jobs.put_case(case(name, query=f"2.25.{len(name) + int(predicted * 10)}", directory=tmp_path / "node"), at(0))
        claimed = jobs.claim("w", at(0), timedelta(minutes=1))
        assert claimed is not None
        jobs.settle(claimed, result(claimed.case, Verdict.FAIL, predicted), EVERYTHING, at(1))
    return path


def run(*arguments: object, code: int = 0) -> str:
    outcome = RUN.invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200"})
    assert outcome.exit_code == code, outcome.output
    return outcome.output


@pytest.mark.parametrize("command", ["serve", "assess", "demo", "doctor", "status", "worklist", "users"])
def test_every_command_helps(command: str) -> None:
    assert len(run(command, "--help")) > 100


def test_help_is_quick_and_needs_no_network_code() -> None:
    code = "import qcnode.cli, sys; sys.exit(int(any(m in sys.modules for m in ('torch', 'highdicom', 'pynetdicom'))))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_worklist_is_worst_first(config: Path) -> None:
    shown = run("worklist", "list", "--config", config)
    assert shown.index("0.20") < shown.index("0.60")


def test_from_claim_to_decision(config: Path) -> None:
    assert "claimed by ada" in run("worklist", "claim", 1, "--reader", "ada", "--config", config)
    refused = RUN.invoke(app, ["worklist", "decide", "1", "accept", "--reader", "bob", "--config", str(config)])
    assert "claimed by ada" in str(refused.exception)
    run("worklist", "decide", 1, "needs-correction", "--reader", "ada", "--comment", "base is missing", "--config", config)
    shown = run("worklist", "show", 1, "--config", config)
    assert "NEEDS_CORRECTION" in shown
    assert re.search(r"HELD until \d\d:\d\d:\d\d", shown)
    assert re.search(r"ada: decide .*base is missing", shown)
    assert "0.60" not in run("worklist", "list", "--config", config)
    assert "0.60" in run("worklist", "list", "--all", "--config", config)


def test_an_open_item_is_claimed_on_the_way_and_can_be_released(config: Path) -> None:
    run("worklist", "claim", 2, "--reader", "ada", "--config", config)
    run("worklist", "release", 2, "--reader", "ada", "--config", config)
    run("worklist", "decide", 2, "reject", "--reader", "bob", "--config", config)
    assert "bob" in run("worklist", "show", 2, "--config", config)


def test_a_decision_is_held_and_can_be_taken_back(config: Path) -> None:
    said = ["--reader", "ada", "--reason", "slices left out", "--rating", 2, "--config", config]
    decided = run("worklist", "decide", 1, "reject", *said)
    assert re.search(r"Item 1: reject\.\s+Held until \d\d:\d\d:\d\d .*`qcnode worklist undo 1` takes it back", decided)
    assert "REJECT 2/6 slices left out" in run("worklist", "show", 1, "--config", config)
    assert "claimed by ada" in run("worklist", "undo", 1, "--reader", "ada", "--config", config)
    assert "REJECT 2/6" not in run("worklist", "show", 1, "--config", config)
    refused = RUN.invoke(app, ["worklist", "decide", "1", "reject", "--reader", "ada", "--reason", "ugly", "--config", str(config)])
    assert "review.reasons has" in str(refused.exception)


def test_without_a_hold_nothing_is_said_of_taking_back(config: Path) -> None:
    config.write_text(config.read_text() + "review: {hold_minutes: 0}\n")
    assert "Held" not in run("worklist", "decide", 1, "accept", "--reader", "ada", "--config", config)


def test_an_item_is_given_to_another_reader(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_worklist.console, "width", 200)  # a dumb terminal is 80 wide whatever COLUMNS says
    run("worklist", "claim", 1, "--reader", "ada", "--config", config)
    assert "claimed by bob" in run("worklist", "reassign", 1, "bob", "--reader", "chief", "--config", config)
    assert re.search(r"CLAIMED\s+bob", run("worklist", "list", "--config", config))


def test_a_long_worklist_is_cut(config: Path) -> None:
    shown = run("worklist", "list", "--limit", 1, "--order", "oldest", "--config", config)
    assert "1 of 2 items" in shown
    assert "0.60" in shown


def test_status_counts(config: Path) -> None:
    shown = run("status", "--config", config)
    assert re.search(r"FAIL\W+2", shown)
    assert re.search(r"PENDING\W+6", shown)


def test_doctor_finds_what_is_wrong_and_says_what_to_do(config: Path) -> None:
    config.write_text(config.read_text() + "retry: {alarm_hours: 1000000}\n")  # the samples' deliveries are of the past
    assert "digest verified" in run("doctor", "--config", config)
    dead = "destinations: [{name: pacs, kind: c-store, ae_title: PACS, host: 127.0.0.1, port: 1, timeout_seconds: 2}]\n"
    config.write_text(config.read_text() + dead)
    shown = run("doctor", "--config", config, code=1)
    assert "FAIL" in shown
    assert "→" in shown


def test_doctor_misses_weights(config: Path) -> None:
    config.write_text(config.read_text() + "tasks: {liver: {weights: liver}}\n")
    assert "packaged weights: cardiac-sax" in run("doctor", "--config", config, code=1)
