"""Is this input like what the network was fitted on? Two questions: the image's and the query's.

Features are plain statistics of arrays with slices along z; they do not change when the stack is mirrored or turned about. None depends
on the voxel size, which copies of public data have often lost. Every feature is finite for every input.
Distances are Mahalanobis', p-values conformal (Laxhammar and Falkman 2010; shares of left-out patients that are at least as far away).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from qcnode.assess.model_card import FeatureGroup, NoveltyTest
from qcnode.errors import ConfigurationError

FloatArray = npt.NDArray[np.floating]
Vector = npt.NDArray[np.float64]
Segmentation = npt.NDArray[np.bool_]
Features = tuple[tuple[str, ...], Vector]

_EDGES = (0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0)  # of normalised intensities: air is 0, the standard deviation 1
_CROSS = ndimage.generate_binary_structure(2, 1)[None]  # the four neighbours in the plane
_DISC = 1.5  # log of a disc's pixel edges by the square root of its pixels: what a missing tissue counts
_FAINT = 1e-3


def p_value(test: NoveltyTest, names: Sequence[str], vector: Vector) -> float:
    """Share of like inputs that lie as far from the training data as this one; small means novel. Never 0.

    names, vector: as `image_features` or `query_features` give them. ConfigurationError: the card was calibrated with other features.
    """
    found = float(scores(test.groups, names, vector[None])[0])
    place = int(np.searchsorted(test.scores, found, side="left"))
    share = test.tail[place] if place < len(test.tail) else 0.0
    return (1 + test.patients * share) / (test.patients + 1)


def is_novel(test: NoveltyTest, p: float) -> bool:
    """True where a p-value says that the input is unlike the training data."""
    return p < test.cut


def scores(groups: Sequence[FeatureGroup], names: Sequence[str], vectors: Vector) -> Vector:
    """Scores (input,) of feature vectors (input, feature): the mean distance over the groups, each by its typical one.

    What is foreign is odd in many ways at once, an unusual patient in one: the mean tells them apart better than the largest distance.
    """
    place = {name: i for i, name in enumerate(names)}
    found = []
    for group in groups:
        absent = [f for f in group.features if f not in place]
        if absent:
            raise ConfigurationError(f"The model card judges novelty by {absent[0]}, which this version does not have: calibrate again.")
        values = vectors[:, [place[f] for f in group.features]]
        moved = (values - np.asarray(group.centre)) @ np.asarray(group.whitening).T
        found.append(np.linalg.norm(moved, axis=1) / group.typical)
    return np.asarray(np.stack(found).mean(0), float)


def image_features(values: FloatArray, probabilities: FloatArray, pooled: Mapping[str, FloatArray]) -> Features:
    """Names and values of what is judged of an image. A name is "group/feature".

    values: (z, y, x), as qcnode.imaging.preprocess.normalise gives them. probabilities: pseudo-reference (tissue, z, y, x), same grid.
    pooled: groups of means (feature,) of the pseudo-reference networks' deepest layers, as qcnode.assess.inputs.PseudoReference has them.
    """
    probabilities = np.rint(probabilities * np.float32(255)) / np.float32(255)  # as training keeps them
    hard = probabilities > 0.5
    box = _box(_union(hard))
    found: dict[str, float] = {}
    for where, part in (("field", values), ("box", values[box])):
        found |= {f"intensity/{where}-{i}": v for i, v in enumerate(_histogram(part))}
        found |= {f"texture/{where}-{name}": v for name, v in _texture(part).items()}
    found |= {f"anatomy/{name}": v for name, v in _certainty(probabilities, hard).items()}
    found |= {f"anatomy/{name}": v for name, v in _shape(hard).items()}
    found |= {f"anatomy/{name}": v for name, v in _contacts(hard).items()}
    found |= {f"appearance/{name}": v for name, v in _appearance(values[box], hard[(slice(None), *box)]).items()}
    found |= {f"{group}/{i}": float(v) for group, means in pooled.items() for i, v in enumerate(means)}
    return _packed(found)


def query_features(query: Segmentation) -> Features:
    """Names and values of what is judged of a query (tissue, z, y, x): its shape alone, not whether it is right."""
    found = {f"shape/{name}": v for name, v in _shape(query).items()}
    found |= {f"grain/{name}": v for name, v in _grain(query).items()}
    return _packed(found)


def _packed(found: dict[str, float]) -> Features:
    return tuple(found), np.nan_to_num(np.array(list(found.values()), float), nan=0.0, posinf=1e3, neginf=-1e3)


def _union(tissues: Segmentation) -> Segmentation:
    """Where (z, y, x) any tissue is."""
    return np.asarray(tissues.any(0), bool)


def _box(inside: Segmentation) -> tuple[slice, ...]:
    """The smallest box (z, y, x) around what is inside; the middle half of the field where nothing is."""
    lines = [np.flatnonzero(inside.any(axis=tuple(b for b in range(3) if b != a))) for a in range(3)]
    if lines[0].size:
        return tuple(slice(int(line[0]), int(line[-1]) + 1) for line in lines)
    z, y, x = inside.shape
    return (slice(0, z), slice(y // 4, y - y // 4), slice(x // 4, x - x // 4))


def _histogram(values: FloatArray) -> Vector:
    """Square roots of the shares of voxels per range of intensity."""
    counts = np.bincount(np.digitize(values.ravel(), _EDGES), minlength=len(_EDGES) + 1)
    return np.sqrt(counts / max(values.size, 1))


def _texture(values: FloatArray) -> dict[str, float]:
    """Sharpness: log ratio of squared differences over one and two, two and four pixels, and one slice (noise near 0, blur negative).

    noise: log of the robust deviation of the finest diagonal detail.
    """
    one, two, four = (_difference(values, step) for step in (1, 2, 4))
    across = float(np.mean(np.diff(values, axis=0) ** 2)) if len(values) > 1 else two
    detail = values[:, 1:, 1:] - values[:, 1:, :-1] - values[:, :-1, 1:] + values[:, :-1, :-1]
    noise = float(np.median(np.abs(detail))) if detail.size else 0.0
    return {
        "fine": _log_ratio(one, two),
        "coarse": _log_ratio(two, four),
        "slices": _log_ratio(one, across),
        "noise": float(np.log(noise + 0.01)),
    }


def _difference(values: FloatArray, step: int) -> float:
    """Mean squared difference of pixels `step` apart in the plane."""
    parts = [values[:, step:] - values[:, :-step], values[:, :, step:] - values[:, :, :-step]]
    found = [float(np.mean(p**2)) for p in parts if p.size]
    return sum(found) / max(len(found), 1)


def _log_ratio(above: float, below: float) -> float:
    return float(np.log((above + _FAINT * _FAINT) / (below + _FAINT * _FAINT)))


def _certainty(probabilities: FloatArray, hard: Segmentation) -> dict[str, float]:
    """Log of the expected DSC's distance from 1, pooled and per tissue, and the entropy by the segmentation's size."""
    both, own, soft = ((a.sum((1, 2, 3), dtype=float)) for a in (probabilities * hard, hard, probabilities))
    pooled = (2 * both.sum() + 1) / (own.sum() + soft.sum() + 1)
    each = (2 * both + 1) / (own + soft + 1)
    found = {"doubt": float(np.log(1.02 - pooled))} | {f"doubt-{i}": float(np.log(1.02 - v)) for i, v in enumerate(each)}
    some = np.clip(probabilities.max(0), 1e-6, 1 - 1e-6)
    entropy = -(some * np.log(some) + (1 - some) * np.log(1 - some)).sum(dtype=float)
    return found | {"entropy": float(np.log((entropy + 1) / (own.sum() + 10)))}


def _shape(tissues: Segmentation) -> dict[str, float]:
    """Size, extent, pieces, outline and course of each tissue and of their union."""
    found: dict[str, float] = {}
    union = _union(tissues)
    box = _box(union)
    for name, whole in (("all", union), *((str(i), t) for i, t in enumerate(tissues))):
        part = whole[box]
        areas = part.sum((1, 2), dtype=float)
        filled = areas > 0
        found[f"size-{name}"] = float((areas.sum() / whole.size) ** (1 / 3))
        found[f"slices-{name}"] = float(filled.sum() / len(whole))
        found[f"pieces-{name}"] = _pieces(part, filled)
        found[f"outline-{name}"] = _outline(part, areas)
        found[f"course-{name}"] = _course(part, areas)
    ends = sorted(float(union[k].sum() / max(union.sum((1, 2)).max(), 1)) for k in (0, -1))
    found |= {"end-less": ends[0], "end-more": ends[1]}
    rim = np.concatenate([union[:, [0, -1]].reshape(-1), union[:, :, [0, -1]].reshape(-1)])
    return found | {"rim": float(np.sqrt(rim.mean()))}


def _pieces(part: Segmentation, filled: Segmentation) -> float:
    """Log of the mean number of pieces in a slice that has any."""
    count = ndimage.label(part, np.concatenate([0 * _CROSS, _CROSS, 0 * _CROSS]))[1]
    return float(np.log((count + 0.1) / (filled.sum() + 0.1)))


def _outline(part: Segmentation, areas: Vector) -> float:
    """Log of pixel edges in the plane by the square root of the pixels, slices summed: jagged is large."""
    if not areas.any():
        return _DISC
    padded = np.pad(part, ((0, 0), (1, 1), (1, 1)))
    edges = sum(int((np.diff(padded.astype(np.int8), axis=a) != 0).sum()) for a in (1, 2))
    return float(np.log(edges / np.sqrt(areas).sum()) - np.log(4.0) + _DISC)


def _course(part: Segmentation, areas: Vector) -> float:
    """DSC of neighbouring slices that both have tissue, by area; 1 where there are none."""
    both = (part[1:] & part[:-1]).sum((1, 2), dtype=float)
    used = (areas[1:] > 0) & (areas[:-1] > 0)
    total = (areas[1:] + areas[:-1])[used].sum()
    return float(2 * both[used].sum() / total) if total else 1.0


def _contacts(tissues: Segmentation) -> dict[str, float]:
    """Share of each tissue's outline in the plane beyond which each other tissue lies."""
    found = {}
    box = _box(_union(tissues))
    part = np.pad(tissues[(slice(None), *box)], ((0, 0), (0, 0), (1, 1), (1, 1)))
    steps = [(axis, shift) for axis in (1, 2) for shift in (1, -1)]
    for i, own in enumerate(part):
        edges = [own & ~np.roll(own, s, a) for a, s in steps]
        outline = sum(int(e.sum()) for e in edges)
        for j, other in enumerate(part):
            if i != j:
                touching = sum(int((e & np.roll(other, s, a)).sum()) for e, (a, s) in zip(edges, steps, strict=True))
                found[f"contact-{i}-{j}"] = touching / outline if outline else 0.0
    return found


