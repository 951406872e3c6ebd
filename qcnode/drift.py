"""Have the predictions of a scanner or a segmenter shifted, more than chance shifts them? Statistics only: no SQL, no clock.

Of each group (a task's cases of one scanner or segmenter) the last weeks are compared with the weeks before. Cases of one patient are
alike, so a patient counts once, where they were first seen. Predicted DSC: Mann-Whitney U test between patients' means. Shares of
patients with a flagged or a refused case: Fisher's exact test. All tests of one look are corrected together (Benjamini and Hochberg
1995); without any drift, a look then raises a false alarm with a probability of at most LEVEL.

scipy.stats takes a second to import and is needed every few hours: each test imports it for itself, so that a node listens sooner.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from statistics import fmean
from typing import Literal

import numpy as np

By = Literal["scanner", "segmenter"]
Measure = Literal["predicted_dsc", "flagged", "refused"]

LEVEL = 0.01
RECENT_WEEKS, EARLIER_WEEKS = 4, 26
"""The week of the look is the last of the recent ones."""
LEAST_PATIENTS_BEFORE, LEAST_PATIENTS_AFTER = 20, 10
"""Nothing is said of a group that has fewer."""
LEAST_CASES_OF_WEEK = 3
"""A week with fewer is not shown: it would tell what was predicted of one case, which may be on the worklist as a blind check."""
WORTH_SAYING: dict[Measure, float] = {"predicted_dsc": 0.02, "flagged": 0.1, "refused": 0.05}
"""Smaller shifts matter to nobody, however sure they are."""


@dataclass(frozen=True, slots=True)
class JudgedCase:
    """What is known of one judged case. patient: the same text for all of a patient's cases. refused: unlike the training data."""

    at: datetime
    task: str
    scanner: str
    segmenter: str
    patient: str
    predicted_dsc: float | None
    flagged: bool
    refused: bool


_Placed = tuple[JudgedCase, int]
"""A case, and in which week since `first_moment` it was judged."""


@dataclass(frozen=True, slots=True)
class Week:
    """A group in one week (UTC). predicted_dsc: the median, None where there are too few cases."""

    monday: date
    cases: int
    predicted_dsc: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The last weeks against those before. before, after: median of the predicted DSC, or share of patients.

    p: how often chance alone makes such a difference; q: corrected for all tests of the look. superiority: of the predicted DSC only,
    the probability that a patient of the last weeks has more than one before (0.5: alike). drifted: q is at most LEVEL, and the shift
    is worth saying.
    """

    measure: Measure
    before: float
    after: float
    patients_before: int
    patients_after: int
    p: float
    q: float
    superiority: float | None
    drifted: bool


@dataclass(frozen=True, slots=True)
class Group:
    """A task's cases of one scanner or segmenter. comparisons: none where there are too few patients. weeks: oldest first, without gaps."""

    task: str
    by: By
    name: str
    weeks: tuple[Week, ...]
    comparisons: tuple[Comparison, ...]

    @property
    def drifted(self) -> bool:
        """Whether something has shifted."""
        return any(comparison.drifted for comparison in self.comparisons)


@dataclass(frozen=True, slots=True)
class Drift:
    """One look. since: the Monday from which the last weeks count. groups: those that drifted first, then by number of cases."""

    since: date
    level: float
    groups: tuple[Group, ...]

    def sentences(self) -> list[tuple[Group, Comparison, str]]:
        """What has shifted, in words."""
        return [(g, c, sentence(g, c, self.since)) for g in self.groups for c in g.comparisons if c.drifted]


def first_moment(now: datetime) -> datetime:
    """From when on cases matter for a look at `now`: the beginning (UTC) of a week."""
    today = now.astimezone(UTC).date()
    monday = today - timedelta(days=today.weekday())
    return datetime.combine(monday - timedelta(weeks=RECENT_WEEKS + EARLIER_WEEKS - 1), time(), UTC)


