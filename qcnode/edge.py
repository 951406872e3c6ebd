"""What `qcnode doctor` says of the network's edge: certificates, and who may come in from elsewhere."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from qcnode.config import Config, CStoreDestination, Listener, is_this_machine
from qcnode.deliver.destination import Check
from qcnode.errors import ConfigurationError
from qcnode.tls import certificate_facts, listener_context, server_context

_WARN_DAYS = 30


def check_edge(config: Config, now: datetime) -> Iterator[Check]:
    """Certificates and keys of listeners, web server and destinations; listeners that let in everybody, or speak in clear text."""
    yield from _listener(config.listen, "listen", now)
    if not config.listen.callers and not is_this_machine(config.listen.host):
        heard = f"{config.listen.host}:{config.listen.port} takes objects from everybody who can reach it"
        yield Check("listen.callers", True, heard, "name the callers in listen.callers, with their addresses", is_warning=True)
    if config.ups.enabled:
        yield from _listener(config.ups, "ups", now)
    if config.web.enabled:
        tls = config.web.tls
        yield from _own_certificate(tls.certificate_file, "web.tls", lambda: server_context(tls, "web.tls"), now)
    for destination in config.destinations:
        shown = destination.tls if isinstance(destination, CStoreDestination) else destination
        if shown.certificate_file is not None:
            yield from _validity(shown.certificate_file, f"destination {destination.name}", now)


def _listener(settings: Listener, section: str, now: datetime) -> Iterator[Check]:
    where = f"{section}.tls"
    yield from _own_certificate(settings.tls.certificate_file, where, lambda: listener_context(settings.tls, where), now)
    if not settings.tls.is_on and not is_this_machine(settings.host):
        advice = f"set {where}, or keep it in a network where nobody else listens"
        yield Check(where, True, f"{settings.host}:{settings.port} speaks DICOM in clear text", advice, is_warning=True)


def _own_certificate(file: Path | None, where: str, load: Callable[[], ssl.SSLContext], now: datetime) -> Iterator[Check]:
    if file is None:
        return
    try:
        load()
    except ConfigurationError as error:
        yield Check(where, False, str(error), "correct it: the node does not start like this")
        return
    yield from _validity(file, where, now)


def _validity(file: Path, where: str, now: datetime) -> Iterator[Check]:
    try:
        facts = certificate_facts(file, where)
    except ConfigurationError as error:
        yield Check(where, False, str(error), "correct it, or take it away")
        return
    days = (facts.not_after - now).days
    advice = "renew it; `kill -HUP` makes a running node read it"
    said = f"{facts.subject}: {f'valid for {days} days' if days >= 0 else f'expired {-days} days ago'}"
    yield Check(where, days >= 0, said, advice, is_warning=days < _WARN_DAYS)
