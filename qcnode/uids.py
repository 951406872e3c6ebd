"""UIDs that qcnode makes."""

from __future__ import annotations


def uid_of_digest(digest: bytes) -> str:
    """A UID that the first 16 bytes of a digest decide, at most 44 characters: "2.25." and a UUID (PS3.5, B.2).

    The UUID is of version 8 (RFC 9562): of its maker's own making.
    """
    number = bytearray(digest[:16])
    number[6] = number[6] & 0x0F | 0x80
    number[8] = number[8] & 0x3F | 0x80
    return f"2.25.{int.from_bytes(number, 'big')}"
