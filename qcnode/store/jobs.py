"""Queries and cases: what is to be judged, who is at it, and what came out.

A query is one SEG that was received. A case is a query with the stacks it was drawn on; when the stacks change (a late slice), the
query gets another case, and the earlier one is superseded or, once judged, becomes its predecessor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Table, delete, func, insert, select, update

from qcnode.case import Case, Reason, ReasonCode, ResultObject, Verdict, Weights
from qcnode.outcome import CaseResult
from qcnode.store.database import Database
from qcnode.store.items import REASONS
from qcnode.store.job_records import ClaimedCase, JobCounts, Query, QueryState, SettledCase, case_content, case_of
from qcnode.store.leases import LeaseLost, claim_columns, claimable, held
from qcnode.store.moves import Moves, states_before
from qcnode.store.new_items import add_item, flagged, supersede_items
from qcnode.store.notices import Announce, add_notices, nobody
from qcnode.store.outbox import add_deliveries
from qcnode.store.schema import case_table, query_table, result_object_table

__all__ = ["ClaimedCase", "JobCounts", "Jobs", "LeaseLost", "Query", "QueryState", "SettledCase"]

_JUDGED = frozenset({"WAITING", "MATCHED", "NOT_APPLICABLE", "UNASSESSABLE"})
QUERY_MOVES: Moves = {
    "WAITING": _JUDGED,
    "MATCHED": _JUDGED,
    "NOT_APPLICABLE": _JUDGED,
    "UNASSESSABLE": _JUDGED,
    "LABELMAP": _JUDGED | {"LABELMAP"},
    "RESULT": frozenset({"RESULT"}),  # a qcnode wrote it: that never changes
}
CASE_MOVES: Moves = {
    "PENDING": frozenset({"RUNNING", "SUPERSEDED"}),
    "RUNNING": frozenset({"RUNNING", "PENDING", "DONE", "SUPERSEDED"}),  # to itself: claimed again after its lease ran out
    "DONE": frozenset(),
    "SUPERSEDED": frozenset({"PENDING"}),  # matching came back to it before it was ever judged
}


class Jobs:
    """The queries and cases of the node."""

    def __init__(self, database: Database, announce: Announce = nobody) -> None:
        """`announce`: who is to be told of a case that needs a look."""
        self._database = database
        self._announce = announce

    def record_query(self, sop_instance_uid: str, study_instance_uid: str, state: QueryState, reason: Reason | None, now: datetime) -> None:
        """Keep where a query stands and why. Raises ValueError for a move that QUERY_MOVES does not allow."""
        with self._database.begin() as connection:
            _record_query(connection, sop_instance_uid, study_instance_uid, state, reason, now)

    def queries(self, state: QueryState | None = None, study_instance_uid: str | None = None) -> list[Query]:
        """Queries, oldest first, of a state or study where given."""
        query = select(query_table).order_by(query_table.c.first_seen_at, query_table.c.sop_instance_uid)
        if state is not None:
            query = query.where(query_table.c.state == state)
        if study_instance_uid is not None:
            query = query.where(query_table.c.study_instance_uid == study_instance_uid)
        with self._database.read() as connection:
            return [_query(row) for row in connection.execute(query)]

    def cases_of_study(self, study_instance_uid: str) -> list[Case]:
        """The cases of a study that are queued, in work or judged, oldest first; superseded ones are left out."""
        of_study = (case_table.c.study_instance_uid == study_instance_uid) & (case_table.c.state != "SUPERSEDED")
        query = select(case_table.c.content).where(of_study)
        with self._database.read() as connection:
            contents = connection.execute(query.order_by(case_table.c.created_at, case_table.c.case_id)).scalars().all()
        return [case_of(content, self._database) for content in contents]

    def put_case(self, case: Case, now: datetime) -> bool:
        """Queue a case; False when it is known already. Its query becomes MATCHED (UNASSESSABLE when the case has a problem).

        Unfinished other cases of the query are superseded. A case without predecessor gets the query's last judged case as one.
        """
        with self._database.begin() as connection:
            known = connection.execute(select(case_table.c.state).where(case_table.c.case_id == case.case_id)).scalar_one_or_none()
            state: QueryState = "MATCHED" if case.problem is None else "UNASSESSABLE"
            if known is not None and known != "SUPERSEDED":
                _match_waiting_query(connection, case.query.sop_instance_uid, state, case.problem, now)
                return False
            _supersede_unfinished(connection, case)
            if known is not None:
                connection.execute(delete(case_table).where(case_table.c.case_id == case.case_id))
            predecessor = case.predecessor_case_id or _last_judged(connection, case.query.sop_instance_uid)
            content = case_content(replace(case, predecessor_case_id=predecessor), self._database)
            columns = {
                "case_id": case.case_id,
                "query_sop_instance_uid": case.query.sop_instance_uid,
                "study_instance_uid": case.study_instance_uid,
                "task": case.task,
                "content": content,
                "predecessor_case_id": predecessor,
                "corrects_query_uid": case.corrects_query_uid,
                "state": "PENDING",
                "created_at": now,
                "attempts": 0,
                "next_attempt_at": now,
            }
            connection.execute(insert(case_table).values(columns))
            _record_query(connection, case.query.sop_instance_uid, case.study_instance_uid, state, case.problem, now)
        return True

    def claim(self, owner: str, now: datetime, lease: timedelta) -> ClaimedCase | None:
        """Claim the oldest case that is due, or None."""
        due = claimable(case_table, waiting="PENDING", working="RUNNING", now=now)
        oldest = select(case_table.c.case_id).where(due).order_by(case_table.c.created_at, case_table.c.case_id).limit(1).scalar_subquery()
        columns = claim_columns(case_table, working="RUNNING", owner=owner, lease_until=now + lease)
        claim = update(case_table).where(case_table.c.case_id == oldest).values(columns)
        with self._database.begin() as connection:
            given = (case_table.c.content, case_table.c.attempts, case_table.c.last_error)
            row = connection.execute(claim.returning(*given)).one_or_none()
        return None if row is None else ClaimedCase(case_of(row.content, self._database), owner, row.attempts, now + lease, row.last_error)

    def extend(self, claimed: ClaimedCase, now: datetime, lease: timedelta) -> ClaimedCase:
        """Keep a claim for longer. Raises LeaseLost."""
        with self._database.begin() as connection:
            _leave(connection, claimed, {"lease_until": now + lease})
        return replace(claimed, lease_until=now + lease)

    def retry(self, claimed: ClaimedCase, error: str, now: datetime, back_off: timedelta) -> None:
        """Give a case back, to be tried again after `back_off`. `error` holds no patient data. Raises LeaseLost."""
        columns = {"state": "PENDING", "owner": None, "lease_until": None, "next_attempt_at": now + back_off, "last_error": error}
        with self._database.begin() as connection:
            _leave(connection, claimed, columns)

    def give_back(self, claimed: ClaimedCase, now: datetime) -> None:
        """Give a case back as if it had not been claimed. Raises LeaseLost."""
        columns = {"state": "PENDING", "owner": None, "lease_until": None, "next_attempt_at": now, "attempts": claimed.attempts - 1}
        with self._database.begin() as connection:
            _leave(connection, claimed, columns)

    def settle(self, claimed: ClaimedCase, result: CaseResult, destinations: Mapping[str, frozenset[str]], now: datetime) -> None:
        """Keep what came out, in one transaction: the result, the worklist item and the deliveries.

        `destinations`: name -> the kinds of result objects that it wants. Undecided items of the query, or of the query that it
        corrects, are superseded. NOT_APPLICABLE has neither item nor deliveries and supersedes nothing. A second call with the
        same claim changes nothing. Raises LeaseLost when the case was meanwhile claimed by another worker or superseded.
        """
        if result.case.case_id != claimed.case.case_id:
            raise ValueError("the result is of another case than the claim")
        with self._database.begin() as connection:
            if _settled_by(connection, claimed):
                return
            _leave(connection, claimed, self._settled_columns(result, now))
            stored = {written.kind: (written, self._database.relative(written.path)) for written in result.objects}
            for written, path in stored.values():
                connection.execute(insert(result_object_table).values(asdict(written) | {"case_id": result.case.case_id, "path": path}))
            verdict = result.outcome.verdict
            if verdict in (Verdict.NOT_APPLICABLE, Verdict.UNASSESSABLE):
                reason = next(iter(result.outcome.reasons), None)
                query, study = result.case.query.sop_instance_uid, result.case.study_instance_uid
                state: QueryState = "NOT_APPLICABLE" if verdict is Verdict.NOT_APPLICABLE else "UNASSESSABLE"
                _record_query(connection, query, study, state, reason, now)
            if verdict is Verdict.NOT_APPLICABLE:
                return
            supersede_items(connection, result, now)
            if verdict.needs_review or result.blind:
                item_id = add_item(connection, self._database, result, now)
                if item_id is not None and not result.blind:
                    add_notices(connection, self._announce(flagged(result, item_id, now)), now)
            add_deliveries(connection, result.case.case_id, stored, destinations, now)

    def result(self, case_id: str) -> SettledCase | None:
        """What came out of a case, or None while it is not settled."""
        return self._result(case_table.c.case_id == case_id)

    def latest_result(self, query_sop_instance_uid: str) -> SettledCase | None:
        """What last came out for a query; its report is the predecessor of the next one."""
        of_query = case_table.c.query_sop_instance_uid == query_sop_instance_uid
        return self._result(of_query & (case_table.c.verdict != Verdict.NOT_APPLICABLE))

    def counts(self) -> JobCounts:
        """Figures for status and doctor."""
        with self._database.read() as connection:
            return JobCounts(
                queries=_count_by(connection, query_table, query_table.c.state),
                cases=_count_by(connection, case_table, case_table.c.state),
                verdicts=_count_by(connection, case_table, case_table.c.verdict),
            )

    def _settled_columns(self, result: CaseResult, now: datetime) -> dict[str, Any]:
        outcome, predicted = result.outcome, result.outcome.predicted
        return {
            "state": "DONE",
            "lease_until": None,
            "last_error": None,
            "settled_at": now,
            "verdict": outcome.verdict.value,
            "predicted_dsc": None if predicted is None else predicted.dsc,
            "predicted_nsd": None if predicted is None else predicted.nsd,
            "tolerance_mm": None if predicted is None else predicted.tolerance_mm,
            "device": outcome.device,
            "reasons": json.dumps(REASONS.dump_python(outcome.reasons)),
            "weights": None if outcome.weights is None else json.dumps(asdict(outcome.weights)),
            "result_directory": self._database.relative(result.directory),
            "scanner": result.scanner,
            "segmenter": result.segmenter,
            "patient_key": sha256((result.patient_id or result.case.study_instance_uid).encode()).hexdigest()[:16],
        }

    def _result(self, chosen: ColumnElement[bool]) -> SettledCase | None:
        last = select(case_table).where(chosen, case_table.c.state == "DONE").order_by(case_table.c.settled_at.desc()).limit(1)
        with self._database.read() as connection:
            row = connection.execute(last).one_or_none()
            if row is None:
                return None
            of_case = result_object_table.c.case_id == row.case_id
            written = connection.execute(select(result_object_table).where(of_case).order_by(result_object_table.c.kind)).all()
        same = ("case_id", "query_sop_instance_uid", "study_instance_uid", "task", "predicted_dsc", "predicted_nsd", "tolerance_mm")
        return SettledCase(
            **{name: getattr(row, name) for name in (*same, "device", "predecessor_case_id", "settled_at")},
            verdict=Verdict(row.verdict),
            reasons=REASONS.validate_json(row.reasons),
            weights=None if row.weights is None else Weights(**json.loads(row.weights)),
            directory=self._database.absolute(row.result_directory),
            report_series_uid=next((o.series_instance_uid for o in written if o.kind == "report"), None),
            objects=tuple(
                ResultObject(o.kind, o.sop_class_uid, o.sop_instance_uid, self._database.absolute(o.path), o.sha256) for o in written
            ),
        )


def _record_query(
    connection: Connection, sop_instance_uid: str, study_instance_uid: str, state: QueryState, reason: Reason | None, now: datetime
) -> None:
    code, text = (None, None) if reason is None else (reason.code.value, reason.text)
    columns = {"state": state, "reason_code": code, "reason_text": text, "study_instance_uid": study_instance_uid}
    this = query_table.c.sop_instance_uid == sop_instance_uid
    known = connection.execute(select(query_table).where(this)).one_or_none()
    if known is None:
        first = {"sop_instance_uid": sop_instance_uid, "first_seen_at": now, "changed_at": now}
        connection.execute(insert(query_table).values(columns | first))
    elif state not in QUERY_MOVES[known.state]:
        raise ValueError(f"a query that is {known.state} does not become {state}")
    elif any(getattr(known, name) != value for name, value in columns.items()):
        connection.execute(update(query_table).where(this).values(columns | {"changed_at": now}))


def _match_waiting_query(connection: Connection, sop_instance_uid: str, state: QueryState, reason: Reason | None, now: datetime) -> None:
    """A known case was found again: a query that had gone back to waiting (an archive held more for a while) waits no longer."""
    waiting = (query_table.c.sop_instance_uid == sop_instance_uid) & (query_table.c.state == "WAITING")
    study = connection.execute(select(query_table.c.study_instance_uid).where(waiting)).scalar_one_or_none()
    if study is not None:
        _record_query(connection, sop_instance_uid, study, state, reason, now)


def _query(row: Any) -> Query:
    reason = None if row.reason_code is None else Reason(ReasonCode(row.reason_code), row.reason_text)
    return Query(row.sop_instance_uid, row.study_instance_uid, row.state, reason, row.first_seen_at, row.changed_at)


def _supersede_unfinished(connection: Connection, case: Case) -> None:
    unfinished = case_table.c.state.in_(states_before(CASE_MOVES, "SUPERSEDED"))
    others = (case_table.c.query_sop_instance_uid == case.query.sop_instance_uid) & (case_table.c.case_id != case.case_id)
    connection.execute(update(case_table).where(others, unfinished).values(state="SUPERSEDED", owner=None, lease_until=None))


def _last_judged(connection: Connection, query_sop_instance_uid: str) -> str | None:
    of_query = case_table.c.query_sop_instance_uid == query_sop_instance_uid
    judged = select(case_table.c.case_id).where(of_query, case_table.c.state == "DONE", case_table.c.verdict != Verdict.NOT_APPLICABLE)
    return connection.execute(judged.order_by(case_table.c.settled_at.desc()).limit(1)).scalar_one_or_none()


def _claim_of(claimed: ClaimedCase) -> ColumnElement[bool]:
    ours = held(case_table, working="RUNNING", owner=claimed.owner, attempts=claimed.attempts)
    return (case_table.c.case_id == claimed.case.case_id) & ours


def _leave(connection: Connection, claimed: ClaimedCase, columns: Mapping[str, Any]) -> None:
    change = update(case_table).where(_claim_of(claimed)).values(columns).returning(case_table.c.case_id)
    if connection.execute(change).one_or_none() is None:
        raise LeaseLost(f"case {claimed.case.case_id} is no longer ours")


def _settled_by(connection: Connection, claimed: ClaimedCase) -> bool:
    ours = held(case_table, working="DONE", owner=claimed.owner, attempts=claimed.attempts)
    return connection.execute(select(case_table.c.case_id).where(case_table.c.case_id == claimed.case.case_id, ours)).first() is not None


def _count_by(connection: Connection, table: Table, column: Column[Any]) -> dict[str, int]:
    counted = select(column, func.count()).select_from(table).where(column.is_not(None)).group_by(column)
    return {str(value): int(number) for value, number in connection.execute(counted)}
