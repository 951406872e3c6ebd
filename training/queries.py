"""Query segmentations over the whole range of quality, made from a reference: SegGen (paper 000, table 2), structured failures, blends.

A `Plan` is drawn first and applied afterwards; it says everything that happens. Labels are (z, y, x), 0 background, i structure i.
Lengths in the plane are voxels, as in the paper. The first slices are called basal and the last apical, as ACDC stores them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from training.edits import EDITS, WHOLE_GRID_EDITS, Edit, Labels, put_foreign
from training.targets import tissue_channels

_ROOM = 44  # voxels around the reference within which edits happen
_COARSE = 6  # points along each side of the plane at which the share of a blend is drawn
_COARSE_SLICES = 10


@dataclass(frozen=True, slots=True)
class Plan:
    """The edits of one query, in order, those of the whole grid last; `kind` is the family it is reported under."""

    kind: str
    edits: tuple[Edit, ...]

    @property
    def group(self) -> str:
        """ "seggen" or "structured"."""
        return "seggen" if self.kind in SEGGEN else "structured"


@dataclass(frozen=True, slots=True)
class _Kind:
    """How often a kind is drawn, how its edits are drawn (generator, slices with tissue, structures), and what it makes sense for."""

    share: float
    draw: Callable[[np.random.Generator, int, int], list[Edit]]
    fewest_structures: int = 1


def draw_plan(rng: np.random.Generator, depth: int, structures: int, kinds: Sequence[str] | None = None) -> Plan:
    """A plan for a reference that has `depth` slices with tissue and so many structures; `kinds` limits it to some of KINDS.

    Kinds that need several structures are left out where there are fewer. ValueError where none is left.
    """
    possible = [name for name in (KINDS if kinds is None else kinds) if _KINDS[name].fewest_structures <= structures]
    if not possible:
        raise ValueError(f"none of the kinds {kinds} is possible with {structures} structures")
    shares = np.array([_KINDS[name].share for name in possible])
    kind = possible[int(rng.choice(len(possible), p=shares / shares.sum()))]
    return Plan(kind, tuple(_KINDS[kind].draw(rng, depth, structures)))


def apply_plan(plan: Plan, reference: Labels, foreign: Labels | None = None) -> Labels:
    """The query that `plan` makes of a reference; `foreign` is another patient's reference, for plans of kind "foreign"."""
    found = ndimage.find_objects((reference > 0).astype(np.uint8))
    if not plan.edits or not found:
        return reference.copy()
    box = (slice(None), *(slice(max(s.start - _ROOM, 0), s.stop + _ROOM) for s in found[0][1:]))
    part = reference[box].copy()
    for edit in plan.edits:
        if edit.name == "foreign":
            part = put_foreign(part, edit, foreign)
        elif edit.name not in WHOLE_GRID_EDITS:
            part = EDITS[edit.name](part, edit)
    query = np.zeros_like(reference)
    query[box] = part
    for edit in plan.edits:
        if edit.name in WHOLE_GRID_EDITS:
            query = WHOLE_GRID_EDITS[edit.name](query, edit)
    return query


def blend(rng: np.random.Generator, reference: Labels, probabilities: npt.NDArray[np.float32]) -> Labels:
    """A segmentation between the reference and a network's: errors as networks make them, at any quality.

    probabilities: (structure, z, y, x) on the reference's grid. The weight of the network differs smoothly over the volume; a third of the
    time it is the network's alone.
    """
    share = 1.0 if rng.random() < 1 / 3 else float(rng.uniform(0.3, 0.8))
    spread = 0.0 if share == 1.0 else float(rng.uniform(0, 0.4))
    coarse = rng.normal(size=(min(len(reference), _COARSE_SLICES), _COARSE, _COARSE))
    zoom = [n / c for n, c in zip(reference.shape, coarse.shape, strict=True)]
    field = np.clip(share + spread * ndimage.zoom(coarse, zoom, order=1), 0, 1)
    structures = [(i + 1,) for i in range(len(probabilities))]
    shown = field * probabilities + (1 - field) * tissue_channels(reference, structures)
    background = 1 - shown.sum(0)
    return np.asarray(np.argmax(np.concatenate([background[None], shown]), 0), np.uint8)


def _seggen(rng: np.random.Generator, strength: float) -> list[Edit]:
    """Table 2 of the paper: rotation, scaling, translation and deformation, each with probability 0.5; ranges times `strength`."""
    turn = rng.uniform(-15, 15) * strength if rng.random() < 0.5 else 0.0
    scale = rng.uniform(0.85, 1.25) ** strength if rng.random() < 0.5 else 1.0
    shift = rng.uniform(-20, 20, 2) * strength if rng.random() < 0.5 else np.zeros(2)
    edits = [Edit("similarity", (float(turn), float(scale), float(shift[0]), float(shift[1])))]
    if rng.random() < 0.5:
        edits.append(Edit("deform", (float(rng.uniform(2, 20) * strength), float(rng.uniform(8, 24))), _seed(rng)))
    return edits


def _untouched(rng: np.random.Generator, depth: int, structures: int) -> list[Edit]:
    return []


def _whole_seggen(rng: np.random.Generator, depth: int, structures: int) -> list[Edit]:
    return [edit for _ in range(3) for edit in _seggen(rng, 1.0)]


