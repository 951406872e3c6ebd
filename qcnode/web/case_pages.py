"""One case: the patient, what was predicted, the pictures, and the decision."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Path, Request, Response
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException

from qcnode.regions import DESCRIPTION_NAME, Mark
from qcnode.store.accounts import Role
from qcnode.store.items import Decision, Item, Judgement, WorklistError
from qcnode.web.auth import OwnForm, Principal, SignedIn, Watching, account_of, with_role
from qcnode.web.context import Context, WebContext
from qcnode.web.pictures import outcome_of, tissue_rows, viewer_description, viewer_file
from qcnode.web.queue_view import QueueView, Told, View, told_item
from qcnode.web.templating import render
from qcnode.web.thumbnails import thumbnail_of

router = APIRouter(prefix="/cases/{item_id}", include_in_schema=False)

ItemId = Annotated[int, Path(ge=1, le=2**63 - 1)]


@router.get("")
def case_page(request: Request, context: Context, principal: SignedIn, view: View, item_id: ItemId, told: Told = None) -> Response:
    """The page of a case. Opening it is audited."""
    now = context.now()
    last_event = context.audit.last_id()
    item = context.review.show(item_id, now, principal.name)
    open_case(context, principal, item_id, anew=True)
    outcome = outcome_of(item)
    before, after = context.review.neighbours(item_id, view.filters(principal.name), view.order, now)
    return render(
        request,
        "case.html",
        principal,
        item=item,
        tissues=tissue_rows(item, outcome),
        tolerance_mm=outcome.predicted.tolerance_mm if outcome and outcome.predicted else None,
        threshold=context.thresholds.get(item.task),
        view=view,
        before=before,
        after=after,
        last_event=last_event,
        told=told_item(context, principal, told),
        **_panel_values(context, principal, item),
    )


@router.get("/panel")
def decision_panel(request: Request, context: Context, principal: Watching, view: View, item_id: ItemId) -> Response:
    """The decision panel as it is now, for a page that has heard of a change."""
    item = context.review.show(item_id, context.now(), principal.name)
    return render(request, "case_panel.html", principal, item=item, view=view, **_panel_values(context, principal, item))


async def marks_in_form(request: Request) -> dict[int, Mark]:
    """Dependency: what a form says of error regions, in fields named "region-1", "region-2" ... Raises WorklistError "bad-judgement"."""
    said = {name.removeprefix("region-"): value for name, value in (await request.form()).items() if name.startswith("region-")}
    try:
        return {int(number): Mark(str(mark)) for number, mark in said.items() if mark}
    except ValueError as error:
        raise WorklistError("a mark of an error region can not be read", "bad-judgement") from error


@router.post("/decide")
def decide(
    context: Context,
    principal: OwnForm,
    view: View,
    item_id: ItemId,
    marks: Annotated[dict[int, Mark], Depends(marks_in_form)],
    decision: Annotated[Decision, Form()],
    reason: Annotated[tuple[str, ...], Form(max_length=50)] = (),
    comment: Annotated[str, Form(max_length=4000)] = "",
    rating: Annotated[str, Form(pattern="^[1-6]?$")] = "",
) -> Response:
    """Judge the query segmentation, then go on to the next case that nobody else reads."""
    now = context.now()
    _, following = context.review.neighbours(item_id, view.filters(principal.name, free_for=principal.name), view.order, now)
    judgement = Judgement(decision, reason, comment.strip(), int(rating) if rating else None, marks)
    decide_item(context, principal, item_id, judgement)
    return RedirectResponse(view.but().address("/" if following is None else f"/cases/{following}", told=item_id), 303)


@router.post("/undo")
def undo(context: Context, principal: OwnForm, view: View, item_id: ItemId) -> Response:
    """Take the decision back, and read the case again."""
    context.review.undo(item_id, principal.name, context.now())
    return _back(view, item_id)


@router.post("/reopen")
def reopen(
    context: Context, principal: OwnForm, view: View, item_id: ItemId, because: Annotated[str, Form(max_length=1000)] = ""
) -> Response:
    """Revise a final decision."""
    reopen_item(context, principal, item_id, because)
    return _back(view, item_id)


@router.post("/claim")
def claim(context: Context, principal: OwnForm, view: View, item_id: ItemId) -> Response:
    """Take the case."""
    context.review.claim(item_id, principal.name, context.now())
    return _back(view, item_id)


@router.post("/release")
def release(context: Context, principal: OwnForm, view: View, item_id: ItemId) -> Response:
    """Give the case back, and go to the queue."""
    context.review.release(item_id, principal.name, context.now())
    return RedirectResponse(view.but().address(), 303)


@router.post("/reassign", dependencies=[Depends(with_role(Role.SUPERVISOR))])
def reassign(context: Context, principal: OwnForm, view: View, item_id: ItemId, to: Annotated[str, Form(max_length=200)]) -> Response:
    """Give the case to another reader."""
    reassign_item(context, principal, item_id, to)
    return _back(view, item_id)


@router.get("/thumbnail")
def thumbnail(context: Context, _: Watching, item_id: ItemId) -> Response:
    """The small picture. A case's results are never made again, so the browser may keep it under the address that the queue gives it."""
    try:
        path = thumbnail_of(context.review.show(item_id, context.now()), context.thumbnails)
    except OSError:
        path = None
    if path is None:
        raise HTTPException(404)
    return FileResponse(path, media_type="image/png", headers={"Cache-Control": "private, max-age=604800, immutable"})


