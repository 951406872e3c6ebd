"""Make room: what has served goes, by its age, and earlier where the disk is nearly full.

In batches, oldest first, so that receiving and judging never wait for long. Rows are marked before files are removed: a crash between
leaves files without use, which the next start removes.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from qcnode.config import Matching, Storage
from qcnode.errors import QCNodeError, where
from qcnode.headers import read_header
from qcnode.store.inbox import Inbox
from qcnode.store.result_retention import ResultRetention, ServedResult
from qcnode.store.retention import Served
from qcnode.store.thumbnail_files import ThumbnailFiles
from qcnode.workers.worker import Clock

log = logging.getLogger(__name__)

RESULTS_AT_ONCE = 20
_MB = 2**20


@dataclass(slots=True)
class PurgeStep:
    """Purges what is due. free_bytes: what the disk still takes, asked anew after each batch."""

    inbox: Inbox
    results: ResultRetention
    storage: Storage
    matching: Matching
    now: Clock
    free_bytes: Callable[[], int]
    _is_swept: bool = field(default=False)

    def __call__(self) -> None:
        """One round. Whatever fails is tried again by the next one."""
        try:
            if not self._is_swept:
                self._sweep()
                self._is_swept = True
            self._by_age()
            self._by_free_space()
        except Exception as error:  # noqa: BLE001  a timer's step, as those of the workers: the next round must come
            log.error("purging: %s", where(error))

    def _by_age(self) -> None:
        now, storage = self.now(), self.storage
        ages = {
            Served.IGNORED: timedelta(hours=storage.keep_ignored_hours),
            Served.UNMATCHED: timedelta(days=storage.keep_unmatched_days),
            Served.FINISHED: timedelta(days=storage.keep_images_days),
        }
        for why, age in ages.items():
            self._purge_objects(why, now - age, lambda: True, f"{why} objects")
        if storage.keep_results_days is not None:
            self._purge_results(now - timedelta(days=storage.keep_results_days), lambda: True)

    def _by_free_space(self) -> None:
        """Ignored objects first, then images without segmentation, then images that were judged, and results last.

        Images for which a segmentation may still come (matching.images_missing_hours) are left alone: they would have to be sent again.
        """

        def is_short() -> bool:
            return self.free_bytes() < self.storage.purged_until_mb * _MB

        if not is_short():
            return
        now = self.now()
        settled = now - timedelta(hours=self.matching.images_missing_hours)
        for why, before in ((Served.IGNORED, now), (Served.UNMATCHED, settled), (Served.FINISHED, settled)):
            self._purge_objects(why, before, is_short, f"{why} objects early, for the disk is nearly full")
        self._purge_results(now, is_short)

    def _purge_objects(self, why: Served, before: datetime, is_wanted: Callable[[], bool], what: str) -> None:
        number = 0
        while is_wanted() and (purged := self.inbox.purge(why, before, self.now())):
            number += purged
        if number:
            log.info("purged %d %s", number, what)

    def _purge_results(self, before: datetime, is_wanted: Callable[[], bool]) -> None:
        number = 0
        while is_wanted():
            purged = sum(self._purge_result(result, before) for result in self.results.served(before, RESULTS_AT_ONCE) if is_wanted())
            if not purged:
                break
            number += purged
        if number:
            log.info("purged the files of %d results", number)

    def _purge_result(self, result: ServedResult, before: datetime) -> bool:
        if not self.results.purge(result, _series_of(result.report), before, self.now()):
            return False
        self._remove(result)
        return True

    def _remove(self, result: ServedResult) -> None:
        shutil.rmtree(result.directory, ignore_errors=True)
        for path in (*result.refreshed, *ThumbnailFiles(self.storage.directory).of(result.case_id)):
            path.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove what a crash left of results that were purged."""
        found = [path.name for path in (self.storage.directory / "results").glob("*/*") if path.is_dir()]
        for start in range(0, len(found), 500):
            for result in self.results.purged(found[start : start + 500]):
                self._remove(result)


def _series_of(report: Path | None) -> str | None:
    """The report's Series Instance UID; None where it can not be read any more."""
    try:
        return None if report is None else read_header(report).series_instance_uid
    except (OSError, QCNodeError):
        return None
