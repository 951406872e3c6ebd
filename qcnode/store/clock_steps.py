"""What the clock was set back from: points in time in the tables that lie too far ahead now.

Without this, work that is due "in 20 seconds" would wait until the clock has caught up, an hour or a day. Decisions that readers hold,
their claims and sessions are left alone: they last longer by as much, and nothing is taken from anybody.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import or_, update

from qcnode.store.database import Database
from qcnode.store.schema import case_table, delivery_table, notice_table, study_table


def pull_back(database: Database, now: datetime) -> None:
    """The clock was set back to `now`: what waits for its next attempt is due, and studies were last added to now at the latest.

    What a worker is at is left alone: nobody else works on it, whatever its lease says.
    """
    with database.begin() as connection:
        for table in (case_table, delivery_table, notice_table):
            waits = table.c.state.in_(("PENDING", "DELIVERED"))  # what was delivered waits to be proven
            connection.execute(update(table).where(waits, table.c.next_attempt_at > now).values(next_attempt_at=now))
        # a study that was matched with what arrived ahead of `now` stays as it is: it is known by that which of its arrivals are new
        matched_before = or_(study_table.c.matched_at.is_(None), study_table.c.matched_at < now)
        connection.execute(update(study_table).where(study_table.c.last_received_at > now, matched_before).values(last_received_at=now))
