"""Rated query segmentations as `qcnode worklist export --images` wrote them (qcnode.cohort.format): no reference, a reader's stars.

It is no training.cohorts.Cohort: nothing in it is true, it is what readers thought. Decisions without a rating or without images are
passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qcnode.assess.model_card import ModelCard
from qcnode.case import FrameRef
from qcnode.cohort.format import Cohort, ReviewedQuery
from qcnode.headers import read_header
from qcnode.imaging.grid import Grid, Volume, resampled
from qcnode.imaging.read_seg import read_segmentation
from qcnode.imaging.read_series import read_series
from qcnode.tissues import map_segments, tissue_masks
from training.cohorts.loading import Faults


@dataclass(frozen=True, slots=True)
class RatedQuery:
    """A query with what a reader gave it. contrasts: on one grid, in the card's order; tissues: bool (tissue, z, y, x) on it.

    rating: 1 to 6 stars. predicted_dsc: None where nothing was predicted.
    """

    patient: str
    case: str
    rating: int
    predicted_dsc: float | None
    contrasts: tuple[Volume, ...]
    tissues: npt.NDArray[np.bool_]


def rated_queries(cohort: Cohort, card: ModelCard, task: str) -> Iterator[RatedQuery]:
    """The rated queries of a task with their images, one after the other. At the end, every broken one is reported in one
    ConfigurationError."""
    faults = Faults()
    for review in cohort.reviews:
        if review.task == task and review.rating is not None and review.query_file is not None:
            with faults.of(review.case):
                yield _read(cohort, review, review.rating, review.query_file, card)
    faults.tell()


def _read(cohort: Cohort, review: ReviewedQuery, rating: int, query_file: str, card: ModelCard) -> RatedQuery:
    if missing := [c.name for c in card.contrasts if c.name not in review.contrasts]:
        raise ValueError(f"it has no contrast {', '.join(missing)}")
    grid = _volume(cohort, review, review.reference_contrast).grid
    contrasts = tuple(resampled(_volume(cohort, review, c.name), grid) for c in card.contrasts)
    predicted = None if review.predicted is None else review.predicted.dsc
    return RatedQuery(review.patient, review.case, rating, predicted, contrasts, _tissues(cohort, query_file, card, grid))


def _volume(cohort: Cohort, review: ReviewedQuery, contrast: str) -> Volume:
    planes = review.contrasts[contrast].planes
    return read_series([FrameRef(cohort.folder / str(p.file), p.sop_instance_uid, p.frame_number) for p in planes]).volume


def _tissues(cohort: Cohort, query_file: str, card: ModelCard, grid: Grid) -> npt.NDArray[np.bool_]:
    path = cohort.folder / query_file
    mapping = map_segments(read_header(path).segments, card.structure_list())
    segmentation = read_segmentation(path, grid, segment_numbers={number for numbers in mapping.values() for number in numbers})
    return tissue_masks(segmentation.masks, segmentation.segment_numbers, mapping, card.tissue_list())
