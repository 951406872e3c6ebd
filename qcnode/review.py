"""What can be done with the worklist: the one service behind the command line, the pages and the API.

Readers see a blind item without its prediction until their decision is final, and an item that two read without what the other one says;
everything that this service returns is made so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from qcnode.config import ReviewSettings
from qcnode.drift import Drift
from qcnode.regions import ErrorRegion, read_regions
from qcnode.store.audit import AuditEntry, item_subject
from qcnode.store.final_decisions import DecisionFilters, FinalDecision
from qcnode.store.worklist import Facets, Filters, Item, Judgement, Order, Overview, Reading, Stage, Worklist, WorklistError

_TELLING = frozenset({"verdict"})
"""Details of audit entries that tell what was predicted,"""
_SAID = frozenset({"decision", "reasons", "comment", "rating", "regions"})
"""and those that tell what a reader said."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the items, and how many there are in all."""

    items: tuple[Item, ...]
    total: int


def as_shown(item: Item, reader: str | None = None) -> Item:
    """The item as a reader may see it: without verdict, predicted numbers, intervals, reasons and preview while they are hidden.

    Of two readers, each sees a decision of its own only, as long as they judge independently. `viewer_path` stays, for the reader needs the
    pictures: whoever serves it leaves out the predicted errors of an item that `is_hidden`.
    """
    if item.is_independent and item.reader != reader:
        item = replace(item, decision=None, decision_reasons=(), comment=None, rating=None, marks={}, decided_at=None)
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
        sampling_probability=None,
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

    def page(self, filters: Filters, order: Order, offset: int, limit: int, now: datetime, reader: str | None = None) -> Page:
        """At most `limit` items from `offset` on, as `reader` may see them."""
        items, total = self._worklist.page(filters, order, offset, limit, now)
        return Page(tuple(as_shown(item, reader) for item in items), total)

    def show(self, item_id: int, now: datetime, reader: str | None = None) -> Item:
        """One item, as `reader` may see it. Raises WorklistError "gone"."""
        return as_shown(self._worklist.show(item_id, now), reader)

    def regions(self, item_id: int, now: datetime) -> tuple[ErrorRegion, ...]:
        """The regions of predicted errors that can be marked, the largest first; none while they are hidden."""
        item = self._worklist.show(item_id, now)
        return () if item.is_hidden else read_regions(item.viewer_path)

    def readings(self, item_id: int, now: datetime) -> list[Reading]:
        """The final readings so far, oldest first; none while another reader must not know them."""
        return [] if self._worklist.show(item_id, now).is_independent else self._worklist.readings(item_id)

    def may_read(self, item_id: int, reader: str, now: datetime) -> bool:
        """Whether `reader` can judge the item as far as earlier readings go: a second and a third one are somebody else's."""
        item = self._worklist.show(item_id, now)
        return item.stage not in (Stage.SECOND, Stage.ADJUDICATION) or not self._worklist.has_read(item_id, reader)

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
        entries, item = self._worklist.history(item_id), self._worklist.show(item_id, now)
        left_out = (_TELLING if item.is_hidden else frozenset()) | (_SAID if item.is_independent else frozenset())
        return [_without(entry, left_out) for entry in entries]

    def without_secrets(self, entries: list[AuditEntry]) -> list[AuditEntry]:
        """Entries about any items, without what one of two readers said as long as the other one must not know it."""
        subjects = {item_subject(number) for number in self._worklist.read_by_one()}
        return [_without(entry, _SAID) if entry.subject in subjects else entry for entry in entries]

    def viewed(self, item_id: int, reader: str, now: datetime) -> None:
        """Keep in the audit that `reader` opened the case."""
        self._worklist.viewed(item_id, reader, now)

    def claim(self, item_id: int, reader: str, now: datetime) -> Item:
        """`reader` takes the item for a lease; claiming one's own item again renews it."""
        return as_shown(self._worklist.claim(item_id, reader, now, now + self._lease), reader)

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

        Raises WorklistError "bad-judgement" for a reason that is not configured, or a mark of a region that the reader can not see.
        """
        unknown = [reason for reason in judgement.reasons if reason not in self.settings.reasons]
        if unknown:
            raise WorklistError(f"unknown reason {unknown[0]!r}; review.reasons has: {', '.join(self.settings.reasons)}", "bad-judgement")
        if judgement.marks:
            strange = set(judgement.marks) - {region.number for region in self.regions(item_id, now)}
            if strange:
                raise WorklistError(f"item {item_id} has no error region {min(strange)}", "bad-judgement")
        return as_shown(self._worklist.hold(item_id, reader, judgement, now, now + self._hold), reader)

    def undo(self, item_id: int, reader: str, now: datetime) -> Item:
        """`reader` takes a held decision back and has the item claimed again."""
        return as_shown(self._worklist.undo(item_id, reader, now, now + self._lease), reader)

    def reopen(self, item_id: int, reader: str, because: str, now: datetime, *, of_anybody: bool) -> Item:
        """`reader` begins to revise a final decision of its own, or with `of_anybody` another reader's, and says why.

        The decision stands until the new one is final, and when the item is given back or its lease runs out.
        """
        because = because.strip()
        if not because:
            raise WorklistError("say why the decision is to be revised", "bad-judgement")
        return as_shown(self._worklist.reopen(item_id, reader, because, now, now + self._lease, of_anybody=of_anybody), reader)

    def finalise_due(self, now: datetime) -> list[Item]:
        """Make held decisions final whose time is over, and claims open whose lease ran out.

        Returns the items that are decided and not yet `passed_on`: the newly decided ones, and those that a crash left.
        """
        return self._worklist.finalise_due(now)

    def final_decisions(self, filters: DecisionFilters, by: str, now: datetime, *, identifiable: bool, images: bool) -> list[FinalDecision]:
        """Of each query the last final decision, for `by` to take out; nothing in them is hidden. The audit says what leaves with them."""
        return self._worklist.final_decisions(filters, by, now, {"identifiable": identifiable, "images": images})

    def passed_on(self, item_id: int, now: datetime) -> None:
        """What follows from the decision (a report to the PACS) is queued: `finalise_due` returns the item no more."""
        self._worklist.passed_on(item_id, now)


def _without(entry: AuditEntry, names: frozenset[str]) -> AuditEntry:
    return replace(entry, details={name: value for name, value in entry.details.items() if name not in names}) if names else entry
