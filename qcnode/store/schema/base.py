"""What the tables are made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Column, Index, Integer, MetaData, String, Table, UniqueConstraint

from qcnode.store.columns import UtcDateTime

metadata = MetaData()


def table(name: str, columns: Iterable[Column[Any]], *extra: UniqueConstraint | Index) -> Table:
    """A table of `metadata`."""
    return Table(name, metadata, *columns, *extra)


def work() -> tuple[Column[Any], ...]:
    """The columns of what is claimed, worked on and settled (store.leases)."""
    return (
        Column("state", String, nullable=False),
        Column("created_at", UtcDateTime, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("next_attempt_at", UtcDateTime, nullable=False),
        Column("owner", String),
        Column("lease_until", UtcDateTime),
        Column("last_error", String),
    )
