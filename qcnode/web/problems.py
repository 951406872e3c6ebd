"""Errors as answers: problem+json (RFC 9457) for the API and for scripts, a page for people."""

from __future__ import annotations

from http import HTTPStatus
from math import ceil
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from qcnode.errors import Retryable
from qcnode.store.accounts import AccountError
from qcnode.store.items import WorklistError
from qcnode.web.auth import Forbidden, SignInNeeded, Throttled, principal_of
from qcnode.web.security import HEADERS

MEDIA_TYPE = "application/problem+json"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
WORKLIST_STATUS = {"gone": 404, "bad-judgement": 422, "not-yours": 403}
"""What is no conflict with what another reader did."""


def status_of(error: Exception) -> tuple[int, str, str]:
    """(HTTP status, code, what happened in words). Unexpected errors say nothing about their cause."""
    match error:
        case SignInNeeded():
            return 401, "sign-in-needed", _sentence(str(error) or "sign in first")
        case Forbidden():
            return 403, "forbidden", _sentence(str(error))
        case Throttled():
            return 429, "throttled", f"Too many failed attempts. Wait {error.seconds:.0f} s."
        case WorklistError():
            return WORKLIST_STATUS.get(error.code, 409), error.code, _sentence(str(error))
        case AccountError():
            return 404 if error.code == "gone" else 409, error.code, _sentence(str(error))
        case Retryable():
            return 503, "busy", "The database is busy. Try again."
        case RequestValidationError():
            return 422, "invalid", "; ".join(f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())
        case HTTPException():
            return error.status_code, HTTPStatus(error.status_code).phrase.lower().replace(" ", "-"), error.detail
        case _:
            return 500, "error", "Something went wrong in qcnode; its log says more."


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def problem(status: int, code: str, detail: str) -> JSONResponse:
    """A problem document."""
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "code": code, "detail": detail}
    return JSONResponse(content, status, media_type=MEDIA_TYPE)


async def answer_error(request: Request, error: Exception) -> Response:
    """Every error: problem+json, or a page for people. Strangers learn only that they must sign in, whatever they asked for."""
    answer = _answer(request, error)
    # an unexpected error is answered outside of the middleware that adds them
    answer.headers.update(HEADERS | _headers_of(request, error) | {"Cache-Control": "no-store"})
    return answer


def _headers_of(request: Request, error: Exception) -> dict[str, str]:
    """Which methods there are (405, RFC 9110 15.5.6), and how long to wait (429, RFC 6585 4)."""
    match error:
        case HTTPException(status_code=405):
            # what the framework says holds for the first route of this path only, and each method is a route
            return {"Allow": ", ".join(method for method in _METHODS if _is_served(request, method))}
        case Throttled():
            return {"Retry-After": str(ceil(error.seconds))}
        case _:
            return {}


def _is_served(request: Request, method: str) -> bool:
    scope = {**request.scope, "method": method}
    return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)


def _answer(request: Request, error: Exception) -> Response:
    if not isinstance(error, SignInNeeded | Throttled) and principal_of(request, is_action=False) is None and _is_about_us(error):
        error = SignInNeeded()
    status, code, detail = status_of(error)
    if not _is_for_people(request):
        return problem(status, code, detail)
    if isinstance(error, SignInNeeded):
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse("/sign-in" if target == "/" else f"/sign-in?next={quote(target)}", 303)
    page: Response = request.app.state.templates.TemplateResponse(
        request,
        "error.html",
        {"title": HTTPStatus(status).phrase, "detail": detail, "principal": principal_of(request, is_action=False)},
        status,
    )
    return page


def _is_about_us(error: Exception) -> bool:
    """An answer that would tell a stranger which addresses exist."""
    return isinstance(error, HTTPException | RequestValidationError)


def _is_for_people(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api/")
