"""What can be done with the worklist: the one service behind the command line, the pages and the API.

Readers see a blind item without its prediction until their decision is final; everything that this service returns is made so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from qcnode.config import ReviewSettings
from qcnode.drift import Drift
from qcnode.store.audit import AuditEntry
from qcnode.store.worklist import Facets, Filters, Item, Judgement, Order, Overview, Worklist, WorklistError

_TELLING = ("verdict",)
"""Details of audit entries that tell what was predicted."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the items, and how many there are in all."""

    items: tuple[Item, ...]
    total: int


def as_shown(item: Item) -> Item:
    """The item as a reader may see it: without verdict, predicted numbers, intervals, reasons and preview while they are hidden.

    `viewer_path` stays, for the reader needs the pictures: whoever serves it leaves out the predicted errors of an item that `is_hidden`.
    """
    if not item.is_hidden:
        return item
    return replace(
        item,
        verdict=None,
        predicted_dsc=None,
        predicted_nsd=None,
        dsc_low=None,
        dsc_high=None,
        nsd_low=None,
        nsd_high=None,
        interval_level=None,
        reasons=(),
        preview_path=None,
    )


class Review:
    """Reading, claiming and deciding. Every change is audited in its transaction. Raises WorklistError, whose `code` says what is wrong.

    Who may do what (roles) is the caller's concern; whose item it is, is checked here.
    """

    def __init__(self, worklist: Worklist, settings: ReviewSettings) -> None:
        self.settings = settings
        self._worklist = worklist
        self._lease = timedelta(minutes=settings.lease_minutes)
        self._hold = timedelta(minutes=settings.hold_minutes)

    def page(self, filters: Filters, order: Order, offset: int, limit: int, now: datetime) -> Page:
        """At most `limit` items from `offset` on."""
        items, total = self._worklist.page(filters, order, offset, limit, now)
        return Page(tuple(as_shown(item) for item in items), total)

    def show(self, item_id: int, now: datetime) -> Item:
        """One item. Raises WorklistError "gone"."""
        return as_shown(self._worklist.show(item_id, now))

    def neighbours(self, item_id: int, filters: Filters, order: Order, now: datetime) -> tuple[int | None, int | None]:
        """Numbers of the items before and after this one, which itself need not be among the chosen ones."""
        return self._worklist.neighbours(item_id, filters, order, now)

    def facets(self) -> Facets:
        """The values that there are to filter by."""
        return self._worklist.facets()

    def overview(self, now: datetime, days: int) -> Overview:
        """Figures of the last `days` days, today included (UTC)."""
        return self._worklist.overview(now, days)

    def drift(self, now: datetime) -> Drift:
        """Whether the predictions of a scanner or a segmenter have shifted, more than chance shifts them."""
        return self._worklist.drift(now)

    def history(self, item_id: int, now: datetime) -> list[AuditEntry]:
        """Everything that was done with the item, oldest first; without what is hidden."""
        entries = self._worklist.history(item_id)
        if not self._worklist.show(item_id, now).is_hidden:
            return entries
        return [replace(e, details={name: value for name, value in e.details.items() if name not in _TELLING}) for e in entries]

    def viewed(self, item_id: int, reader: str, now: datetime) -> None:
        """Keep in the audit that `reader` opened the case."""
        self._worklist.viewed(item_id, reader, now)

    def claim(self, item_id: int, reader: str, now: datetime) -> Item:
        """`reader` takes the item for a lease; claiming one's own item again renews it."""
        return as_shown(self._worklist.claim(item_id, reader, now, now + self._lease))

    def renew(self, item_id: int, reader: str, now: datetime) -> Item:
        """`reader` is still at it: the lease begins anew."""
        return as_shown(self._worklist.renew(item_id, reader, now, now + self._lease))

    def release(self, item_id: int, reader: str, now: datetime) -> Item:
        """`reader` gives the item back undecided."""
        return as_shown(self._worklist.release(item_id, reader, now))

    def reassign(self, item_id: int, by: str, to: str, now: datetime) -> Item:
        """`by` gives an item that is open, or claimed by anybody, to the reader `to`, whose lease begins."""
        return as_shown(self._worklist.reassign(item_id, by, to, now, now + self._lease))

    def decide(self, item_id: int, reader: str, judgement: Judgement, now: datetime) -> Item:
        """`reader`, who has claimed the item, judges the query segmentation; the decision is held, then made final by `finalise_due`.

        Raises WorklistError "bad-judgement" for a reason that is not configured.
        """
        unknown = [reason for reason in judgement.reasons if reason not in self.settings.reasons]
        if unknown:
            raise WorklistError(f"unknown reason {unknown[0]!r}; review.reasons has: {', '.join(self.settings.reasons)}", "bad-judgement")
        return as_shown(self._worklist.hold(item_id, reader, judgement, now, now + self._hold))

    def undo(self, item_id: int, reader: str, now: datetime) -> Item:
        """`reader` takes a held decision back and has the item claimed again."""
        return as_shown(self._worklist.undo(item_id, reader, now, now + self._lease))

    def finalise_due(self, now: datetime) -> list[Item]:
        """Make held decisions final whose time is over, and claims open whose lease ran out.

        Returns the items that are decided and not yet `passed_on`: the newly decided ones, and those that a crash left.
        """
        return self._worklist.finalise_due(now)

    def passed_on(self, item_id: int, now: datetime) -> None:
        """What follows from the decision (a report to the PACS) is queued: `finalise_due` returns the item no more."""
        self._worklist.passed_on(item_id, now)
