"""The final decisions with what they were about: what calibration and training learn from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, select

from qcnode.case import Case, Weights
from qcnode.store.database import Database
from qcnode.store.items import Item, item_of
from qcnode.store.job_records import case_of
from qcnode.store.schema import case_table, item_table


@dataclass(frozen=True, slots=True)
class DecisionFilters:
    """Which decisions; None does not matter. since, until: when the reader decided, `until` excluded."""

    task: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class FinalDecision:
    """A decided item, the case that it is about, and where its results lie.

    tolerance_mm: of the predicted NSD.
    """

    item: Item
    case: Case
    weights: Weights | None
    directory: Path
    tolerance_mm: float


def read_final_decisions(connection: Connection, database: Database, filters: DecisionFilters, now: datetime) -> list[FinalDecision]:
    """Of each query segmentation the last final decision, oldest first. A query that was judged again may have several."""
    of_case = (case_table.c.content, case_table.c.weights, case_table.c.result_directory, case_table.c.tolerance_mm)
    decided = select(item_table, *of_case).join(case_table).where(item_table.c.state == "DECIDED")
    if filters.task is not None:
        decided = decided.where(item_table.c.task == filters.task)
    last = {row.query_sop_instance_uid: row for row in connection.execute(decided.order_by(item_table.c.decided_at, item_table.c.item_id))}
    return [
        FinalDecision(
            item=item_of(row, database, now),
            case=case_of(row.content, database),
            weights=None if row.weights is None else Weights(**json.loads(row.weights)),
            directory=database.absolute(row.result_directory),
            tolerance_mm=row.tolerance_mm or 0.0,
        )
        for row in sorted(last.values(), key=lambda row: (row.decided_at, row.item_id))
        if _within(row.decided_at, filters)
    ]


def _within(decided_at: datetime, filters: DecisionFilters) -> bool:
    return (filters.since is None or filters.since <= decided_at) and (filters.until is None or decided_at < filters.until)
