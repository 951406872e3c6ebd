"""Who did what and when: a table that only grows. Entries are written in the transaction of what they tell of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select

from qcnode.store.database import Database
from qcnode.store.schema import audit_table

NODE = "qcnode"
"""The actor of what the node does by itself."""
LOSE_OBJECT = "lose-object"
"""The action of an entry about an acknowledged object whose file was missing at a start."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the audit table. `subject` is for example "worklist-item/12"."""

    audit_id: int
    at: datetime
    actor: str
    action: str
    subject: str
    details: dict[str, Any]


def item_subject(item_id: int) -> str:
    """The subject of entries about a worklist item."""
    return f"worklist-item/{item_id}"


def object_subject(object_id: int | str) -> str:
    """The subject of entries about a received object."""
    return f"object/{object_id}"


def record(connection: Connection, *, at: datetime, actor: str, action: str, subject: str, details: Mapping[str, Any]) -> None:
    """Append an entry inside of the caller's write transaction. `details` must be writable as JSON."""
    row = {"at": at, "actor": actor, "action": action, "subject": subject, "details": json.dumps(dict(details), sort_keys=True)}
    connection.execute(insert(audit_table).values(row))


class Audit:
    """The audit table on its own: for what changes nothing else (a view, a refused sign-in), and for reading."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, *, at: datetime, actor: str, action: str, subject: str, details: Mapping[str, Any]) -> None:
        """`record` in a transaction of its own."""
        with self._database.begin() as connection:
            record(connection, at=at, actor=actor, action=action, subject=subject, details=details)

    def entries(self, subject: str | None = None, limit: int = 1000) -> list[AuditEntry]:
        """The newest `limit` entries, oldest of them first; of one subject where it is given."""
        query = select(audit_table).order_by(audit_table.c.audit_id.desc()).limit(limit)
        if subject is not None:
            query = query.where(audit_table.c.subject == subject)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [_entry(row) for row in reversed(rows)]

    def last_id(self) -> int:
        """The number of the newest entry; 0 when there is none."""
        with self._database.read() as connection:
            return connection.execute(select(func.max(audit_table.c.audit_id))).scalar_one() or 0

    def after(self, audit_id: int, limit: int = 500) -> list[AuditEntry]:
        """The oldest `limit` entries that are newer than `audit_id`, oldest first."""
        query = select(audit_table).where(audit_table.c.audit_id > audit_id).order_by(audit_table.c.audit_id).limit(limit)
        with self._database.read() as connection:
            return [_entry(row) for row in connection.execute(query)]

    def before(self, audit_id: int | None, limit: int) -> list[AuditEntry]:
        """The newest `limit` entries that are older than `audit_id` (None: of all), newest first."""
        query = select(audit_table).order_by(audit_table.c.audit_id.desc()).limit(limit)
        if audit_id is not None:
            query = query.where(audit_table.c.audit_id < audit_id)
        with self._database.read() as connection:
            return [_entry(row) for row in connection.execute(query)]


def _entry(row: Any) -> AuditEntry:
    return AuditEntry(row.audit_id, row.at, row.actor, row.action, row.subject, json.loads(row.details))
