"""Who asks: sessions, roles, and the tokens that show that a form or a call is the reader's own."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Form, Request, Response

from qcnode.store import audit
from qcnode.store.accounts import Account, Role
from qcnode.web.context import WebContext, context_of

CSRF_HEADER = "X-CSRF-Token"


class SignInNeeded(Exception):
    """Nobody is signed in, or the session is over."""


class Forbidden(Exception):
    """The account may not do this; the text says what is missing."""


class Throttled(Exception):
    """Too many failures; `seconds` until the next attempt counts."""

    def __init__(self, seconds: float) -> None:
        super().__init__("too many failed attempts")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. `csrf_token` belongs to the session and to nothing else; `session_token` is None behind a proxy that signs in."""

    name: str
    role: Role
    csrf_token: str
    session_token: str | None

    def may(self, role: Role) -> bool:
        """Whether the account has at least this role: admin includes supervisor, supervisor includes reader."""
        return self.role.may(role)


def cookie_name(context: WebContext) -> str:
    """The session cookie. Browsers accept a __Host- cookie over HTTPS only, for this host alone."""
    return "__Host-qcnode" if context.settings.is_encrypted else "qcnode"


def set_cookie(response: Response, context: WebContext, name: str, value: str) -> None:
    """A cookie that no script reads and no other site sends; it goes when the browser is closed."""
    response.set_cookie(name, value, path="/", httponly=True, samesite="strict", secure=context.settings.is_encrypted)


def token_for(secret: str, purpose: str) -> str:
    """A token that only who knows the (secret) cookie can make, and that does not tell it."""
    return hmac.new(secret.encode(), purpose.encode(), hashlib.sha256).hexdigest()


def same_token(given: str | None, expected: str) -> bool:
    """Compared in constant time; a token that is no ASCII is wrong, not an error."""
    return given is not None and hmac.compare_digest(given.encode(), expected.encode())


def peer_address(request: Request) -> str:
    """Where the request comes from: as a trusted proxy tells it, else the peer itself."""
    context = context_of(request)
    peer = request.client.host if request.client else ""
    if peer in context.settings.trusted_proxies:
        # the last entry is the one that the trusted proxy wrote itself
        return request.headers.get("x-forwarded-for", peer).split(",")[-1].strip()
    return peer


def principal_of(request: Request, *, is_action: bool) -> Principal | None:
    """Who asks, or None. An action of the reader prolongs the session; what the page asks for by itself does not."""
    context = context_of(request)
    if context.settings.trusted_header is not None:
        return _named_by_proxy(request, context, context.settings.trusted_header)
    token = request.cookies.get(cookie_name(context))
    account = context.accounts.find_session(token, context.now(), is_action=is_action) if token else None
    if account is None or token is None:
        return None
    return Principal(account.name, account.role, token_for(token, "csrf"), token)


def account_of(context: WebContext, name: str) -> Account | None:
    """The account of this name that may sign in; None where there is none, or it is disabled."""
    account = context.accounts.find(name)
    return None if account is None or account.disabled else account


def _named_by_proxy(request: Request, context: WebContext, header: str) -> Principal | None:
    name = request.headers.get(header)
    if not name or request.client is None or request.client.host not in context.settings.trusted_proxies:
        return None
    account = account_of(context, name)
    if account is None:
        return None
    return Principal(account.name, account.role, token_for(request.app.state.secret, f"csrf {name}"), None)


def signed_in(request: Request) -> Principal:
    """Dependency: an action of somebody who is signed in. Raises SignInNeeded."""
    return _required(principal_of(request, is_action=True))


def watching(request: Request) -> Principal:
    """Dependency: something that the page of somebody who is signed in asks for by itself. Raises SignInNeeded."""
    return _required(principal_of(request, is_action=False))


def _required(principal: Principal | None) -> Principal:
    if principal is None:
        raise SignInNeeded
    return principal


def with_role(role: Role) -> Callable[[Principal], Principal]:
    """Dependency: `signed_in`, and at least this role. Raises Forbidden."""

    def check(principal: SignedIn) -> Principal:
        if not principal.may(role):
            raise Forbidden(f"this needs the role {role}")
        return principal

    return check


def own_form(principal: Annotated[Principal, Depends(signed_in)], csrf: Annotated[str, Form()] = "") -> Principal:
    """Dependency of every form: it was made by a page of this session. Raises Forbidden."""
    if not same_token(csrf, principal.csrf_token):
        raise Forbidden("the page was too old; go back, load it again and repeat")
    return principal


def own_call(request: Request, principal: Annotated[Principal, Depends(signed_in)]) -> Principal:
    """Dependency of every changing call of the API: it carries the session's token in a header. Raises Forbidden."""
    if not same_token(request.headers.get(CSRF_HEADER), principal.csrf_token):
        raise Forbidden(f"the header {CSRF_HEADER} is missing or wrong")
    return principal


def new_secret() -> str:
    """A secret for one run of the node."""
    return secrets.token_urlsafe(32)


def sign_out(context: WebContext, principal: Principal) -> None:
    """End the session, here and in the browser's every copy of its cookie. Raises Forbidden behind a proxy that signs in."""
    if principal.session_token is None:
        raise Forbidden("the proxy signs in and out")
    context.accounts.close_session(principal.session_token)
    subject = f"account/{principal.name}"
    context.audit.add(at=context.now(), actor=principal.name, action="sign-out", subject=subject, details={})


def sign_in(context: WebContext, name: str, password: str, address: str) -> Account | None:
    """The account whose password this is, or None. Audited; failures slow the name and the address down.

    Raises Throttled when too much failed.
    """
    now = context.now()
    of_name, of_address = f"account {name.casefold()}", f"address {address}"
    wait = max(context.throttle.wait(key, now) for key in (of_name, of_address))
    if wait:
        raise Throttled(wait.total_seconds())
    for key in (of_name, of_address):
        context.throttle.attempted(key, now)
    account = account_of(context, name)
    if not context.passwords.verify(account.password_hash if account else None, password) or account is None:
        # a name that does not exist may be a password in the wrong field: it is not kept
        subject = f"account/{account.name}" if account else "account"
        context.audit.add(at=now, actor=audit.NODE, action="sign-in-failed", subject=subject, details={"address": address})
        return None
    context.throttle.succeeded(of_name)
    context.throttle.withdraw(of_address)
    context.audit.add(at=now, actor=account.name, action="sign-in", subject=f"account/{account.name}", details={"address": address})
    return account


def sign_in_by_link(context: WebContext, token: str, address: str) -> Account | None:
    """The account that a link was made for, or None where it is spent. Audited."""
    now = context.now()
    name = context.links.take(token, now)
    account = None if name is None else account_of(context, name)
    if account is not None:
        details = {"address": address, "by": "link"}
        context.audit.add(at=now, actor=account.name, action="sign-in", subject=f"account/{account.name}", details=details)
    return account


SignedIn = Annotated[Principal, Depends(signed_in)]
Watching = Annotated[Principal, Depends(watching)]
OwnForm = Annotated[Principal, Depends(own_form)]
OwnCall = Annotated[Principal, Depends(own_call)]
