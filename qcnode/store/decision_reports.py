"""Which document tells of which final decision: it lies in the case's result directory, is known here, and queued for its destinations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, func, insert, select

from qcnode.case import ResultObject
from qcnode.store import audit
from qcnode.store.database import Database
from qcnode.store.items import Item, Stage
from qcnode.store.outbox import add_deliveries
from qcnode.store.readings import readings_of
from qcnode.store.schema import case_table, decision_report_table, result_object_table

KIND = "decision"


@dataclass(frozen=True, slots=True)
class ReportedDecision:
    """The document about an earlier decision."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str


@dataclass(frozen=True, slots=True)
class Unreported:
    """A final decision without a document. report: of the case; path: where the document belongs; predecessor: of the same query.

    agreeing: readers who independently decided the same; because: why an earlier decision was revised, "" where none was.
    """

    report: Path
    path: Path
    number: int
    predecessor: ReportedDecision | None
    agreeing: tuple[str, ...] = ()
    because: str = ""


class DecisionReports:
    """The documents about decisions. A decision is known by its case and the moment at which the reader made it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def unreported(self, item: Item) -> Unreported | None:
        """What is needed to write the document about a decided item; None where it is queued already."""
        table = decision_report_table
        with self._database.read() as connection:
            if _is_known(connection, item):
                return None
            directory = connection.execute(select(case_table.c.result_directory).where(case_table.c.case_id == item.case_id)).scalar_one()
            of_case = (result_object_table.c.case_id == item.case_id) & (result_object_table.c.kind == "report")
            report = connection.execute(select(result_object_table.c.path).where(of_case)).scalar_one()
            number = 1 + connection.execute(select(func.count()).where(table.c.case_id == item.case_id)).scalar_one()
            earlier = (table.c.query_sop_instance_uid == item.query_sop_instance_uid) & (table.c.decided_at < item.decided_at)
            last = connection.execute(select(table).where(earlier).order_by(table.c.decided_at.desc()).limit(1)).one_or_none()
            readings = readings_of(connection, item.item_id)
        predecessor = None
        if last is not None:
            predecessor = ReportedDecision(last.sop_class_uid, last.sop_instance_uid, last.series_instance_uid, last.study_instance_uid)
        path = self._database.absolute(directory) / f"{KIND}-{number}.dcm"
        agreeing = tuple(reading.reader for reading in readings if item.stage is Stage.SECOND and reading.stage is Stage.FIRST)
        because = next((reading.because for reading in readings if reading.decided_at == item.decided_at), None)
        return Unreported(self._database.absolute(report), path, number, predecessor, agreeing, because or "")

    def queue(
        self,
        item: Item,
        number: int,
        written: ResultObject,
        series_instance_uid: str,
        destinations: Mapping[str, frozenset[str]],
        now: datetime,
    ) -> None:
        """Keep that the document is written, and queue it for the destinations that want it, in one transaction.

        `destinations`: name -> the kinds that it wants. Nothing is done where the decision is known already.
        """
        path = self._database.relative(written.path)
        columns = {
            "case_id": item.case_id,
            "number": number,
            "query_sop_instance_uid": item.query_sop_instance_uid,
            "decided_at": item.decided_at,
            "sop_class_uid": written.sop_class_uid,
            "sop_instance_uid": written.sop_instance_uid,
            "series_instance_uid": series_instance_uid,
            "study_instance_uid": item.study_instance_uid,
            "path": path,
            "sha256": written.sha256,
        }
        details = {"sop_instance_uid": written.sop_instance_uid, "case_id": item.case_id}
        with self._database.begin() as connection:
            if _is_known(connection, item):
                return
            connection.execute(insert(decision_report_table).values(columns))
            add_deliveries(connection, item.case_id, {KIND: (written, path)}, destinations, now)
            subject = audit.item_subject(item.item_id)
            audit.record(connection, at=now, actor=audit.NODE, action="report-decision", subject=subject, details=details)


def _is_known(connection: Connection, item: Item) -> bool:
    table = decision_report_table
    this = (table.c.case_id == item.case_id) & (table.c.decided_at == item.decided_at)
    return connection.execute(select(table.c.number).where(this)).first() is not None
