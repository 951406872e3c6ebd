"""What mutants are made of: small studies of every kind of image with a SEG drawn on it, and objects of other kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from openjpeg.utils import encode_array
from part10 import encoded
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from qcnode.demo.phantom import Phantom, good_query, make_phantom
from qcnode.demo.phantom_dicom import mr_series, seg_of
from qcnode.demo.scanner import Study
from qcnode.imaging.grid import Volume

BOX = ((3, 6), (72, 136), (72, 136))  # three slices of 64 x 64 through the ventricles
LARGEST = 200_000  # bytes of a real object


@dataclass(frozen=True, slots=True)
class Template:
    """A study that is judged as it is: `images` are complete files, `segs` the same SEG with defined and with open lengths."""

    name: str
    images: tuple[bytes, ...]
    segs: tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Corpus:
    """`others`: objects that no study needs (reports, captures, real objects of every maker), as files with a name."""

    templates: tuple[Template, ...]
    others: tuple[tuple[str, bytes], ...]


def make_corpus(real: Path | None = None) -> Corpus:
    """Phantoms, and the objects in `real` (a folder of DICOM files, see docs/testing.md) where it is given."""
    phantom = make_phantom(1)
    templates = [_template("classic", phantom, uid.ExplicitVRLittleEndian)]
    templates += [_template(f"classic {s.name}", phantom, s) for s in (uid.ImplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian)]
    templates += [_template(f"classic {s.name}", phantom, s) for s in (uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless)]
    templates.append(_template("enhanced", phantom, uid.ExplicitVRLittleEndian, enhanced=True))
    others = [(kind, encoded(_other(kind))) for kind in ("sr", "key object", "presentation state", "pdf", "capture")]
    if real is not None:
        files = sorted(p for p in real.rglob("*.dcm") if p.stat().st_size <= LARGEST)
        others += [(f"real {p.parent.name}", p.read_bytes()) for p in files]
    return Corpus(tuple(templates), tuple(others))


def _template(name: str, phantom: Phantom, syntax: uid.UID, *, enhanced: bool = False) -> Template:
    (z0, z1), (y0, y1), (x0, x1) = BOX
    study = Study(f"fuzz {name}")
    grid = phantom.volume.grid.crop(BOX)
    images = mr_series(Volume(np.ascontiguousarray(phantom.volume.array[z0:z1, y0:y1, x0:x1]), grid), study, enhanced=enhanced)
    drawn = np.ascontiguousarray(good_query(phantom)[:, z0:z1, y0:y1, x0:x1])
    seg = seg_of(drawn, images, study)
    segs = encoded(seg), encoded(seg, open_lengths=True)
    return Template(name, tuple(encoded(_in_syntax(image, syntax), open_lengths=True) for image in images), segs)


def _in_syntax(image: Dataset, syntax: uid.UID) -> Dataset:
    if syntax == uid.JPEG2000Lossless:
        image.PixelData = encapsulate([encode_array(image.pixel_array, bits_stored=image.BitsStored, codec_format=0)])
        image["PixelData"].VR, image["PixelData"].is_undefined_length = "OB", True
        image.file_meta.TransferSyntaxUID = syntax
    elif syntax.is_encapsulated:
        image.compress(syntax, generate_instance_uid=False)
    else:
        image.file_meta.TransferSyntaxUID = syntax
    return pydicom.dcmread(BytesIO(_saved(image)))


def _saved(image: Dataset) -> bytes:
    stream = BytesIO()
    syntax = image.file_meta.TransferSyntaxUID
    implicit = syntax.is_implicit_VR
    pydicom.dcmwrite(stream, image, implicit_vr=implicit, little_endian=True, enforce_file_format=True)
    return stream.getvalue()


_CLASSES = {
    "sr": uid.Comprehensive3DSRStorage,
    "key object": uid.KeyObjectSelectionDocumentStorage,
    "presentation state": uid.GrayscaleSoftcopyPresentationStateStorage,
    "pdf": uid.EncapsulatedPDFStorage,
    "capture": uid.SecondaryCaptureImageStorage,
}


def _other(kind: str) -> Dataset:
    study = Study("fuzz classic")
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = _CLASSES[kind]
    dataset.SOPInstanceUID = study.uid("other", kind)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study.study_instance_uid, study.uid("other series", kind)
    dataset.PatientName, dataset.PatientID, dataset.Modality = study.patient_name, study.patient_id, "OT"
    if kind in ("sr", "key object"):
        dataset.ConceptNameCodeSequence = [_code("113010", "DCM", "Quality Issue")]
        dataset.ContentSequence = _content(3)
    if kind == "pdf":
        dataset.EncapsulatedDocument, dataset.MIMETypeOfEncapsulatedDocument = b"%PDF-1.4 PHANTOM ", "application/pdf"
    if kind == "capture":
        dataset.Rows = dataset.Columns = 4
        dataset.SamplesPerPixel, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 8, 8, 7
        dataset.PixelRepresentation, dataset.PhotometricInterpretation, dataset.PixelData = 0, "MONOCHROME2", bytes(16)
    return dataset


def _content(depth: int) -> Sequence[Dataset]:
    node = Dataset()
    node.RelationshipType, node.ValueType = "CONTAINS", "CONTAINER"
    node.ConceptNameCodeSequence = [_code("125007", "DCM", "Measurement Group")]
    if depth:
        node.ContentSequence = [*_content(depth - 1), *_content(depth - 1)]
    return [node]


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code