def _mild_seggen(rng: np.random.Generator, depth: int, structures: int) -> list[Edit]:
    return _seggen(rng, float(rng.uniform(0.05, 0.6)))


def _contour(rng: np.random.Generator, depth: int, structures: int) -> list[Edit]:
    """Uneven contours, slices that do not follow one another, structures drawn too large or too small."""
    edits = [Edit("deform", (float(rng.uniform(0.3, 3.0)), float(rng.uniform(4, 12))), _seed(rng))]
    if rng.random() < 0.3:
        edits.append(Edit("jitter", (float(rng.uniform(0.3, 3.0)),), _seed(rng)))
    if rng.random() < 0.4:
        edits.append(Edit("grow", (float(rng.integers(0, structures + 1)), float(rng.choice([-3, -2, -1, 1, 2, 3])))))
    if rng.random() < 0.1:
        edits.append(Edit("coarse", (float(rng.integers(2, 6)),)))
    return edits


def _slices_lost(*where: int) -> Callable[[np.random.Generator, int, int], list[Edit]]:
    """Slices left out at one of these places (see the edit "lose"): all structures, or one of them."""

    def draw(rng: np.random.Generator, depth: int, structures: int) -> list[Edit]:
        count = float(rng.integers(1, max(2, round(0.7 * depth))))
        which = float(rng.integers(0, 2) * rng.integers(1, structures + 1))
        return [*_contour(rng, depth, structures), Edit("lose", (count, float(rng.choice(where)), which), _seed(rng))]

    return draw


def _slices_stale(rng: np.random.Generator, depth: int, structures: int) -> list[Edit]:
    return [*_contour(rng, depth, structures), Edit("stale", (float(rng.uniform(0.2, 0.9)),), _seed(rng))]


def _leak(rng: np.random.Generator, depth: int, structures: int) -> list[Edit]:
    """Leaks into the surroundings, bites out of the segmentation (structure 0), islands."""
    edits = _contour(rng, depth, structures)
    for _ in range(int(rng.integers(1, 5))):
        label = float(rng.integers(0, structures + 1))
        edits.append(Edit("blob", (label, float(np.exp(rng.uniform(np.log(4), np.log(24)))), float(rng.random() < 0.25)), _seed(rng)))
    return edits


def _two_structures(name: str) -> Callable[[np.random.Generator, int, int], list[Edit]]:
    """An edit of two structures, the first of which is changed."""

    def draw(rng: np.random.Generator, depth: int, structures: int) -> list[Edit]:
        first, second = rng.choice(np.arange(1, structures + 1), 2, replace=False)
        return [*_contour(rng, depth, structures), Edit(name, (float(first), float(second)))]

    return draw


def _another_patient(rng: np.random.Generator, depth: int, structures: int) -> list[Edit]:
    return [Edit("foreign", (float(rng.random() < 0.8),)), *_seggen(rng, float(rng.uniform(0, 0.3)))]


def _displaced(rng: np.random.Generator, depth: int, structures: int) -> list[Edit]:
    """From a few voxels to beyond the edge of the grid, in the plane, along the stack or both."""
    length = np.exp(rng.uniform(np.log(0.015), np.log(0.7)))
    angle = rng.uniform(-np.pi, np.pi)
    along = float(rng.choice([-1, 1]) * rng.uniform(0.1, 0.4)) if rng.random() < 0.4 else 0.0
    flat = float(along == 0 or rng.random() < 0.5)
    return [Edit("displace", (along, float(flat * length * np.sin(angle)), float(flat * length * np.cos(angle))))]


def _flipped(rng: np.random.Generator, depth: int, structures: int) -> list[Edit]:
    """A wrong orientation; a third of the time mirrored in its place."""
    if rng.random() < 1 / 3:
        return [*_contour(rng, depth, structures), Edit("mirror")]
    return [Edit("flip", (float(rng.integers(0, 4)),))]


def _empty(rng: np.random.Generator, depth: int, structures: int) -> list[Edit]:
    return [Edit("empty")]


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


_KINDS: dict[str, _Kind] = {
    "untouched": _Kind(0.02, _untouched),
    "seggen": _Kind(0.12, _whole_seggen),
    "mild": _Kind(0.18, _mild_seggen),
    "contour": _Kind(0.13, _contour),
    "missing-basal": _Kind(0.06, _slices_lost(0)),
    "missing-apical": _Kind(0.06, _slices_lost(1)),
    "missing-slices": _Kind(0.04, _slices_lost(2, 3)),
    "stale-slices": _Kind(0.04, _slices_stale),
    "leak": _Kind(0.08, _leak),
    "lost-tissue": _Kind(0.05, _two_structures("drop"), 2),
    "swapped-tissues": _Kind(0.04, _two_structures("swap"), 2),
    "merged-tissues": _Kind(0.03, _two_structures("merge"), 2),
    "foreign": _Kind(0.05, _another_patient),
    "displaced": _Kind(0.05, _displaced),
    "flipped": _Kind(0.04, _flipped),
    "empty": _Kind(0.01, _empty),
}
KINDS = tuple(_KINDS)
SEGGEN = ("untouched", "seggen", "mild")
STRUCTURED = tuple(name for name in KINDS if name not in SEGGEN)
