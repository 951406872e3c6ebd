"""Files that ask for more than they hold are refused before they cost anything."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from dicom_objects import item, mr_slice, save, segmentation
from pydicom.uid import DeflatedExplicitVRLittleEndian

from qcnode.case import ReasonCode
from qcnode.errors import Rejected
from qcnode.headers import files, read_dataset, read_header
from qcnode.headers.files import MOST_ELEMENTS, MOST_INFLATED_BYTES, MOST_ITEMS
from qcnode.headers.frames import MOST_FRAMES
from qcnode.headers.instances import MOST_SEGMENTS

VALUES = np.arange(12).reshape(3, 4)
ITEM = b"\xfe\xff\x00\xe0\0\0\0\0"


def refusal(path: Path) -> ReasonCode:
    with pytest.raises(Rejected) as refused:
        read_header(path)
    return refused.value.reason.code


def deflated(folder: Path) -> tuple[bytes, bytes]:
    """File meta and inflated data set of a deflated MR image."""
    dataset = mr_slice(VALUES, (0, 0, 0))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    content = save(dataset, folder).read_bytes()
    start = 144 + struct.unpack_from("<I", content, 140)[0]
    return content[:start], zlib.decompress(content[start:], -zlib.MAX_WBITS)


def deflate(content: bytes, *further: bytes) -> bytes:
    stream = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return b"".join(stream.compress(piece) for piece in (content, *further)) + stream.flush()


def test_a_deflated_file_is_read_as_any_other(tmp_path: Path) -> None:
    meta, content = deflated(tmp_path)
    path = tmp_path / "again.dcm"
    path.write_bytes(meta + deflate(content))
    dataset = read_dataset(path)
    assert dataset.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian
    assert dataset.PixelData == read_dataset(next(iter(tmp_path.glob("0*.dcm")))).PixelData
    assert (dataset.pixel_array == VALUES).all()
    assert "PixelData" not in read_dataset(path, stop_before_pixels=True)


def test_a_bomb_is_not_inflated_beyond_the_bound(tmp_path: Path) -> None:
    meta, content = deflated(tmp_path)
    path = tmp_path / "bomb.dcm"
    path.write_bytes(meta + deflate(content, *[bytes(2**20)] * (2 * MOST_INFLATED_BYTES // 2**20)))
    assert path.stat().st_size < 2 * MOST_INFLATED_BYTES / 200
    tracemalloc.start()
    try:
        assert refusal(path) is ReasonCode.TOO_LARGE
        assert tracemalloc.get_traced_memory()[1] < 2.5 * MOST_INFLATED_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_deflate_stream_that_breaks_off_is_unreadable(tmp_path: Path, kept: float) -> None:
    meta, content = deflated(tmp_path)
    stream = deflate(content)
    path = tmp_path / "broken.dcm"
    path.write_bytes(meta + stream[: int(kept * len(stream))])
    assert refusal(path) is ReasonCode.SERIES_UNREADABLE
    path.write_bytes(meta + b"\xff" + stream[1:])
    assert refusal(path) is ReasonCode.SERIES_UNREADABLE


def test_elements_without_end_are_not_counted_to_the_end(tmp_path: Path) -> None:
    meta, _ = deflated(tmp_path)
    path = tmp_path / "zeros.dcm"
    path.write_bytes(meta + deflate(b"\x09\0\x10\x10LO\0\0" * (MOST_ELEMENTS + 1)))
    assert refusal(path) is ReasonCode.TOO_LARGE


@pytest.mark.parametrize("tag", [0x00081140, 0x52009230])
def test_items_without_end_are_not_read(tmp_path: Path, tag: int) -> None:
    path = save(mr_slice(VALUES, (0, 0, 0)), tmp_path)
    items = ITEM * (MOST_ITEMS + 1)
    with path.open("ab") as file:
        file.write(struct.pack("<HH", tag >> 16, tag & 0xFFFF) + b"SQ\0\0" + struct.pack("<I", len(items)) + items)
    assert refusal(path) is ReasonCode.TOO_LARGE


def test_items_are_counted_across_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_CHUNK", 13)
    monkeypatch.setattr(files, "MOST_ITEMS", 20)
    path = save(segmentation([(1, (0, 0, 5), np.ones((3, 4), np.bool_))]), tmp_path)
    read_header(path)
    dataset = read_dataset(path)
    dataset.ReferencedSeriesSequence = [item(SeriesInstanceUID="1.2")] * 15
    assert refusal(save(dataset, tmp_path)) is ReasonCode.TOO_LARGE


def test_more_frames_than_are_read(tmp_path: Path) -> None:
    dataset = segmentation([(1, (0, 0, 5), np.ones((3, 4), np.bool_))])
    dataset.PerFrameFunctionalGroupsSequence = [item() for _ in range(MOST_FRAMES + 1)]
    assert refusal(save(dataset, tmp_path)) is ReasonCode.TOO_LARGE


def test_more_segments_than_are_read(tmp_path: Path) -> None:
    dataset = segmentation([(1, (0, 0, 5), np.ones((3, 4), np.bool_))])
    dataset.SegmentSequence = [item(SegmentNumber=n + 1) for n in range(MOST_SEGMENTS + 1)]
    assert refusal(save(dataset, tmp_path)) is ReasonCode.TOO_LARGE


def test_a_length_that_no_file_has_costs_no_memory(tmp_path: Path) -> None:
    path = save(mr_slice(VALUES, (0, 0, 0)), tmp_path)
    with path.open("ab") as file:
        file.write(b"\xe0\x7f\x12\x00OB\0\0\xf0\xff\xff\xff" + bytes(10))
    tracemalloc.start()
    try:
        read_header(path)
        read_dataset(path)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()
