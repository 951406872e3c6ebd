"""Volumes as MR series and segmentations as DICOM SEG, as a scanner and a segmenter would write them: for the demonstration and the tests.

Every UID follows from the study's seed, so that the same call gives the same objects.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.datadict import keyword_for_tag
from pydicom.sr.coding import Code

from qcnode.demo.enhanced_mr import enhanced_mr
from qcnode.demo.phantom import Phantom, bad_query_missing_base, bad_query_shifted, good_query, make_phantom
from qcnode.demo.scanner import Study, classic_mr
from qcnode.imaging.grid import Volume
from qcnode.tissues import Tissue

Segmentation = npt.NDArray[np.bool_]

# In the order of the ACDC labels and of phantom.TISSUES.
CARDIAC_TISSUES = (
    Tissue("right ventricle", ("right ventricle",), ("53085002", "SCT", "Right ventricle")),
    Tissue("myocardium", ("myocardium",), ("74281007", "SCT", "Myocardium")),
    Tissue("left ventricle", ("left ventricle",), ("87878005", "SCT", "Left ventricle")),
)

_COUNTS_FRAMES = ("NumberOfFrames", "PerFrameFunctionalGroupsSequence", "PixelData")


@dataclass(frozen=True, slots=True)
class PhantomQuery:
    """A query segmentation (tissue, z, y, x) of the phantom and its SEG."""

    segmenter: str
    segmentation: Segmentation
    dataset: Dataset


@dataclass(frozen=True, slots=True)
class PhantomStudy:
    """A phantom as a study: its MR instances and one SEG by each of three segmenters, the first good and the others bad."""

    study: Study
    phantom: Phantom
    phases: int
    phase: int
    images: tuple[Dataset, ...]
    queries: tuple[PhantomQuery, ...]


def phantom_study(seed: int, *, phases: int = 3, phase: int = 1) -> PhantomStudy:
    """The phantom of `seed` as a cine series with SEGs on one phase (0-based): a good query, a shifted one, one without the base."""
    phantom = make_phantom(seed)
    study = Study(f"phantom {seed}")
    images = mr_series(phantom.volume, study, phases=phases, phase=phase)
    queries = []
    for i, (segmenter, draw) in enumerate(
        (("careful", good_query), ("displaced", bad_query_shifted), ("hasty", bad_query_missing_base)),
    ):
        segmentation = draw(phantom)
        dataset = seg_of(segmentation, images, study, phase=phase, series_number=100 + i, segmenter=segmenter)
        queries.append(PhantomQuery(segmenter, segmentation, dataset))
    return PhantomStudy(study, phantom, phases, phase, tuple(images), tuple(queries))


def mr_series(
    volume: Volume,
    study: Study,
    *,
    phases: int = 1,
    phase: int = 0,
    series_number: int = 1,
    series_description: str = "cine short axis",
    enhanced: bool = False,
) -> list[Dataset]:
    """A cine series of `phases` heart phases; instance (Enhanced: frame of the only instance) [p * slices + z] is slice z of phase p.

    `volume` is phase number `phase` (0-based), its values rounded to whole numbers, which must lie in 0 to 65535; the other phases are
    derived from it, the heart smaller. Raises ValueError where values lie outside.
    """
    write = enhanced_mr if enhanced else classic_mr
    return write(volume, study, phases=phases, phase=phase, series_number=series_number, series_description=series_description)


def seg_of(
    segmentation: Segmentation,
    sources: Sequence[Dataset],
    study: Study,
    *,
    phase: int = 0,
    tissues: Sequence[Tissue] = CARDIAC_TISSUES,
    slices: Collection[int] | None = None,
    series_number: int = 100,
    segmenter: str = "careful",
) -> Dataset:
    """A BINARY SEG by highdicom of `segmentation` (tissue, z, y, x), a segment for each tissue, frames only where something is drawn.

    `sources`: all that mr_series gave; the SEG refers to phase `phase`. `slices`: the only slices that the segmenter was
    given and that the SEG refers to, all if None. The SEG's UIDs follow from `series_number`.
    """
    planes = np.moveaxis(segmentation, 0, -1).astype(np.uint8)
    chosen = [phase * len(planes) + z for z in sorted(range(len(planes)) if slices is None else slices)]
    enhanced = "NumberOfFrames" in sources[0]
    referenced = [_only_frames(sources[0], chosen)] if enhanced else [sources[i] for i in chosen]
    planes = planes[[i - phase * len(planes) for i in chosen]]
    dataset: Dataset = hd.seg.Segmentation(
        source_images=referenced,
        pixel_array=planes,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(i + 1, tissue, study, series_number, segmenter) for i, tissue in enumerate(tissues)],
        series_instance_uid=study.uid("series", series_number),
        series_number=series_number,
        sop_instance_uid=study.uid("instance", series_number),
        instance_number=1,
        manufacturer="Phantom Segmenters",
        manufacturer_model_name=segmenter,
        software_versions="1.0",
        device_serial_number="0",
        content_label="HEART",
        content_description="Segmentation of the ventricles",
        series_description=f"SEG by {segmenter}",
        omit_empty_frames=True,
    )
    if enhanced:
        _refer_to_whole(dataset, chosen)
    _pin_moments(dataset, study)
    return dataset


def _segment(number: int, tissue: Tissue, study: Study, series_number: int, segmenter: str) -> hd.seg.SegmentDescription:
    family = Code("123109", "DCM", "Artificial Intelligence")
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=tissue.name,
        segmented_property_category=Code("123037004", "SCT", "Anatomical Structure"),
        segmented_property_type=Code(*tissue.code),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(name=segmenter, version="1.0", family=family),
        tracking_id=f"{segmenter} {tissue.name}",
        tracking_uid=study.uid("tracking", series_number, number),
    )


def _only_frames(source: Dataset, frames: Sequence[int]) -> Dataset:
    """An Enhanced object's header with only these frames (0-based): highdicom takes no two frames at one position."""
    reduced = Dataset()
    reduced.update({tag: element for tag, element in source.items() if keyword_for_tag(tag) not in _COUNTS_FRAMES})
    reduced.file_meta = source.file_meta
    reduced.NumberOfFrames = len(frames)
    reduced.PerFrameFunctionalGroupsSequence = [source.PerFrameFunctionalGroupsSequence[i] for i in frames]
    return reduced


def _refer_to_whole(dataset: Dataset, frames: Sequence[int]) -> None:
    """Frame numbers that count within _only_frames, made to count within the whole object."""
    groups = dataset.PerFrameFunctionalGroupsSequence
    found = [source for group in groups for item in group.DerivationImageSequence for source in item.SourceImageSequence]
    for source in {id(source): source for source in found}.values():  # highdicom shares one item between the segments of a plane
        source.ReferencedFrameNumber = frames[int(source.ReferencedFrameNumber) - 1] + 1


def _pin_moments(dataset: Dataset, study: Study) -> None:
    """highdicom writes the present moment and random UIDs; the same call shall give the same bytes."""
    drawn = study.began + timedelta(hours=1)
    dataset.InstanceCreationDate = dataset.ContentDate = dataset.SeriesDate = drawn.strftime("%Y%m%d")
    dataset.InstanceCreationTime = dataset.ContentTime = dataset.SeriesTime = drawn.strftime("%H%M%S")
    organization = study.uid("dimension organization", dataset.SOPInstanceUID)
    for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
        item.DimensionOrganizationUID = organization
    for item in dataset.get("ContributingEquipmentSequence", ()):
        item.ContributionDateTime = drawn.strftime("%Y%m%d%H%M%S")
