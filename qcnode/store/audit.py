"""Who did what and when: a table that only grows. Entries are written in the transaction of what they tell of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from qcnode.store.database import Database
from qcnode.store.schema import audit_table

NODE = "qcnode"
"""The actor of what the node does by itself."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the audit table. `subject` is for example "worklist-item/12"."""

    audit_id: int
    at: datetime
    actor: str
    action: str
    subject: str
    details: dict[str, Any]


def record(connection: Connection, *, at: datetime, actor: str, action: str, subject: str, details: Mapping[str, Any]) -> None:
    """Append an entry inside of the caller's write transaction. `details` must be writable as JSON."""
    row = {"at": at, "actor": actor, "action": action, "subject": subject, "details": json.dumps(dict(details), sort_keys=True)}
    connection.execute(insert(audit_table).values(row))


class Audit:
    """Reading the audit table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def entries(self, subject: str | None = None, limit: int = 1000) -> list[AuditEntry]:
        """The newest `limit` entries, oldest of them first; of one subject where it is given."""
        query = select(audit_table).order_by(audit_table.c.audit_id.desc()).limit(limit)
        if subject is not None:
            query = query.where(audit_table.c.subject == subject)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [AuditEntry(r.audit_id, r.at, r.actor, r.action, r.subject, json.loads(r.details)) for r in reversed(rows)]
