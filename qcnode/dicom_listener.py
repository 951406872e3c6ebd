"""What the DICOM listeners have in common: an address, the peers that may call (PS3.8 9.3.4), and an orderly end."""

from __future__ import annotations

import ipaddress
import logging
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar

from pynetdicom import AE
from pynetdicom.presentation import PresentationContext

from qcnode.config import Caller, Listener
from qcnode.errors import ConfigurationError

CALLER_NOT_RECOGNISED = (0x01, 0x01, 0x03)  # permanent, by the service user, calling AE title not recognised

_MAXIMUM_PDU_BYTES = 131072
_STOP_SECONDS = 10.0

_log = logging.getLogger(__name__)

CallerType = TypeVar("CallerType", bound=Caller)


class Callers(Generic[CallerType]):
    """The peers that a listener knows, by AE title and, where configured, by address."""

    def __init__(self, callers: Iterable[CallerType], section: str) -> None:
        """`section`: of config.yaml. Raises ConfigurationError where a caller's address is not an IP address."""
        self._callers = [(caller, _address(caller.address, section)) for caller in callers]

    def __len__(self) -> int:
        return len(self._callers)

    def of(self, association: Any) -> CallerType | None:
        """Who asks for this association, or has it; None where nobody is configured so."""
        title, address = _title(association), _peer_address(association)
        return next((caller for caller, only in self._callers if caller.ae_title == title and only in (None, address)), None)


def reject_caller(association: Any) -> None:
    """Answer an association request: calling AE title not recognised."""
    _log.warning("association rejected: caller %r from %s is not configured", _title(association), _peer_address(association))
    association.acse.send_reject(*CALLER_NOT_RECOGNISED)
    association.kill()


class DicomListener:
    """A running listener."""

    def __init__(self, server: Any, thread: threading.Thread) -> None:
        """`thread`: in which `server` takes associations."""
        self._server = server
        self._thread = thread
        self._stopped = False
        self.port = int(server.server_address[1])

    @property
    def is_listening(self) -> bool:
        """Whether the thread that takes associations is there."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Take no further associations, end the open ones, and wait for what is being answered. A second call does nothing."""
        if self._stopped:
            return
        self._stopped = True
        associations = self._server.active_associations
        self._server.shutdown()
        endings = [threading.Thread(target=_end, args=(association,), daemon=True) for association in associations]
        for thread in endings:
            thread.start()
        deadline = time.monotonic() + _STOP_SECONDS
        for thread in (*endings, *(association for association in associations if association.is_established)):
            thread.join(max(0.0, deadline - time.monotonic()))


def start_listener(settings: Listener, section: str, contexts: Sequence[PresentationContext], handlers: list[Any]) -> DicomListener:
    """Listen until `stop` is called; port 0 takes a free one. `section`: of config.yaml, where the settings are.

    Raises ConfigurationError when the address can not be listened on.
    """
    application_entity = AE(settings.ae_title)
    application_entity.maximum_associations = settings.maximum_associations
    application_entity.maximum_pdu_size = _MAXIMUM_PDU_BYTES
    for name in ("network_timeout", "acse_timeout", "dimse_timeout"):
        setattr(application_entity, name, settings.network_timeout_seconds)
    before = set(threading.enumerate())
    try:
        server = application_entity.start_server(
            (settings.host, settings.port), block=False, evt_handlers=handlers, contexts=list(contexts)
        )
    except OSError as error:
        raise ConfigurationError(f"{section}: can not listen on {settings.host}:{settings.port}: {error.strerror}") from error
    (thread,) = (t for t in threading.enumerate() if t not in before and t.name.startswith("AcceptorServer@"))
    return DicomListener(server, thread)


def _end(association: Any) -> None:
    if association.is_established:
        association.abort()
    else:
        association.dul.socket.close()  # a peer that has not asked for anything yet: there is nobody to send an abort to


def _address(address: str | None, section: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return None if address is None else ipaddress.ip_address(address)
    except ValueError as error:
        raise ConfigurationError(f"{section}.callers: {address!r} is not an IP address") from error


def _title(association: Any) -> str:
    return str(association.requestor.primitive.calling_ae_title).strip()


def _peer_address(association: Any) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(association.requestor.address.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address
