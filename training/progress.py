"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

Progress = Callable[[str, int, int, dict[str, float]], None]
"""Called with the title of the work, steps done, all steps, and values to show."""


def steps_of(progress: Progress, title: str, total: int) -> Callable[..., None]:
    """What one piece of work calls with the steps done and, where it has some, values to show."""

    def report(done: int, values: Mapping[str, float] | None = None) -> None:
        progress(title, done, total, dict(values or {}))

    return report
