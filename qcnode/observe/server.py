"""/metrics, /health and /ready by HTTP, on a port of their own: plain WSGI, in threads, and nothing else behind it."""

from __future__ import annotations

import hmac
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict
from ipaddress import ip_address, ip_network
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from qcnode.config import Monitoring
from qcnode.errors import ConfigurationError
from qcnode.observe.health import Finding, Health, is_well

log = logging.getLogger(__name__)

_Respond = Callable[[str, list[tuple[str, str]]], Any]
_HEADERS = [("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")]
_STOP_SECONDS = 5.0


class MonitoringServer:
    """Serves from construction to `stop`."""

    def __init__(self, settings: Monitoring, registry: CollectorRegistry, health: Health) -> None:
        """Raises ConfigurationError when the address can not be listened on, or the token is not there."""
        site = _Site(settings, registry, health)
        server_class = _ServerV6 if ":" in settings.host else _Server
        try:
            self._server = server_class((settings.host, settings.port), _Request)
        except OSError as error:
            raise ConfigurationError(f"monitoring: can not listen on {settings.host}:{settings.port}: {error.strerror}") from error
        self._server.set_app(site)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="monitoring", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take no further request; one that is being answered is."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(_STOP_SECONDS)


class _Site:
    """The WSGI application."""

    def __init__(self, settings: Monitoring, registry: CollectorRegistry, health: Health) -> None:
        self._allowed = [ip_network(address) for address in settings.allowed_addresses]
        self._token = settings.token()
        self._metrics = make_wsgi_app(registry)
        self._health = health

    def __call__(self, environ: dict[str, Any], respond: _Respond) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if self._allowed and not self._is_allowed(environ["REMOTE_ADDR"]):
            return _answer(respond, "403 Forbidden", {"error": "monitoring.allowed_addresses does not hold your address"})
        if path not in ("/metrics", "/health", "/ready"):
            return _answer(respond, "404 Not Found", {"error": "there are /metrics, /health and /ready"})
        if environ["REQUEST_METHOD"] != "GET":
            return _answer(respond, "405 Method Not Allowed", {"error": "GET only"}, [("Allow", "GET")])
        if path == "/metrics":
            return self._answer_metrics(environ, respond)
        findings = self._health.alive() if path == "/health" else self._health.ready()
        return _answer(respond, "200 OK" if is_well(findings) else "503 Service Unavailable", _described(findings))

    def _answer_metrics(self, environ: dict[str, Any], respond: _Respond) -> Iterable[bytes]:
        if self._token is not None and not _has_token(environ, self._token):
            return _answer(respond, "401 Unauthorized", {"error": "the token is missing or wrong"}, [("WWW-Authenticate", "Bearer")])
        answer: Iterable[bytes] = self._metrics(environ, respond)
        return answer

    def _is_allowed(self, address: str) -> bool:
        peer = ip_address(address.partition("%")[0])
        peer = getattr(peer, "ipv4_mapped", None) or peer
        return any(peer in network for network in self._allowed)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Without asking DNS for the name of this machine, as the base class would."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that went away, or a defect: named without its text, and never on standard error as it is."""
        log.debug("monitoring: a request ended early")


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class _Request(WSGIRequestHandler):
    timeout = 10  # seconds of silence

    def address_string(self) -> str:
        """No look-up of names."""
        return str(self.client_address[0])

    def log_message(self, format: str, *args: Any) -> None:
        """No access log."""


def _has_token(environ: dict[str, Any], token: str) -> bool:
    return hmac.compare_digest(str(environ.get("HTTP_AUTHORIZATION", "")).encode(), f"Bearer {token}".encode())


def _described(findings: list[Finding]) -> dict[str, object]:
    return {"status": "ok" if is_well(findings) else "failed", "findings": [asdict(finding) for finding in findings]}


def _answer(respond: _Respond, status: str, content: dict[str, object], headers: list[tuple[str, str]] | None = None) -> list[bytes]:
    body = json.dumps(content).encode() + b"\n"
    respond(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *_HEADERS, *(headers or [])])
    return [body]
