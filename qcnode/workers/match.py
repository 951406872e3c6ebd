"""Index what arrived, and find out what is complete."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from qcnode.case import InstanceHeader, Reason, ReasonCode
from qcnode.config import Matching
from qcnode.deliver.destination import Destination
from qcnode.errors import QCNodeError, Rejected, where
from qcnode.headers import read_header
from qcnode.ingest.matching import (
    EarlierCase,
    LabelMap,
    Matched,
    MatchOutcome,
    NotApplicable,
    OwnResult,
    TaskRule,
    Unchanged,
    Waiting,
    match_study,
)
from qcnode.ingest.variants import compare
from qcnode.judging.assignment import JudgingFailed, JudgingStopped
from qcnode.log_fields import note
from qcnode.store.inbox import Inbox
from qcnode.store.inbox_records import DirtyStudy, Variant
from qcnode.store.jobs import Jobs
from qcnode.workers.worker import Clock

log = logging.getLogger(__name__)

BATCH = 200

_NOT_MATCHED = Reason(ReasonCode.ASSESSMENT_FAILED, "matching failed; the log of the node says where")


@dataclass(slots=True)
class MatchStep:
    """Reads the headers of what arrived, and finds out what is complete. compare: two files with one SOP Instance UID."""

    inbox: Inbox
    jobs: Jobs
    rules: Sequence[TaskRule]
    settings: Matching
    archive: Destination | None
    now: Clock
    on_case: Callable[[], None]
    compare: Callable[[Path, Path], str | None] = compare
    _tried_early: dict[str, datetime] = field(default_factory=dict)

    def __call__(self) -> bool:
        """One round; True where something was done."""
        return any([self._index(), self._compare_variants(), self._match_dirty_studies()])

    def _index(self) -> bool:
        arrived = self.inbox.unindexed(BATCH)
        for stored in arrived:
            header = _header_or_reason(stored.path)
            if isinstance(header, Reason):
                text = "object %s is unreadable: %s (%s)"
                log.warning(text, stored.sop_instance_uid, header.code, header.text, extra={"event": "object-unreadable"})
                self.inbox.mark_unreadable(stored.object_id, header.text)
            else:
                self.inbox.index(stored.object_id, header)
        return bool(arrived)

    def _compare_variants(self) -> bool:
        variants = self.inbox.variants_to_compare(BATCH)
        for variant in variants:
            try:
                difference = self._difference(variant)
            except JudgingStopped:
                return False
            if difference == "conflict":
                log.warning("object %s came again with other pixels or geometry", variant.sop_instance_uid)
            self.inbox.settle_variant(variant.object_id, "conflict" if difference == "conflict" else "routine")
        return bool(variants)

    def _difference(self, variant: Variant) -> str | None:
        """What nothing can compare (a codec crashes, or hangs) is a conflict."""
        try:
            return self.compare(variant.first, variant.second)
        except JudgingStopped:
            raise
        except Exception as error:  # noqa: BLE001  as above
            text = str(error) if isinstance(error, JudgingFailed) else where(error)
            log.error("object %s can not be compared: %s", variant.sop_instance_uid, text)
            return "conflict"

    def _match_dirty_studies(self) -> bool:
        matched = False
        for study in self.inbox.dirty_studies():
            quiet = self.now() >= study.last_received_at + timedelta(seconds=self.settings.quiet_seconds)
            if quiet:
                self.match(study.study_instance_uid, quiet=True)
                self.inbox.mark_matched(study.study_instance_uid, study.last_received_at)
                self._tried_early.pop(study.study_instance_uid, None)
                matched = True
            elif self._is_worth_an_early_try(study):
                self.match(study.study_instance_uid, quiet=False)
        return matched

    def _is_worth_an_early_try(self, study: DirtyStudy) -> bool:
        """Only an archive's count can confirm the extent before the quiet time is over; asked once per arrival."""
        if self.archive is None or self._tried_early.get(study.study_instance_uid) == study.last_received_at:
            return False
        self._tried_early[study.study_instance_uid] = study.last_received_at
        return True

    def match_overdue(self) -> None:
        """Match the studies again whose queries have waited too long for their images."""
        for study in {q.study_instance_uid for q in self.jobs.queries("WAITING") if self._is_overdue(q.first_seen_at)}:
            self.match(study, quiet=True)

    def match(self, study_instance_uid: str, *, quiet: bool) -> None:
        """Match one study with all that is at hand, and keep what came out."""
        note(study_instance_uid=study_instance_uid, case_id=None)
        headers = self.inbox.headers_of_study(study_instance_uid)
        first_seen = {q.sop_instance_uid: q.first_seen_at for q in self.jobs.queries(study_instance_uid=study_instance_uid)}
        series = {h.header.series_instance_uid for h in headers if h.header.kind == "image"}
        counts = self._archive_counts(study_instance_uid, series)
        earlier = [EarlierCase.of(case) for case in self.jobs.cases_of_study(study_instance_uid)]
        outcomes: list[MatchOutcome]
        try:
            outcomes = match_study(
                headers,
                self.rules,
                quiet=quiet,
                archive_counts=counts,
                is_overdue=lambda query: query in first_seen and self._is_overdue(first_seen[query]),
                earlier=earlier,
            )
        except Exception as error:  # noqa: BLE001  whatever its headers lead to, the other studies must be matched
            log.error("a study can not be matched: %s", where(error))
            outcomes = [Waiting(h.header.sop_instance_uid, _NOT_MATCHED) for h in headers if h.header.kind == "seg"]
        for outcome in outcomes:
            self._keep(outcome, study_instance_uid)

    def _archive_counts(self, study_instance_uid: str, series: set[str]) -> dict[str, int]:
        if self.archive is None:
            return {}
        try:
            counts = {uid: self.archive.series_instance_count(study_instance_uid, uid) for uid in series}
        except QCNodeError as error:
            log.info("the archive can not be asked for its counts (%s); waiting for the quiet time", type(error).__name__)
            return {}
        return {uid: count for uid, count in counts.items() if count is not None}

    def _is_overdue(self, first_seen: datetime) -> bool:
        return self.now() >= first_seen + timedelta(hours=self.settings.images_missing_hours)

    def _keep(self, outcome: MatchOutcome, study: str) -> None:
        if isinstance(outcome, Matched):
            note(case_id=outcome.case.case_id)
            if self.jobs.put_case(outcome.case, self.now()):
                log.info(
                    "case %s: %s, evidence %s",
                    outcome.case.case_id[:12],
                    outcome.case.task,
                    outcome.case.completeness_evidence,
                    extra={"event": "case-found"},
                )
                self.on_case()
        elif isinstance(outcome, Waiting):
            self.jobs.record_query(outcome.query_sop_instance_uid, study, "WAITING", outcome.reason, self.now())
        elif isinstance(outcome, NotApplicable):
            self.jobs.record_query(outcome.query_sop_instance_uid, study, "NOT_APPLICABLE", outcome.reason, self.now())
        elif isinstance(outcome, LabelMap):
            self.jobs.record_query(outcome.query_sop_instance_uid, study, "LABELMAP", outcome.reason, self.now())
        elif isinstance(outcome, OwnResult):
            self.jobs.record_query(outcome.sop_instance_uid, study, "RESULT", None, self.now())
        elif isinstance(outcome, Unchanged):
            log.debug("case %s stands: images of it were purged", outcome.case_id[:12])


def _header_or_reason(path: Path) -> InstanceHeader | Reason:
    """The file's header, or why there is none: an object that breaks its reader must not keep those behind it from being looked at."""
    try:
        return read_header(path)
    except Rejected as rejection:
        return rejection.reason
    except Exception as error:  # noqa: BLE001
        return Reason(ReasonCode.SERIES_UNREADABLE, f"reading failed: {where(error)}")
