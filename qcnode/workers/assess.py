"""Judge what is complete."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from qcnode.case import Case, Reason, ReasonCode
from qcnode.errors import Rejected, Retryable
from qcnode.headers import read_header
from qcnode.pipeline import assess_case, settled_result
from qcnode.report.inputs import Predecessor
from qcnode.sampling import NO_SAMPLING, Sampling
from qcnode.store.job_records import ClaimedCase
from qcnode.store.jobs import Jobs
from qcnode.store.leases import LeaseLost
from qcnode.tasks import JudgedTask
from qcnode.workers.worker import LEASE, Clock, Unsettled, where

log = logging.getLogger(__name__)

LONGEST_PAUSE = timedelta(hours=1)
ATTEMPTS = 3
"""A case that could not be judged so often, a crash of the process included, goes to a person."""


@dataclass(frozen=True, slots=True)
class AssessStep:
    """Judges one case and settles what came out.

    has_room: whether the disk takes the files of another result; without, nothing is claimed, for no case is at fault. guard: raises
    Retryable for a case whose received files are not what was received.
    """

    jobs: Jobs
    tasks: Mapping[str, JudgedTask]
    results: Path
    wanted_kinds: Mapping[str, frozenset[str]]
    owner: str
    now: Clock
    version: str
    on_result: Callable[[], None]
    sampling: Sampling = NO_SAMPLING
    has_room: Callable[[], bool] = lambda: True
    guard: Callable[[Case], None] = lambda case: None
    unsettled: Unsettled = field(default_factory=Unsettled)

    def __call__(self) -> bool:
        """One case; False where there is none."""
        self.unsettled.catch_up()
        if not self.has_room():
            return False
        claimed = self.jobs.claim(self.owner, self.now(), LEASE)
        if claimed is None:
            return False
        try:
            self._assess(claimed)
        except LeaseLost:
            log.info("case %s was superseded while it was judged", claimed.case.case_id[:12])
        except Exception as error:  # noqa: BLE001  whatever a case does to us, it must not stop the others
            log.error("case %s, attempt %d: %s", claimed.case.case_id[:12], claimed.attempts, where(error))
            why, at = where(error), self.now()
            self.unsettled.settle(lambda: self.jobs.retry(claimed, why, at, min(timedelta(seconds=5 * 4**claimed.attempts), LONGEST_PAUSE)))
        return True

    def _assess(self, claimed: ClaimedCase) -> None:
        case = claimed.case
        if claimed.attempts > ATTEMPTS:
            text = f"judging failed {ATTEMPTS} times; the log of the node says where"
            case = replace(case, problem=Reason(ReasonCode.ASSESSMENT_FAILED, text), contrasts={})
        self.guard(case)  # of the images only while they are looked at
        directory = self.results / case.case_id[:2] / case.case_id
        task = self.tasks.get(case.task)
        if task is None:
            raise Retryable(f"task {case.task} is not enabled any more")
        created = self.now().astimezone()
        predecessor, announce = self._predecessor(claimed), any("key_object" in kinds for kinds in self.wanted_kinds.values())
        outcome = assess_case(
            case, task.judge, directory, created=created, version=self.version, predecessor=predecessor, announce=announce
        )
        self.jobs.settle(claimed, settled_result(case, outcome, directory, self.sampling), self.wanted_kinds, self.now())
        log.info("case %s: %s %s", case.case_id[:12], outcome.verdict, ", ".join(r.code for r in outcome.reasons))
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
