"""What a caller asks for (A-ASSOCIATE-RQ, PS3.8 9.3.2), and what it is told where it can not come in (9.3.4, 9.3.8)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qcnode.config import Caller, Listener
from qcnode.dicom_listener.callers import Callers, Peer

PDU_HEAD_BYTES = 6
LARGEST_PDU_BYTES = 2**20
"""Of any PDU of an association: eight times what is announced for P-DATA."""

_LARGEST_REQUEST = 2**19  # twice what 128 contexts with every transfer syntax need
_ASSOCIATE_RQ = 0x01
_TITLES = slice(10, 26), slice(26, 42)  # called, calling
_SHORTEST_REQUEST = 74
_FIRST_TLS_BYTE = 0x16


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why somebody is turned away, as a word, and what is sent before the connection is closed."""

    reason: str
    answer: bytes = b""


def _rejection(result: int, source: int, diagnostic: int) -> bytes:
    return bytes((0x03, 0, 0, 0, 0, 4, 0, result, source, diagnostic))


def _abort(reason: int) -> bytes:
    """A-ABORT by the service provider."""
    return bytes((0x07, 0, 0, 0, 0, 4, 0, 0, 2, reason))


CALLER_UNKNOWN = Refusal("caller-unknown", _rejection(1, 1, 3))  # calling AE title not recognised
CALLED_TITLE_WRONG = Refusal("called-title-wrong", _rejection(1, 1, 7))  # called AE title not recognised
LIMIT = Refusal("limit", _rejection(2, 3, 2))  # transient: local limit exceeded
ADDRESS_LIMIT = Refusal("address-limit", _rejection(2, 3, 2))
NO_DICOM = Refusal("no-dicom", _abort(1))  # unrecognised PDU
OUT_OF_TURN = Refusal("no-dicom", _abort(2))  # unexpected PDU
UNREADABLE = Refusal("no-dicom", _abort(6))  # invalid PDU parameter value
BROKEN_OFF = Refusal("no-dicom")
TLS_HERE = Refusal("tls-not-spoken")
SILENT = Refusal("silent")


def refusal_of_head(head: bytes) -> Refusal | None:
    """Why what begins with these PDU_HEAD_BYTES is no association request that is read further."""
    kind, length = head[0], int.from_bytes(head[2:6])
    if kind == _FIRST_TLS_BYTE:
        return TLS_HERE
    if kind != _ASSOCIATE_RQ:
        return OUT_OF_TURN if 2 <= kind <= 7 else NO_DICOM
    return None if _SHORTEST_REQUEST <= PDU_HEAD_BYTES + length <= _LARGEST_REQUEST else UNREADABLE


def titles(request: bytes) -> tuple[str, str]:
    """The called and the calling AE title of a whole request. What is not printable ASCII is shown as an escape."""
    called, calling = (_printable(request[part]) for part in _TITLES)
    return called, calling


def _printable(title: bytes) -> str:
    return "".join(chr(b) if 0x20 <= b <= 0x7E else f"\\x{b:02x}" for b in title).strip()


@dataclass(frozen=True)
class Admission:
    """Who may come in. `inside` is how many associations there are: in all, and of one address."""

    settings: Listener
    callers: Callers[Caller]
    everyone: bool
    inside: Callable[[Peer | None], int]

    def refusal(self, peer: Peer) -> Refusal | None:
        """Why this peer can not have an association now; None where it can."""
        settings = self.settings
        if not self.everyone and self.callers.of(peer) is None:
            return CALLER_UNKNOWN
        if settings.check_called_ae_title and peer.called_ae_title != settings.ae_title:
            return CALLED_TITLE_WRONG
        if self.inside(None) >= settings.maximum_associations:
            return LIMIT
        own = settings.maximum_associations_per_address
        return ADDRESS_LIMIT if own is not None and self.inside(peer) >= own else None
