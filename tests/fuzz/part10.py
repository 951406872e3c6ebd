"""Part 10 files as bytes that can be broken: where each element lies, and what may be written in its place.

pydicom writes what is valid and corrects what is not; a mutant must hold exactly the bytes that were meant. Sequences are written with
undefined lengths first (`open_lengths`), so that an element can grow or shrink without its parents' lengths being wrong as well.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

import pydicom
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

LONG_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Spot:
    """An element in a file of Explicit VR Little Endian: where it starts, where its value does, and how long that is."""

    tag: BaseTag
    vr: str
    start: int
    value_start: int
    length: int  # UNDEFINED for sequences that were written so

    @property
    def length_size(self) -> int:
        """Bytes that the length takes, 2 or 4 (PS3.5 7.1.2)."""
        return 4 if self.vr in LONG_VRS else 2

    @property
    def end(self) -> int:
        """Where the value ends; of an undefined length, where it starts."""
        return self.value_start + (0 if self.length == UNDEFINED else self.length)


def encoded(dataset: Dataset, *, open_lengths: bool = False) -> bytes:
    """The data set as a file, with the sequences' lengths undefined on demand."""
    if open_lengths:
        _open(dataset)
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _open(dataset: Dataset) -> None:
    for element in dataset:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
                _open(item)


def spots(part10: bytes) -> list[Spot]:
    """Every element of the data set, at every depth of open sequences; none where it is not Explicit VR Little Endian as it lies there."""
    dataset = pydicom.dcmread(BytesIO(part10))
    syntax = dataset.file_meta.TransferSyntaxUID
    explicit = syntax.is_private or not (syntax.is_implicit_VR or syntax.is_deflated or not syntax.is_little_endian)
    return list(_spots(dataset)) if explicit else []


def _spots(dataset: Dataset) -> Iterator[Spot]:
    for tag in sorted(dataset.keys()):
        element = dataset.get_item(tag)
        if isinstance(element, RawDataElement):
            vr = str(element.VR)
            header = 12 if vr in LONG_VRS else 8
            yield Spot(element.tag, vr, element.value_tell - header, element.value_tell, element.length)
        elif isinstance(element, DataElement) and element.VR == "SQ":
            if element.file_tell is not None:
                yield Spot(element.tag, "SQ", element.file_tell - 12, element.file_tell, UNDEFINED)
            for item in element.value:
                yield from _spots(item)


def element_bytes(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    """An element in Explicit VR Little Endian; `length` lies about the value where given."""
    stated = len(value) if length is None else length
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    if vr in LONG_VRS:
        return head + b"\0\0" + struct.pack("<I", stated & 0xFFFFFFFF) + value
    return head + struct.pack("<H", stated & 0xFFFF) + value


def with_value(part10: bytes, spot: Spot, value: bytes, vr: str | None = None) -> bytes:
    """The element holds `value` instead; an odd length stays odd."""
    return part10[: spot.start] + element_bytes(int(spot.tag), vr or spot.vr, value) + part10[spot.end :]


def with_length(part10: bytes, spot: Spot, length: int) -> bytes:
    """The element's length says something else; its value stays."""
    field = spot.value_start - spot.length_size
    packed = struct.pack("<I", length & 0xFFFFFFFF) if spot.length_size == 4 else struct.pack("<H", length & 0xFFFF)
    return part10[:field] + packed + part10[spot.value_start :]


def with_vr(part10: bytes, spot: Spot, vr: bytes) -> bytes:
    """The element's VR says something else; length and value stay as they lie there."""
    return part10[: spot.start + 4] + vr + part10[spot.start + 6 :]


def dataset_start(part10: bytes) -> int:
    """Where the data set begins behind the file meta (PS3.10 7.1)."""
    (length,) = struct.unpack_from("<I", part10, 140)
    return 144 + int(length)


def raw_deflate(content: bytes) -> bytes:
    """A deflate stream without a header."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return stream.compress(content) + stream.flush()


def nested(depth: int, tag: int = 0x00081140, *, open_ends: bool = True) -> bytes:
    """A sequence in a sequence in a sequence; without `open_ends` nothing closes them."""
    opening = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + b"SQ\0\0" + b"\xff" * 4 + b"\xfe\xff\x00\xe0" + b"\xff" * 4
    closing = b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    return opening * depth + (closing * depth if open_ends else b"")
