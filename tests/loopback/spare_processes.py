"""Processes that wait to become the judging process: what the node starts by a command would import for seconds what is imported here."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import time
from types import SimpleNamespace
from typing import Any


class Spare:
    """A fork of this process that does nothing until it is taken; then it has the part of subprocess.Popen that the node uses."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no longer than the node
            ours.close()
            self._wait_to_be_taken(theirs)
        theirs.close()
        self._socket = ours
        self._code: int | None = None

    def take(self, command: list[str], pass_fds: tuple[int, ...]) -> Spare:
        """Begin: the command's last two arguments are a descriptor and the node's process number."""
        socket.send_fds(self._socket, [json.dumps(command[-1]).encode()], list(pass_fds))
        self._socket.close()
        return self

    def poll(self) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        end = time.monotonic() + (600 if timeout is None else timeout)
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("spare", timeout or 0)
            time.sleep(0.01)
        return code

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def _wait_to_be_taken(self, connection: socket.socket) -> None:
        content, descriptors, _, _ = socket.recv_fds(connection, 1024, 1)
        if not content:
            os._exit(0)
        from qcnode.judging.child import main

        try:
            main(descriptors[0], int(json.loads(content)))
        finally:
            os._exit(1)


def use_spares(module: Any, number: int) -> None:
    """Let `module`, which starts processes by subprocess.Popen, take spares instead, as long as there are any."""
    spares = [Spare() for _ in range(number)]

    def popen(command: list[str], *, pass_fds: tuple[int, ...], **others: Any) -> Any:
        return spares.pop(0).take(command, pass_fds) if spares else subprocess.Popen(command, pass_fds=pass_fds, **others)

    module.subprocess = SimpleNamespace(Popen=popen, DEVNULL=subprocess.DEVNULL, TimeoutExpired=subprocess.TimeoutExpired)
