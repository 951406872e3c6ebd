"""One connection in the lobby: TLS handshake and association request, as far as they get without waiting."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field

from qcnode.dicom_listener.admission import BROKEN_OFF, PDU_HEAD_BYTES, Refusal, refusal_of_head, titles
from qcnode.dicom_listener.callers import Peer, address_of
from qcnode.tls import failure_kind, names_in_certificate

_PIECE = 2**16


class Refused(Exception):
    """The visitor can not come in, whoever it is; without a refusal it has only gone, as health checks of load balancers do."""

    def __init__(self, refusal: Refusal | None) -> None:
        super().__init__()
        self.refusal = refusal


@dataclass(eq=False, slots=True)
class Visitor:
    """A connection that does not block. `deadline`: on the monotonic clock."""

    connection: socket.socket
    address: tuple[str, int]
    deadline: float
    is_shaking_hands: bool
    received: bytearray = field(default_factory=bytearray)

    @property
    def host(self) -> str:
        """The peer's address as text."""
        return str(address_of(self.address[0]))

    def advance(self) -> Peer:
        """Who has asked. Raises BlockingIOError, SSLWantReadError or SSLWantWriteError where one must wait, and Refused."""
        try:
            if self.is_shaking_hands and isinstance(self.connection, ssl.SSLSocket):
                self.connection.do_handshake()
                self.is_shaking_hands = False
            self._read_up_to(PDU_HEAD_BYTES)
            refusal = refusal_of_head(bytes(self.received))
            if refusal is not None:
                raise Refused(refusal)
            self._read_up_to(PDU_HEAD_BYTES + int.from_bytes(self.received[2:PDU_HEAD_BYTES]))
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError as error:
            raise Refused(self._refusal_of(error)) from error
        called, calling = titles(bytes(self.received))
        return Peer(address_of(self.address[0]), calling, called, self._certificate_names())

    def leave(self, answer: bytes = b"") -> None:
        """Say `answer`, which is short, and close."""
        try:
            if answer:
                self.connection.send(answer)
        except OSError:
            pass  # it does not listen
        self.connection.close()

    def _read_up_to(self, length: int) -> None:
        while len(self.received) < length:
            piece = self.connection.recv(min(length - len(self.received), _PIECE))
            if not piece:
                raise ConnectionError
            self.received += piece

    def _refusal_of(self, error: OSError) -> Refusal | None:
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
            return Refusal(failure_kind(error))
        return BROKEN_OFF if self.received else None

    def _certificate_names(self) -> frozenset[str]:
        return names_in_certificate(self.connection) if isinstance(self.connection, ssl.SSLSocket) else frozenset()
