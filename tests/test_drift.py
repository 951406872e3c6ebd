"""Drift is told where there is one, and as seldom as promised where there is none: looks at made-up sites."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from qcnode import drift
from qcnode.drift import JudgedCase, examine

NOW = datetime(2026, 11, 19, 12, tzinfo=UTC)  # a Thursday in week 47
SINCE = date(2026, 10, 26)


def looks(number: int, shift: float = 0.0, patients: tuple[int, int] = (60, 30), seed: int = 0) -> Iterator[drift.Drift]:
    """Looks at a site of 5 scanners and 2 segmenters, whose patients (before, after) have 1 or 2 cases that are alike; scanner 0 shifts."""
    start, recent = drift.first_moment(NOW), timedelta(weeks=drift.EARLIER_WEEKS)
    for n in range(number):
        generator = np.random.default_rng((seed, n))
        cases = []
        for scanner in range(5):
            # skewed, as predicted DSCs are: mean 0.9, standard deviation 0.07
            levels = 1 - generator.gamma(2.0, 0.05, sum(patients))
            for patient, level in enumerate(levels):
                is_recent = patient >= patients[0]
                at = start + recent + (timedelta(days=patient % 20) if is_recent else -timedelta(days=patient % 150 + 1))
                for _ in range(generator.integers(1, 3)):
                    dsc = float(np.clip(level - shift * is_recent * (scanner == 0) + generator.normal(0, 0.02), 0, 1))
                    names = (f"scanner {scanner}", f"segmenter {generator.integers(2)}", f"{scanner}-{patient}")
                    cases.append(JudgedCase(at, "heart", *names, dsc, dsc < 0.8, bool(generator.random() < 0.03)))
        yield examine(cases, NOW)


def dsc_of(look: drift.Drift, scanner: str = "scanner 0") -> drift.Comparison:
    (group,) = (group for group in look.groups if group.name == scanner)
    return group.comparisons[0]


def test_without_drift_alarms_are_as_rare_as_stated(record_property: Callable[[str, object], None]) -> None:
    found = list(looks(100))
    alarms = sum(any(group.drifted for group in look.groups) for look in found)
    unlikely = sum(any(c.q <= drift.LEVEL for group in look.groups for c in group.comparisons) for look in found)
    record_property("false alarms of 100 looks", (alarms, unlikely))
    # with a rate of LEVEL, more than 4 of 100 happen once in 300 times
    assert alarms <= unlikely <= 4
    tests = np.array([c.p for look in found for group in look.groups for c in group.comparisons])
    assert len(tests) == 100 * 7 * 3
    assert np.mean(tests <= 0.05) <= 0.055, "p values are not too small"


@pytest.mark.parametrize(("patients", "least"), [((60, 30), 0.35), ((200, 60), 0.9)])
def test_power_for_a_shift_of_a_twentieth(patients: tuple[int, int], least: float, record_property: Callable[[str, object], None]) -> None:
    found = list(looks(30, 0.05, patients, seed=1))
    seen = [dsc_of(look) for look in found]
    power = float(np.mean([comparison.drifted for comparison in seen]))
    record_property("power", power)
    assert power >= least
    assert all(comparison.after < comparison.before for comparison in seen if comparison.drifted)
    assert np.mean([c.superiority for c in seen]) < 0.4


def one_case(week: int, patient: str, dsc: float | None, *, scanner: str = "X", refused: bool = False) -> JudgedCase:
    """A case in a week counted from the first recent one."""
    at = datetime(2026, 10, 27, tzinfo=UTC) + timedelta(weeks=week)
    return JudgedCase(at, "heart", scanner, "", patient, dsc, dsc is None or dsc < 0.75, refused)


def group_of(cases: list[JudgedCase]) -> drift.Group:
    (group,) = examine(cases, NOW).groups
    return group


def test_a_finding_in_words() -> None:
    cases = [one_case(-1 - n % 20, f"a{n}", 0.90 + 0.0005 * (n % 40)) for n in range(60)]
    cases += [one_case(n % 4, f"b{n}", 0.84 + 0.0005 * (n % 40)) for n in range(40)]
    look = examine(cases, NOW)
    assert look.since == SINCE
    ((group, comparison, said),) = look.sentences()
    assert said == "Scanner X, heart: predicted DSC fell from 0.91 to 0.85 since week 44, more than chance, q < 0.0001."
    assert (group.by, comparison.patients_before, comparison.patients_after, comparison.superiority) == ("scanner", 60, 40, 0.0)


def test_refusals_are_told() -> None:
    cases = [one_case(-1 - n % 20, f"a{n}", 0.9) for n in range(60)] + [
        one_case(n % 4, f"b{n}", None, refused=n % 2 == 0) for n in range(40)
    ]
    said = [text for _, _, text in examine(cases, NOW).sentences()]
    assert (
        "Scanner X, heart: the share of patients with images unlike the training data rose from 0 % to 50 % since week 44, more than chance"
        in said[1]
    )
    assert "the share of patients with a flagged case rose from 0 % to 100 %" in said[0]


def test_nothing_is_said_of_few_patients() -> None:
    before = [one_case(-1, f"a{n}", 0.9 + n / 1e4) for n in range(60)]
    assert group_of([*before, *(one_case(0, f"b{n}", 0.1) for n in range(9))]).comparisons == ()
    assert group_of([*before[:19], *(one_case(0, f"b{n}", 0.1) for n in range(50))]).comparisons == ()
    assert group_of([*before, *(one_case(0, "b", 0.1) for _ in range(50))]).comparisons == (), "one patient, however many cases"


def test_a_patient_counts_once_where_they_were_first_seen() -> None:
    cases = [one_case(-1, f"a{n}", 0.9) for n in range(30)] + [one_case(1, f"a{n}", 0.2) for n in range(15)]
    cases += [one_case(0, f"b{n}", 0.9) for n in range(20)] + [one_case(1, f"b{n}", 0.8) for n in range(20)]
    dsc = group_of(cases).comparisons[0]
    assert (dsc.patients_before, dsc.patients_after) == (30, 20)
    assert (dsc.before, dsc.after) == (pytest.approx(0.9), pytest.approx(0.85))


def test_a_shift_that_matters_to_nobody_is_not_told() -> None:
    cases = [one_case(-1 - n % 20, f"a{n}", 0.900 + n / 1e5) for n in range(200)] + [
        one_case(0, f"b{n}", 0.89 + n / 1e5) for n in range(100)
    ]
    dsc = group_of(cases).comparisons[0]
    assert dsc.q < 1e-9
    assert not dsc.drifted


def test_weeks_are_without_gaps_and_tell_nothing_of_single_cases() -> None:
    group = group_of([one_case(-3, "a", 0.9), one_case(-3, "b", 0.8), one_case(-3, "c", 0.7), one_case(0, "d", 0.6)])
    assert len(group.weeks) == drift.EARLIER_WEEKS + drift.RECENT_WEEKS
    shown = {week.monday: (week.cases, week.predicted_dsc) for week in group.weeks if week.cases}
    assert shown == {date(2026, 10, 5): (3, 0.8), SINCE: (1, None)}


def test_no_cases() -> None:
    assert examine([], NOW).groups == ()
    assert examine([one_case(0, "a", 0.5, scanner="")], NOW).groups == ()
