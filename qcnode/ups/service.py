"""What workstations do with the worklist: every move of an item goes through `qcnode.review`, and the steps follow.

Claim, work, settle: the item is moved first or the step first, whichever leaves a state that `follow` can go on from after a crash. One
request moves something at a time; readers in the browser and on the command line move items beside it, which is met as a refusal.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

import pydicom
from pydicom import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.tag import BaseTag, Tag

from qcnode.errors import Retryable
from qcnode.report.identity import text_of
from qcnode.review import Review, as_shown
from qcnode.store.items import Item, Judgement, WorklistError
from qcnode.store.ups_states import ALIVE, StepState
from qcnode.store.ups_steps import Performer, Step, StepMoved, UpsSteps
from qcnode.ups import answers
from qcnode.ups.attributes import OF_REPORT, REPORT_TAGS, Archive, step_dataset, step_uid
from qcnode.ups.matching import answer, matches, values_of
from qcnode.ups.performed import (
    MAY_BE_SET,
    BadDecisionError,
    as_text,
    completed,
    judgement_of,
    performed_of,
    with_modifications,
    with_performed,
)

log = logging.getLogger(__name__)

_LONGEST_PERFORMED = 2**18  # characters as JSON
_HEEDED = ("SpecificCharacterSet", "TransactionUID", *MAY_BE_SET)


class UpsWorklist:
    """The worklist as steps. Answers are DIMSE status codes."""

    def __init__(self, review: Review, steps: UpsSteps, archive: Archive, now: Callable[[], datetime]) -> None:
        self._review = review
        self._steps = steps
        self._archive = archive
        self._now = now
        self._one_move = threading.Lock()

    def follow(self) -> None:
        """Bring every step to where its item is."""
        with self._one_move:
            self._steps.follow(self._now())

    def find(self, identifier: Dataset) -> Iterator[Dataset]:
        """What the identifier asks for of each step that it matches. Raises ValueError for a key that can not be read, and Retryable."""
        self.follow()
        cheap = Dataset()
        cheap.update({key.tag: key for key in identifier if key.keyword not in OF_REPORT})
        for step, item in self._steps.find(
            self._now(),
            sop_instance_uids=values_of(identifier, "SOPInstanceUID"),
            states=[state for state in values_of(identifier, "ProcedureStepState") if state in list(StepState)],
            study_instance_uids=values_of(identifier, "StudyInstanceUID"),
        ):
            candidate = self._dataset(step, item, with_report=False)
            if matches(cheap, candidate) and len(cheap) != len(identifier):
                candidate = self._dataset(step, item, with_report=True)
            if matches(identifier, candidate):
                found = answer(identifier, candidate)
                found.SpecificCharacterSet = candidate.SpecificCharacterSet  # that the values are written in, asked for or not
                yield found

    def get(self, sop_instance_uid: str, wanted: Iterable[BaseTag]) -> tuple[int, Dataset | None]:
        """The attributes that are wanted; without any, all. Raises Retryable."""
        with self._one_move:
            found = self._current(sop_instance_uid)
        if found is None:
            return answers.NO_SUCH_STEP, None
        everything = self._dataset(*found, with_report=True)
        tags = set(wanted)
        if not tags:
            return answers.SUCCESS, everything
        chosen = Dataset()
        chosen.update({tag: everything[tag] for tag in tags | {Tag("SpecificCharacterSet")} if tag in everything})
        return (answers.SUCCESS if tags <= set(everything.keys()) else answers.ATTRIBUTES_NOT_SUPPORTED), chosen

    def modify(self, sop_instance_uid: str, modifications: Dataset) -> int:
        """The performer tells of its progress or of what it has performed; that prolongs its claim."""
        with self._one_move:
            found = self._current(sop_instance_uid)
            if found is None:
                return answers.NO_SUCH_STEP
            step, item = found
            refusal = answers.answer_to_set(step.state, step.transaction_uid, text_of(modifications, "TransactionUID"))
            if refusal is not None:
                return refusal
            performed = with_modifications(step, modifications)
            if len(performed) > _LONGEST_PERFORMED:
                return answers.TOO_MUCH
            try:
                self._judgement(performed_of(performed))
            except BadDecisionError as error:
                log.info("step %d of worklist item %d: %s", step.number, step.item_id, error)
                return answers.INVALID_ATTRIBUTE_VALUE
            now = self._now()
            try:
                if item.state == "CLAIMED":
                    self._review.renew(item.item_id, _reader(step), now)
            except WorklistError:  # it was given back in the browser a moment ago
                self._steps.follow(now, step.item_id)
                return answers.OVER
            self._steps.perform(step, performed, now)
            return self._extent(modifications)

    def change_state(self, sop_instance_uid: str, wanted: str, transaction_uid: str, by: Performer) -> int:
        """Claim, complete or give up a step."""
        with self._one_move:
            for _ in range(2):  # a second look, where somebody else was quicker
                found = self._current(sop_instance_uid)
                if found is None:
                    return answers.NO_SUCH_STEP
                step, item = found
                refusal = answers.answer_to_change(wanted, step.state, step.transaction_uid, transaction_uid)
                if refusal is not None:
                    return refusal
                try:
                    return self._change(step, item, StepState(wanted), transaction_uid, by)
                except (StepMoved, WorklistError) as error:
                    if isinstance(error, WorklistError) and error.code == "already-read":
                        return answers.NOT_AUTHORIZED
                    log.info("step %d of worklist item %d: %s", step.number, step.item_id, type(error).__name__)
            return answers.PROCESSING_FAILURE

    def request_cancel(self, sop_instance_uid: str, by: Performer) -> int:
        """Somebody who does not perform the step wants it canceled. The item stays: it still needs a reader, so a successor follows."""
        with self._one_move:
            found = self._current(sop_instance_uid)
            if found is None:
                return answers.NO_SUCH_STEP
            step, _ = found
            refusal = answers.answer_to_cancel_request(step.state, step.ae_title is None)
            if refusal is not None:
                return refusal
            now = self._now()
            self._steps.cancel(step, by, "canceled on request", now)
            self._steps.follow(now, step.item_id)
            return answers.SUCCESS

    def _current(self, sop_instance_uid: str) -> tuple[Step, Item] | None:
        """The step, after it has followed its item."""
        now = self._now()
        known = self._steps.find(now, sop_instance_uids=[sop_instance_uid])
        if not known:
            return None
        self._steps.follow(now, known[0][1].item_id)
        return self._steps.find(now, sop_instance_uids=[sop_instance_uid])[0]

    def _change(self, step: Step, item: Item, wanted: StepState, transaction_uid: str, by: Performer) -> int:
        now = self._now()
        if wanted is StepState.IN_PROGRESS:
            return self._claim(step, item, transaction_uid, by, now)
        if wanted is StepState.COMPLETED:
            return self._complete(step, item, by, now)
        self._steps.cancel(step, by, "given up by the workstation", now)
        self._give_back(step, item, now)
        return answers.SUCCESS

    def _claim(self, step: Step, item: Item, transaction_uid: str, by: Performer, now: datetime) -> int:
        self._steps.intend(step, by, transaction_uid, now)
        if self._review.claim(item.item_id, by.reader, now).claimed_at != now:
            raise StepMoved("its reader has just taken the item in the browser")
        self._steps.begin(step, by, now)
        return answers.SUCCESS

    def _complete(self, step: Step, item: Item, by: Performer, now: datetime) -> int:
        """With a coded decision: the item is decided. Without: it is given back, and gets a successor."""
        performed = completed(performed_of(step.performed), step, now)
        try:
            judgement = self._judgement(performed)
        except BadDecisionError as error:
            log.info("step %d of worklist item %d: %s", step.number, step.item_id, error)
            return answers.NOT_FINAL
        decided_at = item.decided_at  # in the browser meanwhile, or by this very step before a crash
        if judgement is not None and item.state == "CLAIMED":
            decided_at = self._review.decide(item.item_id, _reader(step), judgement, now).decided_at
        self._steps.complete(step, by, as_text(performed), decided_at, now)
        self._give_back(step, item if decided_at is None else None, now)
        return answers.SUCCESS

    def _give_back(self, step: Step, item: Item | None, now: datetime) -> None:
        if item is not None and item.state == "CLAIMED":
            self._review.release(item.item_id, _reader(step), now)
        self._steps.follow(now, step.item_id)

    def _judgement(self, performed: Dataset) -> Judgement | None:
        judgement = judgement_of(performed)
        if judgement is not None and not set(judgement.reasons) <= set(self._review.settings.reasons):
            raise BadDecisionError("a reason is none of review.reasons")
        return judgement

    def _extent(self, modifications: Dataset) -> int:
        ignored = [element for element in modifications if element.keyword not in _HEEDED]
        return answers.ATTRIBUTES_NOT_SUPPORTED if ignored else answers.SUCCESS

    def _dataset(self, step: Step, item: Item, *, with_report: bool) -> Dataset:
        report = self._report(item) if with_report and item.purged_at is None else None
        predecessor = step_uid(item.case_id, item.created_at, step.number - 1) if step.number > 1 else None
        made = step_dataset(step, as_shown(item), report, self._archive, predecessor)
        if item.is_independent and step.state not in ALIVE:  # what one of two readers has said is not for the other
            return made
        return with_performed(made, step)

    def _report(self, item: Item) -> Dataset:
        try:
            return pydicom.dcmread(self._steps.report_path(item), specific_tags=list(REPORT_TAGS))
        except (OSError, InvalidDicomError) as error:
            raise Retryable(f"the report of worklist item {item.item_id} can not be read ({type(error).__name__})") from error


def _reader(step: Step) -> str:
    if step.reader is None:
        raise StepMoved("nobody performs the step")
    return step.reader
