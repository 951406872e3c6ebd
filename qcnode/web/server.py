"""The web server of a node: uvicorn in a thread of its own, with a socket that is bound before the thread starts."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import uvicorn
from fastapi import FastAPI

from qcnode.config import Config, WebTls
from qcnode.errors import ConfigurationError
from qcnode.review import Review
from qcnode.store.accounts import Accounts
from qcnode.store.audit import Audit
from qcnode.store.database import Database
from qcnode.store.outbox import Outbox
from qcnode.store.rejected_callers import RejectedCallers
from qcnode.store.thumbnail_files import ThumbnailFiles
from qcnode.tls import server_context, show_certificate
from qcnode.web.app import create_app
from qcnode.web.context import WebContext

log = logging.getLogger(__name__)

_STOP_SECONDS = 10.0
_TLS = "web.tls"


def start_web(config: Config, database: Database, review: Review, now: Callable[[], datetime], version: str) -> WebServer:
    """Serve the pages and the API of a node.

    Raises ConfigurationError when the address can not be listened on, or certificate and key can not be used.
    """
    settings = config.web
    idle, longest = timedelta(minutes=settings.session_idle_minutes), timedelta(hours=settings.session_hours)
    context = WebContext(
        settings=settings,
        review=review,
        accounts=Accounts(database, idle=idle, longest=longest),
        audit=Audit(database),
        outbox=Outbox(database),
        rejected_callers=RejectedCallers(database),
        thresholds={name: task.predicted_dsc.value for name, task in config.tasks.items()},
        thumbnails=ThumbnailFiles(config.storage.directory),
        now=now,
        version=version,
    )
    return WebServer(create_app(context), settings.host, settings.port, settings.tls)


class WebServer:
    """Serves an application from construction to `stop`."""

    def __init__(self, app: FastAPI, host: str, port: int, tls: WebTls | None = None) -> None:
        """Raises ConfigurationError when the address can not be listened on, or certificate and key can not be used."""
        self._tls = tls
        self._encryption = server_context(tls, _TLS) if tls is not None and tls.is_on else None
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((host, port))
            self._socket.listen()  # who connects before the thread runs waits, and is not refused
        except OSError as error:
            self._socket.close()
            raise ConfigurationError(f"web: {host}:{port} can not be listened on: {error.strerror}; choose another web.port") from error
        self.port: int = self._socket.getsockname()[1]
        self._ending: threading.Event = app.state.ending
        self._context: WebContext = app.state.context
        # no access log: it would hold addresses of cases and peers; no proxy headers: auth.py decides whom to believe
        config = uvicorn.Config(
            app, log_config=None, access_log=False, proxy_headers=False, server_header=False, timeout_graceful_shutdown=3, lifespan="off"
        )
        config.load()
        config.ssl = self._encryption
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="web", daemon=True)
        self._thread.start()

    def sign_in_path(self, account: str) -> str:
        """The path and query of a page that signs `account` in, once and within two minutes: not for logs."""
        return f"/sign-in?link={self._context.links.issue(account, self._context.now())}"

    def reload_certificate(self) -> None:
        """Read certificate and key again, for who comes next. Raises ConfigurationError, and keeps what it has."""
        if self._tls is not None and self._encryption is not None:
            server_context(self._tls, _TLS)  # a file that can not be used must not take the place of one that can
            show_certificate(self._encryption, self._tls, _TLS)

    def stop(self) -> None:
        """End the streams of events, answer what was asked, and close."""
        self._ending.set()
        self._server.should_exit = True
        self._thread.join(_STOP_SECONDS)
        self._socket.close()

    def _serve(self) -> None:
        try:
            asyncio.run(self._server.serve([self._socket]))
        except Exception:
            log.exception("the web server has ended")
