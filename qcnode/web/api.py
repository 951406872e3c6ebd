"""/api/v1: everything that the pages do, for programs. Errors are problem+json."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from qcnode.store.accounts import Role
from qcnode.store.item_queries import Filters
from qcnode.store.items import Judgement
from qcnode.web.api_models import (
    DriftOut,
    ItemOut,
    ItemsOut,
    JudgementIn,
    ListIn,
    OverviewOut,
    ReadingOut,
    ReassignIn,
    RegionOut,
    ReopenIn,
    SearchIn,
    SessionOut,
    SignInIn,
)
from qcnode.web.auth import (
    Forbidden,
    OwnCall,
    Principal,
    SignedIn,
    SignInNeeded,
    cookie_name,
    peer_address,
    set_cookie,
    sign_in,
    sign_out,
    token_for,
    with_role,
)
from qcnode.web.case_pages import ItemId, decide_item, open_case, reassign_item, reopen_item
from qcnode.web.context import Context, WebContext
from qcnode.web.description import describe, problems
from qcnode.web.events import event_stream
from qcnode.web.overview_pages import Period

_PROBLEMS = problems(
    {
        400: "The request can not be read",
        401: "Nobody is signed in",
        403: "The role or the token in X-CSRF-Token is missing",
        404: "There is no such item",
        409: "The item's state does not allow this",
        422: "A value is wrong",
        503: "The database is busy",
    }
)
_OPEN_TO_ALL = frozenset({("POST", "/api/v1/session")})

router = APIRouter(prefix="/api/v1", responses=_PROBLEMS, tags=["worklist"])
router.add_api_route("/events", event_stream, name="events", responses={200: {"content": {"text/event-stream": {}}}})


@router.get("/openapi.json", include_in_schema=False)
def description(request: Request, context: Context, _: SignedIn) -> dict[str, Any]:
    """This API in OpenAPI."""
    return describe(request.app, cookie_name(context), open_to_all=_OPEN_TO_ALL)


@router.get("/session")
def session(principal: SignedIn) -> SessionOut:
    """Who is signed in; the session is prolonged."""
    return SessionOut(account=principal.name, role=principal.role, csrf_token=principal.csrf_token)


@router.post("/session", status_code=201, responses=problems({429: "Too many failed attempts"}))
def open_session(request: Request, response: Response, context: Context, given: SignInIn) -> SessionOut:
    """Sign in; the session's cookie comes with the answer."""
    if context.settings.trusted_header is not None:
        raise Forbidden("the proxy signs in")
    account = sign_in(context, given.name.strip(), given.password, peer_address(request))
    if account is None:
        raise SignInNeeded("name or password is wrong")
    token = context.accounts.open_session(account.name, context.now())
    set_cookie(response, context, cookie_name(context), token)
    return SessionOut(account=account.name, role=account.role, csrf_token=token_for(token, "csrf"))


@router.delete("/session", status_code=204)
def close_session(response: Response, context: Context, principal: OwnCall) -> None:
    """Sign out."""
    sign_out(context, principal)
    response.delete_cookie(cookie_name(context), path="/", secure=context.settings.secure_cookies)


@router.get("/items")
def items(context: Context, principal: SignedIn, wanted: Annotated[ListIn, Query()]) -> ItemsOut:
    """Items by filters, worst first unless another order is asked for."""
    return _found(context, principal, SearchIn(**wanted.model_dump()))


@router.post("/items/search")
def search(context: Context, principal: OwnCall, wanted: SearchIn) -> ItemsOut:
    """Items by filters and by words of the patient, who must not be named in a URL."""
    return _found(context, principal, wanted)


@router.get("/items/{item_id:int}")  # so that /items/search is no item
def item(context: Context, principal: SignedIn, item_id: ItemId) -> ItemOut:
    """One item; looking at it is audited."""
    found = context.review.show(item_id, context.now(), principal.name)
    open_case(context, principal, item_id, anew=False)
    return ItemOut.of(found)


