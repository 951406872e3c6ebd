"""Does each destination hold what was delivered to it: exactly that, and with that content?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from qcnode.audit.findings import Code, Finding
from qcnode.deliver.content import UnreadableContent, canonical_digest
from qcnode.deliver.destination import CannotRetrieve, Destination
from qcnode.errors import QCNodeError, Rejected
from qcnode.headers import read_dataset, read_header
from qcnode.store.ledger import CaseEntry, DeliveryEntry, Ledger


@dataclass(slots=True)
class ArchiveLook:
    """Asks destinations for what was delivered. What was proven once is not asked for again.

    silent: destination -> why it could not be asked; it is not asked any more. uncompared: destination -> why its objects are not compared.
    """

    destinations: Mapping[str, Destination]
    ledger: Ledger
    on_object: Callable[[], None]
    silent: dict[str, str] = field(default_factory=dict)
    uncompared: dict[str, str] = field(default_factory=dict)
    _proven: set[int] = field(default_factory=set)

    def check(self, case: CaseEntry) -> Iterator[Finding]:
        """The answers to one case, at every destination that said it took them; they are compared with the settled files."""
        for name, destination in self.destinations.items():
            delivered = [d for d in case.deliveries if d.destination == name and d.was_taken and d.delivery_id not in self._proven]
            if not delivered or name in self.silent or case.results_purged_at is not None:
                continue
            try:
                yield from self._check_at(destination, case, delivered)
            except QCNodeError as error:
                self.silent[name] = str(error)
                yield Finding(Code.SILENT, name, str(error))

    def _check_at(self, destination: Destination, case: CaseEntry, delivered: list[DeliveryEntry]) -> Iterator[Finding]:
        for delivery in delivered:
            self.on_object()
            subject = f"{delivery.destination}: {delivery.kind} {delivery.sop_instance_uid}"
            try:
                header = read_header(delivery.path)
            except Rejected:
                continue  # the file is missing or changed, which was said already
            series = (header.study_instance_uid, header.series_instance_uid)
            found = list(self._compare(destination, delivery, series, Finding(Code.ANSWER_MISSING, subject, f"of case {case.case_id}")))
            listed = set(destination.instances(*series) or ())
            surplus = sorted(self.ledger.not_sent_to(destination.name, listed))
            found += [
                Finding(Code.ANSWER_SURPLUS, f"{destination.name}: {uid}", f"beside the {delivery.kind} of case {case.case_id}")
                for uid in surplus
            ]
            yield from found
            if not found:
                self._proven.add(delivery.delivery_id)

    def _compare(self, destination: Destination, delivery: DeliveryEntry, series: tuple[str, str], missing: Finding) -> Iterator[Finding]:
        """Nothing where the destination holds the object with the same content; `missing` where it does not hold it."""
        try:
            there = destination.retrieve(*series, delivery.sop_instance_uid)
        except CannotRetrieve as error:
            self.uncompared[destination.name] = str(error)
            if delivery.sop_instance_uid not in (destination.instances(*series) or (delivery.sop_instance_uid,)):
                yield missing
            return
        if there is None:
            yield missing
            return
        try:
            same = canonical_digest(there) == canonical_digest(read_dataset(delivery.path))
        except UnreadableContent:
            same = False
        if not same:
            yield Finding(Code.ANSWER_DIFFERS, missing.subject, missing.detail)
