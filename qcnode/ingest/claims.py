"""Which task, if any, judges a SEG: the rules of the tasks, and the claim by coded terms first and labels second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from qcnode.case import InstanceHeader
from qcnode.errors import ConfigurationError
from qcnode.tissues import Structure, Tissue, map_segments

_NO_LABEL = "(?!)"  # a pattern that nothing matches


@dataclass(frozen=True, slots=True)
class ContrastRule:
    """How a contrast's series is recognised: regular expressions on Series Description (case ignored), contrast agent or not."""

    name: str
    series_description: str = ".*"
    exclude: str | None = None
    contrast_agent: bool | None = None


@dataclass(frozen=True, slots=True)
class TaskRule:
    """What a task judges. One contrast: the images that the SEG was drawn on, whatever they are called. Several: found by their rules."""

    name: str
    structures: tuple[Structure, ...]
    tissues: tuple[Tissue, ...]
    contrasts: tuple[ContrastRule, ...]

    def __post_init__(self) -> None:
        if not self.contrasts:
            raise ConfigurationError(f"task {self.name}: its model card names no contrast")


@dataclass(frozen=True, slots=True)
class Claim:
    """The task that judges a SEG. `tied`: another task claims it just as well, so that the task is only the first by name."""

    task: TaskRule
    structures: frozenset[str]
    tied: bool = False


def claim(query: InstanceHeader, tasks: Sequence[TaskRule]) -> Claim | None:
    """The task with most of the SEG's segments known by code, then by label as well; None where no task knows any segment."""
    ranked = []
    for task in tasks:
        if found := map_segments(query.segments, task.structures):
            coded = map_segments(query.segments, [replace(structure, label_pattern=_NO_LABEL) for structure in task.structures])
            ranked.append(((-_count(coded), -_count(found)), task.name, Claim(task, frozenset(found))))
    if not ranked:
        return None
    ranked.sort(key=lambda entry: entry[:2])
    first = ranked[0]
    return replace(first[2], tied=len(ranked) > 1 and ranked[1][0] == first[0])


def _count(mapping: dict[str, tuple[int, ...]]) -> int:
    return sum(len(segment_numbers) for segment_numbers in mapping.values())
