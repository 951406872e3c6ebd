"""What every answer carries: a strict content policy, no framing, no caching; and requests of other sites are turned away."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
ONLY_HTTPS = {"Strict-Transport-Security": "max-age=31536000"}
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_SITES = frozenset({"same-origin", "none"})
LARGEST_BODY = 64 * 1024


class Security:
    """ASGI middleware. Pages hold patient attributes, so an answer that says nothing about caching is not kept anywhere.

    A changing request that the browser says comes from another site is refused whatever token it carries (Fetch Metadata), and so is a
    body larger than any form of ours.
    """

    def __init__(self, app: ASGIApp, encrypted: bool) -> None:
        """`encrypted`: browsers reach the pages by HTTPS, and shall use nothing else from now on."""
        self._app = app
        self._headers = HEADERS | (ONLY_HTTPS if encrypted else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(self._headers)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = _refusal(scope)
        await (refusal or self._app)(scope, receive, send_with_headers)


def _refusal(scope: Scope) -> PlainTextResponse | None:
    if scope["method"] in SAFE_METHODS:
        return None
    headers = Headers(scope=scope)
    if headers.get("sec-fetch-site", "none") not in OWN_SITES:
        return PlainTextResponse("This request came from another site.", 403)
    length = headers.get("content-length", "")
    if headers.get("transfer-encoding") or (length and not length.isdigit()) or int(length or 0) > LARGEST_BODY:
        return PlainTextResponse("The request is too large.", 413)
    return None
