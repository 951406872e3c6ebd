"""Telling people by e-mail: counts and links, several events in one mail. Nothing of a patient is in it."""

from __future__ import annotations

import smtplib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from hashlib import sha256
from typing import Any

from qcnode.config.notifications import Email
from qcnode.deliver.destination import Check
from qcnode.errors import QCNodeError, Retryable
from qcnode.notify.channel import tls_context
from qcnode.store.notices import EventKind, Notice

_LINKS = 20
"""So many cases are named in one mail; the worklist has the others."""
_HEADINGS = {
    EventKind.FLAGGED: "Cases that need a look",
    EventKind.DECIDED: "Final decisions",
    EventKind.GIVEN_UP: "Deliveries given up",
    EventKind.OLDEST_OPEN: "Cases that have waited long",
    EventKind.OLDEST_DELIVERY: "Deliveries that have waited long",
    EventKind.DRIFT: "Drift of the predictions",
}


class EmailChannel:
    """A configured mail server with its recipients."""

    batch = 1000

    def __init__(self, settings: Email) -> None:
        self.name = settings.name
        self._settings = settings

    def send(self, notices: Sequence[Notice], now: datetime) -> None:
        """One mail about all of them. Raises Retryable or ConfigurationError."""
        keys = sha256("\n".join(notice.idempotency_key for notice in notices).encode()).hexdigest()[:32]
        told = [(EventKind(notice.event), notice.facts["data"]) for notice in notices]
        self._mail(keys, f"qcnode: {_number(len(told), 'notice')}", body_of(told), now)

    def check(self, *, now: datetime, tell: bool) -> list[Check]:
        """The server takes connection and password; with `tell`, a test mail."""
        try:
            if tell:
                self._mail(f"test-{int(now.timestamp())}", "qcnode: test", "This is a test of qcnode's notifications.\n", now)
            else:
                with self._session():
                    pass
        except QCNodeError as error:
            return [Check(self.name, False, str(error), "correct notifications.channels in config.yaml, or the mail server")]
        return [Check(self.name, True, f"e-mail: {'took a test' if tell else 'the server answers; --notify sends a test'}", "")]

    def _mail(self, identifier: str, subject: str, body: str, now: datetime) -> None:
        mail = EmailMessage()
        mail["Subject"], mail["From"], mail["To"] = subject, self._settings.sender, ", ".join(self._settings.recipients)
        mail["Date"] = format_datetime(now)
        mail["Message-ID"] = f"<{identifier}@{self._settings.sender.split('@')[1]}>"  # a repetition is known as one
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answering machine answers
        mail.set_content(body)
        with self._session() as session:
            session.send_message(mail)

    @contextmanager
    def _session(self) -> Iterator[smtplib.SMTP]:
        """A connection, signed in. What the server answers is not repeated in errors: it may hold addresses."""
        settings = self._settings
        password = settings.password()
        try:
            with self._connected() as session:
                if settings.username is not None:
                    session.login(settings.username, password or "")
                yield session
        except (OSError, smtplib.SMTPException) as error:
            code = getattr(error, "smtp_code", None)
            raise Retryable(f"{self.name}: {type(error).__name__}{f' {code}' if code else ''}") from error

    def _connected(self) -> smtplib.SMTP:
        settings = self._settings
        tls = tls_context(settings.ca_file)
        if settings.security == "tls":
            return smtplib.SMTP_SSL(settings.host, settings.port, timeout=settings.timeout_seconds, context=tls)
        session = smtplib.SMTP(settings.host, settings.port, timeout=settings.timeout_seconds)
        if settings.security == "starttls":
            try:
                session.starttls(context=tls)
            except (OSError, smtplib.SMTPException):
                session.close()
                raise
        return session


def body_of(told: Sequence[tuple[EventKind, dict[str, Any]]]) -> str:
    """The text of a mail: for each kind of event how many, then a line each."""
    parts = []
    for kind, heading in _HEADINGS.items():
        events = [facts for found, facts in told if found is kind]
        if events:
            rest = [f"  ... and {len(events) - _LINKS} more"] if len(events) > _LINKS else []
            parts.append("\n".join([f"{heading}: {_counts(events)}", *(f"  {_line(facts)}" for facts in events[:_LINKS]), *rest]))
    return "\n\n".join(parts) + "\n\nNot for diagnosis. Sent by qcnode.\n"


def _counts(events: Sequence[dict[str, Any]]) -> str:
    verdicts = Counter(facts["verdict"] for facts in events if "verdict" in facts)
    return f"{len(events)}{''.join(f', {number} {verdict}' for verdict, number in verdicts.most_common())}"


def _line(facts: dict[str, Any]) -> str:
    """One event: what it is about, and where to look."""
    if "sentence" in facts:
        return str(facts["sentence"])
    named = [str(facts[name]) for name in ("decision", "verdict", "task", "destination", "kind") if facts.get(name)]
    named += [f"has waited {facts['hours']:.0f} hours"] if "hours" in facts else []
    where = facts.get("link") or (f"case {facts['item_id']}" if "item_id" in facts else "")
    return " ".join(part for part in (", ".join(named), where) if part)


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
