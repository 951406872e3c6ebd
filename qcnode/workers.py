"""The loops that keep the road going: index and match, assess, deliver. Each step is small, durable and may be repeated.

This is, beside the SCP's handlers, the only place with a broad `except`: what a step raises is logged by its type and place, never by its
text (which may hold what a peer sent), and the loop goes on.
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

from qcnode.case import Reason, ReasonCode
from qcnode.config import Matching, Retry
from qcnode.deliver.destination import DeliveryRefused, Destination
from qcnode.deliver.refresh import refreshed
from qcnode.errors import QCNodeError, Rejected, Retryable
from qcnode.headers import read_header
from qcnode.imaging.pixels import decode_frame
from qcnode.ingest.matching import (
    EarlierCase,
    LabelMap,
    Matched,
    MatchOutcome,
    NotApplicable,
    OwnResult,
    Unchanged,
    Waiting,
    match_study,
)
from qcnode.ingest.variants import compare
from qcnode.pipeline import assess_case, settled_result
from qcnode.report.inputs import Predecessor
from qcnode.review import Review
from qcnode.sampling import NO_SAMPLING, Sampling
from qcnode.store.inbox import Inbox
from qcnode.store.inbox_records import DirtyStudy
from qcnode.store.job_records import ClaimedCase
from qcnode.store.jobs import Jobs
from qcnode.store.leases import LeaseLost
from qcnode.store.outbox import Delivery, Outbox
from qcnode.store.worklist import Item
from qcnode.tasks import JudgedTask

log = logging.getLogger(__name__)

Clock = Callable[[], datetime]

LEASE = timedelta(minutes=15)
ATTEMPTS = 3
"""A case that could not be judged so often, a crash of the process included, goes to a person."""
BATCH = 200


class Worker(threading.Thread):
    """Calls `step` as long as it finds work, then sleeps until `wake` is set or `idle_seconds` are over."""

    def __init__(self, name: str, step: Callable[[], bool], *, idle_seconds: float = 1.0) -> None:
        super().__init__(name=name, daemon=True)
        self.wake = threading.Event()
        self._step = step
        self._idle_seconds = idle_seconds
        self._ended = threading.Event()

    def run(self) -> None:
        """The loop; ends after the step during which `stop` was called."""
        while not self._ended.is_set():
            self.wake.clear()
            try:
                busy = self._step()
            except Exception as error:  # noqa: BLE001  the loop must go on, whatever one step met
                log.error("%s: %s", self.name, where(error))
                busy = False
            if not busy:
                self.wake.wait(self._idle_seconds)

    def stop(self) -> None:
        """Ask the loop to end; `join` waits for it."""
        self._ended.set()
        self.wake.set()


def where(error: BaseException) -> str:
    """Type and innermost place of an error, without its text."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


@dataclass(slots=True)
class MatchStep:
    """Reads the headers of what arrived, and finds out what is complete."""

    inbox: Inbox
    jobs: Jobs
    tasks: Mapping[str, JudgedTask]
    settings: Matching
    archive: Destination | None
    now: Clock
    on_case: Callable[[], None]
    _tried_early: dict[str, datetime] = field(default_factory=dict)

    def __call__(self) -> bool:
        """One round; True where something was done."""
        return any([self._index(), self._compare_variants(), self._match_dirty_studies()])

    def _index(self) -> bool:
        arrived = self.inbox.unindexed(BATCH)
        for stored in arrived:
            try:
                self.inbox.index(stored.object_id, read_header(stored.path))
            except Rejected as rejection:
                log.warning("object %s is unreadable: %s", stored.sop_instance_uid, rejection.reason.code)
                self.inbox.mark_unreadable(stored.object_id, rejection.reason.text)
        return bool(arrived)

    def _compare_variants(self) -> bool:
        variants = self.inbox.variants_to_compare(BATCH)
        for variant in variants:
            difference = compare(variant.first, variant.second, decode_frame=decode_frame)
            if difference == "conflict":
                log.warning("object %s came again with other pixels or geometry", variant.sop_instance_uid)
            self.inbox.settle_variant(variant.object_id, "conflict" if difference == "conflict" else "routine")
        return bool(variants)

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
        headers = self.inbox.headers_of_study(study_instance_uid)
        first_seen = {q.sop_instance_uid: q.first_seen_at for q in self.jobs.queries(study_instance_uid=study_instance_uid)}
        series = {h.header.series_instance_uid for h in headers if h.header.kind == "image"}
        outcomes = match_study(
            headers,
            [task.rule for task in self.tasks.values()],
            quiet=quiet,
            archive_counts=self._archive_counts(study_instance_uid, series),
            is_overdue=lambda query: query in first_seen and self._is_overdue(first_seen[query]),
            earlier=[EarlierCase.of(case) for case in self.jobs.cases_of_study(study_instance_uid)],
        )
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
            if self.jobs.put_case(outcome.case, self.now()):
                log.info("case %s: %s, evidence %s", outcome.case.case_id[:12], outcome.case.task, outcome.case.completeness_evidence)
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


