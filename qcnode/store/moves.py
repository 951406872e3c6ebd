"""The states of a row and the moves between them, as one dict."""

from __future__ import annotations

from collections.abc import Mapping

Moves = Mapping[str, frozenset[str]]
"""From each state, the states it may go to."""


def states_before(moves: Moves, state: str) -> tuple[str, ...]:
    """The states from which `moves` allows to go to `state`; what an UPDATE puts into its WHERE."""
    return tuple(before for before, after in moves.items() if state in after)
