"""Who may sign in, and who is signed in. Passwords come here as hashes only, and of a session's token only the SHA-256 is kept."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, delete, insert, or_, select, update

from qcnode.errors import QCNodeError
from qcnode.store import audit
from qcnode.store.database import Database
from qcnode.store.schema import account_table, session_table

_NAME = re.compile(r"[^\W_](?:[\w .@'-]{0,62}[\w.])?")
_RESOLUTION = timedelta(seconds=30)
"""How exactly it is known when a session was last seen: not every page view is worth a durable write."""


class AccountError(QCNodeError):
    """The account does not allow this. code: "gone" (there is none of this name), "exists" or "bad-name"."""

    def __init__(self, text: str, code: Literal["gone", "exists", "bad-name"]) -> None:
        super().__init__(text)
        self.code = code


class Role(StrEnum):
    """What an account may do; each role may what the ones before it may."""

    READER = "reader"
    SUPERVISOR = "supervisor"
    ADMIN = "admin"

    def may(self, needed: Role) -> bool:
        """True where this role is `needed` or above it."""
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(needed)


@dataclass(frozen=True, slots=True)
class Account:
    """A person who may sign in. `name` is the reader on the worklist; names that differ in case only are the same."""

    account_id: int
    name: str
    password_hash: str = field(repr=False)
    role: Role
    created_at: datetime
    disabled_at: datetime | None

    @property
    def disabled(self) -> bool:
        """Nobody can sign in with it."""
        return self.disabled_at is not None


class Accounts:
    """Accounts and sessions. Every change of an account is audited in its transaction, `by` who makes it; sign-ins by who lets in."""

    def __init__(self, database: Database, *, idle: timedelta = timedelta(minutes=30), longest: timedelta = timedelta(hours=12)) -> None:
        """A session ends `idle` after it was last used, and `longest` after it was opened."""
        self._database = database
        self._idle = idle
        self._longest = longest

    def add(self, name: str, password_hash: str, role: Role, *, by: str, now: datetime) -> Account:
        """A new account. Raises AccountError "exists" (a disabled account keeps its name) or "bad-name"."""
        if not _NAME.fullmatch(name):
            raise AccountError("a name is 1 to 64 letters, digits, spaces and . @ ' - _, and begins with a letter or digit", "bad-name")
        columns = {"name": name, "password_hash": password_hash, "role": Role(role).value, "created_at": now}
        with self._database.begin() as connection:
            if _find(connection, name) is not None:
                raise AccountError(f"there is an account {name} already", "exists")
            connection.execute(insert(account_table).values(columns))
            _audit(connection, name, "add-account", by, now, role=columns["role"])
            return _account(_get(connection, name))

    def find(self, name: str) -> Account | None:
        """The account of this name, disabled or not."""
        with self._database.read() as connection:
            row = _find(connection, name)
        return None if row is None else _account(row)

    def set_password(self, name: str, password_hash: str, *, by: str, now: datetime) -> None:
        """Replace the hash and end all sessions of the account. Raises AccountError "gone"."""
        self._change(name, "set-password", by, now, password_hash=password_hash)

    def disable(self, name: str, *, by: str, now: datetime) -> None:
        """Nobody signs in with it any more, and all of its sessions end. Raises AccountError "gone"."""
        self._change(name, "disable-account", by, now, disabled_at=now)

    def open_session(self, name: str, now: datetime) -> str:
        """A session of somebody who has proven to be `name`. Returns the token, which is kept nowhere else. Raises AccountError "gone"."""
        token = secrets.token_urlsafe(32)
        with self._database.begin() as connection:
            row = _get(connection, name)
            if row.disabled_at is not None:
                raise AccountError(f"the account {name} is disabled", "gone")
            connection.execute(delete(session_table).where(self._is_over(now)))
            columns = {"token_sha256": _digest(token), "account_id": row.account_id, "opened_at": now, "last_seen_at": now}
            connection.execute(insert(session_table).values(columns))
        return token

    def find_session(self, token: str, now: datetime, *, is_action: bool = True) -> Account | None:
        """Whose session it is; None where it is over or never was. Only an action of the reader puts off its end."""
        this = session_table.c.token_sha256 == _digest(token)
        alive = select(session_table.c.last_seen_at, account_table).join(account_table).where(this, ~self._is_over(now))
        with self._database.read() as connection:
            row = connection.execute(alive.where(account_table.c.disabled_at.is_(None))).one_or_none()
        if row is None:
            return None
        if is_action and now - row.last_seen_at >= min(_RESOLUTION, self._idle / 10):
            with self._database.begin() as connection:
                connection.execute(update(session_table).where(this).values(last_seen_at=now))
        return _account(row)

    def close_session(self, token: str) -> None:
        """End a session; nothing happens where it has ended already."""
        with self._database.begin() as connection:
            connection.execute(delete(session_table).where(session_table.c.token_sha256 == _digest(token)))

    def list(self) -> list[Account]:
        """All accounts by name."""
        with self._database.read() as connection:
            return [_account(row) for row in connection.execute(select(account_table).order_by(account_table.c.name))]

    def _change(self, name: str, action: str, by: str, now: datetime, **columns: Any) -> None:
        with self._database.begin() as connection:
            row = _get(connection, name)
            connection.execute(update(account_table).where(account_table.c.account_id == row.account_id).values(columns))
            connection.execute(delete(session_table).where(session_table.c.account_id == row.account_id))
            _audit(connection, row.name, action, by, now)

    def _is_over(self, now: datetime) -> ColumnElement[bool]:
        return or_(session_table.c.last_seen_at <= now - self._idle, session_table.c.opened_at <= now - self._longest)


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()


def _find(connection: Connection, name: str) -> Any:
    return connection.execute(select(account_table).where(account_table.c.name == name)).one_or_none()


def _get(connection: Connection, name: str) -> Any:
    row = _find(connection, name)
    if row is None:
        raise AccountError(f"there is no account {name}", "gone")
    return row


def _account(row: Any) -> Account:
    return Account(row.account_id, row.name, row.password_hash, Role(row.role), row.created_at, row.disabled_at)


def _audit(connection: Connection, name: str, action: str, by: str, now: datetime, **details: Any) -> None:
    audit.record(connection, at=now, actor=by, action=action, subject=f"account/{name}", details=details)
