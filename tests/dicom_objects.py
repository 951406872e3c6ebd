"""DICOM objects built element by element, so that tests can break any of them: classic and Enhanced MR, Segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from qcnode.case import FrameRef

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4.1"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
STUDY, SERIES, FRAME_OF_REFERENCE = "2.25.1", "2.25.2", "2.25.3"

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def new_object(sop_class_uid: str, sop_instance_uid: str | None = None) -> Dataset:
    """A data set with what every composite object has."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class_uid
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = sop_instance_uid or generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = STUDY, SERIES, FRAME_OF_REFERENCE
    dataset.PatientName, dataset.PatientID, dataset.Modality = "TEST^ONLY", "T1", "MR"
    return dataset


def set_pixels(dataset: Dataset, values: npt.NDArray[np.integer], *, bits_stored: int = 16, signed: bool = False) -> None:
    """Puts uncompressed 16-bit pixels, (rows, columns) or (frame, rows, columns), into `dataset`."""
    dataset.Rows, dataset.Columns = values.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits_stored, bits_stored - 1
    dataset.PixelRepresentation = int(signed)
    if values.ndim == 3:
        dataset.NumberOfFrames = len(values)
    dataset.add_new("PixelData", "OW", values.astype("<i2" if signed else "<u2").tobytes())


def mr_slice(
    values: npt.NDArray[np.integer],
    position: Sequence[float],
    *,
    orientation: Sequence[float] = AXIAL,
    pixel_spacing: Sequence[float] = (1.5, 1.25),
    sop_instance_uid: str | None = None,
    **pixels: int,
) -> Dataset:
    """One classic MR instance."""
    dataset = new_object(MR_IMAGE, sop_instance_uid)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = list(position), list(orientation)
    dataset.PixelSpacing = list(pixel_spacing)
    set_pixels(dataset, values, bits_stored=pixels.get("bits_stored", 16), signed=bool(pixels.get("signed", 0)))
    return dataset


def mr_stack(values: npt.NDArray[np.integer], heights: Sequence[float]) -> list[Dataset]:
    """Axial slices values[i] at z = heights[i] mm."""
    return [mr_slice(plane, (-10.0, 20.0, height)) for plane, height in zip(values, heights, strict=True)]


def enhanced_mr(values: npt.NDArray[np.integer], positions: Sequence[Sequence[float]]) -> Dataset:
    """An Enhanced MR instance: orientation and pixel measures shared, position, type and time per frame."""
    dataset = new_object(ENHANCED_MR_IMAGE)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "NONE"]
    set_pixels(dataset, values)
    dataset.SharedFunctionalGroupsSequence = [group("PlaneOrientationSequence", ImageOrientationPatient=list(AXIAL))]
    dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence = [item(PixelSpacing=[1.5, 1.25], SliceThickness=9)]
    dataset.PerFrameFunctionalGroupsSequence = []
    for i, position in enumerate(positions):
        own = group("PlanePositionSequence", ImagePositionPatient=list(position))
        own.FrameContentSequence = [item(StackID="1", TemporalPositionIndex=1, DimensionIndexValues=[1, i + 1])]
        own.MRImageFrameTypeSequence = [item(FrameType=["ORIGINAL", "PRIMARY", "M", "NONE"], ComplexImageComponent="MAGNITUDE")]
        own.PixelValueTransformationSequence = [item(RescaleSlope=i + 1, RescaleIntercept=-i, RescaleType="US")]
        own.MREchoSequence = [item(EffectiveEchoTime=2.5)]
        dataset.PerFrameFunctionalGroupsSequence.append(own)
    return dataset


def segmentation(frames: Sequence[tuple[int, Sequence[float], npt.NDArray[np.bool_]]], *, segments: Sequence[int] = (1,)) -> Dataset:
    """A BINARY SEG of (segment number, position, pixels) frames, packed one bit per pixel across frame borders."""
    dataset = new_object(SEGMENTATION)
    dataset.Modality, dataset.SegmentationType = "SEG", "BINARY"
    dataset.SegmentSequence = [segment_item(number) for number in segments]
    dataset.SharedFunctionalGroupsSequence = [group("PlaneOrientationSequence", ImageOrientationPatient=list(AXIAL))]
    dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence = [item(PixelSpacing=[1.5, 1.25], SliceThickness=8)]
    dataset.PerFrameFunctionalGroupsSequence = []
    for number, position, _ in frames:
        own = group("PlanePositionSequence", ImagePositionPatient=list(position))
        own.SegmentIdentificationSequence = [item(ReferencedSegmentNumber=number)]
        dataset.PerFrameFunctionalGroupsSequence.append(own)
    pixels = np.stack([values for _, _, values in frames]) if frames else np.zeros((0, 4, 4), np.bool_)
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = pixels.shape[1], pixels.shape[2], len(pixels)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 1, 0
    packed = np.packbits(pixels.ravel(), bitorder="little").tobytes()
    dataset.add_new("PixelData", "OB", packed + b"\0" * (len(packed) % 2))
    return dataset


def segment_item(segment_number: int) -> Dataset:
    """An item of the Segment Sequence: left ventricle."""
    segment = item(SegmentNumber=segment_number, SegmentLabel=f"segment {segment_number}", SegmentAlgorithmType="AUTOMATIC")
    segment.SegmentedPropertyCategoryCodeSequence = [code("123037004", "SCT", "Anatomical Structure")]
    segment.SegmentedPropertyTypeCodeSequence = [code("87878005", "SCT", "Left ventricle")]
    return segment


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """A code sequence item."""
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def item(**elements: object) -> Dataset:
    """A data set with these elements."""
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def group(sequence: str, **elements: object) -> Dataset:
    """A data set with one sequence of one item."""
    return item(**{sequence: [item(**elements)]})


def save(dataset: Dataset, folder: Path) -> Path:
    """Writes `dataset` in its transfer syntax under a name of its own."""
    path = folder / f"{len(list(folder.iterdir())):04d}.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path


def save_all(datasets: Sequence[Dataset], folder: Path) -> list[FrameRef]:
    """Writes single-frame instances; returns their only frames."""
    return [FrameRef(save(dataset, folder), dataset.SOPInstanceUID) for dataset in datasets]
