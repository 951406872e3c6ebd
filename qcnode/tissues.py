"""Which segment of a SEG is which tissue of a task: coded terms first, labels second.

A *structure* is what a segmenter draws (oedema); a *tissue* is what the QC network judges and is a union of structures (whole tumour =
oedema + necrosis + enhancing). For the heart each tissue is one structure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qcnode.case import SegmentHeader


@dataclass(frozen=True, slots=True)
class Structure:
    """A kind of segment. codes: (value, scheme designator) pairs; label_pattern: regular expression, case ignored."""

    name: str
    codes: tuple[tuple[str, str], ...]
    label_pattern: str


@dataclass(frozen=True, slots=True)
class Tissue:
    """A channel of the QC network. code: (value, scheme designator, meaning), the error map's anatomic region."""

    name: str
    structures: tuple[str, ...]
    code: tuple[str, str, str]


def map_segments(segments: Iterable[SegmentHeader], structures: Sequence[Structure]) -> dict[str, tuple[int, ...]]:
    """Segment numbers of each structure that the SEG holds; structures that it does not hold are absent.

    A segment is claimed by its property type, then by its anatomic region, and only if neither code is known, by its label.
    """
    found: dict[str, tuple[int, ...]] = {}
    for segment in segments:
        name = _by_code(segment, structures) or _by_label(segment, structures)
        if name is not None:
            found[name] = (*found.get(name, ()), segment.segment_number)
    return found


def tissue_masks(
    masks: npt.NDArray[np.bool_], segment_numbers: Sequence[int], mapping: Mapping[str, Sequence[int]], tissues: Sequence[Tissue]
) -> npt.NDArray[np.bool_]:
    """Masks (tissue, z, y, x) out of masks per segment (segment, z, y, x); a tissue without a segment is empty."""
    row = {number: i for i, number in enumerate(segment_numbers)}
    result = np.zeros((len(tissues), *masks.shape[1:]), bool)
    for i, tissue in enumerate(tissues):
        for structure in tissue.structures:
            for number in mapping.get(structure, ()):
                result[i] |= masks[row[number]]
    return result


def _by_code(segment: SegmentHeader, structures: Sequence[Structure]) -> str | None:
    for code in (segment.property_type, segment.anatomic_region):
        if code is None:
            continue
        for structure in structures:
            if (code[0], code[1]) in structure.codes:
                return structure.name
    return None


def _by_label(segment: SegmentHeader, structures: Sequence[Structure]) -> str | None:
    for structure in structures:
        if re.search(structure.label_pattern, segment.label, re.IGNORECASE):
            return structure.name
    return None
