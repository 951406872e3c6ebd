"""What a compressed frame says of its size is read as its standard has it, and believed only where the data set says the same."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from dicom_objects import mr_slice, save
from openjpeg.utils import encode_array
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame

from qcnode.case import ReasonCode
from qcnode.errors import Rejected
from qcnode.headers.codestreams import jpeg_2000_matrix, jpeg_matrix
from qcnode.imaging.pixels import decode_frame
from qcnode.ingest.variants import compare

VALUES = np.arange(40 * 37).reshape(40, 37)


def jpeg_ls() -> Dataset:
    dataset = mr_slice(VALUES, (0, 0, 0))
    dataset.compress(uid.JPEGLSLossless, generate_instance_uid=False)
    return dataset


def jpeg_2000() -> Dataset:
    dataset = mr_slice(VALUES, (0, 0, 0))
    dataset.PixelData = encapsulate([encode_array(VALUES.astype(np.uint16), codec_format=0)])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.file_meta.TransferSyntaxUID = uid.JPEG2000Lossless
    return dataset


def frame(dataset: Dataset) -> bytes:
    return get_frame(dataset.PixelData, 0, number_of_frames=1)


def with_size(dataset: Dataset, rows: int, columns: int) -> Dataset:
    """The same codestream, which now states another size."""
    stream = bytearray(frame(dataset))
    if dataset.file_meta.TransferSyntaxUID == uid.JPEG2000Lossless:
        at = stream.index(b"\xff\x51") + 6
        stream[at : at + 8] = struct.pack(">II", columns, rows)
    else:
        at = stream.index(b"\xff\xf7") + 5
        stream[at : at + 4] = struct.pack(">HH", rows, columns)
    dataset.PixelData = encapsulate([bytes(stream)])
    return dataset


def test_sizes_are_rows_and_columns() -> None:
    assert jpeg_matrix(frame(jpeg_ls())) == (40, 37)
    assert jpeg_2000_matrix(frame(jpeg_2000())) == (40, 37)
    assert jpeg_matrix(b"\xff\xd8\xff\xe0\0\4ab\xff\xff\xc3\0\x0b\x10\1\0\2\0\1\1\x11\0\xff\xda") == (256, 512)


@pytest.mark.parametrize("stream", [b"", b"\xff\xd8", b"\xff\xd8\xff\xda\0\0", b"\xff\xd8\xff\xe0\xff\xff", b"\xff\xd8" * 40, b"PHANTOM"])
def test_streams_without_a_size(stream: bytes) -> None:
    with pytest.raises(ValueError, match="no "):
        jpeg_matrix(stream)
    with pytest.raises(ValueError, match="no image size"):
        jpeg_2000_matrix(stream)


@pytest.mark.parametrize("make", [jpeg_ls, jpeg_2000])
def test_a_stream_larger_than_its_data_set_is_not_decoded(make) -> None:
    assert (decode_frame(make()) == VALUES).all()
    tracemalloc.start()
    try:
        with pytest.raises(Rejected) as refusal:
            decode_frame(with_size(make(), 30000, 30000))
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()
    assert refusal.value.reason.code is ReasonCode.SERIES_UNREADABLE


def test_a_frame_larger_than_any_is_refused_before_it_is_decoded() -> None:
    dataset = mr_slice(VALUES, (0, 0, 0))
    dataset.Rows = dataset.Columns = 65535
    with pytest.raises(Rejected) as refusal:
        decode_frame(dataset, code=ReasonCode.SEG_UNREADABLE)
    assert refusal.value.reason.code is ReasonCode.TOO_LARGE


@pytest.mark.parametrize("decoder", [None, decode_frame])
@pytest.mark.filterwarnings("ignore")
def test_variants_that_can_not_be_decoded_conflict(tmp_path: Path, decoder) -> None:
    """With the decoder's refusal, too: it once stopped the matching of everything that came behind."""
    first, second = save(mr_slice(VALUES, (0, 0, 0)), tmp_path), save(with_size(jpeg_ls(), 30000, 30000), tmp_path)
    dcmread(second)
    assert compare(first, second, decode_frame=decoder) == "conflict"
