"""One's own password, and for administrators all accounts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse

from qcnode.store.accounts import AccountError, Role
from qcnode.web.auth import Forbidden, OwnForm, Principal, SignedIn, account_of, cookie_name, set_cookie, with_role
from qcnode.web.context import Context, WebContext
from qcnode.web.passwords import MINIMUM_LENGTH
from qcnode.web.templating import render

router = APIRouter(include_in_schema=False)

Admin = Annotated[Principal, Depends(with_role(Role.ADMIN))]
Name = Annotated[str, Form(max_length=200)]
Password = Annotated[str, Form(max_length=1000)]


@router.get("/account")
def own_account(request: Request, principal: SignedIn) -> Response:
    """The page to change one's own password."""
    return _own_page(request, principal)


@router.post("/account")
def change_password(request: Request, context: Context, principal: OwnForm, old: Password = "", new: Password = "") -> Response:
    """Change one's own password; all other sessions of the account end."""
    now = context.now()
    account = account_of(context, principal.name)
    if account is None or principal.session_token is None:
        raise Forbidden("the proxy keeps the passwords")
    key = f"account {account.name.casefold()}"
    if context.throttle.wait(key, now):
        return _own_page(request, principal, "Too many failed attempts. Try again later.", 429)
    context.throttle.attempted(key, now)
    if not context.passwords.verify(account.password_hash, old):
        return _own_page(request, principal, "The old password is wrong.", 422)
    context.throttle.succeeded(key)
    try:
        context.accounts.set_password(account.name, context.passwords.hash(new), by=principal.name, now=now)
    except ValueError as error:
        return _own_page(request, principal, f"Not changed: {error}.", 422)
    answer = RedirectResponse("/", 303)
    set_cookie(answer, context, cookie_name(context), context.accounts.open_session(account.name, now))
    return answer


@router.get("/accounts")
def all_accounts(request: Request, context: Context, admin: Admin) -> Response:
    """Every account."""
    return _page(request, context, admin)


@router.post("/accounts")
def add_account(  # nosec B107  # a form without a password is answered with the page, not with a bare 422
    request: Request,
    context: Context,
    _: OwnForm,
    admin: Admin,
    name: Name = "",
    password: Password = "",
    role: Annotated[Role, Form()] = Role.READER,
) -> Response:
    """A new account with a first password, which its owner should change."""
    try:
        context.accounts.add(name.strip(), context.passwords.hash(password), role, by=admin.name, now=context.now())
    except (AccountError, ValueError) as error:
        return _page(request, context, admin, f"Not added: {error}.", 422)
    return RedirectResponse("/accounts", 303)


@router.post("/accounts/password")
def reset_password(  # nosec B107  # as above
    request: Request, context: Context, _: OwnForm, admin: Admin, name: Name = "", password: Password = ""
) -> Response:
    """A new password for an account; its sessions end."""
    try:
        context.accounts.set_password(name, context.passwords.hash(password), by=admin.name, now=context.now())
    except ValueError as error:
        return _page(request, context, admin, f"Not changed: {error}.", 422)
    return RedirectResponse("/accounts", 303)


@router.post("/accounts/disable")
def disable_account(context: Context, _: OwnForm, admin: Admin, name: Name = "") -> Response:
    """Nobody signs in with the account any more."""
    if name.casefold() == admin.name.casefold():
        raise Forbidden("nobody disables the own account")
    context.accounts.disable(name, by=admin.name, now=context.now())
    return RedirectResponse("/accounts", 303)


def _own_page(request: Request, principal: Principal, problem: str = "", status: int = 200) -> Response:
    return render(request, "account.html", principal, status, problem=problem, minimum_length=MINIMUM_LENGTH)


def _page(request: Request, context: WebContext, admin: Principal, problem: str = "", status: int = 200) -> Response:
    return render(
        request,
        "accounts.html",
        admin,
        status,
        accounts=context.accounts.list(),
        problem=problem,
        minimum_length=MINIMUM_LENGTH,
        all_roles=tuple(Role),
    )
