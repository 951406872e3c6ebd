"""Endurance: Orthanc and `qcnode serve` under the highest load that the machine sustains (`make soak`; docs/reliability.md).

    python tests/peers/soak.py --minutes 30

Phantom studies go through receiving, judging and delivering to Orthanc, so many at a time that the judging never waits; meanwhile somebody
echoes, reads the pages, decides, and scrapes the figures. Every ten seconds what each process takes is noted. Exit codes: 0 no case was
lost and no process of the node grew by 5 %; 1 otherwise, and it says what.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import archive as orthanc
import served_node
from fresh_studies import FreshStudies, send
from onlooker import Onlooker
from processes import Growth, Taken, children_of, growths, look_at, name_of
from road import running
from waiting import free_port

from qcnode.store.database import open_database
from qcnode.store.delivery import UNDELIVERED
from qcnode.store.jobs import Jobs
from qcnode.store.outbox import Outbox

ROOT = Path(__file__).parents[2]
LARGEST_GROWTH_PERCENT = 5.0
LONGEST_AUDIT_SECONDS = 3600.0
"""It reads every object back from the archive: a second or so for each study."""
SAMPLE_SECONDS = 10.0
LOOK_SECONDS = 15.0
TELL_SECONDS = 60.0
ANSWERS = 3  # objects of a case that failed: report, error map, summary page
LAST_CASES_SECONDS = 600.0


@dataclass(frozen=True)
class RoadCounts:
    """Where the cases are at one moment."""

    second: float
    sent: int
    judged: int
    delivered_objects: int
    undelivered_objects: int
    failed_objects: int

    @property
    def in_flight(self) -> int:
        """Studies that were sent and are not yet answered in full."""
        return self.sent - self.judged + -(-self.undelivered_objects // ANSWERS)


@dataclass
class Soak:
    """One run. `per_minute`: studies sent, or None for as many as are answered, `at_once` on their way."""

    minutes: float
    at_once: int
    per_minute: float | None
    folder: Path
    taken: list[Taken] = field(default_factory=list)
    counts: list[RoadCounts] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)

    def run(self, archive: orthanc.Archive, node: served_node.ServedNode, onlooker: Onlooker) -> None:
        """Load the node for so many minutes, then wait for the last cases."""
        studies, numbers = FreshStudies(), count(1)
        self._began, database = time.monotonic(), open_database(node.storage)
        jobs, outbox = Jobs(database), Outbox(database)
        due = {"sample": 0.0, "look": LOOK_SECONDS, "tell": TELL_SECONDS}
        until = self.minutes * 60
        try:
            while (now := self._second()) < until or (self._count(jobs, outbox).in_flight and now < until + LAST_CASES_SECONDS):
                counted = self._count(jobs, outbox)
                if now >= due["sample"] and now < until:
                    due["sample"] += SAMPLE_SECONDS
                    self.counts.append(counted)
                    self._sample(archive, node)
                if now >= due["tell"]:
                    due["tell"] += TELL_SECONDS
                    self._tell(counted)
                if now >= due["look"] and now < until:
                    due["look"] += LOOK_SECONDS
                    onlooker.look()
                if now < until and self._may_send(counted, now):
                    number = next(numbers)
                    send(studies.objects(number), node.port, served_node.AE_TITLE)
                    self.sent.append(studies.study_instance_uid(number))
                else:
                    time.sleep(0.2)
            self.counts.append(self._count(jobs, outbox))
        finally:
            database.close()

    def lost(self, archive: orthanc.Archive) -> list[str]:
        """Studies that were sent and have not exactly one report in the archive."""
        return [study for study in self.sent if len(_reports(archive, study)) != 1]

    def _second(self) -> float:
        return time.monotonic() - self._began

    def _may_send(self, counted: RoadCounts, now: float) -> bool:
        if self.per_minute is not None:
            return len(self.sent) < self.per_minute * now / 60
        return counted.in_flight < self.at_once

    def _tell(self, counted: RoadCounts) -> None:
        """One line about how far it is."""
        latest = {taken.process: f"{taken.resident_mb:.0f} MB" for taken in self.taken}
        memory = ", ".join(f"{process} {resident}" for process, resident in latest.items())
        minutes = f"{counted.second / 60:.0f} of {self.minutes:g} minutes"
        sys.stderr.write(f"{minutes}: {counted.sent} sent, {counted.judged} judged, {counted.failed_objects} failed; {memory}\n")

    def _count(self, jobs: Jobs, outbox: Outbox) -> RoadCounts:
        cases, deliveries = jobs.counts().cases, outbox.counts().get("pacs", {})
        undelivered = sum(deliveries.get(state, 0) for state in UNDELIVERED)
        failed = deliveries.get("DEAD", 0)
        taken = sum(deliveries.values()) - undelivered - failed
        return RoadCounts(self._second(), len(self.sent), cases.get("DONE", 0), taken, undelivered, failed)

    def _sample(self, archive: orthanc.Archive, node: served_node.ServedNode) -> None:
        second = self._second()
        named = [(node.pid, "qcnode serve"), (archive.pid, "Orthanc"), *((pid, name_of(pid)) for pid in children_of(node.pid))]
        self.taken += [look_at(pid, name, second) for pid, name in named]


def _reports(archive: orthanc.Archive, study_instance_uid: str) -> list[str]:
    """The archive's names of a study's reports about its query; a document about a reader's decision is none."""
    written = [s for s in archive.series(study_instance_uid) if s["Modality"] == "SR" and "by reader" not in s["SeriesDescription"]]
    return [instance for series in written for instance in series["Instances"]]


