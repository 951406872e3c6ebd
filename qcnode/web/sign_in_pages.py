"""Signing in and out, and the session of an API client."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from qcnode.store.accounts import Account
from qcnode.web.auth import (
    OwnForm,
    Throttled,
    cookie_name,
    peer_address,
    principal_of,
    same_token,
    set_cookie,
    sign_in,
    sign_in_by_link,
    sign_out,
    token_for,
)
from qcnode.web.context import Context, WebContext
from qcnode.web.templating import render

router = APIRouter(include_in_schema=False)

_PURPOSE = "sign-in"


@router.get("/sign-in")
def sign_in_page(
    request: Request, context: Context, next: str = "/", link: Annotated[str | None, Query(max_length=200)] = None
) -> Response:
    """The sign-in page; who is signed in already, or comes with a fresh link, goes on."""
    if link is not None and context.settings.trusted_header is None:
        account = sign_in_by_link(context, link, peer_address(request))
        if account is not None:
            return _signed_in(context, account, own_address(next))
    if principal_of(request, is_action=False) is not None:
        return RedirectResponse(own_address(next), 303)
    problem = "" if link is None else "This link was used already or is too old. Sign in with name and password."
    return _page(request, context, own_address(next), problem, 200 if link is None else 401)


@router.post("/sign-in")
def sign_in_form(  # nosec B107  # a form without a password is answered with the page, not with a bare 422
    request: Request,
    context: Context,
    name: Annotated[str, Form(max_length=200)] = "",
    password: Annotated[str, Form(max_length=1000)] = "",
    next: Annotated[str, Form(max_length=2000)] = "/",
    csrf: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Open a session. A wrong name and a wrong password get the same answer in the same time."""
    visit = request.cookies.get(_visit_cookie(context))
    if visit is None or not same_token(csrf, token_for(visit, _PURPOSE)):
        return _page(request, context, own_address(next), "The page was too old. Try again.", 403)
    try:
        account = sign_in(context, name.strip(), password, peer_address(request))
    except Throttled as error:
        return _page(request, context, own_address(next), f"Too many failed attempts. Wait {error.seconds:.0f} s and try again.", 429)
    if account is None:
        return _page(request, context, own_address(next), "Name or password is wrong.", 401)
    return _signed_in(context, account, own_address(next))


@router.post("/sign-out")
def sign_out_form(context: Context, principal: OwnForm) -> Response:
    """End the session here and in the database."""
    sign_out(context, principal)
    answer = RedirectResponse("/sign-in", 303)
    answer.delete_cookie(cookie_name(context), path="/", secure=context.settings.secure_cookies)
    return answer


def own_address(target: str) -> str:
    """`target` if it is an address of this server ("/queue?…"), else "/": nobody is sent elsewhere after signing in."""
    is_ours = target.startswith("/") and not target.startswith("//") and "\\" not in target and target.isprintable()
    return target if is_ours else "/"


def _visit_cookie(context: WebContext) -> str:
    return f"{cookie_name(context)}-visit"


def _signed_in(context: WebContext, account: Account, target: str) -> Response:
    answer = RedirectResponse(target, 303)
    set_cookie(answer, context, cookie_name(context), context.accounts.open_session(account.name, context.now()))
    answer.delete_cookie(_visit_cookie(context), path="/")
    return answer


def _page(request: Request, context: WebContext, target: str, problem: str = "", status: int = 200) -> Response:
    if context.settings.trusted_header is not None:
        problem = "The proxy before qcnode has not signed you in, or qcnode has no account of your name. Ask your administrator."
        return render(request, "no_account.html", None, status=403, problem=problem)
    visit = request.cookies.get(_visit_cookie(context)) or secrets.token_urlsafe(32)
    page = render(request, "sign_in.html", None, status=status, csrf=token_for(visit, _PURPOSE), target=target, problem=problem)
    set_cookie(page, context, _visit_cookie(context), visit)
    return page
