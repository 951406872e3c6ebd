"""Which results have served: their files go, the rows of their case stay, with verdict, digests and decisions.

Results are the answer, so that they go only when nobody can still need them: every destination provably has them, nobody is to decide
about them any more, and what follows from a decision has been delivered, too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, update

from qcnode.case import Verdict
from qcnode.store.database import Database
from qcnode.store.delivery import is_open
from qcnode.store.job_records import UNFINISHED
from qcnode.store.schema import case_table, delivery_table, item_table, result_object_table

_DECIDED = ("DECIDED", "SUPERSEDED")


@dataclass(frozen=True, slots=True)
class ServedResult:
    """The files of a case that has served. report: None where there is none. refreshed: copies that were made for destinations."""

    case_id: str
    settled_at: datetime
    directory: Path
    report: Path | None
    refreshed: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class RetentionCounts:
    """purged: results whose files were removed. held: old enough, but a delivery, a decision or a later report still needs them."""

    purged: int
    held: int


class ResultRetention:
    """The results that can be purged, and those that were."""

    def __init__(self, database: Database, taken_is_enough: Collection[str] = frozenset()) -> None:
        """taken_is_enough: destinations that are not asked for proof (deliver.opening.unproven_by_choice)."""
        self._database = database
        self._taken_is_enough = taken_is_enough

    def served(self, before: datetime, limit: int) -> list[ServedResult]:
        """The oldest results that were settled before `before` and have served; at most `limit` of them."""
        served = _has_served(before, self._taken_is_enough)
        chosen = select(case_table.c.case_id).where(served).order_by(case_table.c.settled_at).limit(limit)
        return self._files(case_table.c.case_id.in_(chosen))

    def purge(self, result: ServedResult, report_series_uid: str | None, before: datetime, now: datetime) -> bool:
        """Mark a result as purged; False where it is needed again. Its files are to be removed afterwards.

        report_series_uid: the Series Instance UID of its report, by which a later report can still name it as its predecessor.
        """
        this = case_table.c.case_id == result.case_id
        of_report = (result_object_table.c.case_id == result.case_id) & (result_object_table.c.kind == "report")
        with self._database.begin() as connection:
            change = update(case_table).where(this, _has_served(before, self._taken_is_enough)).values(results_purged_at=now)
            if connection.execute(change.returning(case_table.c.case_id)).one_or_none() is None:
                return False
            connection.execute(update(result_object_table).where(of_report).values(series_instance_uid=report_series_uid))
            no_pictures = {"purged_at": now, "preview_path": None, "viewer_path": None}
            connection.execute(update(item_table).where(item_table.c.case_id == result.case_id).values(no_pictures))
        return True

    def counts(self, before: datetime) -> RetentionCounts:
        """Figures for status and doctor; `before`: what was settled earlier would be purged by its age."""
        old = (case_table.c.state == "DONE") & case_table.c.results_purged_at.is_(None) & (case_table.c.settled_at < before)
        with self._database.read() as connection:
            purged = connection.execute(select(func.count()).where(case_table.c.results_purged_at.is_not(None))).scalar_one()
            held = connection.execute(select(func.count()).where(old, ~_has_served(before, self._taken_is_enough))).scalar_one()
        return RetentionCounts(purged, held)

    def purged(self, case_ids: Iterable[str]) -> list[ServedResult]:
        """Those of the cases whose results were purged: what is left of their files, a crash left."""
        return self._files(case_table.c.case_id.in_(list(case_ids)) & case_table.c.results_purged_at.is_not(None))

    def _files(self, chosen: ColumnElement[bool]) -> list[ServedResult]:
        with self._database.read() as connection:
            cases = connection.execute(select(case_table).where(chosen).order_by(case_table.c.settled_at)).all()
            ids = [row.case_id for row in cases]
            reports = select(result_object_table).where(result_object_table.c.case_id.in_(ids), result_object_table.c.kind == "report")
            report_paths = {row.case_id: self._database.absolute(row.path) for row in connection.execute(reports)}
            sent = select(delivery_table.c.case_id, delivery_table.c.path).where(delivery_table.c.case_id.in_(ids))
            copies = [(row.case_id, self._database.absolute(row.path)) for row in connection.execute(sent)]
        return [
            ServedResult(
                case_id=row.case_id,
                settled_at=row.settled_at,
                directory=directory,
                report=report_paths.get(row.case_id),
                refreshed=tuple(path for case_id, path in copies if case_id == row.case_id and not path.is_relative_to(directory)),
            )
            for row in cases
            for directory in (self._database.absolute(row.result_directory),)
        ]


def _has_served(before: datetime, taken_is_enough: Collection[str]) -> ColumnElement[bool]:
    """Nothing needs the files of a settled case any more. Without a destination they are the only copy, and stay."""
    case_id = case_table.c.case_id
    successor = case_table.alias("successor")
    unproven = exists().where(delivery_table.c.case_id == case_id, is_open(taken_is_enough))
    delivered = exists().where(delivery_table.c.case_id == case_id) & ~unproven
    told = and_(item_table.c.state.in_(_DECIDED), or_(item_table.c.state == "SUPERSEDED", item_table.c.passed_on_at.is_not(None)))
    undecided = exists().where(item_table.c.case_id == case_id, ~told)
    succeeded = exists().where(successor.c.predecessor_case_id == case_id, successor.c.state.in_(UNFINISHED))
    return and_(
        case_table.c.state == "DONE",
        case_table.c.results_purged_at.is_(None),
        case_table.c.settled_at < before,
        or_(delivered, case_table.c.verdict == Verdict.NOT_APPLICABLE),
        ~undecided,
        ~succeeded,
    )
