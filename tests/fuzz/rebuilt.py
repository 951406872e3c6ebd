"""Objects that are well written and say impossible things: references, indices and structure, changed with pydicom."""

from __future__ import annotations

import random
from collections.abc import Callable
from io import BytesIO

import pydicom
from part10 import encoded
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

Rebuild = Callable[[random.Random, Dataset], None]


def rebuilt(draw: random.Random, part10: bytes) -> bytes:
    """One to three of the changes below."""
    dataset = pydicom.dcmread(BytesIO(part10))
    for _ in range(draw.choice((1, 1, 2, 3))):
        draw.choice(CHANGES)(draw, dataset)
    return encoded(dataset, open_lengths=draw.random() < 0.5)


def _frames(dataset: Dataset) -> Sequence:
    return dataset.get("PerFrameFunctionalGroupsSequence") or Sequence([])


def _set_frames(dataset: Dataset, frames: list[Dataset]) -> None:
    dataset.PerFrameFunctionalGroupsSequence = frames


def segment_references(draw: random.Random, dataset: Dataset) -> None:
    for frame in draw.sample(list(_frames(dataset)), min(3, len(_frames(dataset)))):
        for item in frame.get("SegmentIdentificationSequence", []):
            item.ReferencedSegmentNumber = draw.choice((0, 4, 65535, 2, 1))


def dimension_indices(draw: random.Random, dataset: Dataset) -> None:
    for frame in _frames(dataset):
        for item in frame.get("FrameContentSequence", []):
            item.DimensionIndexValues = draw.choice(([], [0], [0, 0], [4294967295, 1], [1, 2, 3, 4, 5, 6], [9, 9]))


def source_frames(draw: random.Random, dataset: Dataset) -> None:
    for frame in _frames(dataset):
        for derivation in frame.get("DerivationImageSequence", []):
            for source in derivation.get("SourceImageSequence", []):
                source.ReferencedFrameNumber = draw.choice((0, -1, 2147483647, 99, [1, 2, 3], [1] * 5000))


def source_instances(draw: random.Random, dataset: Dataset) -> None:
    target = draw.choice((str(dataset.SOPInstanceUID), "2.25.404", str(dataset.StudyInstanceUID), ""))
    for element in dataset.iterall():
        if element.keyword == "ReferencedSOPInstanceUID" and draw.random() < 0.6:
            element.value = target


def functional_groups(draw: random.Random, dataset: Dataset) -> None:
    frames = list(_frames(dataset))
    kind = draw.randrange(6)
    if kind == 0:
        _set_frames(dataset, frames[: draw.randrange(len(frames) + 1)])
    elif kind == 1:
        _set_frames(dataset, frames + frames)
    elif kind == 2:
        _set_frames(dataset, [Dataset() for _ in frames])
    elif kind == 3 and "PerFrameFunctionalGroupsSequence" in dataset:
        del dataset.PerFrameFunctionalGroupsSequence
    elif kind == 4 and "SharedFunctionalGroupsSequence" in dataset:
        del dataset.SharedFunctionalGroupsSequence
    elif frames:
        draw.shuffle(frames)
        _set_frames(dataset, frames)


def one_functional_group(draw: random.Random, dataset: Dataset) -> None:
    for frame in _frames(dataset):
        if len(frame) and draw.random() < 0.4:
            tag = draw.choice(list(frame.keys()))
            frame[tag].value = draw.choice(([], [Dataset()], [Dataset(), Dataset()]))


def segment_numbers(draw: random.Random, dataset: Dataset) -> None:
    segments = list(dataset.get("SegmentSequence") or [])
    if not segments:
        return
    kind = draw.randrange(6)
    if kind == 0:
        dataset.SegmentSequence = segments + segments
    elif kind == 1:
        dataset.SegmentSequence = []
    elif kind == 2:
        for segment in segments:
            segment.SegmentNumber = draw.choice((0, 1, 1, 7, 65535))
    elif kind == 3:
        dataset.SegmentSequence = [_copy_with(segments[0], SegmentNumber=n % 65536) for n in range(draw.choice((50, 3000)))]
    elif kind == 4:
        dataset.SegmentSequence = [Dataset(), *segments]
    else:
        dataset.SegmentSequence = segments[1:]


