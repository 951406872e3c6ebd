"""The fixed sets: how many of what, spread over whom, and always the same."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from training.sets import KEPT_OUT, Candidate, balanced_set, natural_set


def library(count: int = 2500, patients: int = 12, seed: int = 0) -> list[Candidate]:
    rng = np.random.default_rng(seed)
    result = []
    for i in range(count):
        patient = f"p{int(rng.integers(patients)):02d}"
        family = str(rng.choice(["dynunet-2d", "random-forest", KEPT_OUT]))
        group = "segmenter" if family == KEPT_OUT or rng.random() < 0.6 else "seggen"
        degraded = str(rng.choice(["", "", "", "noise"])) if group == "segmenter" else ""
        stage, dsc = float(rng.uniform()), float(rng.uniform(0.1, 1))
        result.append(Candidate(patient, f"{patient}-ed", i, group, family, stage, degraded, dsc, dsc))
    return result


def chosen_of(candidates: list[Candidate], queries: tuple[tuple[str, int], ...]) -> list[Candidate]:
    by_query = {(c.entry, c.index): c for c in candidates}
    return [by_query[q] for q in queries]


def test_balanced_set_holds_equal_numbers_per_bin_and_says_what_is_short() -> None:
    candidates = library()
    found = balanced_set(candidates, per_bin=10, seed=7)
    chosen = chosen_of(candidates, found.queries)
    strata = Counter((c.family == KEPT_OUT, c.group, int(c.dsc * 10)) for c in chosen)
    assert set(strata.values()) == {10}
    assert len(strata) == 3 * 9
    assert not any(c.degraded for c in chosen)
    assert found.short == {f"{name}, DSC 0.0-0.1": 10 for name in ("segmenter", "seggen", f"kept out: {KEPT_OUT}")}


def test_balanced_set_is_spread_over_patients_and_families() -> None:
    candidates = library()
    chosen = chosen_of(candidates, balanced_set(candidates, per_bin=10, seed=7).queries)
    for place in range(1, 10):
        of_bin = [c for c in chosen if c.group == "seggen" and int(c.dsc * 10) == place]
        assert max(Counter(c.patient for c in of_bin).values()) == 1
    lopsided = [Candidate("a", "a", i, "seggen", "warp", 1, "", 0.55, 0.5) for i in range(99)]
    lopsided += [Candidate("a", "a", 200 + i, "seggen", "lose", 1, "", 0.55, 0.5) for i in range(5)]
    few = chosen_of(lopsided, balanced_set(lopsided, per_bin=10, seed=1).queries)
    assert Counter(c.family for c in few) == {"warp": 5, "lose": 5}


def test_natural_set_has_its_share_of_failures_from_late_segmenters() -> None:
    candidates = library()
    found = natural_set(candidates, count=160, seed=7)
    chosen = chosen_of(candidates, found.queries)
    assert len(chosen) == 160
    assert sum(c.dsc < 0.75 for c in chosen) == 24
    assert all(c.group == "segmenter" and c.family != KEPT_OUT and c.stage >= 0.4 for c in chosen)
    assert not any(0.9 < c.stage < 1 for c in chosen)  # side outputs
    assert any(c.degraded for c in chosen)
    assert found.short == {}


def test_natural_set_shrinks_rather_than_change_its_share() -> None:
    late = [replace(c, group="segmenter", family="dynunet-2d", stage=1.0, dsc=0.9) for c in library(500)]
    few_failures = [replace(c, dsc=0.5) if i < 12 else c for i, c in enumerate(late)]
    found = natural_set(few_failures, count=200, seed=7)
    chosen = chosen_of(few_failures, found.queries)
    assert len(chosen) == 80
    assert sum(c.dsc < 0.75 for c in chosen) == 12
    assert found.short == {"queries": 120}
    assert natural_set(late, count=200, seed=7).queries == ()


def test_a_set_depends_on_seed_and_content_not_on_order() -> None:
    candidates = library()
    first = balanced_set(candidates, per_bin=10, seed=7)
    assert balanced_set(candidates[::-1], per_bin=10, seed=7).digest == first.digest
    assert balanced_set(candidates, per_bin=10, seed=8).digest != first.digest
    assert len(first.digest) == 64
    assert natural_set(candidates[::-1], count=100, seed=7) == natural_set(candidates, count=100, seed=7)


def test_a_query_that_stands_twice_is_refused() -> None:
    twice = [Candidate("a", "a", 0, "seggen", "warp", 1, "", 0.5, 0.5)] * 2
    with pytest.raises(ValueError, match="twice"):
        balanced_set(twice, per_bin=5, seed=0)
