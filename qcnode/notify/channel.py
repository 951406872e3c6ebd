"""What a channel must be able to do, whatever it speaks."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from qcnode.deliver.destination import Check
from qcnode.errors import QCNodeError
from qcnode.store.notices import Notice


class NoticeRefused(QCNodeError):
    """The receiver will not take this, however often it is told."""


class NoticeChannel(Protocol):
    """Somebody who is told. `batch`: how many notices are told at once at most."""

    name: str
    batch: int

    def send(self, notices: Sequence[Notice], now: datetime) -> None:
        """Tell of the notices, all or none. Raises Retryable (tell again later), NoticeRefused (do not) or ConfigurationError."""

    def check(self, *, now: datetime, tell: bool) -> list[Check]:
        """Try what telling needs; with `tell`, tell of a test. Never raises for what the receiver does."""


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Certificates are verified, by the system's authorities or those in `ca_file`. Raises OSError where that can not be read."""
    return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
