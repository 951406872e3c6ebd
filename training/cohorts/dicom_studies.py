"""What lies in a patient's folder of DICOM studies, and which images a segmentation was drawn on."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qcnode.assess.model_card import Contrast, SeriesRule
from qcnode.case import FrameRef, InstanceHeader
from qcnode.errors import Rejected
from qcnode.headers import read_header
from qcnode.imaging.planes import Plane, stack_planes
from training.cohorts.loading import Faults

REFERENCE_FOLDER, QUERY_FOLDER = "reference", "query"
_SEGMENTATIONS = ("seg", "labelmap")

Source = tuple[str, int | None]  # SOP Instance UID, frame number or None for the whole instance


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A file of the patient. name: its path below the patient's folder."""

    path: Path
    name: str
    header: InstanceHeader

    def frames(self) -> tuple[FrameRef, ...]:
        """Its planes."""
        return tuple(FrameRef(self.path, self.header.sop_instance_uid, frame.frame_number) for frame in self.header.frames)


@dataclass(slots=True)
class PatientFiles:
    """MR images by SOP Instance UID, reference and query SEGs in the order of their paths."""

    images: dict[str, Held] = field(default_factory=dict)
    references: list[Held] = field(default_factory=list)
    queries: list[Held] = field(default_factory=list)

    def series(self, series_instance_uid: str) -> list[Held]:
        """The images of a series."""
        return [held for held in self.images.values() if held.header.series_instance_uid == series_instance_uid]


def read_patient(folder: Path, faults: Faults) -> PatientFiles:
    """Read the headers of a patient's files. Noted: unreadable .dcm files, SEGs in neither folder, no reference; qcnode's results and
    objects that are neither MR nor SEG are passed over.
    """
    files = PatientFiles()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")):
        name = path.relative_to(folder).as_posix()
        with faults.of(f"{folder.name}, {name}"):
            try:
                held = Held(path, name, read_header(path))
            except Rejected:
                if path.suffix.lower() == ".dcm":
                    raise
                continue  # an export's index, viewer or notes
            _sort_in(held, files)
    if not files.references:
        faults.note(folder.name, f"no SEG in a folder {REFERENCE_FOLDER}/")
    return files


def _sort_in(held: Held, files: PatientFiles) -> None:
    if held.header.kind == "image":
        files.images.setdefault(held.header.sop_instance_uid, held)
    elif held.header.kind in _SEGMENTATIONS:
        roles = [part for part in Path(held.name).parts[:-1] if part in (REFERENCE_FOLDER, QUERY_FOLDER)]
        if not roles:
            raise ValueError(f"the SEG lies neither in {REFERENCE_FOLDER}/ nor in {QUERY_FOLDER}/")
        (files.references if roles[-1] == REFERENCE_FOLDER else files.queries).append(held)


def named_sources(header: InstanceHeader) -> set[Source]:
    """Planes that the frames of a SEG name as their source (PS3.3, C.7.6.16.2.6), else whole instances that it references."""
    return {source for frame in header.frames for source in frame.source_instances} or {(uid, None) for uid in header.referenced_instances}


def names_any(header: InstanceHeader, frames: Collection[FrameRef]) -> bool:
    """True where a SEG names one of these planes as its source."""
    sources = named_sources(header)
    return any((f.sop_instance_uid, f.frame_number) in sources or (f.sop_instance_uid, None) in sources for f in frames)


def drawn_on(segmentation: Held, files: PatientFiles) -> tuple[FrameRef, ...]:
    """The planes of the volume that a SEG was drawn on, in any order: one at every position of the one series that it names.

    Raises ValueError or Rejected where the series is not told, images are missing, or several lie at a position and the SEG does not say
    which it was drawn on.
    """
    header = segmentation.header
    uids = {uid for uid, _ in named_sources(header)} | set(header.referenced_instances)
    if missing := len(uids - set(files.images)):
        raise ValueError(f"{missing} of the images that it names are missing")
    series = {files.images[uid].header.series_instance_uid for uid in uids}
    series = series or {uid for uid in header.referenced_series if files.series(uid)} or _of_same_frame_of_reference(header, files)
    if len(series) != 1:
        raise ValueError(f"its images are {len(series)} of the MR series at hand instead of one")
    return _one_per_position(files.series(series.pop()), header)


def _of_same_frame_of_reference(header: InstanceHeader, files: PatientFiles) -> set[str]:
    where = header.frame_of_reference_uid
    fitting = [h.header for h in files.images.values() if where is not None and h.header.frame_of_reference_uid == where]
    return {h.series_instance_uid for h in fitting if h.study_instance_uid == header.study_instance_uid}


def _one_per_position(series: Sequence[Held], segmentation: InstanceHeader) -> tuple[FrameRef, ...]:
    """The whole series where it is one volume, else those of its planes that the SEG names: a phase of a cine series, say."""
    frames = [frame for held in series for frame in held.frames()]
    planes = [Plane(frame, held.header.rows, held.header.columns) for held in series for frame in held.header.frames]
    groups = stack_planes(planes).groups
    sources = named_sources(segmentation)
    of_frames = {f for f in frames if (f.sop_instance_uid, f.frame_number) in sources or (f.sop_instance_uid, None) in sources}
    of_instances = {f for f in frames if f.sop_instance_uid in segmentation.referenced_instances}
    for chosen in (set(frames), of_frames, of_instances):
        if all(sum(frames[i] in chosen for i in group) == 1 for group in groups):
            return tuple(sorted(chosen, key=lambda f: (f.sop_instance_uid, f.frame_number)))
    raise ValueError(
        "its series holds several images per position, and it does not name one of them at each: leave only the images that it was drawn on"
    )


def further_contrasts(
    contrasts: Sequence[Contrast], segmentation: Held, frames: Sequence[FrameRef], files: PatientFiles
) -> dict[str, tuple[FrameRef, ...]]:
    """Planes of each contrast by its name, `frames` being those that the SEG was drawn on.

    One contrast: the images that the SEG was drawn on, whatever they are called. Several: each is the one series of the SEG's study and
    frame of reference that its rule fits. Raises ValueError where none or several fit.
    """
    if len(contrasts) == 1:
        return {contrasts[0].name: tuple(frames)}
    own = files.images[frames[0].sop_instance_uid].header
    at_hand = {h.header.series_instance_uid: h.header for h in files.images.values()}
    found: dict[str, tuple[FrameRef, ...]] = {}
    for contrast in contrasts:
        fitting = [
            uid
            for uid, header in at_hand.items()
            if (header.study_instance_uid, header.frame_of_reference_uid) == (own.study_instance_uid, own.frame_of_reference_uid)
            and _fits(contrast.series_rule, header)
        ]
        if len(fitting) != 1:
            raise ValueError(f"{len(fitting)} series fit contrast {contrast.name}")
        if fitting[0] == own.series_instance_uid:
            found[contrast.name] = tuple(frames)
        else:
            found[contrast.name] = tuple(frame for held in files.series(fitting[0]) for frame in held.frames())
    if list(found.values()).count(tuple(frames)) != 1:
        raise ValueError("the series that it was drawn on is not one of the contrasts")
    return found


def _fits(rule: SeriesRule, header: InstanceHeader) -> bool:
    agent = header.contrast_agent.strip().upper() not in ("", "NO", "NONE")
    return (
        re.search(rule.series_description, header.series_description, re.IGNORECASE) is not None
        and not (rule.exclude and re.search(rule.exclude, header.series_description, re.IGNORECASE))
        and rule.contrast_agent in (None, agent)
    )
