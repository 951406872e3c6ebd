"""The web application: pages, API and static files behind one sign-in."""

from __future__ import annotations

import threading

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from qcnode.errors import QCNodeError
from qcnode.web import account_pages, api, caller_pages, case_pages, overview_pages, queue_pages, sign_in_pages, statics
from qcnode.web.auth import Forbidden, SignInNeeded, Throttled, new_secret
from qcnode.web.context import WebContext
from qcnode.web.problems import answer_error
from qcnode.web.security import Security
from qcnode.web.templating import make_templates


def create_app(context: WebContext) -> FastAPI:
    """The application of one node. Nothing but the sign-in page, its style sheet and /health is served to strangers.

    `app.state.ending`, a threading.Event, ends the streams of events when it is set.
    """
    app = FastAPI(title="qcnode", version=context.version, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.context = context
    app.state.ending = threading.Event()
    app.state.secret = new_secret()
    app.state.templates = make_templates(context)
    for module in (sign_in_pages, queue_pages, case_pages, overview_pages, account_pages, caller_pages, api, statics):
        app.include_router(module.router)
    app.add_api_route("/health", health, include_in_schema=False)
    for error in (SignInNeeded, Forbidden, Throttled, QCNodeError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(error, answer_error)
    if context.settings.allowed_hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(context.settings.allowed_hosts), www_redirect=False)
    app.add_middleware(Security, encrypted=context.settings.is_encrypted)
    return app


async def health() -> PlainTextResponse:
    """For load balancers: the web server answers."""
    return PlainTextResponse("ok")
