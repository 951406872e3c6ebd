"""Deliver results."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from qcnode.config import Retry
from qcnode.deliver.destination import DeliveryRefused, Destination
from qcnode.deliver.refresh import refreshed
from qcnode.digests import sha256_of
from qcnode.durable import make_directories
from qcnode.errors import in_words
from qcnode.headers import read_header
from qcnode.log_fields import note
from qcnode.store.outbox import Delivery, Outbox
from qcnode.workers.worker import LEASE, Clock, Unsettled

log = logging.getLogger(__name__)


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
    unsettled: Unsettled = field(default_factory=Unsettled)

    def __call__(self) -> bool:
        """One delivery; False where none is due."""
        self.unsettled.catch_up()
        delivery = self.outbox.claim(self.destination.name, self.owner, self.now(), LEASE)
        if delivery is None:
            return False
        note(case_id=delivery.case_id, sop_instance_uid=delivery.sop_instance_uid, destination=delivery.destination)
        try:
            _require_intact(delivery)
            delivery = self._settle_bytes(delivery)
            self.destination.send(delivery.path)
        except DeliveryRefused as error:
            log.error("%s refuses %s: %s", self.destination.name, delivery.sop_instance_uid, error, extra={"event": "delivery-refused"})
            refused, at = str(error), self.now()
            self.unsettled.settle(lambda: self.outbox.dead(delivery, refused, at))
        except Exception as error:  # noqa: BLE001  what fails for a reason that nobody thought of is tried again as well
            self._try_later(delivery, in_words(error))
        else:
            delivered_at = self.now()
            self.unsettled.settle(lambda: self.outbox.delivered(delivery, delivered_at))
            log.info("%s has the %s %s", self.destination.name, delivery.kind, delivery.sop_instance_uid, extra={"event": "delivered"})
        return True

    def _settle_bytes(self, delivery: Delivery) -> Delivery:
        if delivery.file_settled:
            return delivery
        path, digest = delivery.path, delivery.sha256  # which was just found to be so
        if self.refresh_attributes:
            attributes = self.destination.study_attributes(read_header(path).study_instance_uid)
            if attributes is not None:
                make_directories(self.folder)
                newer = refreshed(path, attributes, self.folder / f"{delivery.delivery_id}.dcm")
                if newer is not None:
                    path, digest = newer, sha256_of(newer)
        return self.outbox.replace_file(delivery, path, digest)

    def _try_later(self, delivery: Delivery, error: str) -> None:
        wait = self.retry.wait(delivery.attempts, self.now() - delivery.created_at)
        if wait is None:
            log.error(
                "%s: gave up %s after %d attempts: %s",
                self.destination.name,
                delivery.sop_instance_uid,
                delivery.attempts,
                error,
                extra={"event": "delivery-given-up"},
            )
            given_up_at = self.now()
            self.unsettled.settle(lambda: self.outbox.dead(delivery, error, given_up_at))
            return
        log.warning(
            "%s: %s again in %.0f s: %s",
            self.destination.name,
            delivery.sop_instance_uid,
            wait.total_seconds(),
            error,
            extra={"event": "delivery-failed"},
        )
        due = self.now() + wait
        self.unsettled.settle(lambda: self.outbox.retry(delivery, next_attempt_at=due, error=error))


def _require_intact(delivery: Delivery) -> None:
    """What the disk has damaged must not become somebody's answer. Raises DeliveryRefused."""
    try:
        found = sha256_of(delivery.path)
    except FileNotFoundError:
        found = None
    if found != delivery.sha256:
        what = "missing" if found is None else "damaged"
        raise DeliveryRefused(f"the stored {delivery.kind} is {what}: restore it from the backup, then `qcnode outbox retry`")