def examine(cases: Iterable[JudgedCase], now: datetime) -> Drift:
    """One look at cases since `first_moment`, in any order. Cases of an unknown ("") scanner or segmenter are in no such group."""
    start = first_moment(now)
    found: dict[tuple[str, By, str], list[_Placed]] = defaultdict(list)
    for case in sorted(cases, key=lambda case: case.at):
        placed = (case, (case.at - start) // timedelta(weeks=1))
        if case.scanner:
            found[case.task, "scanner", case.scanner].append(placed)
        if case.segmenter:
            found[case.task, "segmenter", case.segmenter].append(placed)
    groups = _corrected([_group(task, by, name, placed, start.date()) for (task, by, name), placed in found.items()])
    since = start.date() + timedelta(weeks=EARLIER_WEEKS)
    return Drift(since, LEVEL, tuple(sorted(groups, key=lambda group: (not group.drifted, -sum(w.cases for w in group.weeks), group.name))))


def sentence(group: Group, comparison: Comparison, since: date) -> str:
    """A finding in words."""
    rose = comparison.after > comparison.before
    if comparison.measure == "predicted_dsc":
        what = f"predicted DSC {'rose' if rose else 'fell'} from {comparison.before:.2f} to {comparison.after:.2f}"
    else:
        of = {"flagged": "patients with a flagged case", "refused": "patients with images unlike the training data"}[comparison.measure]
        what = f"the share of {of} {'rose' if rose else 'fell'} from {comparison.before:.0%} to {comparison.after:.0%}".replace("%", " %")
    q = f"q = {comparison.q:.1g}" if comparison.q >= 0.0001 else "q < 0.0001"
    return f"{group.by.capitalize()} {group.name}, {group.task}: {what} since week {since.isocalendar().week}, more than chance, {q}."


def _group(task: str, by: By, name: str, placed: Sequence[_Placed], first: date) -> Group:
    of_week: dict[int, list[JudgedCase]] = defaultdict(list)
    of_patient: dict[str, list[_Placed]] = defaultdict(list)
    for case, week in placed:
        of_week[week].append(case)
        of_patient[case.patient].append((case, week))
    before: list[list[JudgedCase]] = []
    after: list[list[JudgedCase]] = []
    for mine in of_patient.values():
        is_recent = mine[0][1] >= EARLIER_WEEKS
        # what comes later of a patient who was known before belongs to neither side
        (after if is_recent else before).append([case for case, week in mine if (week >= EARLIER_WEEKS) == is_recent])
    weeks = tuple(_week(first + timedelta(weeks=n), of_week[n]) for n in range(EARLIER_WEEKS + RECENT_WEEKS))
    return Group(task, by, name, weeks, tuple(_comparisons(before, after)))


def _week(monday: date, cases: Sequence[JudgedCase]) -> Week:
    predicted = [case.predicted_dsc for case in cases if case.predicted_dsc is not None]
    return Week(monday, len(cases), float(np.median(predicted)) if len(predicted) >= LEAST_CASES_OF_WEEK else None)


def _comparisons(before: list[list[JudgedCase]], after: list[list[JudgedCase]]) -> list[Comparison]:
    found = [_dsc(*([_mean_dsc(p) for p in side if any(c.predicted_dsc is not None for c in p)] for side in (before, after)))]
    found += [_share("flagged", *([any(c.flagged for c in p) for p in side] for side in (before, after)))]
    found += [_share("refused", *([any(c.refused for c in p) for p in side] for side in (before, after)))]
    return [comparison for comparison in found if comparison is not None]


def _mean_dsc(cases: Sequence[JudgedCase]) -> float:
    return fmean(case.predicted_dsc for case in cases if case.predicted_dsc is not None)


def _are_enough(before: Sequence[object], after: Sequence[object]) -> bool:
    return len(before) >= LEAST_PATIENTS_BEFORE and len(after) >= LEAST_PATIENTS_AFTER


def _dsc(before: list[float], after: list[float]) -> Comparison | None:
    if not _are_enough(before, after):
        return None
    from scipy.stats import mannwhitneyu

    statistic, p = mannwhitneyu(after, before)
    medians, superiority = (float(np.median(before)), float(np.median(after))), float(statistic) / (len(before) * len(after))
    return Comparison("predicted_dsc", *medians, len(before), len(after), float(p), 1.0, superiority, False)


def _share(measure: Measure, before: list[bool], after: list[bool]) -> Comparison | None:
    if not _are_enough(before, after):
        return None
    from scipy.stats import fisher_exact

    p = float(fisher_exact(np.array([[sum(side), len(side) - sum(side)] for side in (before, after)]))[1])
    return Comparison(measure, fmean(before), fmean(after), len(before), len(after), p, 1.0, None, False)


def _corrected(groups: Sequence[Group]) -> list[Group]:
    """The groups with q and drifted: every test of the look counts."""
    from scipy.stats import false_discovery_control

    tests = [comparison.p for group in groups for comparison in group.comparisons]
    qs = iter(false_discovery_control(np.clip(tests, 0, 1)) if tests else ())
    return [replace(group, comparisons=tuple(_judged(comparison, float(next(qs))) for comparison in group.comparisons)) for group in groups]


def _judged(comparison: Comparison, q: float) -> Comparison:
    is_worth = abs(comparison.after - comparison.before) >= WORTH_SAYING[comparison.measure]
    return replace(comparison, q=q, drifted=bool(q <= LEVEL and is_worth))
