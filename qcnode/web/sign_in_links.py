"""Links that sign somebody in once: for a program on this machine that opens the worklist in the browser of who started it."""

from __future__ import annotations

import secrets
import threading
from datetime import datetime, timedelta
from hashlib import sha256


class SignInLinks:
    """Tokens of such links, kept in memory as SHA-256; safe for several threads. A token works once, and only for `lasting`."""

    def __init__(self, lasting: timedelta = timedelta(minutes=2)) -> None:
        self._lasting = lasting
        self._issued: dict[str, tuple[str, datetime]] = {}
        self._lock = threading.Lock()

    def issue(self, account: str, now: datetime) -> str:
        """A token for an account. Whoever has it can sign in as this account: it must not be logged or kept."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._issued = {digest: issued for digest, issued in self._issued.items() if now < issued[1]}
            self._issued[_digest(token)] = (account, now + self._lasting)
        return token

    def take(self, token: str, now: datetime) -> str | None:
        """The account that the token is for; it is spent. None for a token that was used, is too old or was never issued."""
        with self._lock:
            account, until = self._issued.pop(_digest(token), (None, now))
        return account if now < until else None


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()
