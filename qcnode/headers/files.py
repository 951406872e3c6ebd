"""DICOM files read within bounds, because a few bytes of a file can ask for more time and memory than any machine has.

A deflated data set grows a thousandfold, a length says 4 GB where 10 bytes follow, and eight bytes make an element or an item that takes a
hundred times as much in memory. Whoever reads what a peer sent reads it here.
"""

from __future__ import annotations

import os
import zlib
from io import BufferedReader, BytesIO, FileIO
from pathlib import Path
from typing import BinaryIO

from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.filereader import read_dataset, read_partial, read_preamble
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian

MOST_INFLATED_BYTES = 2**27
"""What a deflated data set (PS3.5 A.5) may become: 64 million voxels of 16 bits."""

MOST_ELEMENTS = 20_000
"""Elements of a data set, those inside sequences not counted; real objects have some hundred."""

MOST_ITEMS = 100_000
"""Sequence items and fragments of a file: some ten thousand frames with functional groups of their own."""

_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_ITEM_TAGS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")  # (FFFE,E000), little and big endian
_CHUNK = 2**20


class OutOfBounds(ValueError):
    """The file holds, or asks for, more than qcnode reads."""


class _WithinFile(BufferedReader):
    """A file of which no read asks for more than it holds: pydicom believes every length, and Python allocates what is asked for."""

    def __init__(self, path: Path) -> None:
        super().__init__(FileIO(path))
        self._size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _CHUNK:
            size = min(size, max(self._size - self.tell(), 0))
        return super().read(size)


class _Stop:
    """pydicom's question whether to stop before an element, which is also where the elements are counted."""

    def __init__(self, *, before_pixels: bool) -> None:
        self._before_pixels = before_pixels
        self._elements = 0

    def __call__(self, tag: BaseTag, _vr: str | None, _length: int) -> bool:
        self._elements += 1
        if self._elements > MOST_ELEMENTS:
            raise OutOfBounds(f"more than {MOST_ELEMENTS} elements")
        return self._before_pixels and tag in _PIXELS


def read_file(path: Path, *, stop_before_pixels: bool = False) -> FileDataset:
    """The data set in a Part 10 file. Raises OutOfBounds, or whatever pydicom does with what is broken."""
    stop = _Stop(before_pixels=stop_before_pixels)
    with _WithinFile(path) as file:
        preamble = read_preamble(file, force=False)
        meta = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, _vr, _length: tag.group != 2)
        if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            return _read_deflated(file, preamble, FileMetaDataset(meta), stop)
        _check_items(file)
        file.seek(0)
        return read_partial(file, stop_when=stop)


def _read_deflated(file: BinaryIO, preamble: bytes | None, meta: FileMetaDataset, stop: _Stop) -> FileDataset:
    """What pydicom's own reader does with the rest of the file, but for the bound."""
    plain = BytesIO(_inflated(file.read()))
    _check_items(plain)
    plain.seek(0)
    dataset = read_dataset(plain, is_implicit_VR=False, is_little_endian=True, stop_when=stop)
    whole = FileDataset(plain, dataset, preamble, meta, is_implicit_VR=False, is_little_endian=True)
    whole.set_original_encoding(False, True, dataset.original_character_set)
    return whole


def _inflated(deflated: bytes) -> bytes:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    content = stream.decompress(deflated, MOST_INFLATED_BYTES)
    if not stream.eof and stream.unconsumed_tail:
        raise OutOfBounds(f"more than {MOST_INFLATED_BYTES} bytes inflated")
    if not stream.eof:
        raise EOFError("the deflated data set is truncated")
    return content


def _check_items(file: BinaryIO) -> None:
    """Count the item tags from here to the end, at any depth. Pixels that look like some do no harm."""
    found, tail = 0, b""
    while chunk := file.read(_CHUNK):
        window = tail + chunk
        found += max(window.count(tag) for tag in _ITEM_TAGS)
        if found > MOST_ITEMS:
            raise OutOfBounds(f"more than {MOST_ITEMS} sequence items")
        tail = window[-3:]