@router.get("/items/{item_id}/regions")
def regions(context: Context, principal: SignedIn, item_id: ItemId) -> tuple[RegionOut, ...]:
    """The regions of predicted errors that a decision can mark, the largest first; none while the prediction is hidden."""
    found = context.review.regions(item_id, context.now())
    open_case(context, principal, item_id, anew=False)
    return tuple(RegionOut.model_validate(region) for region in found)


@router.get("/items/{item_id}/readings")
def readings(context: Context, principal: SignedIn, item_id: ItemId) -> tuple[ReadingOut, ...]:
    """The final readings so far, oldest first; none while another reader must not know them."""
    found = context.review.readings(item_id, context.now())
    open_case(context, principal, item_id, anew=False)
    return tuple(ReadingOut.model_validate(reading) for reading in found)


@router.post("/items/{item_id}/claim")
def claim(context: Context, principal: OwnCall, item_id: ItemId) -> ItemOut:
    """Take an item, so that nobody else reads it at the same time."""
    return ItemOut.of(context.review.claim(item_id, principal.name, context.now()))


@router.post("/items/{item_id}/renew")
def renew(context: Context, principal: OwnCall, item_id: ItemId) -> ItemOut:
    """Still reading: the lease begins anew."""
    return ItemOut.of(context.review.renew(item_id, principal.name, context.now()))


@router.post("/items/{item_id}/release")
def release(context: Context, principal: OwnCall, item_id: ItemId) -> ItemOut:
    """Give an item back undecided."""
    return ItemOut.of(context.review.release(item_id, principal.name, context.now()))


@router.post("/items/{item_id}/reassign", dependencies=[Depends(with_role(Role.SUPERVISOR))])
def reassign(context: Context, principal: OwnCall, item_id: ItemId, given: ReassignIn) -> ItemOut:
    """Give an item to another reader; for supervisors."""
    return ItemOut.of(reassign_item(context, principal, item_id, given.to))


@router.post("/items/{item_id}/decide")
def decide(context: Context, principal: OwnCall, item_id: ItemId, given: JudgementIn) -> ItemOut:
    """Judge the query segmentation; an item that nobody holds is claimed on the way. Held for a while, then final."""
    judgement = Judgement(given.decision, given.reasons, given.comment.strip(), given.rating, given.marks)
    return ItemOut.of(decide_item(context, principal, item_id, judgement))


@router.post("/items/{item_id}/undo")
def undo(context: Context, principal: OwnCall, item_id: ItemId) -> ItemOut:
    """Take a held decision back; the item is claimed again."""
    return ItemOut.of(context.review.undo(item_id, principal.name, context.now()))


@router.post("/items/{item_id}/reopen")
def reopen(context: Context, principal: OwnCall, item_id: ItemId, given: ReopenIn) -> ItemOut:
    """Revise a final decision: one's own, for supervisors any. It stands until another one is final; the item is claimed."""
    return ItemOut.of(reopen_item(context, principal, item_id, given.because))


@router.get("/overview")
def overview(context: Context, _: SignedIn, days: Period = 30) -> OverviewOut:
    """The worklist in figures."""
    return OverviewOut.of(context.review.overview(context.now(), days), context.outbox.counts())


@router.get("/overview/drift")
def drift(context: Context, _: SignedIn) -> DriftOut:
    """Whether the predictions of a scanner or a segmenter have shifted, more than chance shifts them."""
    return DriftOut.of(context.review.drift(context.now()))


def _found(context: WebContext, principal: Principal, wanted: SearchIn) -> ItemsOut:
    filters = Filters(**wanted.model_dump(exclude={"order", "offset", "limit"}))
    found = context.review.page(filters, wanted.order, wanted.offset, wanted.limit, context.now(), principal.name)
    return ItemsOut(items=tuple(map(ItemOut.of, found.items)), total=found.total)
