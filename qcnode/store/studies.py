"""Which studies are to be matched: those in which something arrived since they were."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, exists, insert, or_, select, update

from qcnode.store.inbox_records import DirtyStudy
from qcnode.store.schema import IN_USE, object_table, study_table

_STEP = timedelta(microseconds=1)  # what the database resolves

IS_DIRTY = or_(study_table.c.matched_at.is_(None), study_table.c.last_received_at > study_table.c.matched_at)


def touch(connection: Connection, study_instance_uid: str, now: datetime | None = None) -> None:
    """Make the study dirty. Its `last_received_at` becomes `now`, but always grows, so that arrivals are never taken for one another.

    Two associations may commit in the other order than their clocks were read, and clocks go back. It also passes what was matched, or else
    the study would not be dirty.
    Without `now` it grows by the smallest step: nothing arrived, but the study is to be matched again.
    """
    of_study = study_table.c.study_instance_uid == study_instance_uid
    known = connection.execute(select(study_table.c.last_received_at, study_table.c.matched_at).where(of_study)).one_or_none()
    last = None if known is None else max(known.last_received_at, known.matched_at or known.last_received_at)
    if last is None and now is not None:
        connection.execute(insert(study_table).values(study_instance_uid=study_instance_uid, last_received_at=now))
    elif last is not None:
        grown = last + _STEP if now is None else max(now, last + _STEP)
        connection.execute(update(study_table).where(of_study).values(last_received_at=grown))


def dirty(connection: Connection) -> list[DirtyStudy]:
    """The dirty studies all of whose objects are indexed and compared, longest waiting first."""
    unindexed = exists().where(
        object_table.c.study_instance_uid == study_table.c.study_instance_uid, object_table.c.state == "RECEIVED", IN_USE
    )
    first = object_table.alias("first")
    uncompared = exists().where(
        first.c.study_instance_uid == study_table.c.study_instance_uid,
        object_table.c.variant_of == first.c.object_id,
        object_table.c.variant_state == "PENDING",
        object_table.c.purged_at.is_(None),
    )
    query = select(study_table).where(IS_DIRTY, ~unindexed, ~uncompared).order_by(study_table.c.last_received_at)
    return [DirtyStudy(row.study_instance_uid, row.last_received_at) for row in connection.execute(query)]


def mark_matched(connection: Connection, study_instance_uid: str, as_of: datetime) -> None:
    """Remember that what had arrived at `as_of` was matched."""
    newer = or_(study_table.c.matched_at.is_(None), study_table.c.matched_at < as_of)
    connection.execute(update(study_table).where(study_table.c.study_instance_uid == study_instance_uid, newer).values(matched_at=as_of))
