"""A connection that has come through the lobby, as pynetdicom wants it: an Association with its socket."""

from __future__ import annotations

import select
import socket
import ssl
import time
from typing import Any

from pynetdicom.transport import AssociationServer, AssociationSocket, RequestHandler

from qcnode.dicom_listener.admission import LARGEST_PDU_BYTES
from qcnode.dicom_listener.callers import Peer
from qcnode.dicom_listener.messages import BoundedMessages, Room

_CLOSED = "Evt17"  # PS3.8 9.2.2: transport connection closed
_PIECE = 2**16
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""A peer that has vanished is found after a minute, where the system has these options."""


class Server(AssociationServer):  # type: ignore[misc]
    """What pynetdicom keeps of a listener. It is never asked to serve: the lobby accepts, and hands connections over."""

    request_queue_size = 256

    def __init__(self, *args: Any, largest_data_set: int, all_data_sets: int, seconds: float, **kwargs: Any) -> None:
        """Data sets in bytes, one and all together. `seconds`: how long a peer may take for a PDU, or for taking what it is sent."""
        super().__init__(*args, **kwargs)
        self.largest_data_set = largest_data_set
        self.room = Room(all_data_sets)
        self.seconds = seconds


def enter(server: Server, connection: socket.socket, address: tuple[Any, ...], request: bytes, peer: Peer) -> Any:
    """The running Association of a connection whose association request has been read."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        if hasattr(socket, option):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    connection.settimeout(server.seconds)
    return _Entry(server, connection, address, request, peer).association


def peer_of(association: Any) -> Peer:
    """Who has this association."""
    peer: Peer = association.dul.socket.peer
    return peer


class _Entry(RequestHandler):  # type: ignore[misc]
    """Makes the Association, and is not needed afterwards."""

    def __init__(self, server: Server, connection: socket.socket, address: tuple[Any, ...], request: bytes, peer: Peer) -> None:
        self._read, self._peer = request, peer
        super().__init__(connection, address, server)

    def _create_association(self) -> Any:
        association = super()._create_association()
        association.dul.event_queue.get_nowait()  # that there is a connection, which the socket that stays tells again
        association.dul.socket = _PacedSocket(association, self.request, self._read, self._peer, self.server.seconds)
        association.dimse = BoundedMessages(association, self.server.largest_data_set, self.server.room)
        self.association = association
        return association


class _PacedSocket(AssociationSocket):  # type: ignore[misc]
    """Gives first what the lobby has read; then no PDU that is too large, and none that takes longer than it may.

    Nothing is read while a message waits to be served: a peer that does not wait for answers (PS3.7 D.3.3.3) fills its own buffers.
    """

    def __init__(self, association: Any, connection: socket.socket, read: bytes, peer: Peer, seconds: float) -> None:
        super().__init__(association, client_socket=connection)
        self._read = read
        self._seconds = seconds
        self.peer = peer

    @property
    def ready(self) -> bool:
        """Whether there is something to be read. Unlike select(), poll() works with any number of open files."""
        if self._read:
            return True
        if self.socket is None or not self.assoc.dimse.msg_queue.empty():
            return False
        if isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            return True
        descriptor = self.socket.fileno()
        if descriptor < 0:
            self.event_queue.put(_CLOSED)
            return False
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        return bool(waiting.poll(0))

    def recv(self, nr_bytes: int) -> bytearray:
        """So many bytes, or fewer where the peer has closed. Raises OSError."""
        if nr_bytes > LARGEST_PDU_BYTES:
            raise OSError("a PDU larger than any that was agreed on")
        received = bytearray(self._read[:nr_bytes])
        self._read = self._read[nr_bytes:]
        deadline = time.monotonic() + self._seconds
        while len(received) < nr_bytes:
            connection = self.socket
            if connection is None:
                raise OSError("closed")
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
            piece = connection.recv(min(nr_bytes - len(received), _PIECE))
            if not piece:
                break
            received += piece
        if self.socket is not None:
            self.socket.settimeout(self._seconds)
        return received
