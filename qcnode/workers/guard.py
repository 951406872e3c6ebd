"""Received files are looked at once more before they are judged: what a disk has damaged must not become a verdict."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from qcnode.case import Case
from qcnode.errors import Retryable
from qcnode.store.inbox import Inbox
from qcnode.workers.worker import Clock

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Guard:
    """Compares the files of a case with the digests that they are named by."""

    inbox: Inbox
    now: Clock

    def __call__(self, case: Case) -> None:
        """Raises Retryable where a file is missing or damaged.

        Such an object counts as lost: it is taken when it is sent again, and until then its study is matched without it.
        """
        frames = (frame.path for stack in case.contrasts.values() for frame in stack.frames)
        damaged = self.inbox.damaged(dict.fromkeys((case.query.path, *frames)))
        if damaged:
            self.inbox.lose(damaged, self.now())
            log.error("case %s: %d received files are damaged or missing; let the PACS send them again", case.case_id[:12], len(damaged))
            raise Retryable("received files are damaged or missing")
