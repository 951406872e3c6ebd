"""A node and an archive on loopback."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pydicom

from qcnode.config import Config
from qcnode.demo.pacs import DemoPacs
from qcnode.node import Node

SR = "1.2.840.10008.5.1.4.1.1.88.34"
SEG = "1.2.840.10008.5.1.4.1.1.66.4"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(done: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"no {what} within {seconds} s"
        time.sleep(0.05)


def node_config(directory: Path, pacs: DemoPacs, *, port: int = 0, quiet_seconds: float = 1.0, commitment: bool = False) -> Config:
    address = {"ae_title": pacs.ae_title, "host": "127.0.0.1", "port": pacs.port}
    return Config.model_validate(
        {
            "listen": {"port": port},
            "storage": {"directory": str(directory), "minimum_free_mb": 1},
            "matching": {"quiet_seconds": quiet_seconds},
            "destinations": [{"name": "pacs", "kind": "c-store", "commitment": commitment} | address],
            "retry": {"first_seconds": 0.2, "longest_seconds": 1},
            "review": {"random_pass_share": 0},
            "web": {"port": 0},
        }
    )


@contextmanager
def running_node(config: Config) -> Iterator[Node]:
    node = Node(config)
    node.start()
    try:
        yield node
    finally:
        node.stop()


@dataclass
class Serving:
    """`qcnode serve` in a process of its own."""

    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


def serve(config_file: Path, port: int, log: Path) -> Serving:
    """Start `qcnode serve` and wait until it listens."""
    with log.open("ab") as stream:
        process = subprocess.Popen([sys.executable, "-m", "qcnode", "serve", "--config", str(config_file)], stderr=stream)

    def listens() -> bool:
        assert process.poll() is None, f"qcnode serve ended: {log.read_text()[-2000:]}"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    serving = Serving(process)
    try:
        wait_until(listens, 90, "listening qcnode")
    except BaseException:
        serving.kill()
        raise
    return serving


def answers(pacs: DemoPacs, study_instance_uid: str, sop_class_uid: str) -> list[pydicom.Dataset]:
    """What qcnode sent into the study, of one SOP class."""
    found = [pydicom.dcmread(path) for path in pacs.instances(study_instance_uid)]
    return [d for d in found if d.SOPClassUID == sop_class_uid and d.get("Manufacturer") == "qcnode"]
