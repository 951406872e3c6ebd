"""The error tree. An error is named by what must happen next.

QCNodeError
├── Rejected              a person decides: the case ends with this coded reason
├── Retryable             comes back by itself: network, locks, a full disk
└── ConfigurationError    an administrator must change something; says what
"""

from __future__ import annotations

import traceback
from pathlib import Path

from qcnode.case import Reason, ReasonCode


class QCNodeError(Exception):
    """Base of every error that qcnode raises on purpose."""


class Rejected(QCNodeError):
    """The input can not be judged; `reason` says why, in code and in words (never patient data)."""

    def __init__(self, code: ReasonCode, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.reason = Reason(code, text)


class Retryable(QCNodeError):
    """Something outside failed for now; the job is tried again with back-off."""


class ConfigurationError(QCNodeError):
    """config.yaml, the environment or an installed weight is wrong; the text says what to do."""


def where(error: BaseException) -> str:
    """Type and innermost place of an error, without its text, which may hold what a peer sent."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


def in_words(error: BaseException) -> str:
    """The text of an error of ours, which holds nothing of a patient; `where` of any other one."""
    return str(error) if isinstance(error, QCNodeError) else where(error)
