"""Where the marks of the overview's plots stand. The templates draw them as SVG."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from qcnode.case import Verdict
from qcnode.store.items import Decision
from qcnode.store.overview import Day

BARS_WIDTH, BARS_HEIGHT = 1200.0, 170.0
STRIP_WIDTH, STRIP_ROW = 600.0, 70.0
_LANES = 5


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of a stacked bar, in pixels of the plot."""

    x: float
    y: float
    width: float
    height: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Column:
    """One day: its bars from the bottom up, and where its middle is."""

    middle: float
    label: str
    title: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class PerDay:
    """Judged cases per day. ticks: (y, number) of the scale's lines; labelled: every `labelled`-th column has room for its label."""

    columns: tuple[Column, ...]
    ticks: tuple[tuple[float, int], ...]
    labelled: int


@dataclass(frozen=True, slots=True)
class Dot:
    """One decided case in the strip of its decision."""

    x: float
    y: float
    item_id: int
    predicted_dsc: float


def per_day(days: Sequence[Day], verdicts: Sequence[Verdict]) -> PerDay:
    """Stacked bars, as high as the busiest day; the first verdict at the bottom."""
    step = tick_step(max((sum(day.judged.values()) for day in days), default=0))
    top = max(step, -(-max((sum(day.judged.values()) for day in days), default=0) // step) * step)
    slot = BARS_WIDTH / max(len(days), 1)
    columns = tuple(_column(day, i * slot, slot, top, verdicts) for i, day in enumerate(days))
    ticks = tuple((BARS_HEIGHT * (1 - n / top), n) for n in range(0, top + 1, step))
    return PerDay(columns, ticks, labelled=-(-len(days) // 10))


def _column(day: Day, left: float, slot: float, top: int, verdicts: Sequence[Verdict]) -> Column:
    bars, below = [], 0.0
    for verdict in verdicts:
        height = BARS_HEIGHT * day.judged.get(verdict, 0) / top
        if height:
            bars.append(Bar(left + 0.14 * slot, BARS_HEIGHT - below - height, 0.72 * slot, height, verdict))
        below += height
    return Column(left + slot / 2, f"{day.date:%d %b}", f"{day.date:%Y-%m-%d}: {sum(day.judged.values())}", tuple(bars))


def tick_step(largest: int) -> int:
    """A step of 1, 2 or 5 times a power of ten that makes at most five lines."""
    power = 1
    while True:
        for step in (power, 2 * power, 5 * power):
            if largest <= 5 * step:
                return step
        power *= 10


def strip(decided: Iterable[tuple[float, Decision, int]]) -> dict[Decision, tuple[Dot, ...]]:
    """Predicted DSC along x, one row per decision; dots of a row lie in a few lanes, so that neighbours are seen apart."""
    rows: dict[Decision, list[Dot]] = {decision: [] for decision in Decision}
    for predicted_dsc, decision, item_id in decided:
        row = rows[decision]
        lane = (len(row) * 2) % _LANES  # neighbours in time are seldom neighbours in the plot, but may be
        y = STRIP_ROW * (0.5 + 0.6 * (lane / (_LANES - 1) - 0.5))
        row.append(Dot(STRIP_WIDTH * predicted_dsc, y, item_id, predicted_dsc))
    return {decision: tuple(row) for decision, row in rows.items()}
