"""How results come onto the worklist and leave it: inside of the transaction that settles a case."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, or_, select, update
from sqlalchemy.dialects.sqlite import insert

from qcnode.case import Verdict
from qcnode.outcome import CaseResult, Predicted, draw
from qcnode.store import audit
from qcnode.store.database import Database
from qcnode.store.items import ITEM_MOVES, REASONS, Stage, person_words
from qcnode.store.moves import states_before
from qcnode.store.notices import Event, EventKind
from qcnode.store.schema import case_table, item_table

_BEHIND = 3.0
"""What puts REVIEW behind every FAIL: predicted numbers lie in 0..1, and an unknown one counts as -1."""


def supersede_items(connection: Connection, result: CaseResult, now: datetime) -> None:
    """Undecided items of the same query, or of the query that it corrects, are superseded by `result`, whatever its verdict."""
    of_query = item_table.c.query_sop_instance_uid == result.case.query.sop_instance_uid
    of_corrected = item_table.c.query_sop_instance_uid == result.case.corrects_query_uid
    # a revision changes what was decided: that it goes on does not make the decision undone
    undecided = item_table.c.state.in_(states_before(ITEM_MOVES, "SUPERSEDED")) & (item_table.c.stage != Stage.REVISION)
    others = item_table.c.case_id != result.case.case_id
    change = update(item_table).where(or_(of_query, of_corrected), undecided, others).returning(item_table.c.item_id)
    superseded = connection.execute(change.values(state="SUPERSEDED", superseded_by_case_id=result.case.case_id)).scalars().all()
    for item_id in superseded:
        details = {"by_case_id": result.case.case_id, "verdict": result.outcome.verdict}
        audit.record(connection, at=now, actor=audit.NODE, action="supersede", subject=audit.item_subject(item_id), details=details)


def add_item(connection: Connection, database: Database, result: CaseResult, now: datetime) -> int | None:
    """Put a result before the radiologist, inside of the caller's transaction; the number of the item that waits now.

    When a correction of this query was judged already, the item is superseded from the start (None): the query is history.
    """
    correction = _judged_correction(connection, result)
    preview, viewer = result.directory / "preview.png", result.directory / "viewer"
    columns = {
        "case_id": result.case.case_id,
        "study_instance_uid": result.case.study_instance_uid,
        "query_series_instance_uid": result.case.query.series_instance_uid,
        "query_sop_instance_uid": result.case.query.sop_instance_uid,
        "task": result.case.task,
        "patient_name": result.patient_name,
        "patient_id": result.patient_id,
        "birth_date": result.birth_date,
        "accession_number": result.accession_number,
        "study_date": result.study_date,
        "institution": result.institution,
        "scanner": result.scanner,
        "segmenter": result.segmenter,
        "verdict": result.outcome.verdict.value,
        **_numbers(result.outcome.predicted),
        "rank": _rank(result),
        "person_words": person_words(result.patient_name, result.patient_id, result.accession_number),
        "blind": result.blind,
        "read_twice": result.read_twice,
        "sampling_probability": result.sampling_probability,
        "reasons": json.dumps(REASONS.dump_python(result.outcome.reasons)),
        "preview_path": database.relative(preview) if preview.is_file() else None,
        "viewer_path": database.relative(viewer) if viewer.is_dir() else None,
        "created_at": now,
        "state": "OPEN" if correction is None else "SUPERSEDED",
        "decision_reasons": "[]",
        "superseded_by_case_id": correction,
    }
    item_id: int = connection.execute(insert(item_table).values(columns).returning(item_table.c.item_id)).scalar_one()
    details = {name: columns[name] for name in ("case_id", "verdict", "state")}
    audit.record(connection, at=now, actor=audit.NODE, action="create", subject=audit.item_subject(item_id), details=details)
    return item_id if correction is None else None


def flagged(result: CaseResult, item_id: int, now: datetime) -> Event:
    """That a case needs a look. Not for a blind one: whoever is told of it would know what is hidden."""
    outcome, predicted = result.outcome, result.outcome.predicted
    facts = {
        "item_id": item_id,
        "case_id": result.case.case_id,
        "task": result.case.task,
        "verdict": outcome.verdict.value,
        "reasons": [reason.code.value for reason in outcome.reasons],
        "predicted_dsc": None if predicted is None else predicted.dsc,
        "predicted_nsd": None if predicted is None else predicted.nsd,
    }
    filters = {"verdict": outcome.verdict.value, "task": result.case.task}
    filters |= {"institution": result.institution, "scanner": result.scanner, "segmenter": result.segmenter}
    return Event(EventKind.FLAGGED, result.case.case_id, now, facts, filters, result.case.study_instance_uid)


def _judged_correction(connection: Connection, result: CaseResult) -> str | None:
    corrects = case_table.c.corrects_query_uid == result.case.query.sop_instance_uid
    judged = select(case_table.c.case_id).where(corrects, case_table.c.state == "DONE", case_table.c.verdict != Verdict.NOT_APPLICABLE)
    return connection.execute(judged.limit(1)).scalar_one_or_none()


def _rank(result: CaseResult) -> float:
    """Where the item stands among the others: UNASSESSABLE and FAIL by predicted DSC (unknown first), then REVIEW.

    A blind item is dealt in among the failures: at the end nobody would come to it, and its place must not tell what was predicted.
    """
    if result.blind:
        return draw(result.case.case_id, "rank")
    dsc = -1.0 if result.outcome.predicted is None else result.outcome.predicted.dsc
    return dsc if result.outcome.verdict in (Verdict.FAIL, Verdict.UNASSESSABLE) else _BEHIND + dsc


def _numbers(predicted: Predicted | None) -> dict[str, Any]:
    if predicted is None:
        return {}
    numbers = {"predicted_dsc": predicted.dsc, "predicted_nsd": predicted.nsd, "interval_level": predicted.interval_level}
    dsc_low, dsc_high = predicted.dsc_interval or (None, None)
    nsd_low, nsd_high = predicted.nsd_interval or (None, None)
    return numbers | {"dsc_low": dsc_low, "dsc_high": dsc_high, "nsd_low": nsd_low, "nsd_high": nsd_high}
