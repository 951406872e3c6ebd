"""A DICOM listener: a lobby, the associations that came through it, and an orderly end."""

from __future__ import annotations

import logging
import ssl
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from pynetdicom import AE
from pynetdicom.presentation import PresentationContext

from qcnode.clock import utc_now
from qcnode.config import Listener
from qcnode.dicom_listener.admission import Admission, Refusal
from qcnode.dicom_listener.callers import Callers, Peer
from qcnode.dicom_listener.lobby import Lobby
from qcnode.dicom_listener.rejections import Rejections
from qcnode.dicom_listener.transport import Server, enter, peer_of
from qcnode.dicom_listener.visitor import Visitor
from qcnode.errors import ConfigurationError
from qcnode.tls import listener_context

_MAXIMUM_PDU_BYTES = 131072
_STOP_SECONDS = 10.0

_log = logging.getLogger(__name__)


class DicomListener:
    """A running listener."""

    def __init__(
        self,
        settings: Listener,
        section: str,
        server: Server,
        context: ssl.SSLContext | None,
        *,
        callers: Callers[Any],
        everyone: bool,
        rejections: Rejections,
    ) -> None:
        """As `start_listener`, which makes it."""
        self._settings, self._section = settings, section
        self._server, self._rejections = server, rejections
        self._admission = Admission(settings, callers, everyone, self._count)
        self._since: dict[Any, float] = {}  # every association, and when it came in; touched by the lobby's thread only
        self._stopped = False
        self.port = int(server.server_address[1])
        self._lobby = Lobby(server.socket, context, settings.request_timeout_seconds, self)
        self._lobby.open()

    @property
    def is_listening(self) -> bool:
        """Whether the thread that takes connections is there."""
        return self._lobby.is_open

    def stop(self) -> None:
        """Take no further associations, end the open ones, and wait for what is being answered. A second call does nothing."""
        if self._stopped:
            return
        self._stopped = True
        self._lobby.close()
        associations = self._server.active_associations
        endings = [_end_aside(association) for association in associations]
        deadline = time.monotonic() + _STOP_SECONDS
        for thread in (*endings, *(association for association in associations if association.is_established)):
            thread.join(max(0.0, deadline - time.monotonic()))

    def reload_certificates(self) -> None:
        """Read certificate, key and authorities again, for who comes next. Raises ConfigurationError, and keeps what it has."""
        if self._settings.tls.is_on:
            self._lobby.context = listener_context(self._settings.tls, f"{self._section}.tls")

    def let_in(self, visitor: Visitor, peer: Peer) -> Refusal | None:
        """Begin the association that a visitor has asked for, or say why not."""
        refusal = self._admission.refusal(peer)
        if refusal is None:
            association = enter(self._server, visitor.connection, visitor.address, bytes(visitor.received), peer)
            self._since[association] = time.monotonic()
        return refusal

    def turned_away(self, refusal: Refusal, host: str, peer: Peer | None) -> None:
        """Count it; the first of its kind is told in the log."""
        if self._rejections.note(self._section, refusal.reason, host, peer):
            title = repr(peer.calling_ae_title) if peer is not None else "a peer"
            _log.warning("%s: %s from %s was turned away: %s", self._section, title, host, refusal.reason)

    def look_round(self) -> None:
        """Forget the associations that have ended, and end those that have lasted for too long."""
        longest = self._settings.maximum_association_minutes * 60
        for association, since in list(self._since.items()):
            if not association.is_alive():
                del self._since[association]
                association.dimse.forget()
            elif time.monotonic() - since > longest:
                self._since[association] = sys.float_info.max  # told once
                _log.warning("%s: an association from %s has lasted for too long and is ended", self._section, peer_of(association).address)
                _end_aside(association)

    def _count(self, peer: Peer | None) -> int:
        alive = [a for a in self._since if a.is_alive() and not (a.is_released or a.is_aborted or a.is_rejected)]
        return len([a for a in alive if peer is None or peer_of(a).address == peer.address])


def start_listener(
    settings: Listener,
    section: str,
    contexts: Sequence[PresentationContext],
    handlers: list[Any],
    *,
    callers: Callers[Any],
    everyone: bool,
    rejections: Rejections | None,
) -> DicomListener:
    """Listen until `stop` is called; port 0 takes a free one. `section`: of config.yaml, where the settings are.

    `everyone`: whether peers are let in that `callers` does not know. `rejections` counts who is not.
    Raises ConfigurationError when the address can not be listened on, or certificate and key can not be used.
    """
    application_entity = AE(settings.ae_title)
    application_entity.maximum_associations = sys.maxsize  # counted before an association costs anything
    application_entity.maximum_pdu_size = _MAXIMUM_PDU_BYTES
    application_entity.network_timeout = application_entity.dimse_timeout = settings.network_timeout_seconds
    application_entity.acse_timeout = settings.request_timeout_seconds
    context = listener_context(settings.tls, f"{section}.tls") if settings.tls.is_on else None
    try:
        server = Server(
            application_entity,
            (settings.host, settings.port),
            settings.ae_title,
            list(contexts),
            evt_handlers=handlers,
            largest_data_set=settings.maximum_object_mb * 2**20,
            all_data_sets=settings.maximum_receiving_mb * 2**20,
            seconds=settings.network_timeout_seconds,
        )
    except OSError as error:
        raise ConfigurationError(f"{section}: can not listen on {settings.host}:{settings.port}: {error.strerror}") from error
    counted = rejections or Rejections(utc_now)
    return DicomListener(settings, section, server, context, callers=callers, everyone=everyone, rejections=counted)


def _end_aside(association: Any) -> threading.Thread:
    thread = threading.Thread(target=_end, args=(association,), daemon=True)
    thread.start()
    return thread


def _end(association: Any) -> None:
    if association.is_established:
        association.abort()
    else:
        association.dul.socket.close()  # a peer that is not answered yet: there is nobody to send an abort to