@contextmanager
def everything(folder: Path) -> Iterator[tuple[orthanc.Archive, served_node.ServedNode, Onlooker]]:
    """Orthanc, a node that answers to it, and somebody who looks at the node."""
    web, monitoring = free_port(), free_port()
    sections = {
        "matching": {"quiet_seconds": 2},
        "review": {"random_pass_share": 0, "hold_minutes": 0},
        "web": {"port": web},
        "monitoring": {"enabled": True, "port": monitoring},
        "logging": {"level": "WARNING"},
    }
    with running(folder, "", "c-store", **sections) as (archive, node), Onlooker(node, web, monitoring) as onlooker:
        yield archive, node, onlooker


def write_table(path: Path, rows: list[RoadCounts] | list[Taken]) -> None:
    """A CSV file with one line for each row."""
    with path.open("w", newline="") as stream:
        table = csv.DictWriter(stream, [f.name for f in fields(rows[0])])
        table.writeheader()
        table.writerows({k: round(v, 1) if isinstance(v, float) else v for k, v in asdict(row).items()} for row in rows)


def report(soak: Soak, lost: list[str], grown: list[Growth], onlooker: Onlooker, audit: str) -> str:
    """The figures, as docs/reliability.md has them."""
    end = soak.counts[-1]
    while_loaded = [c for c in soak.counts if c.second <= soak.minutes * 60][-1]
    minutes = while_loaded.second / 60 or 1.0
    lines = [
        f"{end.sent} studies sent, {end.judged} judged, {len(lost)} lost; "
        f"{end.delivered_objects} objects delivered, {end.failed_objects} failed",
        f"per minute while loaded: {while_loaded.sent / minutes:.1f} received, {while_loaded.judged / minutes:.1f} judged, "
        f"{while_loaded.delivered_objects / minutes:.1f} objects delivered",
        f"meanwhile: {onlooker.told()}",
        f"qcnode audit: {audit}",
        "",
        "| process | settled, MB | end, MB | growth | threads | open files |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {g.process} | {g.settled_mb:.0f} | {g.end_mb:.0f} | {g.percent:+.1f} % | {g.threads[0]} to {g.threads[1]} "
        f"| {g.files[0]} to {g.files[1]} |"
        for g in grown
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the soak; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--settle", type=float, default=5.0, help="minutes after which memory counts")
    parser.add_argument("--at-once", type=int, default=8, help="studies on their way at a time")
    parser.add_argument("--per-minute", type=float, help="send at this rate in place of as fast as they are answered")
    parser.add_argument("--out", type=Path, default=ROOT / "var/soak")
    given = parser.parse_args()
    out: Path = given.out / datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    out.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="qcnode-soak-") as name, everything(Path(name)) as (archive, node, onlooker):
        soak = Soak(given.minutes, given.at_once, given.per_minute, Path(name))
        try:
            soak.run(archive, node, onlooker)
        finally:  # whatever ends it, and before the audit, however long that takes
            write_table(out / "processes.csv", soak.taken)
            write_table(out / "road.csv", soak.counts)
            (out / "node.log").write_text(node.log())
        sys.stderr.write("qcnode audit reads every answer back from the archive ...\n")
        audited = node.run("audit", seconds=LONGEST_AUDIT_SECONDS)
        lost = soak.lost(archive)
    grown = growths(soak.taken, given.settle * 60)
    audit = "nothing differs" if audited.returncode == 0 else f"exit code {audited.returncode}\n{audited.stdout}{audited.stderr}"
    text = report(soak, lost, grown, onlooker, audit)
    (out / "report.md").write_text(text)
    sys.stdout.write(f"{text}\n{out}\n")
    too_much = [g.process for g in grown if g.process != "Orthanc" and g.percent >= LARGEST_GROWTH_PERCENT]
    failures = {"lost": lost, "grown": too_much, "audit": audited.returncode, "failed": soak.counts[-1].failed_objects}
    wrong = {what: found for what, found in failures.items() if found}
    if wrong:
        sys.stderr.write(f"FAILED: {json.dumps(wrong)}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
