"""Accounts and sessions: names once, hashes only, and sessions that end."""

import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
from store_samples import at

from qcnode.store.accounts import Account, AccountError, Accounts, Role
from qcnode.store.audit import Audit
from qcnode.store.database import FILE_NAME, Database, open_database

IDLE, LONGEST = timedelta(minutes=30), timedelta(hours=12)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(tmp_path)


@pytest.fixture
def accounts(database: Database) -> Accounts:
    found = Accounts(database, idle=IDLE, longest=LONGEST)
    found.add("Ann", "$argon2id$ann", Role.READER, by="root", now=at(0))
    return found


def ann(accounts: Accounts) -> Account:
    account = accounts.find("ann")
    assert account is not None
    return account


def test_an_account(accounts: Accounts, database: Database) -> None:
    added = accounts.add("bob.b@example.org", "$argon2id$bob", Role.ADMIN, by="root", now=at(1))
    assert (added.name, added.role, added.password_hash, added.created_at, added.disabled) == (
        "bob.b@example.org",
        Role.ADMIN,
        "$argon2id$bob",
        at(1),
        False,
    )
    assert "argon2" not in repr(added)
    assert [account.name for account in accounts.list()] == ["Ann", "bob.b@example.org"]
    assert accounts.find("nobody") is None
    entry = Audit(database).entries("account/Ann")[0]
    assert (entry.actor, entry.action, entry.details) == ("root", "add-account", {"role": "reader"})


def test_a_name_is_given_once(accounts: Accounts) -> None:
    for name in ("Ann", "ANN"):
        with pytest.raises(AccountError, match="already") as error:
            accounts.add(name, "x", Role.READER, by="root", now=at(1))
        assert error.value.code == "exists"
    assert ann(accounts).name == "Ann"


@pytest.mark.parametrize("name", ["", " ann", "ann ", "a\nb", "a/b", "x" * 65, "<b>"])
def test_a_bad_name_is_refused(accounts: Accounts, name: str) -> None:
    with pytest.raises(AccountError) as error:
        accounts.add(name, "x", Role.READER, by="root", now=at(1))
    assert error.value.code == "bad-name"


@pytest.mark.parametrize("name", ["a", "Dr. Example", "Jürgen O'Neill", "mt-rad1"])
def test_a_good_name_is_taken(accounts: Accounts, name: str) -> None:
    assert accounts.add(name, "x", Role.READER, by="root", now=at(1)).name == name


def test_roles_include_those_below() -> None:
    assert Role.ADMIN.may(Role.SUPERVISOR)
    assert Role.SUPERVISOR.may(Role.SUPERVISOR)
    assert not Role.READER.may(Role.SUPERVISOR)


def test_a_session_ends_when_idle(accounts: Accounts) -> None:
    token = accounts.open_session("Ann", at(0))
    for minutes in (29, 58, 87):
        found = accounts.find_session(token, at(60 * minutes))
        assert found == ann(accounts)
    assert accounts.find_session(token, at(60 * (87 + 30))) is None
    assert accounts.find_session("another", at(1)) is None


def test_a_page_that_asks_by_itself_does_not_prolong_the_session(accounts: Accounts) -> None:
    token = accounts.open_session("Ann", at(0))
    assert accounts.find_session(token, at(60 * 29), is_action=False) == ann(accounts)
    assert accounts.find_session(token, at(60 * 30), is_action=False) is None


def test_a_session_ends_in_any_case(accounts: Accounts) -> None:
    token = accounts.open_session("Ann", at(0))
    for minutes in range(10, 12 * 60, 10):
        assert accounts.find_session(token, at(60 * minutes)) is not None
    assert accounts.find_session(token, at(60 * 60 * 12)) is None


def test_signing_out(accounts: Accounts) -> None:
    token, other = accounts.open_session("Ann", at(0)), accounts.open_session("Ann", at(0))
    accounts.close_session(token)
    accounts.close_session(token)
    assert accounts.find_session(token, at(1)) is None
    assert accounts.find_session(other, at(1)) is not None


def test_another_password_signs_out_everywhere(accounts: Accounts) -> None:
    token = accounts.open_session("Ann", at(0))
    accounts.set_password("ann", "$argon2id$new", by="Ann", now=at(1))
    assert ann(accounts).password_hash == "$argon2id$new"
    assert accounts.find_session(token, at(2)) is None


def test_a_disabled_account(accounts: Accounts) -> None:
    token = accounts.open_session("Ann", at(0))
    accounts.disable("Ann", by="root", now=at(1))
    assert (ann(accounts).disabled, ann(accounts).disabled_at) == (True, at(1))
    assert accounts.find_session(token, at(2)) is None
    with pytest.raises(AccountError, match="disabled"):
        accounts.open_session("Ann", at(3))
    with pytest.raises(AccountError, match="no account") as error:
        accounts.disable("nobody", by="root", now=at(1))
    assert error.value.code == "gone"


def test_the_database_does_not_hold_the_token(accounts: Accounts, tmp_path: Path) -> None:
    token = accounts.open_session("Ann", at(0))
    accounts.open_session("Ann", at(3600 * 13))  # sweeps the first one out
    rows = sqlite3.connect(tmp_path / FILE_NAME).execute("SELECT * FROM session").fetchall()
    assert len(rows) == 1
    assert len(token) >= 43
    assert token not in str(rows)
