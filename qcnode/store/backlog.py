"""How much the node still has before it: what back-pressure, status and metrics read. A few counts, each found in an index."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from sqlalchemy import func, select

from qcnode.store.database import Database
from qcnode.store.job_records import UNFINISHED
from qcnode.store.schema import IN_USE, case_table, object_table


@dataclass(frozen=True, slots=True)
class Load:
    """free_bytes: what the storage directory's file system still takes. unindexed_objects: received, header not yet read.

    waiting_cases: to be judged, or being judged. Queries that wait for images are left out: they need more objects, not fewer.
    """

    free_bytes: int
    unindexed_objects: int
    waiting_cases: int


def measure_load(database: Database) -> Load:
    """The load at this moment. Raises OSError, or Retryable where the database can not be read for now."""
    objects = select(func.count()).select_from(object_table).where(object_table.c.state == "RECEIVED", IN_USE)
    cases = select(func.count()).select_from(case_table).where(case_table.c.state.in_(UNFINISHED))
    with database.read() as connection:
        return Load(
            free_bytes=shutil.disk_usage(database.directory).free,
            unindexed_objects=connection.execute(objects).scalar_one(),
            waiting_cases=connection.execute(cases).scalar_one(),
        )
