"""A reader's final decision goes back into the study: the document about it is written, then queued for the destinations.

Each step may be repeated: until the document is known to the store it was sent nowhere, and writing it again gives the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from datetime import datetime

import pydicom
from pydicom.errors import InvalidDicomError

from qcnode.config import Observers
from qcnode.durable import flush
from qcnode.errors import Retryable
from qcnode.outcome import ReaderDecision
from qcnode.regions import MarkedRegion, read_regions
from qcnode.report.inputs import Predecessor
from qcnode.report.results import write_object
from qcnode.report.write_decision import DecisionInputs, Observer, write_decision
from qcnode.store.decision_reports import KIND, DecisionReports
from qcnode.store.items import Item


@dataclass(frozen=True, slots=True)
class DecisionReporting:
    """Reports final decisions. `wanted_kinds`: destination -> the kinds of objects that it wants; version: of qcnode."""

    reports: DecisionReports
    wanted_kinds: Mapping[str, frozenset[str]]
    observers: Observers
    version: str

    def report(self, item: Item, now: datetime) -> bool:
        """Write and queue the document about a decided item; False where that was done before.

        Raises Retryable where the disk fails or the case's report can not be read, ValueError for an item that is not decided.
        """
        if item.state != "DECIDED":
            raise ValueError(f"item {item.item_id} is {item.state}: nothing final was decided")
        unreported = self.reports.unreported(item)
        if unreported is None:
            return False
        try:
            decision = _decision(item, unreported.because)
            document = write_decision(
                DecisionInputs(
                    report=pydicom.dcmread(unreported.report),
                    query_sop_instance_uid=item.query_sop_instance_uid,
                    decision=decision,
                    observer=_observer(self.observers, decision.reader),
                    version=self.version,
                    predecessor=Predecessor(*astuple(unreported.predecessor)) if unreported.predecessor else None,
                    agreeing=tuple(_observer(self.observers, other) for other in unreported.agreeing),
                )
            )
            written = write_object(KIND, document, unreported.path)
            flush(unreported.path.parent)
        except (OSError, InvalidDicomError) as error:
            raise Retryable(f"the document about a decision can not be written ({type(error).__name__})") from error
        self.reports.queue(item, unreported.number, written, str(document.SeriesInstanceUID), self.wanted_kinds, now)
        return True


def _decision(item: Item, because: str) -> ReaderDecision:
    if item.decision is None or item.decided_at is None or item.reader is None:
        raise ValueError(f"item {item.item_id} is decided without a decision")
    regions = read_regions(item.viewer_path) if item.marks else ()
    return ReaderDecision(
        decision=item.decision,
        reasons=item.decision_reasons,
        comment=item.comment or "",
        rating=item.rating,
        reader=item.reader,
        decided_at=item.decided_at.astimezone(),
        regions=tuple(MarkedRegion(region, item.marks[region.number]) for region in regions if region.number in item.marks),
        because=because,
    )


def _observer(settings: Observers, reader: str) -> Observer:
    """A reader who is not listed appears under the worklist's name, without what divides a PN, and never verifies."""
    listed = next((known.person_name for known in settings.readers if known.reader == reader), None)
    if listed is not None:
        return Observer(reader, listed, settings.organization, settings.verified)
    return Observer(reader, re.sub(r"[\\^=\x00-\x1f\x7f]", " ", reader)[:63], settings.organization)
