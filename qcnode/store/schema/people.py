"""The tables of who may sign in, who has, who did what, and who was turned away."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Integer, String, UniqueConstraint

from qcnode.store.columns import UtcDateTime
from qcnode.store.schema.base import table

account_table = table(
    "account",
    (
        Column("account_id", Integer, primary_key=True),
        Column("name", String(collation="NOCASE"), nullable=False, unique=True),
        Column("password_hash", String, nullable=False),
        Column("role", String, nullable=False),  # accounts.Role
        Column("created_at", UtcDateTime, nullable=False),
        Column("disabled_at", UtcDateTime),
    ),
)

session_table = table(
    "session",
    (
        Column("token_sha256", String, primary_key=True),  # the token itself is in the browser only
        Column("account_id", Integer, ForeignKey("account.account_id"), nullable=False),
        Column("opened_at", UtcDateTime, nullable=False),
        Column("last_seen_at", UtcDateTime, nullable=False),
    ),
    Index("session_by_account", "account_id"),
)

rejected_caller_table = table(
    "rejected_caller",
    (
        Column("rejected_caller_id", Integer, primary_key=True),
        Column("listener", String, nullable=False),
        Column("reason", String, nullable=False),  # rejection.REASONS
        Column("address", String, nullable=False),
        Column("calling_ae_title", String, nullable=False),  # a stranger's text
        Column("called_ae_title", String, nullable=False),
        Column("count", Integer, nullable=False),
        Column("first_at", UtcDateTime, nullable=False),
        Column("last_at", UtcDateTime, nullable=False),
    ),
    UniqueConstraint("listener", "reason", "address", "calling_ae_title", "called_ae_title", name="rejected_caller_once"),
    Index("rejected_caller_by_time", "last_at"),
)

audit_table = table(
    "audit",
    (
        Column("audit_id", Integer, primary_key=True),
        Column("at", UtcDateTime, nullable=False),
        Column("actor", String, nullable=False),
        Column("action", String, nullable=False),
        Column("subject", String, nullable=False),
        Column("details", String, nullable=False),  # JSON
    ),
    Index("audit_by_subject", "subject"),
)
