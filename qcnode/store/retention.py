"""Which received objects have served: their files go, their rows stay with `purged_at` and the digests."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, exists, func, select, update

from qcnode.store.inbox_records import InboxCounts
from qcnode.store.schema import case_table, object_table, query_table, study_table
from qcnode.store.studies import IS_DIRTY

IGNORED_KINDS = ("other", "qcnode-result")
"""Kinds of InstanceHeader that are received so that a forward job succeeds, and never judged."""


def purge_ignored(connection: Connection, before: datetime, now: datetime) -> list[str]:
    """Mark ignored objects received before `before` as purged. Returns the relative paths that may be free now."""
    return _purge(connection, object_table.c.kind.in_(IGNORED_KINDS) & (object_table.c.received_at < before), now)


def purge_images(connection: Connection, before: datetime, now: datetime) -> list[str]:
    """Mark all objects received before `before` as purged, but for studies that are dirty, or where a case or a query still needs them."""
    study = object_table.c.study_instance_uid
    unfinished = exists().where(case_table.c.study_instance_uid == study, case_table.c.state.in_(("PENDING", "RUNNING")))
    waiting = exists().where(query_table.c.study_instance_uid == study, query_table.c.state == "WAITING")
    unmatched = exists().where(study_table.c.study_instance_uid == study, IS_DIRTY)
    return _purge(connection, (object_table.c.received_at < before) & ~unfinished & ~waiting & ~unmatched, now)


def _purge(connection: Connection, chosen: ColumnElement[bool], now: datetime) -> list[str]:
    """Variants go with the object that they are kept beside, whatever their own age."""
    alive = object_table.c.purged_at.is_(None)
    change = update(object_table).values(purged_at=now).returning(object_table.c.path)
    first = change.where(alive, object_table.c.variant_of.is_(None), chosen)
    paths = list(connection.execute(first).scalars())
    gone = select(object_table.c.object_id).where(object_table.c.purged_at.is_not(None), object_table.c.variant_of.is_(None))
    paths += connection.execute(change.where(alive, object_table.c.variant_of.in_(gone))).scalars()
    return paths


def counts(connection: Connection) -> InboxCounts:
    """Figures for status and doctor."""
    alive = object_table.c.purged_at.is_(None)
    kind = func.coalesce(object_table.c.kind, func.iif(object_table.c.state == "UNREADABLE", "unreadable", "unindexed"))
    in_use = alive & object_table.c.variant_of.is_(None)
    by_kind = connection.execute(select(kind, func.count()).where(in_use).group_by(kind)).all()

    def number(condition: ColumnElement[bool]) -> int:
        return connection.execute(select(func.count()).select_from(object_table).where(condition)).scalar_one()

    return InboxCounts(
        by_kind={str(name): int(count) for name, count in by_kind},
        bytes=connection.execute(select(func.coalesce(func.sum(object_table.c.size), 0)).where(alive)).scalar_one(),
        purged=number(object_table.c.purged_at.is_not(None)),
        variants=number(alive & object_table.c.variant_of.is_not(None)),
        conflicting=number(in_use & object_table.c.conflicting),
        dirty_studies=connection.execute(select(func.count()).select_from(study_table).where(IS_DIRTY)).scalar_one(),
    )
