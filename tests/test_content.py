"""The digest of what an object says: one for all encodings of it, another one for the smallest change of content."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from dicom_objects import mr_slice, segmentation
from pydicom import DataElement, Dataset, Sequence, dcmread, uid

from qcnode.deliver.content import UnreadableContent, canonical_digest

PLANE = np.arange(64, dtype=np.uint16).reshape(8, 8)


def seg() -> Dataset:
    """A BINARY SEG of two frames of 35 bits: neither a frame nor the whole ends with a byte."""
    drawn = np.zeros((5, 7), np.bool_)
    drawn[1:4, 2:5] = True
    dataset = segmentation([(1, (0, 0, 0), drawn), (1, (0, 0, 8), drawn)])
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "2.25.78"
    return dataset


def mr() -> Dataset:
    return mr_slice(PLANE, (-10.0, 20.0, 5.0), sop_instance_uid="2.25.77")


def colour() -> Dataset:
    dataset = mr_slice(PLANE, (0.0, 0.0, 0.0), sop_instance_uid="2.25.79")
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8).tobytes()
    return dataset


def report() -> Dataset:
    """What matters of an SR: nested items with texts and numbers."""
    dataset = Dataset()
    dataset.file_meta = mr().file_meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = uid.Comprehensive3DSRStorage, "2.25.80"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.Modality = "2.25.1", "2.25.2", "SR"
    dataset.SpecificCharacterSet, dataset.PatientName, dataset.PatientID = "ISO_IR 192", "Ärzte^Jürgen", "P1"
    number, text = Dataset(), Dataset()
    number.MeasuredValueSequence = [Dataset()]
    number.MeasuredValueSequence[0].NumericValue = "0.47"
    text.TextValue = "größer als 2 µm"
    dataset.ContentSequence = [number, text]
    return dataset


def kept(dataset: Dataset, *, syntax: str = uid.ExplicitVRLittleEndian, **options: object) -> Dataset:
    """As it comes back from an archive that writes it so."""
    dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True, **options)
    stream.seek(0)
    return dcmread(stream)


def compressed(dataset: Dataset, syntax: str) -> Dataset:
    dataset.compress(syntax, generate_instance_uid=False)
    return kept(dataset, syntax=syntax)


def with_swapped_words(dataset: Dataset) -> Dataset:
    """Big endian, as DCMTK writes it: bits and bytes packed into 16-bit words."""
    content = bytes(dataset.PixelData)
    dataset["PixelData"].VR = "OW"
    dataset.PixelData = np.frombuffer(content + b"\0" * (len(content) % 2), "<u2").astype(">u2").tobytes()
    return kept(dataset, syntax=uid.ExplicitVRBigEndian)


def with_lengths(dataset: Dataset, *, undefined: bool) -> Dataset:
    def mark(element_owner: Dataset, element: DataElement) -> None:
        if element.VR == "SQ":
            element.is_undefined_length = undefined
            for item in element.value:
                item.is_undefined_length_sequence_item = undefined

    dataset.walk(mark)
    return kept(dataset)


def corrected(dataset: Dataset) -> Dataset:
    """Other patient and study attributes, another character set, a note about it, an archive's private elements, empty elements."""
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName, dataset.PatientID, dataset.AccessionNumber = "Doe^John", "P2", "A7"
    dataset.StudyDescription, dataset.PatientSex, dataset.PatientAge, dataset.Laterality = "other", "F", "033Y", ""
    original = Dataset()
    original.ModifyingSystem, original.ReasonForTheAttributeModification = "PACS", "COERCE"
    dataset.OriginalAttributesSequence = Sequence([original])
    dataset.private_block(0x0099, "SOME PACS", create=True).add_new(1, "LO", "added")
    dataset.InstanceAvailability, dataset.RetrieveAETitle = "ONLINE", "PACS"
    dataset.add_new(0x00080000, "UL", 12)
    return kept(dataset)