def segment_codes(draw: random.Random, dataset: Dataset) -> None:
    for segment in dataset.get("SegmentSequence") or []:
        for code in segment.get("SegmentedPropertyTypeCodeSequence", []):
            keyword = draw.choice(("CodeValue", "CodingSchemeDesignator", "CodeMeaning"))
            setattr(code, keyword, draw.choice(("", "A" * 70, "a\\b", "ü€", "PHANTOM", " ")))
        keyword = draw.choice(("SegmentLabel", "TrackingID", "TrackingUID", "SegmentAlgorithmName"))
        setattr(segment, keyword, draw.choice(("", "A" * 300, "a\\b", "ü€\U0001f600", "../x", "1.2.3", "left ventricle", "\n")))


def geometry(draw: random.Random, dataset: Dataset) -> None:
    changes: dict[str, tuple[list[object], ...]] = {
        "ImagePositionPatient": ([0, 0, 0], [1e5, 1e5, 1e5], [1e9, 0, 0], [-1e-9, 0, 0]),
        "ImageOrientationPatient": ([1, 0, 0, 1, 0, 0], [0] * 6, [0.7, 0.7, 0, 0, 0.7, 0.7], [0, 1, 0, 1, 0, 0], [-1, 0, 0, 0, 1, 0]),
        "PixelSpacing": ([0, 0], [1e-3, 1e-3], [1000, 1000], [1e-3, 1000], [1.4, 0]),
    }
    keyword = draw.choice(list(changes))
    for element in dataset.iterall():
        if element.keyword == keyword and draw.random() < 0.7:
            element.value = draw.choice(changes[keyword])


def matrix(draw: random.Random, dataset: Dataset) -> None:
    """Rows and Columns that agree with as many pixels: long, thin, single, none."""
    if "PixelData" not in dataset or dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return
    bits = int(dataset.BitsAllocated) * int(dataset.get("NumberOfFrames") or 1)
    rows, columns = draw.choice(((1, 1), (1, 4096), (4096, 1), (2, 2), (3, 65535), (11, 13), (4096, 4096)))
    if rows * columns * bits > 8 * 2**26:
        return
    dataset.Rows, dataset.Columns = rows, columns
    dataset.PixelData = bytes((rows * columns * bits + 15) // 16 * 2)


def other_frame_of_reference(draw: random.Random, dataset: Dataset) -> None:
    dataset.FrameOfReferenceUID = draw.choice(("2.25.77", "", "1.2.abc"))


def other_class(draw: random.Random, dataset: Dataset) -> None:
    classes = (uid.LabelMapSegmentationStorage, uid.SegmentationStorage, uid.EnhancedMRImageStorage, uid.MRImageStorage, uid.RawDataStorage)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = draw.choice(classes)


def segmentation_type(draw: random.Random, dataset: Dataset) -> None:
    dataset.SegmentationType = draw.choice(("LABELMAP", "FRACTIONAL", "BINARY", "", "OTHER"))
    if draw.random() < 0.5:
        dataset.BitsAllocated = draw.choice((1, 8, 16, 32, 64))
    if draw.random() < 0.5:
        dataset.MaximumFractionalValue = draw.choice((0, 1, 65535))


def number_of_frames(draw: random.Random, dataset: Dataset) -> None:
    dataset.NumberOfFrames = draw.choice((0, 1, 2, 1000, 2147483647))


def rescale(draw: random.Random, dataset: Dataset) -> None:
    dataset.RescaleSlope = draw.choice(("0", "1e38", "-1", "1e-38"))
    dataset.RescaleIntercept = draw.choice(("0", "1e38", "-1e300"))


def predecessors(draw: random.Random, dataset: Dataset) -> None:
    reference = Dataset()
    reference.ReferencedSOPInstanceUID = draw.choice((str(dataset.SOPInstanceUID), "2.25.5", ""))
    series = Dataset()
    series.ReferencedSOPSequence = [reference] * draw.choice((1, 100))
    study = Dataset()
    study.ReferencedSeriesSequence = [series]
    dataset.PredecessorDocumentsSequence = [study]


def _copy_with(segment: Dataset, **elements: object) -> Dataset:
    copied = Dataset()
    copied.update(segment)
    for keyword, value in elements.items():
        setattr(copied, keyword, value)
    return copied


CHANGES: tuple[Rebuild, ...] = (
    segment_references,
    dimension_indices,
    source_frames,
    source_instances,
    functional_groups,
    one_functional_group,
    segment_numbers,
    segment_codes,
    geometry,
    matrix,
    other_frame_of_reference,
    other_class,
    segmentation_type,
    number_of_frames,
    rescale,
    predecessors,
)
