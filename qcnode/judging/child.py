"""The judging process itself: takes assignments from the node, one after the other, until the node is gone.

It gets a socket (the number of its descriptor is the first argument) and reads from it, first, what opens the judge. It answers each
assignment with a JSON text: null, or what went wrong. The result itself is on the disk.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from qcnode.errors import QCNodeError, where
from qcnode.judging.assignment import Assignment, CaseJudge

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1  # prctl(2)


def main(descriptor: int, node: int) -> None:
    """Serve the process `node` over the socket `descriptor`. Does not return."""
    _die_with(node)
    connection: Connection[str, Any] = Connection(descriptor)
    open_with: Callable[[], CaseJudge] = connection.recv()
    try:
        judge = open_with()
    except QCNodeError as error:
        log.error("no case can be judged: %s", error)
        sys.exit(1)
    assignments: SimpleQueue[Assignment] = SimpleQueue()
    threading.Thread(target=_receive, args=(connection, assignments), daemon=True).start()
    while True:
        connection.send_bytes(json.dumps(_attempt(judge, assignments.get())).encode())


def _attempt(judge: CaseJudge, assignment: Assignment) -> str | None:
    try:
        judge(assignment)
    except Exception as error:  # noqa: BLE001  the node decides what becomes of the case
        return where(error)
    return None


def _receive(connection: Connection[str, Any], assignments: SimpleQueue[Assignment]) -> None:
    """Read ahead, so that the end of the node is seen while a case is in work: nothing may be written after it."""
    try:
        while True:
            assignments.put(connection.recv())
    finally:
        os._exit(0)


def _die_with(node: int) -> None:
    """Be killed by the kernel as soon as the node is gone (Linux; elsewhere `_receive` sees it), and before it when memory runs out."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("500")
    if os.getppid() != node:
        os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