SAME: dict[str, tuple[Callable[[], Dataset], Callable[[Dataset], Dataset]]] = {
    "implicit": (report, lambda d: kept(d, syntax=uid.ImplicitVRLittleEndian)),
    "deflated": (seg, lambda d: kept(d, syntax=uid.DeflatedExplicitVRLittleEndian)),
    "big endian report": (report, lambda d: kept(d, syntax=uid.ExplicitVRBigEndian)),
    "big endian image": (mr, with_swapped_words),
    "big endian bits": (seg, with_swapped_words),
    "sequences of defined length": (seg, lambda d: with_lengths(d, undefined=False)),
    "sequences of undefined length": (report, lambda d: with_lengths(d, undefined=True)),
    "corrected report": (report, corrected),
    "corrected segmentation": (seg, corrected),
    "RLE image": (mr, lambda d: compressed(d, uid.RLELossless)),
    "RLE colour": (colour, lambda d: compressed(d, uid.RLELossless)),
    "JPEG-LS colour": (colour, lambda d: compressed(d, uid.JPEGLSLossless)),
    "JPEG-LS image": (mr, lambda d: compressed(d, uid.JPEGLSLossless)),
}


@pytest.mark.parametrize("case", SAME)
def test_another_encoding_is_the_same(case: str) -> None:
    make, change = SAME[case]
    assert canonical_digest(change(make())) == canonical_digest(kept(make()))


def test_file_meta_and_padding_bits_do_not_count() -> None:
    other = kept(seg())
    other.file_meta.ImplementationVersionName = "PACS"
    content = bytearray(other.PixelData)
    content[8] |= 0b1100_0000  # of 70 bits, the last two of the ninth byte
    other.PixelData = bytes(content)
    assert canonical_digest(other) == canonical_digest(kept(seg()))


def one_bit(dataset: Dataset) -> None:
    content = bytearray(dataset.PixelData)
    content[3] ^= 1
    dataset.PixelData = bytes(content)


def last_bit(dataset: Dataset) -> None:
    content = bytearray(dataset.PixelData)
    content[8] ^= 0b0010_0000
    dataset.PixelData = bytes(content)


def ours(dataset: Dataset) -> None:
    dataset.private_block(0x0099, "99QCNODE", create=True).add_new(1, "LO", "ours")


def _set(path: Callable[[Dataset], Dataset], keyword: str, value: object) -> Callable[[Dataset], None]:
    return lambda dataset: setattr(path(dataset), keyword, value)


def itself(dataset: Dataset) -> Dataset:
    return dataset


OTHER: dict[str, tuple[Callable[[], Dataset], Callable[[Dataset], None]]] = {
    "one number": (report, _set(lambda d: d.ContentSequence[0].MeasuredValueSequence[0], "NumericValue", "0.48")),
    "one letter": (report, _set(lambda d: d.ContentSequence[1], "TextValue", "größer als 3 µm")),
    "one item more": (report, lambda d: d.ContentSequence.append(Dataset())),
    "another order": (report, lambda d: setattr(d, "ContentSequence", d.ContentSequence[::-1])),
    "one bit": (seg, one_bit),
    "the last bit": (seg, last_bit),
    "one pixel": (mr, one_bit),
    "one colour": (colour, one_bit),
    "inverted meaning": (mr, _set(itself, "PhotometricInterpretation", "MONOCHROME1")),
    "series": (report, _set(itself, "SeriesInstanceUID", "2.25.3")),
    "description": (report, _set(itself, "SeriesDescription", "QC PASS")),
    "an own private element": (report, ours),
    "a segment's label": (seg, _set(lambda d: d.SegmentSequence[0], "SegmentLabel", "other")),
}


@pytest.mark.parametrize("case", OTHER)
def test_another_content_is_another(case: str) -> None:
    make, change = OTHER[case]
    dataset = make()
    change(dataset)
    assert canonical_digest(kept(dataset)) != canonical_digest(kept(make()))


def test_what_can_not_be_decoded_is_said_without_its_text(tmp_path: Path) -> None:
    dataset = kept(colour())
    dataset.PixelData = b"short"
    with pytest.raises(UnreadableContent, match=r"can not be read \(\w+\)"):
        canonical_digest(dataset)
