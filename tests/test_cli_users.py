"""Accounts on the command line: made, listed, changed and disabled, and never with a password on the screen or in the database."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from qcnode.cli import app
from qcnode.store.accounts import Accounts
from qcnode.store.database import FILE_NAME, open_database
from qcnode.web.passwords import Passwords

SECRET, OTHER = "correct horse battery", "staple of another kind"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("storage: {directory: node}\n")
    return path


def run(config: Path, *words: str, typed: str = "", code: int = 0) -> str:
    outcome = CliRunner().invoke(app, ["users", *words, "--config", str(config)], input=typed, env={"COLUMNS": "200"})
    assert outcome.exit_code == code, outcome.output
    assert SECRET not in outcome.output
    return outcome.output


def hash_of(config: Path, name: str) -> str:
    account = Accounts(open_database(config.parent / "node")).find(name)
    assert account is not None
    return account.password_hash


def test_add_list_password_disable(config: Path) -> None:
    assert "no accounts" in run(config, "list")
    assert "ann may sign in as supervisor" in run(config, "add", "ann", "--role", "supervisor", typed=f"{SECRET}\n{SECRET}\n")
    assert Passwords().verify(hash_of(config, "ann"), SECRET)
    run(config, "password", "ann", "--password-stdin", typed=f"{OTHER}\n")
    assert Passwords().verify(hash_of(config, "ann"), OTHER)
    run(config, "disable", "ann")
    listed = run(config, "list")
    assert "supervisor" in listed
    assert "disabled" in listed
    assert SECRET.encode() not in b"".join(path.read_bytes() for path in (config.parent / "node").glob(f"{FILE_NAME}*"))


def test_a_short_password_is_refused(config: Path) -> None:
    assert "at least" in run(config, "add", "ann", "--password-stdin", typed="short\n", code=2)
    assert "no accounts" in run(config, "list")


def test_a_name_is_given_once(config: Path) -> None:
    run(config, "add", "ann", "--password-stdin", typed=f"{SECRET}\n")
    outcome = CliRunner().invoke(app, ["users", "add", "Ann", "--password-stdin", "--config", str(config)], input=f"{SECRET}\n")
    assert "already" in str(outcome.exception)
