"""How large a compressed frame says that it is, read before a decoder believes it.

Decoders allocate what the codestream states: 5 kB of JPEG lossless that state 30000 x 30000 pixels cost 9 GB and half a minute, whatever
Rows and Columns say.
"""

from __future__ import annotations

import struct

from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame

from qcnode.case import ReasonCode
from qcnode.errors import Rejected
from qcnode.headers.elements import integer

JPEG_2000 = frozenset({uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K})
JPEG = frozenset({uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1})
JPEG_LS = frozenset({uid.JPEGLSLossless, uid.JPEGLSNearLossless})

MOST_FRAME_PIXELS = 2**23
"""Pixels of a frame that is decoded: 4096 x 2048."""

_START_OF_IMAGE = b"\xff\xd8"
_START_OF_SCAN = 0xDA
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})  # TEM, RSTn and SOI stand alone
_FRAME_HEADERS = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15, and SOF55 of JPEG-LS
_START_OF_CODESTREAM_AND_SIZE = b"\xff\x4f\xff\x51"


def check_matrix(rows: int, columns: int) -> None:
    """Raises Rejected(TOO_LARGE) where a frame has more pixels than are decoded."""
    if rows * columns > MOST_FRAME_PIXELS:
        raise Rejected(ReasonCode.TOO_LARGE, f"a frame of {rows} x {columns} pixels is larger than {MOST_FRAME_PIXELS}")


def encoded_frame(dataset: Dataset, index: int, syntax: uid.UID) -> bytes:
    """The compressed bytes of a frame (0-based); fragments are joined by offset table or by end-of-image marker (PS3.5, A.4).

    Raises ValueError where the codestream has another matrix than the data set says, or whatever pydicom does with broken fragments.
    """
    encoded = get_frame(dataset.PixelData, index, number_of_frames=integer(dataset, "NumberOfFrames") or 1)
    if syntax in JPEG_2000:
        stated = jpeg_2000_matrix(encoded)
    elif syntax in JPEG | JPEG_LS:
        stated = jpeg_matrix(encoded)
    else:
        return encoded
    if stated != (integer(dataset, "Rows"), integer(dataset, "Columns")):
        raise ValueError("another matrix than that of the data set")
    return encoded


def jpeg_matrix(codestream: bytes) -> tuple[int, int]:
    """(rows, columns) of a JPEG (ISO/IEC 10918-1, B.2.2) or JPEG-LS (14495-1, C.2.2) stream. Raises ValueError where it states none."""
    if codestream[:2] != _START_OF_IMAGE:
        raise ValueError("no JPEG")
    at = 2
    while at + 4 <= len(codestream):
        marker = codestream[at + 1]
        if codestream[at] != 0xFF or marker == _START_OF_SCAN:
            break
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        elif marker in _FRAME_HEADERS and at + 9 <= len(codestream):
            rows, columns = struct.unpack_from(">HH", codestream, at + 5)
            return rows, columns
        else:
            at += 2 + int.from_bytes(codestream[at + 2 : at + 4])
    raise ValueError("no frame header")


def jpeg_2000_matrix(codestream: bytes) -> tuple[int, int]:
    """(rows, columns) of a JPEG 2000 stream (ISO/IEC 15444-1, A.5.1), bare or in JP2 boxes. Raises ValueError where it says no size."""
    at = codestream.find(_START_OF_CODESTREAM_AND_SIZE)
    if at < 0 or at + 24 > len(codestream):
        raise ValueError("no image size")
    right, bottom, left, top = struct.unpack_from(">IIII", codestream, at + 8)
    return bottom - top, right - left
