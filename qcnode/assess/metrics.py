"""DSC, NSD and error maps of a query segmentation against another segmentation of the same volume.

Segmentations are bool arrays (tissue, z, y, x). Spacing is mm along (z, y, x). Conventions, fixed for every model card: a tissue empty in
both has DSC and NSD 1, empty in only one has 0; the pooled values count all tissues' voxels or surfaces together.
NSD is sub-voxel: surface elements lie between voxels and weigh their area in mm2 (Nikolov et al. 2021, arXiv 1809.04430).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Segmentation = npt.NDArray[np.bool_]
Spacing = tuple[float, float, float]
Cell = tuple[int, int, int]

# Surface elements in a 2 x 2 x 2 neighbourhood, by its code (bit 128 is the first voxel, bit 1 the last). Codes c and 255 - c have the same
# surface, so the second half is left out. A letter is one element's normal, times 8, signs dropped: lengths are all that is needed.
# Condensed from DeepMind's surface-distance (Apache-2.0), as MONAI ships it.
_NORMALS = np.array([(0, 0, 4), (0, 2, 2), (0, 4, 0), (1, 1, 1), (2, 0, 2), (2, 2, 0), (2, 2, 2), (3, 3, 3), (4, 0, 0)]) / 8.0
_ELEMENT_TABLE = """
    - d d ff d ee dd igd d dd ee igd ff igd igd ii d bb dd cgd dd agd ddd dggd dd bbd eed dhbe dff hbdf idgd idg d dd bb cdg dd dee
    bbd hbde dd ddd agd ggdd dff igdd bhdf igd ff cgd cdg cc ffd hedf dcgd cgd dff cgdd hfde cgd ffff ffd dff ff d dd dd dff bb agd
    bbd hbdf dd ddd dee igdd cgd ggdd ehbd igd ee agd dee ehfd agd aa ddga dga eed agdd eeee dee ehfd agd dee ee dd ddd dbb cdgd bbd
    agdd bbbb bbd ddd dddd agdd ddd cgdd ddd bbd dd igd gdgd hbde cgd hfbd dga dbb bb igdd ddd eed dd ffd dd dd d
"""
_ELEMENTS = _ELEMENT_TABLE.split()


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well two segmentations agree. Volumes count voxels; `*_per_tissue` follow the tissue axis."""

    dsc: float
    dsc_per_tissue: tuple[float, ...]
    nsd: float
    nsd_per_tissue: tuple[float, ...]
    tolerance_mm: float


class Reference:
    """A segmentation (tissue, z, y, x) that many queries are measured against; what depends on it alone is worked out once.

    Raises ValueError where `channels` are not four-dimensional.
    """

    def __init__(self, channels: Segmentation, spacing: Spacing, tolerance_mm: float) -> None:
        if channels.ndim != 4:
            raise ValueError(f"{channels.ndim} dimensions instead of tissue, z, y, x")
        self.channels = channels
        self.spacing = spacing
        self.tolerance_mm = tolerance_mm
        self._areas = _element_areas(spacing)
        self._voxels = [int(np.count_nonzero(c)) for c in channels]
        self._surfaces = [_surface(c, self._areas) for c in channels]
        self._near = [None if s is None else _near(s, spacing, tolerance_mm) for s in self._surfaces]

    def agreement(self, query: Segmentation) -> Agreement:
        """DSC and NSD, pooled and per tissue, of `query` (tissue, z, y, x)."""
        both, total = self._overlap(query)
        per_tissue = tuple(2.0 * b / t if t else 1.0 for b, t in zip(both, total, strict=True))
        pooled, nsd_per_tissue = self.nsd(query)
        return Agreement(2.0 * sum(both) / sum(total) if sum(total) else 1.0, per_tissue, pooled, nsd_per_tissue, self.tolerance_mm)

    def nsd(self, query: Segmentation) -> tuple[float, tuple[float, ...]]:
        """Pooled NSD over the tissues' surfaces, and NSD per tissue. A surface element within `tolerance_mm`, inclusive, agrees."""
        found = [self._surface_agreement(i, q) for i, q in enumerate(query)]
        per_tissue = tuple(good / total if total else 1.0 for good, total in found)
        total = sum(t for _, t in found)
        return (sum(g for g, _ in found) / total if total else 1.0), per_tissue

    def _overlap(self, query: Segmentation) -> tuple[list[int], list[int]]:
        """Per tissue, voxels of both, and voxels of the one plus voxels of the other."""
        both = [int(np.count_nonzero(q & c)) for q, c in zip(query, self.channels, strict=True)]
        return both, [int(np.count_nonzero(q)) + n for q, n in zip(query, self._voxels, strict=True)]

    def _surface_agreement(self, tissue: int, query: Segmentation) -> tuple[float, float]:
        """Area in mm2 of both surfaces that lies within the tolerance of the other surface, and of all of both."""
        mine, theirs, near = _surface(query, self._areas), self._surfaces[tissue], self._near[tissue]
        total = sum(s.area for s in (mine, theirs) if s is not None)
        if mine is None or theirs is None or near is None:
            return 0.0, total
        near_mine = _near(mine, self.spacing, self.tolerance_mm)
        return _area_within(mine, near, self._areas) + _area_within(theirs, near_mine, self._areas), total


