"""A clock that the test moves."""

from __future__ import annotations

from datetime import datetime, timedelta

from store_samples import START


class Clock:
    """Stands still until it is told how much time passes."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> datetime:
        return self.time

    def pass_by(self, **amount: float) -> None:
        """As the keyword arguments of timedelta."""
        self.time += timedelta(**amount)
