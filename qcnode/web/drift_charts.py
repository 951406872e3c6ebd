"""Where the marks of the small pictures of drift stand: one per scanner and segmenter, all on one scale. The template draws them as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

from qcnode.drift import RECENT_WEEKS, Comparison, Drift, Group

WIDTH, HEIGHT = 300.0, 64.0
SHOWN = 12
"""So many groups are shown: those that drifted, then the largest."""


@dataclass(frozen=True, slots=True)
class Sparkline:
    """A group's weekly medians. lines: points of unbroken weeks; dots: weeks, with what to say of each; recent: where the last weeks begin.

    before: the height of the median before them; None where nothing was compared. state: what the look has found, in a few words.
    """

    group: Group
    lines: tuple[str, ...]
    dots: tuple[tuple[float, float, str], ...]
    recent: float
    before: float | None
    state: str


@dataclass(frozen=True, slots=True)
class DriftView:
    """What the overview shows of a look. low: the predicted DSC at the bottom of each picture; the top is 1. left_out: groups not shown."""

    sentences: tuple[str, ...]
    sparklines: tuple[Sparkline, ...]
    low: float
    left_out: int
    several_tasks: bool


def drift_view(drift: Drift) -> DriftView:
    """The pictures of a look, on the scale that holds them all."""
    groups = drift.groups[:SHOWN]
    shown = [week.predicted_dsc for group in groups for week in group.weeks if week.predicted_dsc is not None]
    low = min(floor(10 * min(shown, default=0.5)) / 10, 0.9)
    said = tuple(text for _, _, text in drift.sentences())
    several_tasks = len({group.task for group in groups}) > 1
    return DriftView(said, tuple(_sparkline(group, low) for group in groups), low, len(drift.groups) - len(groups), several_tasks)


def _sparkline(group: Group, low: float) -> Sparkline:
    slot = WIDTH / len(group.weeks)
    dots: list[tuple[float, float, str]] = []
    lines: list[list[str]] = [[]]
    for place, week in enumerate(group.weeks):
        if week.predicted_dsc is None:
            lines.append([])
            continue
        x, y = (place + 0.5) * slot, _height(week.predicted_dsc, low)
        lines[-1].append(f"{x:.1f},{y:.1f}")
        dots.append((x, y, f"Week {week.monday.isocalendar().week}: {week.predicted_dsc:.2f} in {week.cases} cases"))
    dsc = _of_dsc(group.comparisons)
    return Sparkline(
        group=group,
        lines=tuple(" ".join(points) for points in lines if len(points) > 1),
        dots=tuple(dots),
        recent=(len(group.weeks) - RECENT_WEEKS) * slot,
        before=None if dsc is None else _height(dsc.before, low),
        state=_state(group, dsc),
    )


def _of_dsc(comparisons: Sequence[Comparison]) -> Comparison | None:
    return next((comparison for comparison in comparisons if comparison.measure == "predicted_dsc"), None)


def _state(group: Group, dsc: Comparison | None) -> str:
    if dsc is None:
        return "drifted" if group.drifted else "too few patients to compare"
    return f"{dsc.before:.2f} → {dsc.after:.2f}, {'drifted' if group.drifted else 'no more than chance'}"


def _height(predicted_dsc: float, low: float) -> float:
    return HEIGHT * (1 - (predicted_dsc - low) / (1 - low))
