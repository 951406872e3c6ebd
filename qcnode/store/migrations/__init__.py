"""The steps from an empty database to the tables of `schema`, oldest first.

A step is a module with STATEMENTS. It is never changed once released; a database remembers the names of the steps it has taken.
"""

from dataclasses import dataclass

from qcnode.store.migrations import (
    m0001_first_tables,
    m0002_intervals,
    m0003_review,
    m0004_decision_reports,
    m0005_ups,
    m0006_sampling,
    m0007_readings,
    m0008_notifications,
    m0010_rejected_callers,
)


@dataclass(frozen=True, slots=True)
class Migration:
    """One step: all of its statements are applied, or none."""

    name: str
    statements: tuple[str, ...]


MIGRATIONS = (
    Migration("0001-first-tables", m0001_first_tables.STATEMENTS),
    Migration("0002-intervals", m0002_intervals.STATEMENTS),
    Migration("0003-review", m0003_review.STATEMENTS),
    Migration("0004-decision-reports", m0004_decision_reports.STATEMENTS),
    Migration("0005-ups", m0005_ups.STATEMENTS),
    Migration("0006-sampling", m0006_sampling.STATEMENTS),
    Migration("0007-readings", m0007_readings.STATEMENTS),
    Migration("0008-notifications", m0008_notifications.STATEMENTS),
    Migration("0010-rejected-callers", m0010_rejected_callers.STATEMENTS),
)
