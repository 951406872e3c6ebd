"""Colours of segments and verdicts, told apart by every kind of colour vision (Okabe and Ito, Color Universal Design, 2008)."""

from __future__ import annotations

from qcnode.case import Verdict

Rgb = tuple[int, int, int]

# Contours of the query's tissues: cool or bright, so that the errors' warm colours stay theirs alone
TISSUES: tuple[Rgb, ...] = ((86, 180, 233), (240, 228, 66), (0, 190, 140), (235, 235, 235), (140, 140, 255))
# Error segments in a viewer: one colour per tissue, all warm
ERRORS: tuple[Rgb, ...] = ((213, 94, 0), (230, 159, 0), (204, 121, 167))
# Predicted errors of all tissues in a preview
ERROR: Rgb = ERRORS[0]

VERDICTS: dict[Verdict, Rgb] = {
    Verdict.PASS: (0, 158, 115),
    Verdict.FAIL: (213, 94, 0),
    Verdict.REVIEW: (230, 159, 0),
    Verdict.UNASSESSABLE: (150, 130, 190),
    Verdict.NOT_APPLICABLE: (130, 130, 130),
}


def of_tissue(index: int) -> Rgb:
    """Contour colour of a task's tissue."""
    return TISSUES[index % len(TISSUES)]


def of_error(index: int) -> Rgb:
    """Colour of a tissue's error segment."""
    return ERRORS[index % len(ERRORS)]
