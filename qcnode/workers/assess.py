"""Judge what is complete."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from qcnode.case import Case, Reason, ReasonCode
from qcnode.errors import Rejected, in_words
from qcnode.headers import read_header
from qcnode.headers.particulars import read_particulars
from qcnode.judging.assignment import Assignment, CaseJudge, JudgingStopped
from qcnode.log_fields import note
from qcnode.outcome import CaseResult, Outcome, result_objects
from qcnode.report.inputs import Predecessor
from qcnode.sampling import NO_SAMPLING, Sampling
from qcnode.store.job_records import ClaimedCase
from qcnode.store.jobs import Jobs
from qcnode.store.leases import LeaseLost
from qcnode.workers.worker import LEASE, Clock, Unsettled

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""A case that could not be judged so often, a crash of the process included, goes to a person."""
LONGEST_BACK_OFF = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class AssessStep:
    """Has one case judged and settles what came out. lease: longer than `judge` can take.

    has_room: whether the disk takes the files of another result; without, nothing is claimed, for no case is at fault. guard: raises
    Retryable for a case whose received files are not what was received.
    """

    jobs: Jobs
    judge: CaseJudge
    results: Path
    wanted_kinds: Mapping[str, frozenset[str]]
    owner: str
    now: Clock
    on_result: Callable[[], None]
    sampling: Sampling = NO_SAMPLING
    lease: timedelta = LEASE
    has_room: Callable[[], bool] = lambda: True
    guard: Callable[[Case], None] = lambda case: None
    unsettled: Unsettled = field(default_factory=Unsettled)

    def __call__(self) -> bool:
        """One case; False where there is none."""
        self.unsettled.catch_up()
        if not self.has_room():
            return False
        claimed = self.jobs.claim(self.owner, self.now(), self.lease)
        if claimed is None:
            return False
        case = claimed.case
        note(case_id=case.case_id, study_instance_uid=case.study_instance_uid, sop_instance_uid=case.query.sop_instance_uid)
        try:
            self._assess(claimed)
        except LeaseLost:
            log.info("case %s was superseded while it was judged", claimed.case.case_id[:12])
        except JudgingStopped:
            self.unsettled.settle(lambda: self.jobs.give_back(claimed, self.now()))
        except Exception as error:  # noqa: BLE001  whatever a case does to us, it must not stop the others
            text = in_words(error)
            log.error("case %s, attempt %d: %s", claimed.case.case_id[:12], claimed.attempts, text, extra={"event": "case-failed"})
            at, back_off = self.now(), _back_off(claimed.attempts)
            self.unsettled.settle(lambda: self.jobs.retry(claimed, text, at, back_off))
        return True

    def _assess(self, claimed: ClaimedCase) -> None:
        case = claimed.case
        if claimed.attempts > ATTEMPTS:
            last = claimed.last_error or "the node ended while the case was in work"
            text = f"judging failed {ATTEMPTS} times, at last because: {last}"
            case = replace(case, problem=Reason(ReasonCode.ASSESSMENT_FAILED, text), contrasts={})
        self.guard(case)  # of the images only while they are looked at
        directory = self.results / case.case_id[:2] / case.case_id
        created = self.now().astimezone()
        predecessor, announce = self._predecessor(claimed), any("key_object" in kinds for kinds in self.wanted_kinds.values())
        outcome = self.judge(Assignment(case, directory, created, predecessor, announce))
        self.jobs.settle(claimed, settled_result(case, outcome, directory, self.sampling), self.wanted_kinds, self.now())
        log.info(
            "case %s: %s %s", case.case_id[:12], outcome.verdict, ", ".join(r.code for r in outcome.reasons), extra={"event": "case-judged"}
        )
        self.on_result()

    def _predecessor(self, claimed: ClaimedCase) -> Predecessor | None:
        earlier = self.jobs.result(claimed.case.predecessor_case_id) if claimed.case.predecessor_case_id else None
        report = next((o for o in earlier.objects if o.kind == "report"), None) if earlier else None
        if earlier is None or report is None:
            return None
        try:
            series_uid = earlier.report_series_uid or read_header(report.path).series_instance_uid
        except (OSError, Rejected) as error:
            log.warning("case %s: the report before can not be named (%s)", claimed.case.case_id[:12], type(error).__name__)
            return None
        return Predecessor(report.sop_class_uid, report.sop_instance_uid, series_uid, earlier.study_instance_uid)


def settled_result(case: Case, outcome: Outcome, directory: Path, sampling: Sampling = NO_SAMPLING) -> CaseResult:
    """What the store keeps of a settled case, with the attributes by which a radiologist is sure of the patient.

    `sampling` draws how it is reviewed, always the same way for the same case.
    """
    stack = case.contrasts.get(case.reference_contrast)
    particulars = read_particulars(case.query.path, stack.frames[0].path if stack else None)
    return CaseResult(
        case,
        outcome,
        directory,
        result_objects(outcome, directory),
        **asdict(particulars),
        blind=sampling.is_blind(case.case_id, outcome.verdict),
        read_twice=sampling.is_read_twice(case.case_id, outcome.verdict, case.task),
        sampling_probability=sampling.probability(outcome.verdict),
    )


def _back_off(attempts: int) -> timedelta:
    """20 s after the first attempt, four times as long after each further one."""
    return min(timedelta(seconds=5 * 4 ** min(attempts, 10)), LONGEST_BACK_OFF)
