"""Prove deliveries: an archive that answered success has the object, and with the content that was sent."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from qcnode.commitment import Settle
from qcnode.config import Retry
from qcnode.deliver.content import canonical_digest
from qcnode.deliver.destination import CannotCommit, CannotRetrieve, Destination
from qcnode.errors import in_words
from qcnode.headers import header_of, read_dataset
from qcnode.store.delivery import Delivery
from qcnode.store.proofs import ASKED, GIVEN, REFUSED, Proofs
from qcnode.workers.worker import LEASE, Clock, Unsettled

log = logging.getLogger(__name__)

LOOKS = 3
"""An object that is not found is looked for so often before it is sent again: archives index in their own time."""
TIMES_MISSING = 5
"""An object that a destination takes and does not have is sent again so often: then a person must find out why."""

Settling = Callable[[], None]
"""Writes down what was found out."""


class Commitment(Protocol):
    """Storage Commitment of one destination (deliver.request_commitment)."""

    def new_transaction_uid(self) -> str:
        """One that was never used."""

    def ask(self, transaction_uid: str, references: Sequence[tuple[str, str]], settle: Settle) -> None:
        """Ask for (SOP Class UID, SOP Instance UID) pairs. Raises Retryable and CannotCommit."""


@dataclass(frozen=True, slots=True)
class ProveStep:
    """Proves one delivery to one destination: by Storage Commitment where that is configured, then by reading back where that is.

    Commitment proves a UID, reading back its content. Without a report in time, or with one that says no, reading back decides; where
    nothing is read back, an object that is not committed to is sent again.
    """

    proofs: Proofs
    destination: Destination
    reads_back: bool
    commitment: Commitment | None
    commitment_time: timedelta
    retry: Retry
    owner: str
    now: Clock
    unsettled: Unsettled = field(default_factory=Unsettled)

    def __call__(self) -> bool:
        """One look; False where none is due."""
        self.unsettled.catch_up()
        delivery = self.proofs.claim(self.destination.name, self.owner, self.now(), LEASE)
        if delivery is None:
            return False
        try:
            settle = self._asked(delivery) or self._looked(delivery)
        except CannotRetrieve as error:
            settle = self._by_commitment(delivery, str(error))
        except Exception as error:  # noqa: BLE001  what fails for a reason that nobody thought of is tried again as well
            settle = self._later(delivery, in_words(error))
        self.unsettled.settle(settle)
        return True

    def _asked(self, delivery: Delivery) -> Settling | None:
        """Ask for commitment, if it is still to be asked for; None where it is time to look."""
        if self.commitment is None or delivery.commitment not in (None, ASKED):
            return None
        if delivery.commitment_until is not None and self.now() >= delivery.commitment_until:
            log.warning("%s: no report of commitment to %s in time", self.destination.name, delivery.sop_instance_uid)
            return None
        if delivery.transaction_uid is None:
            delivery = self.proofs.ask(delivery, self.commitment.new_transaction_uid(), self.now() + self.commitment_time)
        reference = (delivery.sop_class_uid, delivery.sop_instance_uid)
        try:
            self.commitment.ask(
                delivery.transaction_uid or "", [reference], lambda report: self.proofs.report({delivery.destination}, report, self.now())
            )
        except CannotCommit as error:
            log.warning("%s", error)
            delivery = self.proofs.not_offered(delivery)
            return self._looked(delivery)
        return lambda: self.proofs.await_report(delivery)

    def _looked(self, delivery: Delivery) -> Settling:
        """Read it back, where that is configured. Raises Retryable and CannotRetrieve."""
        if not self.reads_back:
            return self._by_commitment(delivery, "nothing is read back from this destination (read_back)")
        sent = read_dataset(delivery.path)
        header = header_of(sent)
        there = self.destination.retrieve(header.study_instance_uid, header.series_instance_uid, header.sop_instance_uid)
        if there is None:
            return self._missing(delivery)
        if canonical_digest(there) == canonical_digest(sent):
            return self._proven(delivery, "commitment, read-back" if delivery.commitment == GIVEN else "read-back")
        return self._dead(delivery, "the destination holds other content under this SOP Instance UID")

    def _by_commitment(self, delivery: Delivery, error: str) -> Settling:
        """What is known without reading back; `error` says why nothing was read."""
        if delivery.commitment == GIVEN:
            return self._proven(delivery, "commitment")
        if delivery.commitment == REFUSED:
            return self._again(delivery, delivery.last_error or "the destination does not commit to it")
        if delivery.commitment == ASKED:  # and no report came in time
            unasked = self.proofs.unanswered(delivery)
            return self._later(unasked, "no report of Storage Commitment came")
        log.warning("%s: %s can not be proven: %s", self.destination.name, delivery.sop_instance_uid, error)
        return lambda: self.proofs.unproven(delivery, error)

    def _proven(self, delivery: Delivery, proof: str) -> Settling:
        def settle() -> None:
            self.proofs.proven(delivery, proof, self.now())
            log.info("%s: %s %s is proven by %s", self.destination.name, delivery.kind, delivery.sop_instance_uid, proof)

        return settle

    def _dead(self, delivery: Delivery, error: str) -> Settling:
        log.error("%s: %s: %s", self.destination.name, delivery.sop_instance_uid, error)
        return lambda: self.proofs.dead(delivery, error, self.now())

    def _missing(self, delivery: Delivery) -> Settling:
        error = "the destination took it, and does not have it"
        return self._later(delivery, error) if delivery.proof_attempts < LOOKS else self._again(delivery, error)

    def _again(self, delivery: Delivery, error: str) -> Settling:
        if delivery.times_missing >= TIMES_MISSING:
            return self._dead(delivery, f"{error}, {TIMES_MISSING + 1} times")
        wait = self.retry.wait(delivery.attempts, timedelta()) or timedelta()
        log.error("%s: %s: %s; it is sent again", self.destination.name, delivery.sop_instance_uid, error)
        return lambda: self.proofs.send_again(delivery, next_attempt_at=self.now() + wait, error=error)

    def _later(self, delivery: Delivery, error: str) -> Settling:
        wait = self.retry.wait(delivery.proof_attempts, self.now() - (delivery.proof_since or self.now()))
        if wait is None:
            log.error("%s: gave up proving %s: %s", self.destination.name, delivery.sop_instance_uid, error)
            return lambda: self.proofs.unproven(delivery, error)
        log.warning("%s: a look at %s again in %.0f s: %s", self.destination.name, delivery.sop_instance_uid, wait.total_seconds(), error)
        return lambda: self.proofs.look_again(delivery, next_attempt_at=self.now() + wait, error=error)
