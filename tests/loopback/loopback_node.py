"""A node and an archive on loopback."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


def answers(pacs: DemoPacs, study_instance_uid: str, sop_class_uid: str) -> list[pydicom.Dataset]:
    """What qcnode sent into the study, of one SOP class."""
    found = [pydicom.dcmread(path) for path in pacs.instances(study_instance_uid)]
    return [d for d in found if d.SOPClassUID == sop_class_uid and d.get("Manufacturer") == "qcnode"]
