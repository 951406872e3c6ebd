"""Which part of the queue a page shows; all of it stands in the URL, which never holds anything of a patient."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import Depends, Query
from pydantic import BeforeValidator

from qcnode.case import Verdict
from qcnode.store.item_queries import Filters, Order
from qcnode.store.items import WAITING, Item, Stage, WorklistError
from qcnode.web.auth import Principal
from qcnode.web.context import WebContext

PAGE_SIZE = 50
Shown = Literal["todo", "mine", "decided", "all"]
SHOWN: dict[Shown, str] = {"todo": "To do", "mine": "Mine", "decided": "Decided", "all": "All"}
_STATES: dict[Shown, tuple[str, ...]] = {"todo": WAITING, "mine": ("CLAIMED", "HELD"), "decided": ("HELD", "DECIDED"), "all": ()}
ORDERS = {
    Order.WORST: "Worst first",
    Order.OLDEST: "Longest waiting first",
    Order.NEWEST: "Newest first",
    Order.TASK: "By task",
    Order.INSTITUTION: "By site",
    Order.SCANNER: "By scanner",
    Order.SEGMENTER: "By segmenter",
}


def _or_none(value: object) -> object:
    return value or None


Choice = Annotated[str | None, Query(max_length=200), BeforeValidator(_or_none)]


@dataclass(frozen=True, slots=True)
class QueueView:
    """Filters, order and page (from 1) of the queue."""

    state: Shown = "todo"
    verdict: Verdict | None = None
    task: str | None = None
    institution: str | None = None
    scanner: str | None = None
    segmenter: str | None = None
    stage: Stage | None = None
    order: Order = Order.WORST
    page: int = 1

    @property
    def query(self) -> str:
        """The view as the query string of a URL, without the page; "" for the queue as it opens."""
        default = QueueView()
        names = ("state", "verdict", "task", "institution", "scanner", "segmenter", "stage", "order")
        return urlencode({name: str(getattr(self, name)) for name in names if getattr(self, name) != getattr(default, name)})

    def but(self, **changes: object) -> QueueView:
        """The same view with other filters, from its first page on."""
        return replace(self, **{"page": 1} | changes)  # type: ignore[arg-type]

    def address(self, path: str = "/", *, told: int | None = None) -> str:
        """`path` with this view; `told`: the item whose decision the page shall tell of."""
        parts = [self.query] if self.query else []
        parts += [f"page={self.page}"] if self.page > 1 else []
        parts += [f"told={told}"] if told is not None else []
        return f"{path}?{'&'.join(parts)}" if parts else path

    @property
    def is_filtered(self) -> bool:
        """Whether anything but state and order narrows the queue."""
        return any((self.verdict, self.task, self.institution, self.scanner, self.segmenter, self.stage))

    def filters(self, reader: str, *, text: str = "", free_for: str | None = None) -> Filters:
        """What to ask the worklist for. `text`: words of patient name, ID or accession number, which never come from a URL."""
        return Filters(
            states=_STATES[self.state],
            verdict=self.verdict,
            task=self.task,
            institution=self.institution,
            scanner=self.scanner,
            segmenter=self.segmenter,
            stage=self.stage,
            reader=reader if self.state == "mine" else None,
            text=text,
            free_for=free_for,
        )


def queue_view(
    state: Shown = "todo",
    verdict: Annotated[Verdict | None, BeforeValidator(_or_none)] = None,
    task: Choice = None,
    institution: Choice = None,
    scanner: Choice = None,
    segmenter: Choice = None,
    stage: Annotated[Stage | None, BeforeValidator(_or_none)] = None,
    order: Order = Order.WORST,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
) -> QueueView:
    """Dependency: the view that the request's URL names."""
    return QueueView(state, verdict, task, institution, scanner, segmenter, stage, order, page)


View = Annotated[QueueView, Depends(queue_view)]
Told = Annotated[int | None, Query(ge=1, le=2**63 - 1)]


def told_item(context: WebContext, principal: Principal, told: int | None) -> Item | None:
    """The item that the reader has just decided and can still take back, for the bar that says so."""
    if told is None:
        return None
    try:
        item = context.review.show(told, context.now(), principal.name)
    except WorklistError:
        return None
    return item if item.state == "HELD" and item.reader == principal.name else None
