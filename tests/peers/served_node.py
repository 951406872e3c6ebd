"""`qcnode serve` as users run it: a process of its own with a configuration file, a folder and a port of its own."""

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pynetdicom import AE
from pynetdicom.sop_class import Verification
from waiting import free_port, is_open, wait_for

from qcnode.outcome import Outcome, read_outcome
from qcnode.store.database import open_database
from qcnode.store.outbox import Outbox
from qcnode.store.worklist import Item, Worklist

AE_TITLE = "QCNODE"


class ServedNode:
    """A node that listens. `sections` of the configuration stand beside the ones that a test needs to be quick."""

    def __init__(self, folder: Path, sections: Mapping[str, Any]) -> None:
        self.port = free_port()
        self.storage = folder / "storage"
        self.config = folder / "config.yaml"
        folder.mkdir(parents=True, exist_ok=True)
        # forwarding makes pauses of seconds between series: the quiet time must outlast them
        quick = {
            "listen": {"ae_title": AE_TITLE, "port": self.port},
            "storage": {"directory": str(self.storage), "minimum_free_mb": 100},
            "matching": {"quiet_seconds": 6},
            "retry": {"first_seconds": 1, "longest_seconds": 4},
            "review": {"random_pass_share": 0},
            "web": {"port": 0},
            "logging": {"level": "INFO"},
        }
        self.config.write_text(yaml.safe_dump(quick | dict(sections)))
        self._log_path = folder / "node.log"
        self._log = self._log_path.open("wb")
        program = str(Path(sys.executable).with_name("qcnode"))
        command = [program, "serve", "--config", str(self.config)]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT)
        wait_for(self._echoes, 120, "the node to listen", explain=self.log_tail)

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def outcomes(self) -> dict[str, Outcome]:
        """The settled cases, by the SOP Instance UID of their query SEG."""
        found = [read_outcome(path.parent) for path in self.storage.glob("results/*/*/verdict.json")]
        outcomes = {outcome.query.sop_instance_uid: outcome for outcome in found}
        assert len(outcomes) == len(found), f"a query was judged more than once:\n{self.log_tail()}"
        return outcomes

    def results_of(self, outcome: Outcome) -> Path:
        """The folder of a case's result files."""
        return self.storage / "results" / outcome.case_id[:2] / outcome.case_id

    def worklist(self) -> list[Item]:
        database = open_database(self.storage)
        try:
            return Worklist(database).list()
        finally:
            database.close()

    def deliveries(self) -> dict[str, int]:
        """How many deliveries there are, by state."""
        database = open_database(self.storage)
        try:
            counts: Counter[str] = Counter()
            for states in Outbox(database).counts().values():
                counts.update(states)
            return {state: number for state, number in counts.items() if number}
        finally:
            database.close()

    def has_answered(self) -> bool:
        """Whether every object of every settled case is delivered and proven, and nothing else is on its way."""
        return self.deliveries() == {"PROVEN": sum(len(outcome.objects) for outcome in self.outcomes().values())}

    def run(self, *words: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Another command of the program on this node's configuration."""
        command = [str(Path(sys.executable).with_name("qcnode")), *words, "--config", str(self.config)]
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds)

    def log(self) -> str:
        return self._log_path.read_text(errors="replace")

    def log_tail(self) -> str:
        return "\n".join(self.log().splitlines()[-25:])

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait(timeout=10)
        self._log.close()
        return code

    def _echoes(self) -> bool:
        if self._process.poll() is not None:
            raise AssertionError(f"qcnode serve ended with {self._process.returncode}\n{self.log_tail()}")
        if not is_open(self.port):
            return False
        entity = AE("PEER")
        entity.add_requested_context(Verification)
        association = entity.associate("127.0.0.1", self.port, ae_title=AE_TITLE)
        if not association.is_established:
            return False
        answered = association.send_c_echo()
        association.release()
        return bool(answered.get("Status") == 0x0000)
