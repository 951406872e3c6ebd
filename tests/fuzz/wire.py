"""The upper layer protocol and DIMSE as bytes (PS3.8 9.3, PS3.7 6.3 and 9.3), so that any of it can be wrong. A peer that obeys nobody."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"
ABORT, ACCEPT, REJECT, DATA = 0x07, 0x02, 0x03, 0x04


def pdu(kind: int, content: bytes, length: int | None = None) -> bytes:
    """A PDU; `length` lies about its content where given."""
    return struct.pack(">BBI", kind, 0, len(content) if length is None else length) + content


def sub_item(kind: int, content: bytes, length: int | None = None) -> bytes:
    """An item or sub-item of an association request."""
    return struct.pack(">BBH", kind, 0, (len(content) if length is None else length) & 0xFFFF) + content


def request(
    contexts: Iterable[tuple[int, str, Sequence[str]]], *, called: bytes = b"QCNODE", calling: bytes = b"FUZZ", extra: bytes = b""
) -> bytes:
    """A-ASSOCIATE-RQ of (context id, abstract syntax, transfer syntaxes); `extra` goes into the user information."""
    items = sub_item(0x10, APPLICATION_CONTEXT.encode())
    for number, abstract, syntaxes in contexts:
        content = struct.pack(">BBBB", number, 0, 0, 0) + sub_item(0x30, abstract.encode())
        items += sub_item(0x20, content + b"".join(sub_item(0x40, syntax.encode()) for syntax in syntaxes))
    user = sub_item(0x51, struct.pack(">I", 16384)) + sub_item(0x52, b"2.25.1") + extra
    titles = called.ljust(16)[:16] + calling.ljust(16)[:16]
    return pdu(0x01, struct.pack(">HH", 1, 0) + titles + bytes(32) + items + sub_item(0x50, user))


def command(elements: Iterable[tuple[int, bytes]]) -> bytes:
    """A command set of group 0000 elements, Implicit VR Little Endian, with its group length."""
    content = b"".join(struct.pack("<HHI", 0, element, len(value)) + value for element, value in elements)
    return struct.pack("<HHII", 0, 0, 4, len(content)) + content


def text(value: str) -> bytes:
    """A UID as a command set has it."""
    encoded = value.encode()
    return encoded + b"\0" * (len(encoded) % 2)


def number(value: int) -> bytes:
    """A US value."""
    return struct.pack("<H", value & 0xFFFF)


def echo_command(message_id: int = 1) -> bytes:
    """C-ECHO-RQ."""
    return command([(0x0002, text(VERIFICATION)), (0x0100, number(0x30)), (0x0110, number(message_id)), (0x0800, number(0x0101))])


def store_command(sop_class: str, sop_instance: str, message_id: int = 1) -> bytes:
    """C-STORE-RQ."""
    elements = [(0x0002, text(sop_class)), (0x0100, number(1)), (0x0110, number(message_id)), (0x0700, number(0)), (0x0800, number(1))]
    return command([*elements, (0x1000, text(sop_instance))])


def fragment(context: int, flags: int, content: bytes) -> bytes:
    """A P-DATA-TF PDU with one value. flags: 1 command, 2 last."""
    return pdu(DATA, struct.pack(">IBB", len(content) + 2, context, flags) + content)


def message(context: int, command_set: bytes, data_set: bytes = b"", *, piece: int = 16000) -> bytes:
    """A whole DIMSE message."""
    pieces = [data_set[at : at + piece] for at in range(0, len(data_set), piece)]
    frames = [fragment(context, 2 if at == len(pieces) - 1 else 0, part) for at, part in enumerate(pieces)]
    return fragment(context, 3, command_set) + b"".join(frames)


@dataclass
class Peer:
    """A connection. Reading ends with b"" when the other side has closed it, with TimeoutError after `seconds`."""

    port: int
    seconds: float = 10.0

    def __enter__(self) -> Self:
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=self.seconds)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.socket.close()

    def send(self, content: bytes) -> bool:
        """False where the other side does not take it any more."""
        try:
            self.socket.sendall(content)
        except (ConnectionError, BrokenPipeError):
            return False
        return True

    def read(self) -> tuple[int, bytes]:
        """The next PDU as (type, content); (0, b"") at the end."""
        head = self._exactly(6)
        if len(head) < 6:
            return 0, b""
        kind, _, length = struct.unpack(">BBI", head)
        return kind, self._exactly(length)

    def drain(self) -> int:
        """The last PDU's type before the other side closes; -1 where it does not within `seconds`."""
        last = 0
        try:
            while (answer := self.read())[0]:
                last = answer[0]
        except TimeoutError:
            return -1
        return last

    def status(self) -> int | None:
        """The status of the next response; None where the association ended instead."""
        content = b""
        while True:
            kind, got = self.read()
            if kind != DATA:
                return None
            content += got[6:]
            if got[5] & 2:
                break
        at = content.find(struct.pack("<HHI", 0, 0x0900, 2))
        return int.from_bytes(content[at + 8 : at + 10], "little") if at >= 0 else None

    def associate(self, contexts: Iterable[tuple[int, str, Sequence[str]]]) -> bool:
        """True where the association is accepted."""
        self.send(request(contexts))
        return self.read()[0] == ACCEPT

    def release(self) -> None:
        """Ask for the end, and wait for it."""
        if self.send(pdu(0x05, bytes(4))):
            self.drain()

    def _exactly(self, length: int) -> bytes:
        content = b""
        while len(content) < length:
            try:
                piece = self.socket.recv(min(length - len(content), 65536))
            except ConnectionError:
                piece = b""
            if not piece:
                break
            content += piece
        return content


def echo(port: int, seconds: float = 10.0) -> int | None:
    """Status of a C-ECHO on an association of its own."""
    with Peer(port, seconds) as peer:
        if not peer.associate([(1, VERIFICATION, [IMPLICIT])]):
            return None
        peer.send(message(1, echo_command()))
        status = peer.status()
        peer.release()
        return status
