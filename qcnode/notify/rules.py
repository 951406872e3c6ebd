"""Which channels are told of an event, what, and when. Pure: it is called inside of the event's transaction."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from qcnode.config.notifications import Channel, Email, Notifications, Rule, Webhook
from qcnode.store.notices import Event, NewNotice

_FILTERS = {"verdicts": "verdict", "tasks": "task", "institutions": "institution", "scanners": "scanner", "segmenters": "segmenter"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Rules:
    """The configured rules, as `qcnode.store.notices.Announce`."""

    settings: Notifications

    def __call__(self, event: Event) -> Iterator[NewNotice]:
        """A notice for each channel that a rule names, however many rules do."""
        wanted = {name for rule in self.settings.rules if lets_through(rule, event) for name in rule.channels}
        for channel in self.settings.channels:
            if channel.name in wanted:
                yield notice_for(channel, event, self.settings.worklist_url)


def lets_through(rule: Rule, event: Event) -> bool:
    """Whether the rule is about such events, and no filter of it keeps this one back."""
    if rule.when != event.kind:
        return False
    wanted = {name: getattr(rule, key) for key, name in _FILTERS.items()}
    return all(not values or event.filters.get(name) in values for name, values in wanted.items())


def notice_for(channel: Channel, event: Event, worklist_url: str | None) -> NewNotice:
    """The event as this channel is told of it."""
    facts = dict(event.facts)
    if isinstance(channel, Webhook) and channel.study_instance_uid and event.study_instance_uid is not None:
        facts["study_instance_uid"] = event.study_instance_uid
    if worklist_url is not None and "item_id" in facts:
        facts["link"] = f"{worklist_url.rstrip('/')}/cases/{facts['item_id']}"
    content = {"type": event.kind.value, "timestamp": event.at.astimezone(UTC).isoformat(timespec="seconds"), "data": facts}
    key = sha256(f"{channel.name}\n{event.kind}\n{event.subject}".encode()).hexdigest()[:32]
    return NewNotice(channel.name, key, event.kind, json.dumps(content, sort_keys=True), _due(channel, event.at))


def _due(channel: Channel, at: datetime) -> datetime:
    """At once, or at the end of the digest's period: what happens within one goes into one mail."""
    if not isinstance(channel, Email) or not channel.digest_minutes:
        return at
    period = timedelta(minutes=channel.digest_minutes)
    return at - (at - _EPOCH) % period + period
