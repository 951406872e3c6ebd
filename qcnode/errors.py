"""The error tree. An error is named by what must happen next.

QCNodeError
├── Rejected              a person decides: the case ends with this coded reason
├── Retryable             comes back by itself: network, locks, a full disk
└── ConfigurationError    an administrator must change something; says what
"""

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
