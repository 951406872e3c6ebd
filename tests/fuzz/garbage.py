"""What is no DICOM, or nearly: garbage for a port, each piece by name and seed. A piece is what is sent after which it is listened."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import wire
from wire import IMPLICIT, VERIFICATION, Peer

MR, EXPLICIT = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.1"
CONTEXTS = [(1, VERIFICATION, [IMPLICIT]), (3, MR, [EXPLICIT])]

Garbage = Callable[[random.Random, Peer], None]


def random_bytes(draw: random.Random, peer: Peer) -> None:
    peer.send(draw.randbytes(draw.choice((1, 5, 6, 7, 100, 5000))))


def http(draw: random.Random, peer: Peer) -> None:
    peer.send(
        draw.choice((b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST /../../etc/passwd HTTP/1.0\r\n\r\n", b"\r\n\r\n", b"SSH-2.0-x\r\n"))
    )


def tls_hello(draw: random.Random, peer: Peer) -> None:
    peer.send(bytes.fromhex("16030100a5010000a10303") + draw.randbytes(160))


def wrong_type(draw: random.Random, peer: Peer) -> None:
    peer.send(wire.pdu(draw.choice((0, 2, 3, 4, 5, 6, 7, 8, 0x7F, 0xFF)), draw.randbytes(draw.randrange(40))))


def wrong_pdu_length(draw: random.Random, peer: Peer) -> None:
    length = draw.choice((0, 1, 3, 0x7FFFFFFF, 0xFFFFFFFF, 0x00100000, draw.randrange(2**32)))
    peer.send(wire.pdu(draw.choice((1, 4)), draw.randbytes(draw.choice((0, 100, 70000))), length))


def wrong_sub_item(draw: random.Random, peer: Peer) -> None:
    asked = bytearray(wire.request(CONTEXTS))
    for _ in range(draw.choice((1, 1, 3, 10))):
        asked[draw.randrange(6, len(asked))] = draw.randrange(256)
    peer.send(bytes(asked))


def truncated_request(draw: random.Random, peer: Peer) -> None:
    asked = wire.request(CONTEXTS)
    peer.send(asked[: draw.randrange(1, len(asked))])


def odd_contexts(draw: random.Random, peer: Peer) -> None:
    """None, a thousand, with even or repeated numbers, without syntaxes, with names that are none."""
    count = draw.choice((0, 1, 128, 1000))
    syntaxes: list[str] = draw.choice(([EXPLICIT], [], ["1.2.3"] * 100, ["../../x"], [""]))
    names = (MR, "", "1.2.abc", "9" * 300, "../../etc/passwd")
    peer.send(wire.request([((2 * n + draw.choice((1, 1, 1, 2))) % 256, draw.choice(names), syntaxes) for n in range(count)]))


def user_information(draw: random.Random, peer: Peer) -> None:
    items = (
        wire.sub_item(0x58, struct.pack(">BBH", 2, 1, 60000) + b"PHANTOM" + bytes(60000)),
        wire.sub_item(draw.randrange(0x51, 0x5A), draw.randbytes(draw.randrange(200))),
        wire.sub_item(0x55, b"\xff" * 65000),
        wire.sub_item(0x51, struct.pack(">I", draw.choice((0, 1, 7, 0xFFFFFFFF)))),
        wire.sub_item(0x53, struct.pack(">HH", 0xFFFF, 0xFFFF)),
        b"".join(wire.sub_item(0x54, struct.pack(">H", 4) + b"1.2x" + b"\1\1") for _ in range(2000)),
    )
    peer.send(wire.request(CONTEXTS, extra=draw.choice(items)))


def odd_titles(draw: random.Random, peer: Peer) -> None:
    titles = (b"", b" " * 16, b"\0" * 16, b"\xff" * 16, b"A\r\nB", b"%s%n", b"PHANTOM^QCNODE")
    peer.send(wire.request(CONTEXTS, called=draw.choice(titles), calling=draw.choice(titles)))


def data_without_association(draw: random.Random, peer: Peer) -> None:
    peer.send(wire.message(1, wire.echo_command()))


def twice(draw: random.Random, peer: Peer) -> None:
    peer.send(wire.request(CONTEXTS) * 2)


def release_and_abort(draw: random.Random, peer: Peer) -> None:
    peer.send(wire.request(CONTEXTS))
    peer.send(wire.pdu(draw.choice((5, 6, 7)), bytes(draw.choice((4, 4, 0, 8)))))


def wrong_values(draw: random.Random, peer: Peer) -> None:
    """P-DATA whose values contradict their lengths, contexts or flags."""
    if not peer.associate(CONTEXTS):
        return
    command = wire.echo_command()
    context, flags = draw.choice((0, 1, 2, 3, 5, 255)), draw.choice((0, 1, 2, 3, 4, 0xFF))
    length = draw.choice((0, 1, 2, len(command) + 2, len(command) + 100, 0xFFFFFFFF))
    peer.send(wire.pdu(4, struct.pack(">IBB", length, context, flags) + command))


def wrong_command(draw: random.Random, peer: Peer) -> None:
    if not peer.associate(CONTEXTS):
        return
    command = bytearray(wire.store_command(MR, "1.2.3") if draw.random() < 0.6 else wire.echo_command())
    for _ in range(draw.choice((1, 2, 8))):
        command[draw.randrange(len(command))] = draw.randrange(256)
    peer.send(wire.message(draw.choice((1, 3)), bytes(command), draw.randbytes(40)))


def unasked_command(draw: random.Random, peer: Peer) -> None:
    """Services that the context does not have, responses to nothing, requests without what they need."""
    if not peer.associate(CONTEXTS):
        return
    field = draw.choice((0x0001, 0x8001, 0x0020, 0x0021, 0x0010, 0x0FFF, 0x0100, 0x0110, 0x0120, 0x0130, 0x0140, 0x0150, 0x8030, 0x7777))
    elements = [(0x0100, wire.number(field)), (0x0110, wire.number(1)), (0x0800, wire.number(draw.choice((0, 1, 0x0101))))]
    if draw.random() < 0.5:
        elements.insert(0, (0x0002, wire.text(draw.choice((MR, VERIFICATION, "", "1.2.abc")))))
    peer.send(wire.message(draw.choice((1, 3)), wire.command(elements), draw.randbytes(30)))


def data_set_that_ends(draw: random.Random, peer: Peer) -> None:
    """A data set whose sender goes away in the middle."""
    if not peer.associate(CONTEXTS):
        return
    peer.send(wire.fragment(3, 3, wire.store_command(MR, "1.2.3")) + wire.fragment(3, 0, draw.randbytes(5000)))


def data_set_that_does_not_end(draw: random.Random, peer: Peer) -> None:
    """Megabytes of fragments, none of which is the last."""
    if not peer.associate(CONTEXTS):
        return
    piece = wire.fragment(3, 0, bytes(16000))
    if peer.send(wire.fragment(3, 3, wire.store_command(MR, "1.2.3"))):
        for _ in range(draw.choice((10, 600))):
            if not peer.send(piece):
                break


def command_that_does_not_end(draw: random.Random, peer: Peer) -> None:
    if peer.associate(CONTEXTS):
        for _ in range(40):
            if not peer.send(wire.fragment(1, 1, bytes(16000))):
                break


def many_values(draw: random.Random, peer: Peer) -> None:
    """A PDU of thousands of empty values."""
    if peer.associate(CONTEXTS):
        peer.send(wire.pdu(4, struct.pack(">IBB", 2, 1, draw.choice((0, 1))) * 10000))


KINDS: tuple[Garbage, ...] = (
    random_bytes,
    http,
    tls_hello,
    wrong_type,
    wrong_pdu_length,
    wrong_sub_item,
    truncated_request,
    odd_contexts,
    user_information,
    odd_titles,
    data_without_association,
    twice,
    release_and_abort,
    wrong_values,
    wrong_command,
    unasked_command,
    data_set_that_ends,
    data_set_that_does_not_end,
    command_that_does_not_end,
    many_values,
)

_LISTEN_SECONDS = 0.05
_WORDS = {
    0: "closed",
    -1: "left open",
    wire.ACCEPT: "accepted",
    wire.REJECT: "rejected",
    wire.DATA: "answered",
    wire.ABORT: "aborted",
    6: "released",
}


def throw(seed: int, port: int) -> tuple[str, str]:
    """Send garbage number `seed` to the port; its name, and what the other side did. Raises OSError where nobody listens."""
    draw = random.Random(seed)
    garbage = KINDS[seed % len(KINDS)]
    with Peer(port) as peer:
        garbage(draw, peer)
        peer.seconds = draw.choice((_LISTEN_SECONDS, 5 * _LISTEN_SECONDS))
        peer.socket.settimeout(peer.seconds)
        return garbage.__name__.replace("_", " "), _WORDS.get(peer.drain(), "answered")
