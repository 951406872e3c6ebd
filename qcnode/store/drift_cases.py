"""What the store knows of judged cases, for the look at drift."""

from __future__ import annotations

import json
from datetime import datetime

from sqlalchemy import select

from qcnode.case import ReasonCode, Verdict
from qcnode.drift import JudgedCase
from qcnode.store.database import Database
from qcnode.store.schema import case_table

_C = case_table.c


def judged_cases(database: Database, since: datetime) -> list[JudgedCase]:
    """Cases settled since then whose scanner or segmenter is known, oldest first; without NOT_APPLICABLE."""
    columns = (_C.settled_at, _C.task, _C.scanner, _C.segmenter, _C.patient_key, _C.predicted_dsc, _C.verdict, _C.reasons)
    known = (_C.settled_at >= since) & (_C.verdict != Verdict.NOT_APPLICABLE.value) & _C.patient_key.is_not(None)
    with database.read() as connection:
        rows = connection.execute(select(*columns).where(known).order_by(_C.settled_at)).all()
    return [
        JudgedCase(
            at=row.settled_at,
            task=row.task,
            scanner=row.scanner,
            segmenter=row.segmenter,
            patient=row.patient_key,
            predicted_dsc=row.predicted_dsc,
            flagged=Verdict(row.verdict).needs_review,
            refused=any(reason["code"] == ReasonCode.IMAGE_NOVEL for reason in json.loads(row.reasons)),
        )
        for row in rows
    ]
