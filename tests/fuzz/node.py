"""Mutants and garbage against a running `qcnode serve`: what it answers, and whether it still stands."""

from __future__ import annotations

import os
import random
import re
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Self

import wire
from corpus import Corpus
from mutants import Mutant, make_mutant
from part10 import dataset_start
from pydicom import dcmread
from pydicom.dataset import Dataset

from qcnode.store.database import FILE_NAME

ROOT = Path(__file__).parents[2]
ECHO_SECONDS = 1.0
_UNKNOWN_CLASS = "1.2.840.10008.5.1.4.1.1.4"
_CONFIG = """\
listen: {{port: {port}, network_timeout_seconds: 5}}
storage: {{directory: {directory}, minimum_free_mb: 1}}
matching: {{quiet_seconds: 1}}
logging: {{level: DEBUG}}
review: {{random_pass_share: 0}}
web: {{enabled: false}}
ups: {{enabled: true, port: {ups_port}, callers: [{{ae_title: FUZZ, reader: fuzz}}]}}
"""


def free_port() -> int:
    """A TCP port of this machine that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ServedNode:
    """`qcnode serve` in a process of its own, on a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.ups_port = free_port(), free_port()

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "config.yaml"
        config.write_text(_CONFIG.format(port=self.port, ups_port=self.ups_port, directory=self.folder / "storage"))
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with self.log.open("ab") as stream:
            command = [sys.executable, "-m", "qcnode", "serve", "--config", config]
            self.process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
        end = time.monotonic() + 120
        while not self._listens():
            assert self.process.poll() is None, f"the node ended: {self.log.read_text()[-2000:]}"
            assert time.monotonic() < end, "the node does not listen"
            time.sleep(0.1)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @property
    def log(self) -> Path:
        """What the node wrote to standard error."""
        return self.folder / "log"

    def stands(self) -> str | None:
        """What is wrong with the node; None where it lives and answers C-ECHO within a second (of three tries, for a busy machine)."""
        for _ in range(3):
            if self.process.poll() is not None:
                return f"the node ended with {self.process.returncode}"
            began = time.monotonic()
            try:
                status = wire.echo(self.port)
            except OSError as error:
                return f"C-ECHO fails: {type(error).__name__}"
            if status == 0 and time.monotonic() - began <= ECHO_SECONDS:
                return None
        return f"C-ECHO: status {status} after {time.monotonic() - began:.1f} s"

    def peak_mb(self) -> int:
        """Largest resident memory so far."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024

    def database(self) -> sqlite3.Connection:
        """The node's database, to be read only."""
        return sqlite3.connect(f"file:{self.folder / 'storage' / FILE_NAME}?mode=ro", uri=True)

    def states(self) -> Counter[str]:
        """Objects by state and reason, then queries."""
        with self.database() as connection:
            objects = connection.execute(
                "SELECT state, COALESCE(unreadable_reason, kind, 'under a UID that was there, ' || variant_state, ''), COUNT(*)"
                " FROM stored_object GROUP BY 1, 2"
            ).fetchall()
            queries = connection.execute(
                "SELECT state, COALESCE(reason_code, ''), COUNT(*) FROM query_segmentation GROUP BY 1, 2"
            ).fetchall()
        counts = Counter({f"object {state}: {_without_type(why)}": n for state, why, n in objects})
        return counts + Counter({f"query {state}: {why}": n for state, why, n in queries})

    def unindexed(self) -> int:
        """Objects that nobody has looked at yet."""
        with self.database() as connection:
            return int(
                connection.execute("SELECT COUNT(*) FROM stored_object WHERE state = 'RECEIVED' AND variant_of IS NULL").fetchone()[0]
            )

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def _without_type(reason: str) -> str:
    return re.sub(r"\d+", "n", reason)


def store_mutant(corpus: Corpus, seed: int, port: int) -> tuple[Mutant, str]:
    """Send mutant number `seed` as it is, in the transfer syntax that it names, under the UIDs that can be read of it."""
    mutant = make_mutant(corpus, seed)
    content = as_own_study(mutant.content, seed)
    draw = random.Random(seed)
    try:
        start = dataset_start(content)
        meta = dcmread(BytesIO(content), specific_tags=["SOPClassUID", "SOPInstanceUID"], stop_before_pixels=True)
    except Exception:  # noqa: BLE001  no file meta, no UIDs: it is sent as an MR image all the same
        start, meta = 0, Dataset()
    syntax = str(getattr(meta, "file_meta", {}).get("TransferSyntaxUID") or wire.IMPLICIT)
    sop_class = _uid(meta, "SOPClassUID") or _UNKNOWN_CLASS
    instance = _uid(meta, "SOPInstanceUID") or f"2.25.{seed}"
    with wire.Peer(port, 20) as peer:
        if not peer.associate([(1, sop_class, [syntax, wire.IMPLICIT])]):
            return mutant, "association refused"
        piece = draw.choice((1000, 16000, 16000, 16000))
        if not peer.send(wire.message(1, wire.store_command(sop_class, instance), content[start:] or b"\0", piece=piece)):
            return mutant, "aborted"
        status = peer.status()
        if status is None:
            return mutant, "aborted"
        peer.release()
    return mutant, f"status {status:04X}H"


def as_own_study(content: bytes, seed: int) -> bytes:
    """The same bytes with UIDs that no other mutant has: the last seven digits of every phantom UID become the seed."""
    return re.sub(rb"2\.25\.\d{30,39}", lambda m: m.group()[:-7] + f"{seed:07d}".encode(), content)


def _uid(dataset: Dataset, keyword: str) -> str:
    try:
        value = str(dataset.get(keyword) or "")
    except Exception:  # noqa: BLE001  as above
        return ""
    return value if re.fullmatch(r"[0-9.]{1,64}", value) else ""
