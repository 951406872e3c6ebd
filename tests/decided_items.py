"""A judged case with a real report, whose worklist item is decided: what the tests of decisions start from."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from report_cases import STUDY, build
from store_samples import at, case, result

from qcnode.case import ResultObject
from qcnode.report.write_sr import write_report
from qcnode.store.database import Database
from qcnode.store.items import Decision, Item, Judgement
from qcnode.store.jobs import Jobs
from qcnode.store.worklist import Worklist

QUERY = "1.2.3.3.1"  # of report_cases
REJECTED = Judgement(Decision.REJECT, ("leaks out",), "base", 2)
WANTED = {"pacs": frozenset({"report", "decision"}), "web": frozenset({"report"})}


def settle_case(database: Database, case_id: str, now: datetime, predecessor: str | None = None, *, read_twice: bool = False) -> Path:
    """Settle a FAIL of the query, with its report on disk and due for `pacs` and `web`; returns its result directory."""
    judged = case(case_id, query=QUERY, study=STUDY, directory=database.directory, predecessor_case_id=predecessor)
    jobs = Jobs(database)
    jobs.put_case(judged, now)
    claimed = jobs.claim("w", now, timedelta(minutes=1))
    assert claimed is not None
    settled = result(claimed.case, directory=database.directory / "results")
    settled.directory.mkdir(parents=True)
    inputs = build()
    report = write_report(inputs, None)
    for written in settled.objects:
        if written.kind == "report":
            assert isinstance(written, ResultObject)
            report.save_as(written.path, enforce_file_format=True)
    jobs.settle(claimed, replace(settled, read_twice=read_twice), WANTED, now)
    return settled.directory


def decide(database: Database, seconds: float, judgement: Judgement = REJECTED, reader: str = "jane") -> Item:
    """Decide the only item that waits, at so many seconds after the start; final at once. One that is being revised is claimed already."""
    worklist, now = Worklist(database), at(seconds)
    (waiting,) = worklist.list()
    if waiting.state == "OPEN":
        worklist.claim(waiting.item_id, reader, now, now + timedelta(minutes=1))
    worklist.hold(waiting.item_id, reader, judgement, now, now)
    worklist.finalise_due(now)
    return worklist.show(waiting.item_id, now)