def _appearance(values: FloatArray, tissues: Segmentation) -> dict[str, float]:
    """Mean and deviation of the intensity within each tissue and around them all, within their box."""
    found = {}
    mean, deviation = float(values.mean()), float(values.std())
    for name, where in (*((str(i), t) for i, t in enumerate(tissues)), ("around", ~_union(tissues))):
        chosen = values[where]
        found[f"mean-{name}"] = float(chosen.mean()) if chosen.size else mean
        found[f"deviation-{name}"] = float(chosen.std()) if chosen.size else deviation
    return found


def _grain(query: Segmentation) -> dict[str, float]:
    """Fine structure of the union: pixels lost by erosion, pixels alone, holes, chequered 2 x 2 squares, by the tissue's size."""
    union = _union(query)
    part = np.pad(union[_box(union)], ((0, 0), (1, 1), (1, 1)))
    size = max(int(part.sum()), 1)
    kept = ndimage.binary_erosion(part, _CROSS)
    opened = ndimage.binary_dilation(kept, _CROSS) & part
    filled = ndimage.binary_fill_holes(part, np.concatenate([0 * _CROSS, _CROSS, 0 * _CROSS])) if part.any() else part
    a, b, c, d = part[:, 1:, 1:], part[:, 1:, :-1], part[:, :-1, 1:], part[:, :-1, :-1]
    chequered = (a == d) & (b == c) & (a != b)
    return {
        "thin": float(1 - opened.sum() / size) if part.any() else 0.0,
        "holes": float(np.sqrt((filled & ~part).sum() / size)),
        "chequered": float(np.sqrt(chequered.sum() / size)),
    }