def agreement(query: Segmentation, other: Segmentation, spacing: Spacing, tolerance_mm: float) -> Agreement:
    """DSC and NSD, pooled and per tissue, of `query` against `other`."""
    return Reference(other, spacing, tolerance_mm).agreement(query)


def dsc(query: Segmentation, other: Segmentation) -> float:
    """Pooled DSC 2TP / (2TP + FP + FN) over all tissue channels (QCResUNet, appendix A)."""
    both = int(np.count_nonzero(query & other))
    total = int(np.count_nonzero(query)) + int(np.count_nonzero(other))
    return 2.0 * both / total if total else 1.0


def dsc_per_tissue(query: Segmentation, other: Segmentation) -> npt.NDArray[np.float64]:
    """DSC of each tissue, shape (tissue,)."""
    return np.array([dsc(q, o) for q, o in zip(query, other, strict=True)])


def error_map(query: Segmentation, reference: Segmentation) -> Segmentation:
    """Voxels where the query is wrong, per tissue (the paper's SEM)."""
    return query ^ reference


def error_map_dsc(predicted: Segmentation, true: Segmentation) -> float:
    """Mean over the tissues of the DSC between predicted and true error maps; tissues without an error in either count 1."""
    return float(dsc_per_tissue(predicted, true).mean())


def nsd(query: Segmentation, other: Segmentation, spacing: Spacing, tolerance_mm: float) -> tuple[float, tuple[float, ...]]:
    """Pooled NSD over the tissues' surfaces, and NSD per tissue, of `query` against `other`."""
    return Reference(other, spacing, tolerance_mm).nsd(query)


@dataclass(frozen=True, slots=True)
class _Surface:
    """Neighbourhood codes in the smallest box of cells that holds a surface; cell [i] lies between voxels i - 1 and i along each axis."""

    start: Cell
    codes: npt.NDArray[np.uint8]
    edges: Segmentation
    area: float  # mm2


@dataclass(frozen=True, slots=True)
class _Region:
    """Some cells: True in `cells`, whose first is the cell `start`."""

    start: Cell
    cells: Segmentation


def _surface(voxels: Segmentation, areas: npt.NDArray[np.float64]) -> _Surface | None:
    """The surface of voxels (z, y, x), None where there are none."""
    box = _box(voxels)
    if box is None:
        return None
    codes = _codes(voxels[box])
    edges = (codes != 0) & (codes != 255)
    z, y, x = (s.start for s in box)
    return _Surface((z, y, x), codes, edges, float(areas[codes[edges]].sum()))


