"""What nobody does and yet happens: the oldest case waits too long, predictions drift. Looked for now and then."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from qcnode.config.notifications import Notifications
from qcnode.notify.rules import Rules
from qcnode.review import Review
from qcnode.store.notices import Event, EventKind, NewNotice, Notices
from qcnode.store.outbox import Outbox


@dataclass(frozen=True, slots=True)
class Watch:
    """Looks, and queues what is to be told. What was told already is not told again: the notice's key says so."""

    review: Review
    notices: Notices
    settings: Notifications
    now: Callable[[], datetime]

    def look_at_oldest(self) -> None:
        """Each rule about the oldest open case has its own number of hours."""
        rules = [rule for rule in self.settings.rules if rule.when == "oldest-open"]
        if not rules:
            return
        now, found = self.now(), self.review.overview(self.now(), days=1)
        if found.oldest_open is None:
            return
        hours = (now - found.oldest_open).total_seconds() / 3600
        facts = {"item_id": found.oldest_item_id, "hours": round(hours, 1), "waiting": found.backlog}
        event = Event(EventKind.OLDEST_OPEN, now.astimezone(UTC).date().isoformat(), now, facts)  # once a day
        late = tuple(rule for rule in rules if hours > rule.hours)
        self.notices.add(Rules(self.settings.model_copy(update={"rules": late}))(event), now)

    def look_at_deliveries(self, outbox: Outbox, taken_is_enough: Collection[str]) -> None:
        """Each rule about the oldest open delivery has its own number of hours; each destination is told of once a day."""
        rules = [rule for rule in self.settings.rules if rule.when == "oldest-delivery"]
        if not rules:
            return
        now = self.now()
        for destination, waiting in outbox.open_deliveries(taken_is_enough).items():
            hours = (now - waiting.oldest).total_seconds() / 3600
            late = tuple(rule for rule in rules if hours > rule.hours)
            facts = {"destination": destination, "hours": round(hours, 1), "waiting": waiting.number}
            subject = f"{destination}/{now.astimezone(UTC).date().isoformat()}"
            event = Event(EventKind.OLDEST_DELIVERY, subject, now, facts)
            self.notices.add(Rules(self.settings.model_copy(update={"rules": late}))(event), now)

    def look_for_drift(self) -> None:
        """Every finding is an event of its own."""
        if any(rule.when == "drift" for rule in self.settings.rules):
            self.notices.add(self._drifted(self.now()), self.now())

    def _drifted(self, now: datetime) -> Iterator[NewNotice]:
        drift = self.review.drift(now)
        for group, comparison, sentence in drift.sentences():
            rose = comparison.after > comparison.before
            facts: dict[str, object] = {
                "by": group.by,
                "group": group.name,
                "task": group.task,
                "measure": comparison.measure,
                "since": drift.since.isoformat(),
            }
            facts |= {"before": comparison.before, "after": comparison.after, "q": comparison.q, "sentence": sentence}
            # the window moves on each week, the finding stays the same: it is told once a quarter
            quarter = f"{drift.since.year}-{(drift.since.month - 1) // 3}"
            subject = "/".join((group.task, group.by, group.name, comparison.measure, "rose" if rose else "fell", quarter))
            yield from Rules(self.settings)(Event(EventKind.DRIFT, subject, now, facts))
