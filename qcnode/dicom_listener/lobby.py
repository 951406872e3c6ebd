"""Where connections wait until they have asked for an association.

One thread accepts, shakes hands (TLS) and reads requests, of many connections at once and waiting for none of them: a peer that is silent,
slow or gone costs a file descriptor until its time is over, and no thread. Who has asked is let in, or told why not.
"""

from __future__ import annotations

import logging
import math
import selectors
import socket
import ssl
import threading
import time
from collections import Counter, deque
from typing import Protocol

from qcnode.dicom_listener.admission import SILENT, Refusal
from qcnode.dicom_listener.callers import Peer
from qcnode.dicom_listener.visitor import Refused, Visitor

MAXIMUM_HALF_OPEN = 256
"""Connections that have not asked yet. One more turns out the oldest of the address that has most of them."""

_ACCEPTED_AT_ONCE = 32
_TICK_SECONDS = 0.5
_ANSWER_SECONDS = 0.05
"""A refusal waits for so long: requestors that try again at once are slowed, and pynetdicom's miss an answer that comes at once."""

_log = logging.getLogger(__name__)


class Doorkeeper(Protocol):
    """Who decides about visitors. Called by the lobby's thread, which must not be held up."""

    def let_in(self, visitor: Visitor, peer: Peer) -> Refusal | None:
        """Take the connection over, or say why not."""

    def turned_away(self, refusal: Refusal, host: str, peer: Peer | None) -> None:
        """Somebody has been refused; `peer` is None where it has not said who it is."""

    def look_round(self) -> None:
        """Called about twice a second."""


class Lobby:
    """Serves a listening socket from `open` to `close`. `context` may be exchanged at any time: who comes next meets the new one."""

    def __init__(self, listening: socket.socket, context: ssl.SSLContext | None, seconds: float, doorkeeper: Doorkeeper) -> None:
        """`seconds`: how long a connection has for handshake and request (ARTIM, PS3.8 9.1.5)."""
        self.context = context
        self._listening, self._seconds, self._doorkeeper = listening, seconds, doorkeeper
        self._visitors: dict[Visitor, None] = {}  # the oldest first
        self._farewells: deque[tuple[float, Visitor, bytes]] = deque()  # when, to whom, what
        self._selector = selectors.DefaultSelector()
        self._bell, self._rope = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name="lobby", daemon=True)

    def open(self) -> None:
        """Begin to serve."""
        self._listening.setblocking(False)
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._thread.start()

    @property
    def is_open(self) -> bool:
        """Whether the thread that serves is there."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Send everybody away who has not asked yet, and close the listening socket."""
        self._rope.close()
        self._thread.join()

    def _serve(self) -> None:
        next_look = time.monotonic()
        ended = False
        while not ended:
            for key, _ in self._selector.select(_ANSWER_SECONDS if self._farewells else _TICK_SECONDS):
                if key.fileobj is self._bell:
                    ended = True
                elif key.fileobj is self._listening:
                    self._accept()
                elif key.data in self._visitors:  # or else it was turned out in this very round
                    self._attend(key.data)
            self._say_farewell(time.monotonic())
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + _TICK_SECONDS
                self._look_round()
        for visitor in list(self._visitors):
            self._dismiss(visitor, None)
        self._say_farewell(math.inf)
        self._selector.close()
        self._listening.close()
        self._bell.close()

    def _look_round(self) -> None:
        now = time.monotonic()
        for visitor in [visitor for visitor in self._visitors if visitor.deadline < now]:
            self._dismiss(visitor, SILENT)
        try:
            self._doorkeeper.look_round()
        except Exception as error:  # noqa: BLE001 - where not even a thread can be had, the lobby must still be there afterwards
            _log.error("the associations could not be looked after: %s", type(error).__name__)

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                connection, address = self._listening.accept()
            except BlockingIOError:
                return
            except OSError as error:  # no file descriptor is left, or the peer was gone at once
                _log.warning("a connection could not be accepted: %s", error.strerror)
                if self._visitors:
                    self._make_room()
                time.sleep(0.05)  # there is no end of it while descriptors are missing
                return
            if len(self._visitors) >= MAXIMUM_HALF_OPEN:
                self._make_room()
            self._receive(connection, address)

    def _receive(self, connection: socket.socket, address: tuple[str, int]) -> None:
        connection.setblocking(False)
        context = self.context
        try:
            if context is not None:
                connection = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        except (OSError, ValueError):  # gone already
            connection.close()
            return
        visitor = Visitor(connection, address, time.monotonic() + self._seconds, context is not None)
        self._visitors[visitor] = None
        self._selector.register(connection, selectors.EVENT_READ, visitor)

    def _attend(self, visitor: Visitor) -> None:
        """As far as the visitor can come now."""
        try:
            peer = visitor.advance()
        except ssl.SSLWantWriteError:
            self._selector.modify(visitor.connection, selectors.EVENT_WRITE, visitor)
        except (ssl.SSLWantReadError, BlockingIOError):
            self._selector.modify(visitor.connection, selectors.EVENT_READ, visitor)
        except Refused as refused:
            self._dismiss(visitor, refused.refusal)
        except Exception as error:  # noqa: BLE001 - one connection must not end the listener
            _log.error("a connection was given up: %s", type(error).__name__)
            self._dismiss(visitor, None)
        else:
            self._let_in(visitor, peer)

    def _let_in(self, visitor: Visitor, peer: Peer) -> None:
        self._forget(visitor)
        try:
            refusal = self._doorkeeper.let_in(visitor, peer)
        except Exception as error:  # noqa: BLE001 - one association that can not begin must not end the listener
            _log.error("an association could not begin: %s", type(error).__name__)
            visitor.leave()
            return
        if refusal is not None:
            self._refuse(visitor, refusal, peer)

    def _dismiss(self, visitor: Visitor, refusal: Refusal | None) -> None:
        self._forget(visitor)
        if refusal is None:
            visitor.leave()
        else:
            self._refuse(visitor, refusal, None)

    def _refuse(self, visitor: Visitor, refusal: Refusal, peer: Peer | None) -> None:
        if refusal.answer:
            self._farewells.append((time.monotonic() + _ANSWER_SECONDS, visitor, refusal.answer))
        else:
            visitor.leave()
        self._doorkeeper.turned_away(refusal, visitor.host, peer)

    def _say_farewell(self, now: float) -> None:
        while self._farewells and (self._farewells[0][0] <= now or len(self._farewells) > MAXIMUM_HALF_OPEN):
            _, visitor, answer = self._farewells.popleft()
            visitor.leave(answer)

    def _forget(self, visitor: Visitor) -> None:
        del self._visitors[visitor]
        self._selector.unregister(visitor.connection)

    def _make_room(self) -> None:
        """One address, however busy, does not keep the others out."""
        (crowd, _), *_ = Counter(visitor.host for visitor in self._visitors).most_common(1)
        self._dismiss(next(visitor for visitor in self._visitors if visitor.host == crowd), SILENT)
