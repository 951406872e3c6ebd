"""Judge in this process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qcnode.assess.fallback import FallbackPredictor
from qcnode.config import Inference
from qcnode.errors import Retryable
from qcnode.judging.assignment import Assignment
from qcnode.log_fields import note
from qcnode.outcome import Outcome
from qcnode.pipeline import Judge, assess_case
from qcnode.tasks import JudgedTask


def load_judges(tasks: Mapping[str, JudgedTask], inference: Inference) -> dict[str, Judge]:
    """What judges each task; the networks themselves are read with the first case that needs them."""
    return {
        name: Judge(FallbackPredictor(task.card, task.directory, device=inference.device, threads=inference.threads), task.limits)
        for name, task in tasks.items()
    }


@dataclass(frozen=True, slots=True)
class JudgeHere:
    """Judges with `judges`, by the name of their task; version: of qcnode."""

    judges: Mapping[str, Judge]
    version: str

    def __call__(self, assignment: Assignment) -> Outcome:
        """See assess_case. Raises Retryable for a task that is not enabled."""
        case = assignment.case
        note(case_id=case.case_id, study_instance_uid=case.study_instance_uid, sop_instance_uid=case.query.sop_instance_uid)
        judge = self.judges.get(case.task)
        if judge is None:
            raise Retryable(f"task {case.task} is not enabled any more")
        return assess_case(
            case,
            judge,
            assignment.directory,
            created=assignment.created,
            version=self.version,
            predecessor=assignment.predecessor,
            announce=assignment.announce,
        )
