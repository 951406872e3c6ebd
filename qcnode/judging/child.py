"""The child process: takes requests from the node, one after the other, until the node is gone.

It gets a socket (the number of its descriptor is the first argument) and reads from it, first, what opens its work. It answers each request
with JSON: what went wrong, or null, and the answer of the work where that is text. The result of judging is on the disk.
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

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1  # prctl(2)


def main(descriptor: int, node: int) -> None:
    """Serve the process `node` over the socket `descriptor`. Does not return."""
    _die_with(node)
    connection: Connection[str, Any] = Connection(descriptor)
    open_work: Callable[[], Callable[[Any], object]] = connection.recv()
    try:
        work = open_work()
    except QCNodeError as error:
        log.error("no case can be judged: %s", error)
        sys.exit(1)
    waiting: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_receive, args=(connection, waiting), daemon=True).start()
    while True:
        connection.send_bytes(json.dumps(_attempt(work, waiting.get())).encode())


def _attempt(work: Callable[[Any], object], request: Any) -> tuple[str | None, str | None]:
    try:
        answer = work(request)
    except Exception as error:  # noqa: BLE001  the node decides what follows
        return where(error), None
    return None, answer if isinstance(answer, str) else None


def _receive(connection: Connection[str, Any], waiting: SimpleQueue[Any]) -> None:
    """Read ahead, so that the end of the node is seen while there is work: nothing may be written after it."""
    try:
        while True:
            waiting.put(connection.recv())
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