@router.get("/viewer/{name}")
def pictures(context: Context, principal: Watching, item_id: ItemId, name: str) -> Response:
    """A file of the viewer; byte ranges are served, as a slice is one."""
    item = context.review.show(item_id, context.now())
    open_case(context, principal, item_id, anew=False)
    if name == DESCRIPTION_NAME and (description := viewer_description(item)) is not None:
        return JSONResponse(description)
    path = viewer_file(item, name)
    if path is None:
        raise HTTPException(404)
    return FileResponse(path, media_type="application/octet-stream", headers={"Cache-Control": "no-store"})


def open_case(context: WebContext, principal: Principal, item_id: int, *, anew: bool) -> None:
    """Audit that the case is looked at: at each opening of its page, and else where it was not opened before."""
    now = context.now()
    if anew or not context.openings.is_open(principal.name, item_id, now):
        context.review.viewed(item_id, principal.name, now)
        context.openings.open(principal.name, item_id, now)


def decide_item(context: WebContext, principal: Principal, item_id: int, judgement: Judgement) -> Item:
    """Decide; an item that nobody holds is claimed on the way."""
    now = context.now()
    if context.review.show(item_id, now).state == "OPEN":
        context.review.claim(item_id, principal.name, now)
    return context.review.decide(item_id, principal.name, judgement, now)


def reopen_item(context: WebContext, principal: Principal, item_id: int, because: str) -> Item:
    """Begin to revise a final decision: a reader's own one, for supervisors any."""
    return context.review.reopen(item_id, principal.name, because, context.now(), of_anybody=principal.may(Role.SUPERVISOR))


def reassign_item(context: WebContext, principal: Principal, item_id: int, to: str) -> Item:
    """Give the item to an account that can sign in. Raises WorklistError for a name that has none."""
    account = account_of(context, to)
    if account is None:
        raise WorklistError("there is no reader of this name", "bad-judgement")
    return context.review.reassign(item_id, principal.name, account.name, context.now())


def _panel_values(context: WebContext, principal: Principal, item: Item) -> dict[str, Any]:
    is_supervisor, now = principal.may(Role.SUPERVISOR), context.now()
    return {
        "reasons": context.review.settings.reasons,
        "regions": context.review.regions(item.item_id, now),
        "readings": context.review.readings(item.item_id, now),
        "may_read": context.review.may_read(item.item_id, principal.name, now),
        "may_reopen": item.state == "DECIDED" and item.purged_at is None and (is_supervisor or item.reader == principal.name),
        "history": context.review.history(item.item_id, now) if is_supervisor else [],
        "readers": [a.name for a in context.accounts.list() if not a.disabled] if is_supervisor else [],
    }


def _back(view: QueueView, item_id: int) -> RedirectResponse:
    return RedirectResponse(view.but().address(f"/cases/{item_id}"), 303)
