"""How far two readers agree who judged the same items independently of one another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from qcnode.store.items import Decision, Stage
from qcnode.store.schema import reading_table


@dataclass(frozen=True, slots=True)
class ReaderAgreement:
    """pairs: (first reader's decision, second reader's) -> number of items; what did not occur is left out."""

    pairs: Mapping[tuple[Decision, Decision], int]

    @property
    def read_twice(self) -> int:
        """Items with two independent final readings."""
        return sum(self.pairs.values())

    @property
    def agreed(self) -> int:
        """Those in which both decided the same."""
        return sum(number for (first, second), number in self.pairs.items() if first is second)

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa, unweighted: agreement beyond chance, 1 at best. None where it is not defined: no item, or one decision only."""
        total = self.read_twice
        firsts: Counter[Decision] = Counter()
        seconds: Counter[Decision] = Counter()
        for (first, second), number in self.pairs.items():
            firsts[first] += number
            seconds[second] += number
        # as whole numbers: an expected agreement of exactly 1 must not be missed by a rounding error
        by_chance = sum(firsts[decision] * seconds[decision] for decision in Decision)
        if by_chance == total**2:
            return None
        return (self.agreed * total - by_chance) / (total**2 - by_chance)


def read_agreement(connection: Connection, since: datetime) -> ReaderAgreement:
    """Of the items whose second reading was made at `since` or later."""
    first, second = reading_table.alias("first_reading"), reading_table.alias("second_reading")
    of_second = (second.c.stage == Stage.SECOND) & (second.c.decided_at >= since)
    same_item = (first.c.item_id == second.c.item_id) & (first.c.stage == Stage.FIRST)
    rows = connection.execute(select(first.c.decision, second.c.decision).select_from(second.join(first, same_item)).where(of_second))
    return ReaderAgreement(dict(Counter((Decision(one), Decision(other)) for one, other in rows)))
