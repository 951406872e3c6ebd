"""Which received objects have served: their files go, their rows stay with `purged_at` and the digests."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, Connection, exists, func, or_, select, update

from qcnode.store.inbox_records import InboxCounts
from qcnode.store.job_records import UNFINISHED
from qcnode.store.schema import case_table, object_table, query_table, study_table
from qcnode.store.studies import IS_DIRTY

IGNORED_KINDS = ("other", "qcnode-result")
"""Kinds of InstanceHeader that are received so that a forward job succeeds, and never judged."""


class Served(StrEnum):
    """Why an object is not needed any more.

    IGNORED: it is never judged. UNMATCHED: no segmentation of its study is known. FINISHED: nothing of its study waits or is in work.
    None of them is chosen while its study is still to be matched, but for what is ignored.
    """

    IGNORED = "ignored"
    UNMATCHED = "unmatched"
    FINISHED = "finished"


def served(connection: Connection, why: Served, before: datetime, limit: int) -> list[int]:
    """The oldest objects that were received before `before` and have served; at most `limit` of them."""
    chosen = select(object_table.c.object_id).where(_has_served(why, before)).order_by(object_table.c.received_at).limit(limit)
    return list(connection.execute(chosen).scalars())


def purge(connection: Connection, why: Served, object_ids: list[int], before: datetime, now: datetime) -> list[str]:
    """Mark those of the objects that still have served, and their variants, as purged. Returns the relative paths that may be free now."""
    change = update(object_table).values(purged_at=now).returning(object_table.c.object_id, object_table.c.path)
    gone = connection.execute(change.where(object_table.c.object_id.in_(object_ids), _has_served(why, before))).all()
    beside = object_table.c.variant_of.in_([row.object_id for row in gone]) & object_table.c.purged_at.is_(None)
    return [row.path for row in (*gone, *connection.execute(change.where(beside)).all())]


def _has_served(why: Served, before: datetime) -> ColumnElement[bool]:
    """Variants go with the object that they are kept beside, whatever their own age."""
    study = object_table.c.study_instance_uid
    old = object_table.c.purged_at.is_(None) & object_table.c.variant_of.is_(None) & (object_table.c.received_at < before)
    if why is Served.IGNORED:
        return old & object_table.c.kind.in_(IGNORED_KINDS)
    unmatched = ~exists().where(study_table.c.study_instance_uid == study, IS_DIRTY)
    case, query = case_table.c.study_instance_uid == study, query_table.c.study_instance_uid == study
    if why is Served.UNMATCHED:
        return old & unmatched & ~or_(exists().where(case), exists().where(query))
    unfinished = exists().where(case, case_table.c.state.in_(UNFINISHED))
    return old & unmatched & ~unfinished & ~exists().where(query, query_table.c.state == "WAITING")


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
