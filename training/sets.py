"""The fixed sets of queries that evaluation judges, chosen from what is true of them: no prediction is known here.

Both choices are seeded and spread over patients and, within a patient, over families and kinds of degraded images. Their digests are
written down before anything is fitted.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

KEPT_OUT = "deepmedic"
"""The family of segmenters that no network learns from."""
FAILURE = 0.75
LATE = 0.4
"""Share of a segmenter's training from which on its outputs count as natural."""
BINS = 10

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One query of the library that could be chosen; fields as in training.records.Judged."""

    patient: str
    entry: str
    index: int
    group: str
    family: str
    stage: float
    degraded: str
    dsc: float
    nsd: float


@dataclass(frozen=True, slots=True)
class FixedSet:
    """Chosen queries as (entry, index), sorted, without repeats.

    short: what is missing where there were too few candidates, in words -> number of queries.
    """

    name: str
    queries: tuple[tuple[str, int], ...]
    short: dict[str, int] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of the list, one "entry<tab>index" a line."""
        return hashlib.sha256("".join(f"{entry}\t{index}\n" for entry, index in self.queries).encode()).hexdigest()


def balanced_set(candidates: Sequence[Candidate], *, per_bin: int, seed: int) -> FixedSet:
    """`per_bin` queries in each bin of width 0.1 of true DSC (an edge belongs to the upper bin, 1 to the last), of each stratum for itself.

    Strata: each group of queries, and the kept-out segmenter's apart; images as acquired only. Bins with fewer candidates stay short.
    """
    rng = np.random.default_rng(seed)
    strata: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in _in_fixed_order(candidates):
        if not candidate.degraded:
            strata[f"kept out: {KEPT_OUT}" if candidate.family == KEPT_OUT else candidate.group].append(candidate)
    chosen: list[Candidate] = []
    short: dict[str, int] = {}
    for name, members in sorted(strata.items()):
        for i in range(BINS):
            found = _spread([c for c in members if _bin_of(c.dsc) == i], rng)[:per_bin]
            chosen += found
            if len(found) < per_bin:
                short[f"{name}, DSC {i / BINS:.1f}-{(i + 1) / BINS:.1f}"] = per_bin - len(found)
    return FixedSet("balanced", _identities(chosen), short)


def natural_set(candidates: Sequence[Candidate], *, count: int, seed: int, failure_share: float = 0.15, late: float = LATE) -> FixedSet:
    """`count` queries as a working segmenter makes them, `failure_share` of them with a true DSC below 0.75.

    From segmenters (the kept-out one aside) at stage `late` or later, on images as acquired and degraded. Where failures or good queries
    are too few, both shrink so that the share stays.
    """
    rng = np.random.default_rng(seed)
    late_ones = [c for c in _in_fixed_order(candidates) if c.group == "segmenter" and c.family != KEPT_OUT and is_late(c.stage, late)]
    failed = _spread([c for c in late_ones if c.dsc < FAILURE], rng)
    good = _spread([c for c in late_ones if c.dsc >= FAILURE], rng)
    possible = min(count, int(len(failed) / failure_share + 1e-9), int(len(good) / (1 - failure_share) + 1e-9))
    failures = min(round(possible * failure_share), len(failed))
    chosen = failed[:failures] + good[: possible - failures]
    short = {} if len(chosen) == count else {"queries": count - len(chosen)}
    return FixedSet("natural", _identities(chosen), short)


def is_late(stage: float, late: float = LATE) -> bool:
    """True for a segmenter that a hospital might run: late in its training, and no side output (those have stages between 0.9 and 1)."""
    return stage >= late - 1e-9 and not 0.9 < stage < 1


def _bin_of(dsc: float) -> int:
    return min(int(dsc * BINS + 1e-9), BINS - 1)


def _in_fixed_order(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Sorted, so that the choice depends on the library's content and not on the order of its files."""
    return sorted(candidates, key=lambda c: (c.entry, c.index))


def _identities(chosen: Iterable[Candidate]) -> tuple[tuple[str, int], ...]:
    identities = tuple(sorted((c.entry, c.index) for c in chosen))
    if len(set(identities)) != len(identities):
        raise ValueError("a query stands twice among the candidates")
    return identities


def _spread(candidates: Sequence[Candidate], rng: np.random.Generator) -> list[Candidate]:
    """All in random order, but every patient's first before any patient's second, and so on; so too the families of a patient."""
    shuffled = [candidates[i] for i in rng.permutation(len(candidates))]
    by_family = _in_turn(shuffled, lambda c: (c.patient, c.family, c.degraded))
    return _in_turn(by_family, lambda c: c.patient)


def _in_turn(members: Sequence[T], key: Callable[[T], Hashable]) -> list[T]:
    """The first of every key, then the second of every key, each round in the given order."""
    seen: dict[Hashable, int] = defaultdict(int)
    rounds = []
    for member in members:
        rounds.append(seen[key(member)])
        seen[key(member)] += 1
    return [members[i] for i in sorted(range(len(members)), key=lambda i: rounds[i])]
