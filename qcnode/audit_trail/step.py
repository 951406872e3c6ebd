"""The loop of the audit trail: read what is new, send it, remember how far it was sent."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pydicom

from qcnode.audit_trail.events import NodeIdentity, activity, item_of, of_entry, of_received, of_rejection, of_sent
from qcnode.audit_trail.messages import AuditMessage, EventType, PatientObject, as_xml
from qcnode.audit_trail.syslog import SyslogSender, syslog_line
from qcnode.config import AuditLog
from qcnode.store.audit import Audit
from qcnode.store.new_rejections import NewRejections
from qcnode.store.trail import Trail

log = logging.getLogger(__name__)

POSITION_FILE = "audit-log.json"
_SETTLED = timedelta(seconds=5)  # what a peer sends within so long becomes one message
_LONGEST_WAIT = timedelta(minutes=5)


@dataclass(slots=True)
class AuditTrailStep:
    """Sends what has happened since the last message that was handed over, across restarts.

    Nothing is kept in memory but what is being sent: a receiver that is away makes this wait, and nothing else; what it misses is in the
    database. Deliveries and rejected callers are followed from the start of the node on.
    """

    settings: AuditLog
    me: NodeIdentity
    trail: Trail
    audit: Audit
    rejections: NewRejections
    sender: SyslogSender
    position_file: Path
    now: Callable[[], datetime]
    _position: dict[str, int] = field(default_factory=dict)
    _unsent: list[bytes] = field(default_factory=list)  # read already, and not handed over
    _failures: int = 0
    _next_at: datetime | None = None

    def start(self) -> None:
        """Find out how far it was, and tell that the node has started. At the first start of all, the past is not told."""
        try:
            self._position = {key: int(value) for key, value in json.loads(self.position_file.read_text()).items()}
        except (OSError, ValueError):
            self._position = {"audit_id": self.audit.last_id(), "object_id": self.trail.last_object_id()}
        self._unsent.append(self._line(activity(self.me, EventType.APPLICATION_START, self.now())))

    def stop(self) -> None:
        """Tell that the node ends, if the receiver is there."""
        try:
            self.sender.send(self._line(activity(self.me, EventType.APPLICATION_STOP, self.now())))
        except OSError as error:
            log.warning("the audit trail's receiver does not learn of the end: %s", type(error).__name__)
        finally:
            self.sender.close()

    def __call__(self) -> bool:
        """One batch; False where there is none, or the receiver is away."""
        if self._next_at is not None and self.now() < self._next_at:
            return False
        try:
            if not self._unsent:
                position = dict(self._position)
                self._unsent = [self._line(message) for message in self._new(position)]
                self._position = position
            sent = self._send()
        except OSError as error:
            self._wait(error)
            return False
        self._failures, self._next_at = 0, None
        return sent

    def _send(self) -> bool:
        sent = bool(self._unsent)
        while self._unsent:
            self.sender.send(self._unsent[0])
            del self._unsent[0]
        if sent:
            temporary = self.position_file.with_suffix(".part")
            temporary.write_text(json.dumps(self._position))
            temporary.replace(self.position_file)
        return sent

    def _new(self, position: dict[str, int]) -> Iterator[AuditMessage]:
        """What is new behind `position`, which is moved on."""
        entries = self.audit.after(position["audit_id"])
        items = self.trail.items({number for entry in entries if (number := item_of(entry)) is not None})
        for entry in entries:
            position["audit_id"] = entry.audit_id
            message = of_entry(self.me, entry, items, with_patient=self.settings.patient)
            if message is not None:
                yield message
        received = self.trail.received(position["object_id"], self.now() - _SETTLED)
        position["object_id"] = received[-1].object_id if received else position["object_id"]
        yield from of_received(self.me, received, self._patient_of)
        for turned_away in self.rejections.look():
            yield of_rejection(self.me, turned_away)
        yield from of_sent(self.me, self.trail.sent(), self.now(), self._patient_of)

    def _wait(self, error: OSError) -> None:
        wait = min(timedelta(seconds=2**self._failures), _LONGEST_WAIT)
        if self._failures == 0:
            log.error("the audit trail's receiver can not be reached: %s", type(error).__name__, extra={"event": "audit-trail-away"})
        self._failures = min(self._failures + 1, 20)
        self._next_at = self.now() + wait

    def _line(self, message: AuditMessage) -> bytes:
        return syslog_line(as_xml(message, self.settings.source, self.settings.site), message.at, self.me.host)

    def _patient_of(self, path: Path) -> PatientObject | None:
        if not self.settings.patient:
            return None
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["PatientID", "PatientName"])
            return PatientObject(str(header.get("PatientID", "")), str(header.get("PatientName", "")))
        except Exception:  # noqa: BLE001  purged meanwhile, or nothing that pydicom reads: the message goes without
            return None
