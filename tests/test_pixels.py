"""One frame's stored values are the same in every transfer syntax, signed or not, and a truncated stream is refused."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from dicom_objects import mr_slice, new_object, save, set_pixels
from openjpeg.utils import encode_array
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from qcnode.case import ReasonCode
from qcnode.errors import Rejected
from qcnode.imaging.pixels import decode_frame

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"


def frames_of(bits_stored: int, signed: bool, frames: int = 2) -> npt.NDArray[np.int64]:
    """A ramp over the whole range with noise, (frame, 40, 32)."""
    low, high = (-(1 << bits_stored - 1), (1 << bits_stored - 1) - 1) if signed else (0, (1 << bits_stored) - 1)
    ramp = np.linspace(low, high, frames * 40 * 32).reshape(frames, 40, 32)
    return np.clip(ramp + np.random.default_rng(1).normal(0, 9, ramp.shape), low, high).astype(np.int64)


def native(values: npt.NDArray[np.int64], bits_stored: int, signed: bool) -> Dataset:
    dataset = new_object(MR_IMAGE)
    set_pixels(dataset, values, bits_stored=bits_stored, signed=signed)
    return dataset


def compressed(values: npt.NDArray[np.int64], bits_stored: int, signed: bool, syntax: str) -> Dataset:
    dataset = native(values, bits_stored, signed)
    if syntax != JPEG2000Lossless:
        dataset.compress(syntax, generate_instance_uid=False)
        return dataset
    stored = values.astype(np.int16 if signed else np.uint16)
    dataset.PixelData = encapsulate([encode_array(frame, bits_stored=bits_stored, codec_format=0) for frame in stored])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def assert_decodes(dataset: Dataset, values: npt.NDArray[np.int64]) -> None:
    for number, frame in enumerate(values, start=1):
        np.testing.assert_array_equal(decode_frame(dataset, number), frame)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits_stored", [10, 12, 16])
@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_compressed_frames(tmp_path: Path, syntax: str, bits_stored: int, signed: bool) -> None:
    values = frames_of(bits_stored, signed)
    dataset = compressed(values, bits_stored, signed, syntax)
    assert_decodes(pydicom.dcmread(save(dataset, tmp_path)), values)


@pytest.mark.peers
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    "command",
    [
        ("dcmcjpeg", "+e1"),  # JPEG lossless, selection value 1
        ("dcmcjpeg", "+el"),  # JPEG lossless
        ("dcmcjpeg", "+e1", "+fs", "1"),  # in fragments of 1 kB
        ("dcmcjpls",),
        ("dcmcrle",),
        ("dcmconv", "+tb"),
        ("dcmconv", "+td"),
    ],
    ids=" ".join,
)
def test_what_dcmtk_encodes(tmp_path: Path, require_peers: Callable[..., None], command: tuple[str, ...], signed: bool) -> None:
    require_peers(command[0])
    values = frames_of(12, signed)
    dataset = native(values, 12, signed)
    dataset.RescaleSlope, dataset.RescaleIntercept = "2", "-7"
    source, target = save(dataset, tmp_path), tmp_path / "encoded.dcm"
    subprocess.run([*command, source, target], check=True, env={**os.environ, "TCP_NODELAY": "1"}, capture_output=True)
    assert_decodes(pydicom.dcmread(target), values)


@pytest.mark.peers
@pytest.mark.parametrize("name", ["JPEG-lossy.dcm", "JPGExtended.dcm"])
def test_twelve_bit_jpeg_equals_dcmtk(tmp_path: Path, require_peers: Callable[..., None], name: str) -> None:
    require_peers("dcmdjpeg")
    source, target = str(get_testdata_file(name, download=False)), tmp_path / "decoded.dcm"
    subprocess.run(["dcmdjpeg", source, target], check=True, env={**os.environ, "TCP_NODELAY": "1"}, capture_output=True)
    values = decode_frame(pydicom.dcmread(source))
    assert values.max() > 255
    np.testing.assert_array_equal(values, decode_frame(pydicom.dcmread(target)))


def test_bits_above_bits_stored_do_not_count() -> None:
    values = frames_of(12, False, 1)
    dataset = native(values | 0xA000, 12, False)
    np.testing.assert_array_equal(decode_frame(dataset), values[0])
    dataset = native((values << 4) | 0x5, 12, False)
    dataset.HighBit = 15
    np.testing.assert_array_equal(decode_frame(dataset), values[0])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kept", [0.99, 0.5, 0.05])
@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_truncated_streams_are_refused(syntax: str, kept: float) -> None:
    dataset = compressed(frames_of(12, False, 1), 12, False, syntax)
    stream = get_frame(dataset.PixelData, 0, number_of_frames=1).rstrip(b"\0")
    dataset.PixelData = encapsulate([stream[: int(len(stream) * kept)]])
    with pytest.raises(Rejected) as refusal:
        decode_frame(dataset)
    assert refusal.value.reason.code is ReasonCode.SERIES_UNREADABLE


@pytest.mark.parametrize("elements", [{"Rows": 0}, {"Rows": 41}, {"BitsAllocated": 12}, {"SamplesPerPixel": 3}, {"PixelData": b""}])
def test_contradicting_descriptions_are_refused(elements: dict[str, object]) -> None:
    dataset = mr_slice(frames_of(12, False, 1)[0], (0, 0, 0))
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    with pytest.raises(Rejected) as refusal:
        decode_frame(dataset, code=ReasonCode.SEG_UNREADABLE)
    assert refusal.value.reason.code is ReasonCode.SEG_UNREADABLE


@pytest.mark.parametrize("syntax", ["1.2.840.113619.5.2", "1.2.840.10008.1.2.4.100", "1.2.3"])
def test_unknown_transfer_syntaxes_are_refused(syntax: str) -> None:
    dataset = native(frames_of(12, False, 1), 12, False)
    dataset.file_meta.TransferSyntaxUID = syntax
    with pytest.raises(Rejected):
        decode_frame(dataset)


def test_frames_are_counted_from_one() -> None:
    dataset = native(frames_of(12, False, 2), 12, False)
    for number in (0, 3):
        with pytest.raises(Rejected):
            decode_frame(dataset, number)
