"""The queue: what waits for a radiologist, worst first."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response

from qcnode.store.items import WorklistError
from qcnode.web.auth import OwnForm, Principal, SignedIn, Watching
from qcnode.web.context import Context, WebContext
from qcnode.web.events import event_stream
from qcnode.web.queue_view import ORDERS, PAGE_SIZE, SHOWN, QueueView, Told, View, told_item
from qcnode.web.templating import render

router = APIRouter(include_in_schema=False)
router.add_api_route("/events", event_stream)


@router.get("/")
def queue(request: Request, context: Context, principal: SignedIn, view: View, told: Told = None) -> Response:
    """One page of the queue."""
    return _page(request, context, principal, view, told=told)


@router.post("/")
def search(
    request: Request,
    context: Context,
    principal: OwnForm,
    view: View,
    text: Annotated[str, Form(max_length=200)] = "",
    page: Annotated[int, Form(ge=1, le=1_000_000)] = 1,
) -> Response:
    """The queue narrowed to a patient. The text travels in the body, so that it stays out of logs, histories and bookmarks."""
    return _page(request, context, principal, view.but(page=page), text=text.strip())


@router.get("/queue/rows")
def rows(
    request: Request,
    context: Context,
    principal: Watching,
    view: View,
    item_id: Annotated[tuple[int, ...], Query(max_length=PAGE_SIZE)] = (),
) -> Response:
    """Rows as they are now, for a page that has heard of a change."""
    items = []
    for number in item_id:
        try:
            items.append(context.review.show(number, context.now(), principal.name))
        except WorklistError:
            continue
    return render(request, "queue_rows.html", None, items=items, view=view, thresholds=context.thresholds)


def _page(
    request: Request, context: WebContext, principal: Principal, view: QueueView, *, text: str = "", told: int | None = None
) -> Response:
    last_event = context.audit.last_id()  # before the items are read: a change in between is told twice rather than never
    filters, start = view.filters(principal.name, text=text), (view.page - 1) * PAGE_SIZE
    found = context.review.page(filters, view.order, start, PAGE_SIZE, context.now(), principal.name)
    return render(
        request,
        "queue.html",
        principal,
        items=found.items,
        total=found.total,
        first=start + 1,
        is_last=view.page * PAGE_SIZE >= found.total,
        view=view,
        text=text,
        facets=context.review.facets(),
        thresholds=context.thresholds,
        last_event=last_event,
        shown=SHOWN,
        orders=ORDERS,
        told=told_item(context, principal, told),
    )
