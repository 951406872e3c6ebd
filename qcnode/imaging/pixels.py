"""Stored pixel values of one frame, from every transfer syntax that MR and SEG objects come in.

pydicom decodes what is native, deflated, RLE or JPEG-LS (with pyjpegls); OpenJPEG decodes JPEG 2000 and its high-throughput kind; GDCM
inside SimpleITK decodes the JPEG processes, of which pydicom's free plugins read only 8 bits.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from openjpeg.utils import decode as decode_jpeg_2000
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder

from qcnode.case import ReasonCode
from qcnode.errors import Rejected
from qcnode.headers.codestreams import JPEG, JPEG_2000, JPEG_LS, check_matrix, encoded_frame
from qcnode.headers.elements import BROKEN_ELEMENT, binary, integer, text

StoredValues = npt.NDArray[np.int64]

_END_OF_IMAGE = b"\xff\xd9"
_NATIVE = frozenset({uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian})


def transfer_syntax_of(dataset: Dataset) -> uid.UID:
    """Transfer syntax of a data set read from a file; Implicit VR Little Endian where the file does not say (PS3.5, section 10)."""
    stated = text(getattr(dataset, "file_meta", Dataset()), "TransferSyntaxUID")
    return uid.UID(stated or uid.ImplicitVRLittleEndian)


def is_native(dataset: Dataset) -> bool:
    """True where the pixel data are not compressed frame by frame."""
    return transfer_syntax_of(dataset) in _NATIVE


def native_bytes(dataset: Dataset) -> bytes:
    """The uncompressed pixel data in little endian byte order, for frames of 1 or 8 bits per pixel; b"" where missing."""
    stored = binary(dataset, "PixelData")
    if stored and transfer_syntax_of(dataset) == uid.ExplicitVRBigEndian and dataset["PixelData"].VR == "OW":
        return np.frombuffer(stored[: len(stored) // 2 * 2], ">u2").astype("<u2").tobytes()
    return stored


def decode_frame(dataset: Dataset, frame_number: int = 1, *, code: ReasonCode = ReasonCode.SERIES_UNREADABLE) -> StoredValues:
    """Stored values (rows, columns) of one frame (1-based) of a data set that was read with its pixels.

    Bits outside of BitsStored (old overlays, dirt) are cleared and the sign is extended, so that equal images decode to equal values
    in every transfer syntax. The rescale is not applied. Raises Rejected(`code`) where pixels are missing, truncated or undecodable,
    Rejected(TOO_LARGE) where a frame is larger than headers.codestreams.MOST_FRAME_PIXELS.
    """
    rows, columns = integer(dataset, "Rows") or 0, integer(dataset, "Columns") or 0
    if rows < 1 or columns < 1 or (integer(dataset, "SamplesPerPixel") or 1) != 1:
        raise Rejected(code, "the object holds no monochrome pixels")
    check_matrix(rows, columns)
    if integer(dataset, "BitsAllocated") not in (8, 16, 32):
        raise Rejected(code, "BitsAllocated is none of 8, 16 and 32")
    if not 1 <= frame_number <= (integer(dataset, "NumberOfFrames") or 1):
        raise Rejected(code, f"there is no frame {frame_number}")
    try:
        values = _decode(dataset, frame_number - 1)
    except BROKEN_ELEMENT as error:
        raise Rejected(code, f"frame {frame_number} can not be decoded ({type(error).__name__})") from None
    if values.shape != (rows, columns):
        raise Rejected(code, f"frame {frame_number} decodes to {values.shape} instead of {(rows, columns)}")
    return _stored_bits(values.astype(np.int64), dataset)


def _decode(dataset: Dataset, index: int) -> npt.NDArray[np.generic]:
    syntax = transfer_syntax_of(dataset)
    if syntax in JPEG_2000:
        return np.asarray(decode_jpeg_2000(encoded_frame(dataset, index, syntax)))
    if syntax in JPEG:
        return _decode_with_gdcm(dataset, encoded_frame(dataset, index, syntax), syntax)
    if syntax in JPEG_LS and not encoded_frame(dataset, index, syntax).rstrip(b"\0").endswith(_END_OF_IMAGE):
        raise ValueError("truncated")  # CharLS finds out by itself, but only after many seconds
    plugin = "pyjpegls" if syntax in JPEG_LS else "pydicom" if syntax == uid.RLELossless else ""
    # pydicom's own correction of unused bits does not know HighBit (and its option is annotated wrongly).
    decoder, uncorrected = get_decoder(syntax), {"correct_unused_bits": False}
    values, _ = decoder.as_array(dataset, index=index, raw=True, decoding_plugin=plugin, **uncorrected)  # type: ignore[arg-type]
    return values


def _decode_with_gdcm(dataset: Dataset, encoded: bytes, syntax: uid.UID) -> npt.NDArray[np.generic]:
    """SimpleITK reads files only and applies the rescale: give it a Secondary Capture that holds this frame and no rescale."""
    capture = Dataset()
    capture.file_meta = FileMetaDataset()
    capture.file_meta.TransferSyntaxUID = syntax
    capture.SOPClassUID = capture.file_meta.MediaStorageSOPClassUID = uid.SecondaryCaptureImageStorage
    capture.SOPInstanceUID = capture.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        setattr(capture, keyword, integer(dataset, keyword))
    capture.SamplesPerPixel, capture.PhotometricInterpretation = 1, "MONOCHROME2"
    capture.PixelData = encapsulate([encoded])
    capture["PixelData"].VR = "OB"
    with tempfile.TemporaryDirectory(prefix="qcnode-") as folder:
        path = Path(folder) / "frame.dcm"
        capture.save_as(path, enforce_file_format=True)
        values: npt.NDArray[np.generic] = sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="GDCMImageIO"))
    return values[0] if values.ndim == 3 else values


def _stored_bits(values: StoredValues, dataset: Dataset) -> StoredValues:
    """Only the bits from HighBit downwards count (PS3.5, 8.1.1); bit BitsStored - 1 of them is the sign of signed values."""
    allocated = integer(dataset, "BitsAllocated") or 16
    stored = integer(dataset, "BitsStored") or allocated
    if not 1 <= stored <= allocated:
        stored = allocated
    high_bit = integer(dataset, "HighBit")
    # HighBit above BitsStored - 1 (retired) shifts; compressed streams hold shifted values already.
    shifted = high_bit is not None and stored <= high_bit < allocated and is_native(dataset)
    kept = (values >> (high_bit + 1 - stored) if shifted and high_bit is not None else values) & ((1 << stored) - 1)
    if integer(dataset, "PixelRepresentation") == 1:
        sign = 1 << (stored - 1)
        kept = (kept ^ sign) - sign
    return kept
