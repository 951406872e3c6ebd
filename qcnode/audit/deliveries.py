"""Was everything queued that a destination wants, and are the bytes that go there the ones that were settled?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from qcnode.audit.files import FileProofs
from qcnode.audit.findings import Code, Finding
from qcnode.store.ledger import CaseEntry

_CODES = {"missing": Code.DELIVERY_FILE_MISSING, "changed": Code.DELIVERY_FILE_CHANGED}
_NEEDS_FILE = ("PENDING", "SENDING", "DEAD")


def check_deliveries(
    case: CaseEntry, wanted_kinds: Mapping[str, frozenset[str]], since: Mapping[tuple[str, str], datetime], proofs: FileProofs
) -> Iterator[Finding]:
    """The deliveries of one case. wanted_kinds: destination -> the kinds that it wants; since: Ledger.deliveries_since."""
    queued = {(d.destination, d.kind) for d in case.deliveries}
    if case.state == "DONE" and case.verdict != "NOT_APPLICABLE" and case.settled_at is not None:
        settled_at = case.settled_at
        for destination, kinds in wanted_kinds.items():
            for kind in sorted(kinds & {written.kind for written in case.results}):
                first = since.get((destination, kind))
                if (destination, kind) not in queued and first is not None and first <= settled_at:
                    yield Finding(Code.DELIVERY_MISSING, f"{destination}: {kind} of {case.case_id}", "it was never queued")
    for document in case.documents:
        reported = {d.destination for d in case.deliveries if d.sop_instance_uid == document.sop_instance_uid}
        for destination, kinds in wanted_kinds.items():
            first = since.get((destination, "decision"))
            if "decision" in kinds and destination not in reported and first is not None and first <= document.decided_at:
                yield Finding(Code.DELIVERY_MISSING, f"{destination}: decision {document.number} of {case.case_id}", "it was never queued")
    for delivery in case.deliveries:
        subject = f"{delivery.destination}: {delivery.kind} {delivery.sop_instance_uid}"
        if case.results_purged_at is None:
            difference = proofs.difference(delivery.path, delivery.sha256)
            if difference is not None:
                yield Finding(_CODES[difference], subject, f"of case {case.case_id}")
        elif delivery.state in _NEEDS_FILE:
            yield Finding(Code.RESULT_PURGED_EARLY, case.case_id, f"{subject} is {delivery.state}")
        if delivery.state == "DEAD":
            yield Finding(Code.GIVEN_UP, subject, f"of case {case.case_id}: {delivery.last_error}")
