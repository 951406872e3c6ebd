"""What is asked of whoever judges, and how that can end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from qcnode.case import Case
from qcnode.errors import QCNodeError
from qcnode.outcome import Outcome
from qcnode.report.inputs import Predecessor


@dataclass(frozen=True, slots=True)
class Assignment:
    """A case to be judged into `directory`; created, predecessor, announce: see qcnode.pipeline.assess_case."""

    case: Case
    directory: Path
    created: datetime
    predecessor: Predecessor | None = None
    announce: bool = False


CaseJudge = Callable[[Assignment], Outcome]
"""Judges one case; afterwards its directory holds all result files."""


class JudgingFailed(QCNodeError):
    """A case could not be judged; the text says what became of the attempt, in words for people and without patient data."""


class JudgingStopped(QCNodeError):
    """The node ends: the case was not judged to its end, for no fault of its own."""
