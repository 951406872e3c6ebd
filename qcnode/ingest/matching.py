"""The SEGs of a study find their images: headers at hand -> one outcome per SEG. Pure: no files, no SQL, no clock.

The same headers give the same outcomes in whatever order they came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from qcnode.case import Case, QueryRef, Reason, ReasonCode, StoredHeader
from qcnode.ingest.claims import Claim, ContrastRule, TaskRule, claim
from qcnode.ingest.contrasts import Contrasts, find_contrasts
from qcnode.ingest.corrections import Drawing, corrected_query
from qcnode.ingest.readiness import Extent, Finding, stack_finding
from qcnode.ingest.references import Located, Study, drawn_on_other_classes, locate

__all__ = [
    "ContrastRule",
    "EarlierCase",
    "LabelMap",
    "MatchOutcome",
    "Matched",
    "NotApplicable",
    "OwnResult",
    "TaskRule",
    "Unchanged",
    "Waiting",
    "match_study",
]


@dataclass(frozen=True, slots=True)
class EarlierCase:
    """A case that the same query gave before; `frames` are (SOP Instance UID, frame number) of all its contrasts."""

    case_id: str
    query_sop_instance_uid: str
    frames: frozenset[tuple[str, int]]

    @classmethod
    def of(cls, case: Case) -> EarlierCase:
        """What has to be remembered of `case`."""
        frames = frozenset((f.sop_instance_uid, f.frame_number) for stack in case.contrasts.values() for f in stack.frames)
        return cls(case.case_id, case.query.sop_instance_uid, frames)


@dataclass(frozen=True, slots=True)
class Matched:
    """Ready to be judged, or known to be UNASSESSABLE (`case.problem`)."""

    case: Case


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not ready: `reason` says what is missing. To be asked again when an object arrives or a timer fires."""

    query_sop_instance_uid: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class NotApplicable:
    """No task judges this SEG: counted, no SR, no worklist item."""

    query_sop_instance_uid: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class LabelMap:
    """A Label Map Segmentation: kept, not yet judged."""

    query_sop_instance_uid: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class OwnResult:
    """A result of a qcnode that came back: recorded, not judged."""

    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The latest case of this query stands: nothing that it was made of has changed since, or images of it are gone (an archive or the
    node purged them), so that nothing new could be judged.
    """

    query_sop_instance_uid: str
    case_id: str


_LABEL_MAP = Reason(ReasonCode.LABELMAP_NOT_SUPPORTED, "Label Map Segmentations are kept, but not yet judged")

MatchOutcome = Matched | Waiting | NotApplicable | LabelMap | OwnResult | Unchanged


@dataclass(frozen=True, slots=True)
class _Query:
    stored: StoredHeader
    claim: Claim
    located: Located

    @property
    def drawing(self) -> Drawing:
        keys = self.located.stacks[0].plane_keys if len(self.located.stacks) == 1 else frozenset()
        return Drawing(self.stored.header, self.claim.task.name, self.claim.structures, keys)


def match_study(
    stored: Sequence[StoredHeader],
    tasks: Sequence[TaskRule],
    *,
    quiet: bool,
    archive_counts: Mapping[str, int],
    is_overdue: Callable[[str], bool] = lambda query_sop_instance_uid: False,
    earlier: Sequence[EarlierCase] = (),
    quiet_evidence: str = "quiet-time",
) -> list[MatchOutcome]:
    """One outcome for every SEG, label map and qcnode result in `stored` (all objects of one study that are at hand).

    quiet: no object of the study came for the quiet time. archive_counts: Series Instance UID -> instances that the archive holds.
    is_overdue: by the query's SOP Instance UID, its images had their time to come. earlier: cases made before, oldest first.
    quiet_evidence: what stands in Case.completeness_evidence where quiet confirmed the extent.

    A case is ready when everything referenced is at hand, the stack is gap-free, and its extent is confirmed: by the archive's count
    for its series, or by quiet. An archive that holds more of the series than came outweighs quiet until overdue.
    """
    study = Study(stored)
    outcomes: list[MatchOutcome] = []
    queries = []
    for uid, held in sorted(study.objects.items()):
        if held.header.kind == "labelmap":
            outcomes.append(LabelMap(uid, _LABEL_MAP))
        elif held.header.kind == "qcnode-result":
            outcomes.append(OwnResult(uid))
        elif held.header.kind == "seg":
            query = _applicable(held, tasks, study)
            if isinstance(query, _Query):
                queries.append(query)
            else:
                outcomes.append(query)
    extent = Extent(quiet, quiet_evidence, archive_counts)
    drawings = [query.drawing for query in queries]
    for query in queries:
        of_query = [e for e in earlier if e.query_sop_instance_uid == query.stored.header.sop_instance_uid]
        corrects = corrected_query(query.drawing, drawings)
        outcomes.append(_match_query(query, study, extent, is_overdue(query.stored.header.sop_instance_uid), of_query, corrects))
    return outcomes


def _applicable(held: StoredHeader, tasks: Sequence[TaskRule], study: Study) -> _Query | NotApplicable:
    uid = held.header.sop_instance_uid
    claimed = claim(held.header, tasks)
    if claimed is None:
        return NotApplicable(uid, Reason(ReasonCode.NO_TASK, "no task judges what this segmentation shows"))
    located = locate(held.header, study)
    if located.not_mr or drawn_on_other_classes(held.header):
        return NotApplicable(uid, Reason(ReasonCode.NOT_MR, "the segmentation was not drawn on MR images"))
    return _Query(held, claimed, located)


def _match_query(
    query: _Query, study: Study, extent: Extent, overdue: bool, earlier: Sequence[EarlierCase], corrects: str | None
) -> MatchOutcome:
    uid = query.stored.header.sop_instance_uid
    if earlier and not all(study.holds(key) for key in earlier[-1].frames):
        return Unchanged(uid, earlier[-1].case_id)
    contrasts = _contrasts(query, study)
    stacks = list(contrasts.stacks.values())
    finding = _finding(query, contrasts, study, extent, overdue)
    evidence = extent.evidence(stacks, study, len(query.claim.task.contrasts) > 1)
    problem = finding.reason if finding else None
    case_id = _case_id(query, contrasts, problem)
    if evidence is None or (finding and finding.late_images_may_cure and not overdue):
        if earlier and earlier[-1].case_id == case_id:
            return Unchanged(uid, case_id)
        return Waiting(uid, problem or Reason(ReasonCode.IMAGES_MISSING, "nothing confirms yet that all images of the series came"))
    return Matched(
        Case(
            case_id=case_id,
            study_instance_uid=query.stored.header.study_instance_uid,
            query=QueryRef(query.stored.path, query.stored.header.series_instance_uid, uid),
            task=query.claim.task.name,
            contrasts={name: stack.as_stack() for name, stack in contrasts.stacks.items()},
            reference_contrast=contrasts.reference,
            completeness_evidence=evidence if query.located.stacks else "none",
            predecessor_case_id=_predecessor(case_id, earlier),
            corrects_query_uid=corrects,
            problem=problem,
        )
    )


def _contrasts(query: _Query, study: Study) -> Contrasts:
    if len(query.located.stacks) != 1:
        return Contrasts({}, "")
    return find_contrasts(query.claim.task, query.located.stacks[0], study)


def _finding(query: _Query, contrasts: Contrasts, study: Study, extent: Extent, overdue: bool) -> Finding | None:
    """The first thing that keeps the query from being judged."""
    located = query.located
    if located.missing:
        text = f"{located.missing} referenced image(s) or series are not here"
        return Finding(Reason(ReasonCode.IMAGES_MISSING, text), late_images_may_cure=True)
    if located.no_planes or not located.stacks:
        return Finding(Reason(ReasonCode.NO_GEOMETRY, "the referenced images hold no planes"))
    if len(located.stacks) > 1:
        text = f"the segmentation references {len(located.stacks)} stacks (orientations, phases, echoes or image types)"
        return Finding(Reason(ReasonCode.SEVERAL_STACKS, text))
    if query.claim.tied:
        return Finding(Reason(ReasonCode.AMBIGUOUS_TISSUE, "several tasks claim the segmentation equally well"))
    if query.stored.conflicting:
        return Finding(Reason(ReasonCode.CONFLICTING_CONTENT, "the segmentation came twice with different content"))
    reference = located.stacks[0]
    frames_of_reference = {reference.frame_of_reference_uid, query.stored.header.frame_of_reference_uid} - {None}
    if len(frames_of_reference) > 1:
        text = "the segmentation and the images it references have different frames of reference"
        return Finding(Reason(ReasonCode.FRAME_OF_REFERENCE_DIFFERS, text))
    for stack in [reference, *contrasts.stacks.values()]:
        if finding := stack_finding(stack, extent.in_archive(stack, study), overdue):
            return finding
    return Finding(contrasts.problem) if contrasts.problem else None


def _case_id(query: _Query, contrasts: Contrasts, problem: Reason | None) -> str:
    """Digest of everything that decides the result; the problem belongs to it, as a conflict can appear while the frames stay the same."""
    header = query.stored.header
    lines = ["qcnode case 1", query.claim.task.name, f"{header.sop_instance_uid} {query.stored.sha256}", problem.code if problem else ""]
    for name, stack in sorted(contrasts.stacks.items()):
        lines += sorted(f"{name} {uid} {number} {p.stored.sha256}" for p in stack.planes for uid, number in [p.key])
    return sha256("\n".join(lines).encode()).hexdigest()


def _predecessor(case_id: str, earlier: Sequence[EarlierCase]) -> str | None:
    """The case made last before this one; for a case that was made already, the one before it."""
    before = []
    for case in earlier:
        if case.case_id == case_id:
            break
        before.append(case.case_id)
    return before[-1] if before else None
