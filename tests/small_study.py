"""A heart of a few small slices with its query SEGs: what the road is tested with where it does not matter what is judged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom import Dataset
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage

from qcnode.demo.phantom_dicom import mr_series, seg_of
from qcnode.demo.scanner import Study, study_header
from qcnode.imaging.grid import Grid, Volume

SLICES, ROWS = 4, 40


@dataclass(frozen=True, slots=True)
class SmallStudy:
    """`images` and `queries` are what is judged; `other` is an object that is only taken."""

    study: Study
    images: tuple[Dataset, ...]
    queries: tuple[Dataset, ...]
    other: Dataset

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        return (*self.images, *self.queries, self.other)

    @property
    def uid(self) -> str:
        return str(self.study.study_instance_uid)


def small_study(seed: str, queries: int = 1) -> SmallStudy:
    """The study of this seed: other UIDs, other pixels."""
    study = Study(seed)
    grid = Grid((SLICES, ROWS, ROWS), (9.0, 2.0, 2.0), (0.0, 0.0, 0.0), ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))
    y, x = np.mgrid[:ROWS, :ROWS] - ROWS / 2
    rings = [np.hypot(y, x + shift) < radius for shift, radius in ((-8, 5), (0, 9), (0, 5))]
    right, outer, left = (np.broadcast_to(ring, grid.size) for ring in rings)
    drawn = np.stack([right & ~outer, outer & ~left, left])
    noise = np.random.default_rng(list(seed.encode())).normal(0, 10, grid.size)
    values = np.abs(100 + 300 * drawn[0] + 100 * drawn[1] + 300 * drawn[2] + noise)
    images = mr_series(Volume(values.astype(np.float32), grid), study)
    segs = tuple(seg_of(np.roll(drawn, 2 * n, 3), images, study, series_number=100 + n, segmenter=f"number {n}") for n in range(queries))
    other = study_header(study, GrayscaleSoftcopyPresentationStateStorage, 200, "presentation")
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = study.uid("instance", 200)
    return SmallStudy(study, tuple(images), segs, other)
