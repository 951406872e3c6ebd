"""`qcnode outbox` as a person types it: what is shown, what is changed, and the exit codes."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import Result
from store_samples import EVERYTHING, at, case, result
from typer.testing import CliRunner

from qcnode import cli_outbox
from qcnode.cli import app
from qcnode.cli_outbox import State
from qcnode.config import Config, Retry
from qcnode.doctor import examine
from qcnode.status import describe_state
from qcnode.store.audit import Audit
from qcnode.store.database import Database, open_database
from qcnode.store.delivery import DELIVERY_MOVES
from qcnode.store.jobs import Jobs
from qcnode.store.outbox import Outbox


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """Three deliveries: 1 is dead, 2 and 3 wait."""
    (tmp_path / "config.yaml").write_text("storage: {directory: .}\n")
    database = open_database(tmp_path)
    jobs, outbox = Jobs(database), Outbox(database)
    jobs.put_case(case("a"), at(0))
    claimed = jobs.claim("w", at(0), timedelta(minutes=1))
    assert claimed is not None
    settled = result(claimed.case, directory=tmp_path / "results")
    settled.directory.mkdir(parents=True)
    for written in settled.objects:
        written.path.write_bytes(b"result")
    jobs.settle(claimed, settled, EVERYTHING, at(0))
    delivery = outbox.claim("pacs", "w", at(0), timedelta(minutes=1))
    assert delivery is not None
    outbox.dead(delivery, "pacs: status 0122H", at(1))
    return database


def run(database: Database, *words: str, typed: str | None = None) -> Result:
    config = str(database.directory / "config.yaml")
    return CliRunner().invoke(app, ["outbox", *words, "--config", config], input=typed, env={"COLUMNS": "200"})


def states(database: Database) -> dict[str, str]:
    return {d.kind: d.state for d in Outbox(database).list()}


def test_every_state_can_be_asked_for() -> None:
    assert {state.value for state in State} == DELIVERY_MOVES.keys()


def test_what_is_not_proven_is_listed(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_outbox.console, "width", 200)  # a dumb terminal is 80 wide whatever COLUMNS says
    shown = run(database, "list")
    assert shown.exit_code == 0
    assert [word in shown.output for word in ("error_map", "summary", "report", "DEAD", "pacs: status 0122H")] == [True] * 5
    listed = json.loads(run(database, "list", "--state", "dead", "--json").output)
    assert [(d["kind"], d["state"], d["last_error"]) for d in listed] == [("error_map", "DEAD", "pacs: status 0122H")]
    assert json.loads(run(database, "list", "--state", "dead", "--state", "pending", "--case", "a", "--json").output)[0]["created_at"]
    assert json.loads(run(database, "list", "--destination", "elsewhere", "--json").output) == []
    assert "No such delivery" in run(database, "list", "--case", "b").output


def test_a_dead_delivery_is_retried(database: Database) -> None:
    done = run(database, "retry", "--state", "dead")
    assert (done.exit_code, done.output.strip()) == (0, "1 of 1 deliveries tried again.")
    assert states(database)["error_map"] == "PENDING"


def test_everything_of_a_destination_is_retried(database: Database) -> None:
    assert "3 of 3" in run(database, "retry", "--destination", "pacs").output


def test_dropping_asks_first_and_is_kept_with_the_name(database: Database) -> None:
    assert run(database, "drop", "--destination", "pacs", typed="n\n").exit_code == 1
    assert states(database)["error_map"] == "DEAD"
    assert run(database, "drop", "--destination", "pacs", typed="y\n").exit_code == 0
    assert states(database) == {"error_map": "DROPPED", "summary": "PENDING", "report": "PENDING"}, "what waits is dropped only by name"
    (dropped,) = Outbox(database).list(state="DROPPED")
    (entry,) = Audit(database).entries(f"delivery/{dropped.delivery_id}")
    assert (entry.action, entry.details["destination"]) == ("drop-delivery", "pacs")
    assert run(database, "retry", str(dropped.delivery_id)).exit_code == 0
    assert states(database)["error_map"] == "PENDING"


def test_what_is_named_by_number_can_be_dropped_while_it_waits(database: Database) -> None:
    (waiting,) = [d for d in Outbox(database).list() if d.kind == "report"]
    assert run(database, "drop", str(waiting.delivery_id), "--yes").exit_code == 0
    again = run(database, "drop", str(waiting.delivery_id), "--yes")
    assert again.exit_code == 1
    assert "neither waiting nor dead" in again.output


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["retry"], 2),
        (["drop", "--yes"], 2),
        (["retry", "77"], 2),
        (["retry", "1", "--state", "dead"], 2),
        (["retry", "--state", "proven-wrong"], 2),
        (["retry", "--state", "unproven"], 4),
        (["drop", "--case", "b", "--yes"], 4),
    ],
)
def test_exit_codes(database: Database, words: list[str], code: int) -> None:
    assert run(database, *words).exit_code == code


def test_a_delivery_whose_file_is_gone_is_named(database: Database) -> None:
    (dead,) = Outbox(database).list(state="DEAD")
    dead.path.unlink()
    done = run(database, "retry", "--state", "dead")
    assert done.exit_code == 1
    assert f"Delivery {dead.delivery_id} is not" in done.output


def test_status_and_doctor_say_what_did_not_arrive_and_what_waits_for_too_long(database: Database) -> None:
    pacs = {"name": "pacs", "kind": "c-store", "ae_title": "PACS", "host": "127.0.0.1", "port": 1}
    config = Config.model_validate({"storage": {"directory": database.directory}, "tasks": {}, "destinations": [pacs]})
    shown = dict(describe_state(config)["delivery to pacs"])
    assert (shown["DEAD"], shown["PENDING"]) == (1, 2)
    assert str(shown["oldest open, hours"]).endswith(" ALARM"), "the samples are of the past"
    found = [check for check in examine(config) if check.name == "deliveries to pacs"]
    assert [check.ok for check in found] == [False, False]
    assert "1 given up" in found[0].detail
    assert "retry.alarm_hours" in found[1].detail
    patient = config.model_copy(update={"retry": Retry(alarm_hours=1e6)})
    assert "ALARM" not in str(dict(describe_state(patient)["delivery to pacs"])["oldest open, hours"])
    assert len([check for check in examine(patient) if check.name == "deliveries to pacs"]) == 1
