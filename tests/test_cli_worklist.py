"""How the worklist reads on the command line."""

import json
from dataclasses import asdict, replace
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from store_samples import EVERYTHING, at, case, put_item, result
from typer.testing import CliRunner

from qcnode import cli_worklist
from qcnode.case import Verdict
from qcnode.cli import app
from qcnode.cli_worklist import items_table
from qcnode.outcome import Predicted
from qcnode.regions import ErrorRegion
from qcnode.store.database import Database, open_database
from qcnode.store.jobs import Jobs
from qcnode.store.worklist import Worklist


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """A worklist with one item by weights with intervals and one by weights without."""
    opened = open_database(tmp_path / "node")
    jobs = Jobs(opened)
    for name, predicted in (
        ("calibrated", Predicted(0.81, 0.7, 2.0, {}, (0.72, 0.88), (0.5, 0.9), 0.9)),
        ("plain", Predicted(0.77, 0.66, 2.0, {})),
    ):
        jobs.put_case(case(name, query=f"2.25.{len(name)}"), at(0))
        claimed = jobs.claim("w", at(0), timedelta(minutes=1))
        assert claimed is not None
        judged = result(claimed.case, Verdict.REVIEW)
        jobs.settle(claimed, replace(judged, outcome=replace(judged.outcome, predicted=predicted)), EVERYTHING, at(1))
    return opened


def test_the_interval_stands_beside_the_number(database: Database) -> None:
    page = StringIO()
    Console(file=page, width=240).print(items_table(Worklist(database).list()))
    calibrated, plain = (next(line for line in page.getvalue().splitlines() if number in line) for number in ("0.81", "0.77"))
    assert "0.81 (0.72-0.88)" in calibrated
    assert "0.70 (0.50-0.90)" in calibrated
    assert "(" not in plain


def test_what_was_drawn_at_random_shows_no_prediction(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_worklist.console, "width", 240)  # a dumb terminal is 80 wide whatever COLUMNS says
    config = tmp_path / "config.yaml"
    config.write_text("storage: {directory: node}\n")
    blind = put_item(database, "99", Verdict.PASS, 0.93, 2, blind=True)
    for words in (["show", str(blind.item_id)], ["list"]):
        said = CliRunner().invoke(app, ["worklist", *words, "--config", str(config)]).output
        assert "hidden" in said
        assert "0.93" not in said
        assert "PASS" not in said


def test_one_item_says_the_level(database: Database, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("storage: {directory: node}\n")
    items = {i.case_id: i.item_id for i in Worklist(database).list()}
    shown = {name: CliRunner().invoke(app, ["worklist", "show", str(n), "--config", str(config)]).output for name, n in items.items()}
    assert "0.81 (0.72-0.88)" in shown["calibrated"]
    assert "90 %" in shown["calibrated"]
    assert "%" not in shown["plain"]


def test_a_decision_is_reopened_and_its_readings_are_shown(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_worklist.console, "width", 240)
    config = tmp_path / "config.yaml"
    config.write_text("storage: {directory: node}\nreview: {hold_minutes: 0}\n")
    folder = database.directory / "results/99/viewer"
    folder.mkdir(parents=True)
    region = ErrorRegion(1, "myocardium", 2, 4, 3, 200, 3.6, (0.0, 0.0, 0.0))
    (folder / "viewer.json").write_text(json.dumps({"prediction": {"regions": [asdict(region)]}}))
    number = str(put_item(database, "99", Verdict.FAIL, 0.3, 2).item_id)

    def run(*words: str) -> str:
        ran = CliRunner().invoke(app, ["worklist", *words, "--config", str(config)])
        return ran.output + str(ran.exception or "")

    assert "only a final decision can be reopened" in run("reopen", number, "-m", "misread", "-r", "ann")
    assert "1=real, 2=not-real" in run("decide", number, "reject", "-r", "ann", "--region", "1=wrong")
    assert "reject" in run("decide", number, "reject", "-r", "ann", "--region", "1=not-real", "-m", "base")
    Worklist(database).finalise_due(at(10**9))
    assert "claimed by chief" in run("reopen", number, "-m", "misread", "-r", "chief")
    assert "revision" in run("list", "--stage", "revision")
    shown = run("show", number)
    assert "error region 1: myocardium, slices 3 to 5, 3.6 ml" in shown
    assert "first reading, ann: REJECT base" in shown
