"""Is a stack whole, and what confirms it? What late images may cure is told from what no image can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qcnode.case import Reason, ReasonCode
from qcnode.ingest.references import Study
from qcnode.ingest.stacks import FrameStack, spacing_problem

_SPACING_TEXTS = {
    ReasonCode.NO_GEOMETRY: "the images carry no position or orientation",
    ReasonCode.SINGLE_SLICE: "one slice is not a volume",
    ReasonCode.SEVERAL_IMAGES_PER_POSITION: "several images lie at one position and nothing tells them apart",
    ReasonCode.MISSING_SLICE: "the slices have a gap where one or more are missing",
    ReasonCode.UNEVEN_SPACING: "the slices are not evenly spaced",
}


@dataclass(frozen=True, slots=True)
class Extent:
    """What is known of completeness beyond the headers."""

    quiet: bool
    quiet_evidence: str
    archive_counts: Mapping[str, int]

    def in_archive(self, stack: FrameStack, study: Study) -> bool | None:
        """True: the archive holds no more of the series than is at hand. False: it holds more. None: not known."""
        count = self.archive_counts.get(stack.series_instance_uid)
        return None if count is None else count <= len(study.series[stack.series_instance_uid])

    def evidence(self, stacks: Sequence[FrameStack], study: Study, needs_whole_study: bool) -> str | None:
        """What confirms that no more images follow, or None. Further contrasts are looked for in the whole study, whose extent only
        quiet confirms.
        """
        if stacks and not needs_whole_study and all(self.in_archive(stack, study) for stack in stacks):
            return "archive-count"
        return self.quiet_evidence if self.quiet else None


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a query can not be judged now; `late_images_may_cure` it, so that it is waited until overdue."""

    reason: Reason
    late_images_may_cure: bool = False


def stack_finding(stack: FrameStack, in_archive: bool | None, overdue: bool) -> Finding | None:
    """The first thing that keeps the stack from being a complete, even volume; None where there is none. Raises nothing.

    in_archive: see Extent.in_archive; the archive's word that all came settles that slices which only other phases have do not exist.
    """
    if any(plane.stored.conflicting for plane in stack.planes):
        return Finding(Reason(ReasonCode.CONFLICTING_CONTENT, "an image came twice with different pixels or geometry"))
    if any("MOSAIC" in (plane.frame.frame_type or plane.stored.header.image_type) for plane in stack.planes):
        return Finding(Reason(ReasonCode.MOSAIC, "the images are mosaics: many slices tiled in one image"))
    if stack.frame_of_reference_uid is None:
        return Finding(Reason(ReasonCode.NO_FRAME_OF_REFERENCE, "the images have no frame of reference, so no error map can refer to them"))
    if in_archive is False and not overdue:
        return Finding(Reason(ReasonCode.MISSING_SLICE, "the archive holds more images of the series"), late_images_may_cure=True)
    if code := spacing_problem(stack):
        permanent = code in (ReasonCode.NO_GEOMETRY, ReasonCode.SINGLE_SLICE)
        return Finding(Reason(code, _SPACING_TEXTS[code]), late_images_may_cure=not permanent)
    if stack.lacks_positions and not in_archive:
        text = "other phases or echoes of the series have slices that this one lacks"
        return Finding(Reason(ReasonCode.MISSING_SLICE, text), late_images_may_cure=True)
    return None
