"""Finds the further contrasts that a task needs (T1, T1c, T2, FLAIR) in the study, by the task's rules. Never a guess."""

from __future__ import annotations

import re
from dataclasses import dataclass

from qcnode.case import Reason, ReasonCode
from qcnode.ingest.claims import ContrastRule, TaskRule
from qcnode.ingest.references import Study
from qcnode.ingest.stacks import POSITION_TOLERANCE_MM, FrameStack


@dataclass(frozen=True, slots=True)
class Contrasts:
    """Stacks by contrast name. `reference` is the one that the SEG was drawn on; `problem` says why a contrast has no stack."""

    stacks: dict[str, FrameStack]
    reference: str
    problem: Reason | None = None


def find_contrasts(task: TaskRule, referenced: FrameStack, study: Study) -> Contrasts:
    """The referenced stack and, for a task of several contrasts, the one stack that each other rule fits.

    A contrast is looked for among all stacks of at least two positions. Those in the referenced stack's frame of reference count; where
    only others fit, the problem is FRAME_OF_REFERENCE_DIFFERS, where none fits CONTRAST_MISSING, where several do CONTRAST_AMBIGUOUS:
    copies and derived series are not told from the original.
    """
    if len(task.contrasts) == 1:
        return Contrasts({task.contrasts[0].name: referenced}, task.contrasts[0].name)
    own = [rule.name for rule in task.contrasts if _fits(rule, referenced)]
    if len(own) != 1:
        code = ReasonCode.CONTRAST_AMBIGUOUS if own else ReasonCode.CONTRAST_MISSING
        text = f"the series that the segmentation was drawn on fits {len(own)} contrasts of the task"
        return Contrasts({}, "", Reason(code, text))
    stacks, problem = {own[0]: referenced}, None
    for rule in task.contrasts:
        if rule.name != own[0]:
            found = _find(rule, referenced, study)
            if isinstance(found, FrameStack):
                stacks[rule.name] = found
            else:
                problem = problem or found
    used = [stack.plane_keys for stack in stacks.values()]
    if problem is None and len(set(used)) < len(used):
        problem = Reason(ReasonCode.CONTRAST_AMBIGUOUS, "one series fits several contrasts of the task")
    return Contrasts(stacks, own[0], problem)


def _find(rule: ContrastRule, referenced: FrameStack, study: Study) -> FrameStack | Reason:
    fitting = [s for s in study.all_stacks() if _is_volume(s) and _fits(rule, s)]
    aligned = [s for s in fitting if s.frame_of_reference_uid == referenced.frame_of_reference_uid]
    if len(aligned) == 1:
        return aligned[0]
    if aligned:
        return Reason(ReasonCode.CONTRAST_AMBIGUOUS, f"{len(aligned)} stacks of the study fit contrast {rule.name}")
    if fitting:
        return Reason(ReasonCode.FRAME_OF_REFERENCE_DIFFERS, f"contrast {rule.name} has another frame of reference than the segmentation")
    return Reason(ReasonCode.CONTRAST_MISSING, f"no series of the study fits contrast {rule.name}")


def _is_volume(stack: FrameStack) -> bool:
    return bool(stack.positions_mm) and stack.positions_mm[-1] - stack.positions_mm[0] > POSITION_TOLERANCE_MM


def _fits(rule: ContrastRule, stack: FrameStack) -> bool:
    header = stack.planes[0].stored.header
    agent = header.contrast_agent.strip().upper() not in ("", "NO", "NONE")
    return (
        re.search(rule.series_description, header.series_description, re.IGNORECASE) is not None
        and not (rule.exclude and re.search(rule.exclude, header.series_description, re.IGNORECASE))
        and rule.contrast_agent in (None, agent)
    )
