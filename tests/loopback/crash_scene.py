"""An archive, a sender and a node that is killed, again and again on one storage directory; and the judgement on what is there then."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pydicom
import yaml
from dying_serve import Death, audit, serve
from loopback_node import free_port
from receivers import Receiver, web_receiver
from small_study import SmallStudy, small_study

from qcnode.clock import utc_now
from qcnode.config import Config, load_config
from qcnode.demo.pacs import DemoPacs
from qcnode.review import Review
from qcnode.store.database import open_database
from qcnode.store.jobs import Jobs
from qcnode.store.ledger import Ledger
from qcnode.store.notices import Notices
from qcnode.store.worklist import Decision, Judgement, Worklist

READER = "jane"
SECRET_VARIABLE = "QCNODE_CRASH_SECRET"
PRELOADED = ("qcnode.node", "qcnode.cli", "qcnode.pipeline", "qcnode.judging.here", "qcnode.audit.run", "qcnode.assess.inference")
_DOUBLES = ("two-cases-in-work", "two-answers", "answer-surplus")


def fork_server() -> Any:
    """A context whose processes start with everything imported."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ[SECRET_VARIABLE] = "a secret of at least sixteen bytes"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


@dataclass
class Verdict:
    """What is lost and what is there twice, in words."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)


@dataclass
class Scene:
    """One storage directory and what surrounds it."""

    folder: Path
    pacs: DemoPacs
    receiver: Receiver
    context: Any
    port: int
    process: Any = None
    studies: list[SmallStudy] = field(default_factory=list)
    acknowledged: dict[str, str] = field(default_factory=dict)  # SOP Instance UID -> digest of the data set
    kills: int = 0

    def __post_init__(self) -> None:
        self.modality = DemoPacs(self.folder / "modality", ae_title="MODALITY")  # sends, and never listens
        self.config_file, self.log, self.marker = (self.folder / name for name in ("config.yaml", "qcnode.log", "died"))
        destination = {"name": "pacs", "kind": "c-store", "ae_title": self.pacs.ae_title, "host": "127.0.0.1", "port": self.pacs.port}
        # a report of commitment that finds the node dead may be lost: 20 s later, the object is read back without it
        wanted = {"summary_image": False, "commitment": True, "commitment_hours": 1 / 180, "timeout_seconds": 30}
        channel = {"name": "hook", "kind": "webhook", "url": self.receiver.url, "secret_env": SECRET_VARIABLE}
        sections = {
            "listen": {"port": self.port},
            "storage": {"directory": str(self.folder / "node"), "minimum_free_mb": 1, "keep_ignored_hours": 0},
            "matching": {"quiet_seconds": 0.3},
            "destinations": [destination | wanted],
            "retry": {"first_seconds": 0.2, "longest_seconds": 1},
            "review": {"hold_minutes": 0, "random_pass_share": 0},
            "notifications": {"channels": [channel], "rules": [{"when": when, "channels": ["hook"]} for when in ("flagged", "decided")]},
            "tasks": {"cardiac-sax": {"weights": "cardiac-sax"}},
            "web": {"enabled": False},
        }
        self.config_file.write_text(yaml.safe_dump(sections))
        self.config: Config = load_config(self.config_file)
        self.storage = self.config.storage.directory
        self.database = open_database(self.storage)

    # ------------------------------------------------------------ the node

    def start(self, death: Death | None = None) -> None:
        """Start the node, after another kill where it still runs; returns when it listens or is dead."""
        self.kill()
        self.marker.unlink(missing_ok=True)
        begun = self.log.stat().st_size if self.log.exists() else 0
        arguments = (self.config_file, self.log, death, self.marker)
        self.process = self.context.Process(target=serve, args=arguments)
        self.process.start()
        self.wait_until(lambda: not self.process.is_alive() or self._listens(begun), 60, "a node that listens")
        assert death is not None or self.process.is_alive(), f"qcnode serve ended: {self.log_tail()}"

    def kill(self) -> None:
        """SIGKILL from outside."""
        if self.process is not None and self.process.is_alive():
            self.process.kill()
            self.process.join()
            self.kills += 1

    def dies_of(self, death: Death, study: SmallStudy | None, seconds: float = 120) -> bool:
        """Whether somebody was killed at this step, within so many seconds: the node, or the process that judges.

        study: what is sent until then, again and again as far as it is not acknowledged.
        """
        end = time.monotonic() + seconds
        while self.process.is_alive() and not self.marker.exists() and time.monotonic() < end:
            if study is not None:
                self.send(study)
            self.process.join(0.2)
        if death.victim == "node":
            self.process.join(5)
        is_dead = self.process.exitcode == -signal.SIGKILL
        fired = is_dead == (death.victim == "node") and self.marker.exists() and self.marker.read_text() == death.step
        self.kills += fired
        return fired

    # ------------------------------------------------------------ who uses it

    def new_study(self, seed: str, queries: int = 1) -> SmallStudy:
        """A study that the modality holds; the archive knows its patient under a corrected accession number."""
        study = small_study(seed, queries)
        for dataset in study.datasets:
            self.modality.keep(dataset)
        corrected = pydicom.Dataset()
        corrected.update(study.other)
        corrected.file_meta, corrected.AccessionNumber = study.other.file_meta, "CORRECTED"
        self.pacs.keep(corrected)
        self.studies.append(study)
        return study

    def send(self, study: SmallStudy) -> bool:
        """Send what was not acknowledged yet, as a PACS does; True when all of it is."""
        datasets = {str(d.SOPInstanceUID): d for d in study.datasets}
        order = [uid for uid in datasets if uid not in self.acknowledged]
        taken = self.modality.forward(study.uid, "QCNODE", "127.0.0.1", self.port, order=order) if order else []
        self.acknowledged |= {uid: self._digest(uid) for uid in taken}
        return not datasets.keys() - self.acknowledged.keys()

    def decide(self) -> bool:
        """A reader rejects the first item that waits; False where there is none."""
        review = Review(Worklist(self.database), self.config.review)
        for item in Worklist(self.database).list("OPEN")[:1]:
            review.claim(item.item_id, READER, utc_now())
            review.decide(item.item_id, READER, Judgement(Decision.REJECT), utc_now())
            return True
        return False

    # ------------------------------------------------------------ afterwards

    def come_to_rest(self, seconds: float = 240) -> None:
        """Send again until everything is acknowledged, and wait until nothing is under way."""
        for study in self.studies:
            self.wait_until(lambda study=study: self.send(study), seconds, "acknowledged studies")
        self.wait_until(self._rests, seconds, "rest", pause=0.4)

    def judge(self, *, offline: bool) -> Verdict:
        """Hold everything against what was sent: the command `qcnode audit`, the archive, its log, and what was told.

        offline: `qcnode audit` asks the archive nothing, which takes its time for everything that was ever sent.
        """
        verdict = Verdict()
        for finding in self._audit(offline):
            (verdict.doubled if finding["code"] in _DOUBLES else verdict.lost).append(f"{finding['code']} {finding['subject']}")
        self._judge_objects(verdict)
        self._judge_answers(Ledger(self.database), verdict)
        digests: dict[str, set[str]] = {}
        for record in self.pacs.stores():
            digests.setdefault(record.sop_instance_uid, set()).add(record.sha256)
        verdict.doubled += [f"{uid} was sent with other bytes" for uid, found in digests.items() if len(found) > 1]
        return verdict

    def wait_until(self, done: Callable[[], bool], seconds: float, what: str, pause: float = 0.05) -> None:
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, f"no {what} within {seconds} s: {self._under_way()}\n{self.log_tail()}"
            time.sleep(pause)

    def log_tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-25:]) if self.log.exists() else ""

    def _audit(self, offline: bool) -> list[dict[str, str]]:
        said = self.folder / "audit.json"
        process = self.context.Process(target=audit, args=(self.config_file, said, offline))
        process.start()
        process.join(1800)
        findings: list[dict[str, str]] = json.loads(said.read_text()[said.read_text().index("{") :])["findings"]
        assert process.exitcode == (1 if findings else 0), f"qcnode audit ended with {process.exitcode}:\n{said.read_text()}"
        return findings

    def _judge_objects(self, verdict: Verdict) -> None:
        with self.database.read() as connection:
            rows = connection.exec_driver_sql("SELECT sop_instance_uid, dataset_sha256 FROM stored_object").all()
        kept = {(row[0], row[1]) for row in rows}
        verdict.lost += [f"object {uid} was acknowledged" for uid, digest in self.acknowledged.items() if (uid, digest) not in kept]
        verdict.doubled += [f"object {uid} is kept twice" for uid, n in Counter(row[0] for row in rows).items() if n > 1]

    def _judge_answers(self, ledger: Ledger, verdict: Verdict) -> None:
        """Each query has one case, and the archive holds its objects and the documents about it; nothing else of ours."""
        due: Counter[str] = Counter()
        answered: Counter[str] = Counter()
        told = Counter(post.headers["webhook-id"] for post in self.receiver.posts)
        flagged, decided = set(), set()
        for case in (case for batch in ledger.cases() for case in batch if case.state == "DONE"):
            answered[case.query_sop_instance_uid] += 1
            due.update(written.sop_instance_uid for written in case.results if written.kind in ("report", "error_map"))
            due.update(document.sop_instance_uid for document in case.documents)
            expected = {"report"} | (
                {"error_map"} if case.verdict == "FAIL" else set()
            )  # UNASSESSABLE after three kills while it was judged
            if expected - {written.kind for written in case.results}:
                verdict.lost.append(f"case {case.case_id} is {case.verdict} and lacks one of {', '.join(sorted(expected))}")
            flagged.add(case.case_id)
            if case.item is not None and case.item.state == "DECIDED":
                decided.add(case.case_id)
        asked = {str(query.SOPInstanceUID) for study in self.studies for query in study.queries}
        verdict.lost += [f"query {uid} was not answered" for uid in asked - answered.keys()]
        verdict.doubled += [f"query {uid} was answered {n} times" for uid, n in answered.items() if n > 1]
        held = Counter(str(d.SOPInstanceUID) for d in map(_head, self.pacs.instances()) if d.get("Manufacturer") == "qcnode")
        verdict.lost += [f"{uid} is not in the archive" for uid in due.keys() - held.keys()]
        verdict.doubled += [f"{uid} in the archive is an answer to nothing" for uid in held.keys() - due.keys()]
        self._judge_notices(told, flagged, decided, verdict)

    def _judge_notices(self, told: Counter[str], flagged: set[str], decided: set[str], verdict: Verdict) -> None:
        """An event may be told twice, but always under one identifier; as many events were told as there are."""
        expected = len(flagged) + len(decided)
        if len(told) < expected:
            verdict.lost.append(f"{expected - len(told)} events were not told")
        if len(told) > expected:
            verdict.doubled.append(f"{len(told) - expected} events more were told than there are")

    def _rests(self) -> bool:
        assert self.process.is_alive(), f"qcnode serve ended ({self.process.exitcode}): {self.log_tail()}"
        return not self._under_way()

    def _under_way(self) -> dict[str, int]:
        waiting = Ledger(self.database).under_way()
        if waiting:
            return waiting
        held = Worklist(self.database).counts().get("HELD", 0)
        untold = sum(n for counts in Notices(self.database).counts().values() for state, n in counts.items() if state != "SENT")
        judged = Jobs(self.database).counts().cases.get("DONE", 0)
        unanswered = sum(len(study.queries) for study in self.studies) - judged
        more = {"decisions held": held, "notices to tell": untold, "queries to answer": unanswered}
        return {name: number for name, number in more.items() if number > 0}

    def _listens(self, begun: int) -> bool:
        """Whether the log, from the byte `begun` on, says so: a probing connection would be an association that never comes."""
        return self.log.exists() and f"on 127.0.0.1:{self.port}".encode() in self.log.read_bytes()[begun:]

    def _digest(self, sop_instance_uid: str) -> str:
        path = self.modality.path_of(sop_instance_uid)
        assert path is not None
        content = path.read_bytes()
        length = int.from_bytes(content[140:144], "little")
        return sha256(content[144 + length :]).hexdigest()


def _head(path: Path) -> pydicom.Dataset:
    return pydicom.dcmread(path, stop_before_pixels=True)


@contextmanager
def open_scene(folder: Path, context: Any) -> Iterator[Scene]:
    """A scene with its archive and its receiver of notices; the node is killed at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    with DemoPacs(folder / "pacs", commits_to={"QCNODE": ("127.0.0.1", port)}) as pacs, web_receiver() as receiver:
        scene = Scene(folder, pacs, receiver, context, port)
        try:
            yield scene
        finally:
            scene.kill()
            scene.database.close()
