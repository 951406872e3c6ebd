"""What is drawn at random out of the judged cases: what readers see without the prediction, and what two of them read.

A draw depends on the case alone, so that a repeat after a crash draws the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from qcnode.case import Verdict
from qcnode.outcome import draw

_PREDICTED = (Verdict.PASS, Verdict.REVIEW, Verdict.FAIL)
"""UNASSESSABLE is never hidden: nothing was predicted that could lead a reader, and missing pictures would give it away."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Shares, 0 to 1. pass_share: of the PASS cases, put on the worklist, always blind; blind_share: of the flagged ones, made blind.

    Where both are equal, the share of each verdict among the blind items is that among all cases: that an item is blind tells nothing.
    Read twice are a drawn share of the items, those of a task of second_tasks, and those of a verdict of second_verdicts that are not blind
    (for a second reading would tell the verdict).
    """

    pass_share: float = 0
    blind_share: float = 0
    second_share: float = 0
    second_verdicts: frozenset[Verdict] = frozenset()
    second_tasks: frozenset[str] = frozenset()

    def is_blind(self, case_id: str, verdict: Verdict) -> bool:
        """Whether a reader judges the case without knowing what was predicted; a PASS that is not blind is no item at all."""
        share = self.pass_share if verdict is Verdict.PASS else self.blind_share
        return verdict in _PREDICTED and draw(case_id, "random-pass") < share

    def is_read_twice(self, case_id: str, verdict: Verdict, task: str) -> bool:
        """Whether two readers judge the case independently of one another."""
        asked_for = task in self.second_tasks or (verdict in self.second_verdicts and not self.is_blind(case_id, verdict))
        return asked_for or draw(case_id, "second-reader") < self.second_share

    def probability(self, verdict: Verdict) -> float:
        """With which a case of this verdict becomes an item: what whoever estimates something from decisions must weigh them by."""
        return self.pass_share if verdict is Verdict.PASS else 1.0


NO_SAMPLING = Sampling()
"""Flagged cases as they are, and no others."""
