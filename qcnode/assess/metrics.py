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
from scipy import ndimage

Segmentation = npt.NDArray[np.bool_]
Spacing = tuple[float, float, float]

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

# Up to so many voxel offsets, shifting is faster than a distance transform.
_MOST_OFFSETS = 150


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well two segmentations agree. Volumes count voxels; `*_per_tissue` follow the tissue axis."""

    dsc: float
    dsc_per_tissue: tuple[float, ...]
    nsd: float
    nsd_per_tissue: tuple[float, ...]
    tolerance_mm: float


def agreement(query: Segmentation, other: Segmentation, spacing: Spacing, tolerance_mm: float) -> Agreement:
    """DSC and NSD, pooled and per tissue, of `query` against `other`."""
    pooled, per_tissue = nsd(query, other, spacing, tolerance_mm)
    return Agreement(dsc(query, other), tuple(dsc_per_tissue(query, other).tolist()), pooled, per_tissue, tolerance_mm)


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
    """Pooled NSD over the tissues' surfaces, and NSD per tissue. A surface element within `tolerance_mm`, inclusive, agrees."""
    areas = _element_areas(spacing)
    agreeing: list[float] = []
    total: list[float] = []
    for q, o in zip(query, other, strict=True):
        good, all_ = _surface_agreement(q, o, areas, spacing, tolerance_mm)
        agreeing.append(good)
        total.append(all_)
    per_tissue = tuple(g / t if t else 1.0 for g, t in zip(agreeing, total, strict=True))
    return (sum(agreeing) / sum(total) if sum(total) else 1.0), per_tissue


def _surface_agreement(
    query: Segmentation, other: Segmentation, areas: npt.NDArray[np.float64], spacing: Spacing, tolerance_mm: float
) -> tuple[float, float]:
    """Area in mm2 of both surfaces that lies within the tolerance of the other surface, and of all of both (z, y, x arrays)."""
    box = _box(query | other)
    if box is None:
        return 0.0, 0.0
    codes = _codes(query[box]), _codes(other[box])
    edges = tuple((c != 0) & (c != 255) for c in codes)
    area = tuple(areas[c] for c in codes)
    total = float(area[0].sum() + area[1].sum())
    if not (edges[0].any() and edges[1].any()):
        return 0.0, total
    good = sum(float(area[i][edges[i] & _near(edges[1 - i], spacing, tolerance_mm)].sum()) for i in (0, 1))
    return good, total


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


def _near(edges: Segmentation, spacing: Spacing, tolerance_mm: float) -> Segmentation:
    """Cells no further than `tolerance_mm` from an edge cell."""
    offsets = _offsets(spacing, tolerance_mm)
    if len(offsets) > _MOST_OFFSETS:
        return np.asarray(ndimage.distance_transform_edt(~edges, sampling=spacing) <= tolerance_mm)
    result = np.zeros_like(edges)
    for offset in offsets:
        to = tuple(slice(max(o, 0), n + min(o, 0)) for o, n in zip(offset, edges.shape, strict=True))
        start = tuple(slice(max(-o, 0), n + min(-o, 0)) for o, n in zip(offset, edges.shape, strict=True))
        result[to] |= edges[start]
    return result


@lru_cache(maxsize=32)
def _offsets(spacing: Spacing, tolerance_mm: float) -> tuple[tuple[int, int, int], ...]:
    """Voxel offsets (z, y, x) not longer than the tolerance."""
    reach = [int(tolerance_mm / s) for s in spacing]
    grid = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), -1).reshape(-1, 3)
    inside = (grid * np.asarray(spacing)) ** 2
    return tuple((int(z), int(y), int(x)) for z, y, x in grid[np.sqrt(inside.sum(1)) <= tolerance_mm])


@lru_cache(maxsize=32)
def _element_areas(spacing: Spacing) -> npt.NDArray[np.float64]:
    """Surface area in mm2 of each of the 256 neighbourhood codes."""
    z, y, x = spacing
    lengths = np.linalg.norm(_NORMALS * np.array([y * x, z * x, z * y]), axis=1)
    half = np.array([sum(lengths[ord(letter) - ord("a")] for letter in word if letter != "-") for word in _ELEMENTS])
    return np.concatenate([half, half[::-1]])