@dataclass(frozen=True, slots=True)
class AssessStep:
    """Judges one case and settles what came out."""

    jobs: Jobs
    tasks: Mapping[str, JudgedTask]
    results: Path
    wanted_kinds: Mapping[str, frozenset[str]]
    owner: str
    now: Clock
    version: str
    on_result: Callable[[], None]
    sampling: Sampling = NO_SAMPLING

    def __call__(self) -> bool:
        """One case; False where there is none."""
        claimed = self.jobs.claim(self.owner, self.now(), LEASE)
        if claimed is None:
            return False
        try:
            self._assess(claimed)
        except LeaseLost:
            log.info("case %s was superseded while it was judged", claimed.case.case_id[:12])
        except Exception as error:  # noqa: BLE001  whatever a case does to us, it must not stop the others
            log.error("case %s, attempt %d: %s", claimed.case.case_id[:12], claimed.attempts, where(error))
            self.jobs.retry(claimed, where(error), self.now(), timedelta(seconds=5 * 4**claimed.attempts))
        return True

    def _assess(self, claimed: ClaimedCase) -> None:
        case = claimed.case
        if claimed.attempts > ATTEMPTS:
            text = f"judging failed {ATTEMPTS} times; the log of the node says where"
            case = replace(case, problem=Reason(ReasonCode.ASSESSMENT_FAILED, text), contrasts={})
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
        if report is None:
            return None
        header = read_header(report.path)
        return Predecessor(report.sop_class_uid, report.sop_instance_uid, header.series_instance_uid, header.study_instance_uid)


@dataclass(frozen=True, slots=True)
class FinaliseStep:
    """Makes decisions final whose time is over, and hands each one on: at least once, until `on_decided` has returned."""

    review: Review
    on_decided: Callable[[Item, datetime], object] | None
    now: Clock

    def __call__(self) -> None:
        """All that are due."""
        for item in self.review.finalise_due(self.now()):
            try:
                if self.on_decided is not None:
                    self.on_decided(item, self.now())
            except Exception as error:  # noqa: BLE001  one decision must not stop the others, and is handed on again
                log.error("decision about worklist item %d: %s", item.item_id, where(error))
            else:
                self.review.passed_on(item.item_id, self.now())


@dataclass(frozen=True, slots=True)
class DeliverStep:
    """Delivers one object to one destination. Its bytes are settled before the first send and never change afterwards."""

    outbox: Outbox
    destination: Destination
    refresh_attributes: bool
    folder: Path
    retry: Retry
    owner: str
    now: Clock

    def __call__(self) -> bool:
        """One delivery; False where none is due."""
        delivery = self.outbox.claim(self.destination.name, self.owner, self.now(), LEASE)
        if delivery is None:
            return False
        try:
            delivery = self._settle_bytes(delivery)
            self.destination.send(delivery.path)
        except DeliveryRefused as error:
            log.error("%s refuses %s: %s", self.destination.name, delivery.sop_instance_uid, error)
            self.outbox.dead(delivery, str(error), self.now())
        except Exception as error:  # noqa: BLE001  what fails for a reason that nobody thought of is tried again as well
            self._try_later(delivery, str(error) if isinstance(error, QCNodeError) else where(error))
        else:
            self.outbox.delivered(delivery, self.now())
            log.info("%s has the %s %s", self.destination.name, delivery.kind, delivery.sop_instance_uid)
        return True

    def _settle_bytes(self, delivery: Delivery) -> Delivery:
        if delivery.file_settled:
            return delivery
        path = delivery.path
        if self.refresh_attributes:
            attributes = self.destination.study_attributes(read_header(path).study_instance_uid)
            if attributes is not None:
                self.folder.mkdir(parents=True, exist_ok=True)
                path = refreshed(path, attributes, self.folder / f"{delivery.delivery_id}.dcm") or path
        return self.outbox.replace_file(delivery, path, sha256(path.read_bytes()).hexdigest())

    def _try_later(self, delivery: Delivery, error: str) -> None:
        wait = self.retry.wait(delivery.attempts, self.now() - delivery.created_at)
        if wait is None:
            log.error("%s: gave up %s after %d attempts: %s", self.destination.name, delivery.sop_instance_uid, delivery.attempts, error)
            self.outbox.dead(delivery, error, self.now())
            return
        log.warning("%s: %s again in %.0f s: %s", self.destination.name, delivery.sop_instance_uid, wait.total_seconds(), error)
        self.outbox.retry(delivery, next_attempt_at=self.now() + wait, error=error)
