"""Make decisions final, and hand them on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from qcnode.errors import where
from qcnode.review import Review
from qcnode.store.worklist import Item
from qcnode.workers.worker import Clock

log = logging.getLogger(__name__)


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
