"""Telling a server by HTTP POST, signed as Standard Webhooks 1.0.0 says (github.com/standard-webhooks, "symmetric" signatures).

The signature covers identifier, time and body, so that a receiver can refuse what was changed or is old, and can tell a repetition by
its identifier. Redirects are not followed: what is signed for one address goes to no other.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from qcnode.config.notifications import Webhook
from qcnode.deliver.destination import Check
from qcnode.errors import QCNodeError, Retryable
from qcnode.notify.channel import NoticeRefused, tls_context
from qcnode.store.notices import EventKind, Notice

_REFUSED = frozenset({400, 410, 413, 415, 422})
"""What the receiver says of the message itself. Everything else may be mended at the receiver, and is tried again."""


def signature(key: bytes, identifier: str, timestamp: int, body: bytes) -> str:
    """The value of the header webhook-signature. timestamp: seconds since 1970."""
    signed = b".".join((identifier.encode(), str(timestamp).encode(), body))
    return f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"


class WebhookChannel:
    """A configured webhook."""

    batch = 1

    def __init__(self, settings: Webhook) -> None:
        self.name = settings.name
        self._settings = settings

    def send(self, notices: Sequence[Notice], now: datetime) -> None:
        """POST each notice (there is one, as `batch` says). Raises Retryable, NoticeRefused or ConfigurationError."""
        for notice in notices:
            self._post(notice.idempotency_key, notice.content.encode(), now)

    def check(self, *, now: datetime, tell: bool) -> list[Check]:
        """The secret is there; with `tell`, the receiver takes a test."""
        try:
            self._settings.secret()
            if tell:
                moment = now.isoformat(timespec="seconds")
                content = {"type": EventKind.TEST.value, "timestamp": moment, "data": {}}
                self._post(f"test-{int(now.timestamp())}", json.dumps(content).encode(), now)
        except QCNodeError as error:
            return [Check(self.name, False, str(error), "correct notifications.channels in config.yaml, or the receiver")]
        done = "took a test" if tell else "the secret is there; --notify sends a test"
        return [Check(self.name, True, f"webhook: {done}", "")]

    def _post(self, identifier: str, body: bytes, now: datetime) -> None:
        key, timestamp = self._settings.secret(), int(now.timestamp())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "qcnode",
            "Idempotency-Key": identifier,
            "webhook-id": identifier,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(key, identifier, timestamp, body),
        }
        parts = urlsplit(self._settings.url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection = None
        try:
            connection = self._connection()
            connection.request("POST", target, body, headers)
            status = connection.getresponse().status
        except (OSError, HTTPException) as error:
            raise Retryable(f"{self.name}: {type(error).__name__}") from error
        finally:
            if connection is not None:
                connection.close()
        if status in _REFUSED:
            raise NoticeRefused(f"{self.name}: HTTP status {status}")
        if not 200 <= status < 300:
            raise Retryable(f"{self.name}: HTTP status {status}")

    def _connection(self) -> HTTPConnection:
        parts, timeout = urlsplit(self._settings.url), self._settings.timeout_seconds
        host = parts.hostname or ""
        if parts.scheme == "https":
            return HTTPSConnection(host, parts.port, timeout=timeout, context=tls_context(self._settings.ca_file))
        return HTTPConnection(host, parts.port, timeout=timeout)
