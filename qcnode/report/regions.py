"""The predicted errors as numbered regions, so that a reader can say of each whether it is real."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from qcnode.imaging.grid import Grid
from qcnode.regions import ErrorRegion

SMALLEST_VOXELS = 10
"""What is smaller is a ragged edge, not a place to look at: it gets no number."""
MOST_REGIONS = 20
_TOUCHING = np.ones((3, 3, 3), bool)  # corners count: a thin oblique error is one region

_Found = tuple[int, str, npt.NDArray[np.intp]]


def error_regions(errors: npt.NDArray[np.bool_], tissues: Sequence[str], grid: Grid) -> tuple[ErrorRegion, ...]:
    """At most MOST_REGIONS regions of `errors` (tissue, z, y, x) of at least SMALLEST_VOXELS voxels, the largest first."""
    found = [region for name, of_tissue in zip(tissues, errors, strict=True) for region in _connected(name, of_tissue)]
    largest = sorted(found, key=lambda region: -region[0])[:MOST_REGIONS]
    return tuple(_region(number, name, voxels, grid) for number, (_, name, voxels) in enumerate(largest, 1))


def _connected(name: str, errors: npt.NDArray[np.bool_]) -> list[_Found]:
    labels, count = ndimage.label(errors, _TOUCHING)
    found = []
    for label, box in enumerate(ndimage.find_objects(labels, count), 1):
        start = [edge.start for edge in box]
        voxels = np.argwhere(labels[box] == label) + start
        if len(voxels) >= SMALLEST_VOXELS:
            found.append((len(voxels), name, voxels))
    return found


def _region(number: int, tissue: str, voxels: npt.NDArray[np.intp], grid: Grid) -> ErrorRegion:
    slices = voxels[:, 0]
    centre = np.asarray(grid.origin, float) + (voxels.mean(axis=0) * grid.spacing) @ np.asarray(grid.direction, float)
    x, y, z = (round(float(c), 1) for c in centre)
    return ErrorRegion(
        number=number,
        tissue=tissue,
        first_slice=int(slices.min()),
        last_slice=int(slices.max()),
        worst_slice=int(np.bincount(slices).argmax()),
        voxels=len(voxels),
        volume_ml=round(float(len(voxels) * np.prod(grid.spacing) / 1000), 3),
        centre_mm=(x, y, z),
    )
