"""What the answer to one case is made of: everything that the writers of this package may know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from qcnode.case import Assessment, Case, FrameRef
from qcnode.imaging.grid import Volume
from qcnode.tissues import Tissue


@dataclass(frozen=True, slots=True)
class Judging:
    """The configuration that turned the numbers into a verdict. digest: of `description`, part of every result's UID.

    dsc_threshold, nsd_threshold: what the predicted number needs; None where nothing is asked of it.
    """

    digest: str
    description: str
    dsc_threshold: float | None = None
    nsd_threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The report of the case that this one replaces."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str


@dataclass(frozen=True, slots=True)
class ReportInputs:
    """One judged case.

    query: header of the query SEG, with or without its pixels.
    sources: headers of the images of the reference contrast, in any order and each instance once: one per plane of a classic series, one
        of an Enhanced one; empty where no image is at hand. Pixels are not needed.
    planes: instance and frame of each z index of `volume`; empty where the geometry is not usable.
    volume: the reference contrast, None where it could not be read.
    query_masks: the query's tissues, bool (tissue, z, y, x) on the volume's grid in the order of `tissues`; None where unknown.
    created: when the case was judged, local time.
    predecessor: the report of the case that this one replaces.
    tissue_segments: segment numbers of the query per tissue name.
    further_sources: headers of the other contrasts' images, as `sources`.
    further_contrasts: the other contrasts by name, on the grid of `volume`; empty where they were not read.
    """

    case: Case
    assessment: Assessment
    query: Dataset
    sources: tuple[Dataset, ...]
    planes: tuple[FrameRef, ...]
    volume: Volume | None
    query_masks: npt.NDArray[np.bool_] | None
    tissues: tuple[Tissue, ...]
    judging: Judging
    created: datetime
    version: str
    predecessor: Predecessor | None = None
    tissue_segments: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    further_sources: tuple[Dataset, ...] = ()
    further_contrasts: Mapping[str, Volume] = field(default_factory=dict)
