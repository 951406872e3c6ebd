"""The worklist in figures: how much was judged and decided, and whether readers agree with the verdicts. Days are those of UTC."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import Column, Connection, func, select

from qcnode.case import Verdict
from qcnode.store.agreement import ReaderAgreement, read_agreement
from qcnode.store.items import WAITING, Decision
from qcnode.store.schema import case_table, item_table

_I = item_table.c
_AGREEMENT = {
    Verdict.FAIL: {Decision.REJECT: True, Decision.NEEDS_CORRECTION: True, Decision.ACCEPT: False},
    Verdict.PASS: {Decision.REJECT: False, Decision.NEEDS_CORRECTION: False, Decision.ACCEPT: True},
}
"""REVIEW and UNASSESSABLE say neither that a segmentation is good nor that it is bad: nobody can agree with them."""


@dataclass(frozen=True, slots=True)
class Day:
    """What was judged and what was decided on one day; what did not occur is left out."""

    date: date
    judged: Mapping[Verdict, int]
    decided: Mapping[Decision, int]


@dataclass(frozen=True, slots=True)
class Pair:
    """What was predicted of one query and what a reader decided."""

    item_id: int
    verdict: Verdict
    predicted_dsc: float | None
    decision: Decision
    rating: int | None
    blind: bool
    segmenter: str


@dataclass(frozen=True, slots=True)
class Overview:
    """days: oldest first, without gaps. decisions: of the final decisions, by verdict. pairs: newest last.

    oldest_open, oldest_item_id: the item that has waited longest; None where nothing waits. backlog: items that wait for a decision.
    held: decisions that can still be taken back; they are in no other figure. readers: agreement of first and second readers.
    """

    days: tuple[Day, ...]
    judged: Mapping[Verdict, int]
    decisions: Mapping[Verdict, Mapping[Decision, int]]
    pairs: tuple[Pair, ...]
    oldest_open: datetime | None
    oldest_item_id: int | None
    backlog: int
    held: int
    readers: ReaderAgreement

    @property
    def review_rate(self) -> float | None:
        """Of the judged cases, those that a radiologist was asked to look at for their verdict."""
        return _share(sum(n for verdict, n in self.judged.items() if verdict.needs_review), sum(self.judged.values()))

    @property
    def compared(self) -> int:
        """Decisions on FAIL and on blind PASS, which are those that can agree or disagree."""
        return sum(sum(self.decisions.get(verdict, {}).values()) for verdict in _AGREEMENT)

    @property
    def agreed(self) -> int:
        """FAIL that was not accepted, and PASS that was."""
        return sum(self.decisions.get(v, {}).get(d, 0) for v, found in _AGREEMENT.items() for d, agrees in found.items() if agrees)

    @property
    def agreement(self) -> float | None:
        """`agreed` of `compared`."""
        return _share(self.agreed, self.compared)


def read_overview(connection: Connection, now: datetime, days: int) -> Overview:
    """Figures of the last `days` days (at least 1), the day of `now` included. Backlog, oldest and held are of this moment."""
    today = now.astimezone(UTC).date()
    first = today - timedelta(days=days - 1)
    since = datetime.combine(first, time(), UTC)
    judged = _judged(connection, since)
    pairs = _pairs(connection, since)
    decided: dict[date, dict[Decision, int]] = defaultdict(lambda: defaultdict(int))
    decisions: dict[Verdict, dict[Decision, int]] = defaultdict(lambda: defaultdict(int))
    for day, pair in pairs:
        decided[day][pair.decision] += 1
        decisions[pair.verdict][pair.decision] += 1
    totals: dict[Verdict, int] = defaultdict(int)
    for of_day in judged.values():
        for verdict, number in of_day.items():
            totals[verdict] += number
    oldest = connection.execute(
        select(_I.item_id, _I.created_at).where(_I.state.in_(WAITING)).order_by(_I.created_at, _I.item_id).limit(1)
    ).one_or_none()
    dates = [first + timedelta(days=n) for n in range(days)]
    return Overview(
        days=tuple(Day(day, judged.get(day, {}), dict(decided.get(day, {}))) for day in dates),
        judged=dict(totals),
        decisions={verdict: dict(found) for verdict, found in decisions.items()},
        pairs=tuple(pair for _, pair in pairs),
        oldest_open=oldest.created_at if oldest else None,
        oldest_item_id=oldest.item_id if oldest else None,
        backlog=_number(connection, *WAITING),
        held=_number(connection, "HELD"),
        readers=read_agreement(connection, since),
    )


def _judged(connection: Connection, since: datetime) -> dict[date, dict[Verdict, int]]:
    day = _day(case_table.c.settled_at)
    counted = select(day, case_table.c.verdict, func.count()).where(case_table.c.settled_at >= since)
    found: dict[date, dict[Verdict, int]] = defaultdict(dict)
    applicable = counted.where(case_table.c.verdict != Verdict.NOT_APPLICABLE.value)
    for on, verdict, number in connection.execute(applicable.group_by(day, case_table.c.verdict)):
        found[date.fromisoformat(on)][Verdict(verdict)] = number
    return found


def _pairs(connection: Connection, since: datetime) -> list[tuple[date, Pair]]:
    columns = (_I.item_id, _I.verdict, _I.predicted_dsc, _I.decision, _I.rating, _I.blind, _I.segmenter)
    decided = select(_day(_I.decided_at).label("day"), *columns).where(_I.state == "DECIDED", _I.decided_at >= since)
    rows = connection.execute(decided.order_by(_I.decided_at, _I.item_id))
    return [
        (
            date.fromisoformat(row.day),
            Pair(row.item_id, Verdict(row.verdict), row.predicted_dsc, Decision(row.decision), row.rating, row.blind, row.segmenter),
        )
        for row in rows
    ]


def _day(column: Column[Any]) -> Any:
    """The date of a time, which is stored as ISO text in UTC."""
    return func.substr(column, 1, 10)


def _number(connection: Connection, *states: str) -> int:
    return connection.execute(select(func.count()).select_from(item_table).where(_I.state.in_(states))).scalar_one()


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