def _area_within(surface: _Surface, region: _Region, areas: npt.NDArray[np.float64]) -> float:
    """Area in mm2 of the part of a surface that lies in the cells of `region`."""
    mine, theirs = [], []
    for a, n, b, m in zip(surface.start, surface.edges.shape, region.start, region.cells.shape, strict=True):
        low, high = max(a, b), min(a + n, b + m)
        if low >= high:
            return 0.0
        mine.append(slice(low - a, high - a))
        theirs.append(slice(low - b, high - b))
    hit = surface.edges[tuple(mine)] & region.cells[tuple(theirs)]
    return float(areas[surface.codes[tuple(mine)][hit]].sum())


def _box(voxels: Segmentation) -> tuple[slice, ...] | None:
    """Slices of the smallest box that holds all True voxels of an array (z, y, x)."""
    slices = []
    for axis in range(voxels.ndim):
        line = np.flatnonzero(voxels.any(axis=tuple(a for a in range(voxels.ndim) if a != axis)))
        if line.size == 0:
            return None
        slices.append(slice(int(line[0]), int(line[-1]) + 1))
    return tuple(slices)


def _codes(voxels: Segmentation) -> npt.NDArray[np.uint8]:
    """Neighbourhood codes of every 2 x 2 x 2 cell, with one voxel of background around the box."""
    padded = np.pad(voxels, 1).astype(np.uint8)
    codes = np.zeros(tuple(n - 1 for n in padded.shape), np.uint8)
    for bit, (dz, dy, dx) in zip((128, 64, 32, 16, 8, 4, 2, 1), np.ndindex(2, 2, 2), strict=True):
        codes += padded[dz : dz + codes.shape[0], dy : dy + codes.shape[1], dx : dx + codes.shape[2]] * np.uint8(bit)
    return codes


def _near(surface: _Surface, spacing: Spacing, tolerance_mm: float) -> _Region:
    """Cells no further than `tolerance_mm` from an edge cell of the surface."""
    reach = [int(tolerance_mm / s) for s in spacing]
    depth, height, width = surface.edges.shape
    near = np.zeros((depth + 2 * reach[0], height + 2 * reach[1], width + 2 * reach[2]), bool)
    wide = np.pad(surface.edges, ((0, 0), (0, 0), (reach[2], reach[2])))
    for half, places in enumerate(_ball(spacing, tolerance_mm)):
        if half:
            wide[:, :, reach[2] - half : reach[2] - half + width] |= surface.edges
            wide[:, :, reach[2] + half : reach[2] + half + width] |= surface.edges
        for z, y in places:
            near[reach[0] + z : reach[0] + z + depth, reach[1] + y : reach[1] + y + height] |= wide
    first_z, first_y, first_x = (a - r for a, r in zip(surface.start, reach, strict=True))
    return _Region((first_z, first_y, first_x), near)


@lru_cache(maxsize=32)
def _ball(spacing: Spacing, tolerance_mm: float) -> tuple[tuple[tuple[int, int], ...], ...]:
    """The voxel offsets not longer than the tolerance, as rows along x: the (z, y) of rows that reach 0, 1, 2 ... voxels to either side."""
    reach = [int(tolerance_mm / s) for s in spacing]
    rows: list[list[tuple[int, int]]] = [[] for _ in range(reach[2] + 1)]
    along = np.arange(reach[2] + 1) * spacing[2]
    for z in range(-reach[0], reach[0] + 1):
        for y in range(-reach[1], reach[1] + 1):
            inside = np.count_nonzero(np.sqrt((z * spacing[0]) ** 2 + (y * spacing[1]) ** 2 + along**2) <= tolerance_mm)
            if inside:
                rows[inside - 1].append((z, y))
    return tuple(tuple(r) for r in rows)


@lru_cache(maxsize=32)
def _element_areas(spacing: Spacing) -> npt.NDArray[np.float64]:
    """Surface area in mm2 of each of the 256 neighbourhood codes."""
    z, y, x = spacing
    lengths = np.linalg.norm(_NORMALS * np.array([y * x, z * x, z * y]), axis=1)
    half = np.array([sum(lengths[ord(letter) - ord("a")] for letter in word if letter != "-") for word in _ELEMENTS])
    return np.concatenate([half, half[::-1]])
