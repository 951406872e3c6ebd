"""Telling one channel what waits for it. Each channel has a loop of its own, so that one that is away holds up no other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from qcnode.config import Retry
from qcnode.config.notifications import Channel, Webhook
from qcnode.errors import QCNodeError
from qcnode.notify.channel import NoticeChannel, NoticeRefused
from qcnode.notify.email import EmailChannel
from qcnode.notify.webhook import WebhookChannel
from qcnode.store.notices import Notice, Notices

log = logging.getLogger(__name__)

LEASE = timedelta(minutes=5)


def open_channel(settings: Channel) -> NoticeChannel:
    """The channel that `settings` describes; nothing is connected yet."""
    return WebhookChannel(settings) if isinstance(settings, Webhook) else EmailChannel(settings)


@dataclass(frozen=True, slots=True)
class NotifyStep:
    """Tells one channel of what is due, in one message."""

    notices: Notices
    channel: NoticeChannel
    retry: Retry
    owner: str
    now: Callable[[], datetime]

    def __call__(self) -> bool:
        """One message; False where nothing is due."""
        due = self.notices.claim(self.channel.name, self.owner, self.now(), LEASE, self.channel.batch)
        if not due:
            return False
        try:
            self.channel.send(due, self.now())
        except NoticeRefused as error:
            log.error("%s refuses %d notices: %s", self.channel.name, len(due), error)
            self.notices.dead(due, str(error))
        except QCNodeError as error:
            self._try_later(due, str(error))
        else:
            self.notices.sent(due, self.now())
            log.info("%s: told of %d notices", self.channel.name, len(due))
        return True

    def _try_later(self, due: Sequence[Notice], error: str) -> None:
        """Those that have waited too long are given up; the others stay together."""
        now = self.now()
        old = [notice for notice in due if self.retry.wait(notice.attempts, now - notice.created_at) is None]
        young = [notice for notice in due if notice not in old]
        if old:
            log.error("%s: gave up %d notices: %s", self.channel.name, len(old), error)
            self.notices.dead(old, error)
        if young:
            wait = self.retry.wait(max(notice.attempts for notice in young), timedelta(0)) or timedelta(0)
            log.warning("%s: again in %.0f s: %s", self.channel.name, wait.total_seconds(), error)
            self.notices.retry(young, next_attempt_at=now + wait, error=error)
