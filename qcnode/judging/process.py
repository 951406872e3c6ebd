"""The node's side of judging in another process."""

from __future__ import annotations

import json
import logging
import os
import subprocess  # nosec B404  # one fixed command, the judging process
import sys
import threading
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path
from time import monotonic
from typing import Self

from qcnode.judging.assignment import Assignment, CaseJudge, JudgingFailed, JudgingStopped
from qcnode.outcome import Outcome, read_outcome

log = logging.getLogger(__name__)

CHILD_MODULE = "qcnode.judging.child"
_LOOK_SECONDS = 0.25
"""How often a child at work is looked at."""
_END_SECONDS = 5.0
"""By then a child that has closed its socket is gone, or is killed."""


class JudgingProcess:
    """Judges in a child process, which is started with the first case, and again with the first one after it died or was killed.

    A case that takes longer than `deadline_seconds`, or the child more than `memory_mb` (resident, MB; Linux only), ends with the child
    being killed.
    """

    def __init__(self, open_judge: Callable[[], CaseJudge], *, deadline_seconds: float, memory_mb: int | None = None) -> None:
        """`open_judge` is pickled, and called in the child."""
        self._open_judge = open_judge
        self._deadline_seconds = deadline_seconds
        self._memory_mb = memory_mb
        self._child: _Child | None = None
        self._stopped = False
        self._starting = threading.Lock()
        self._at_work = threading.Lock()

    def __call__(self, assignment: Assignment) -> Outcome:
        """Judge one case; others wait. Raises JudgingFailed, or JudgingStopped after `stop`.

        The child lives no longer than the thread that makes the first call: the kernel takes that for the parent.
        """
        with self._at_work:
            child = self._running_child()
            with _Watch(child, self._deadline_seconds, self._memory_mb) as watch:
                try:
                    failure = child.ask(assignment)
                except (EOFError, OSError) as error:
                    ending = child.end()
                    if self._stopped:
                        raise JudgingStopped("the node ends") from error
                    raise JudgingFailed(watch.objection or ending) from error
        if failure is not None:
            raise JudgingFailed(failure)
        return read_outcome(assignment.directory)

    def stop(self) -> None:
        """Kill the child, and with it what it is at. No further case is judged."""
        with self._starting:
            self._stopped = True
            if self._child is not None:
                self._child.process.kill()
        with self._at_work:
            if self._child is not None:
                self._child.end()

    def _running_child(self) -> _Child:
        with self._starting:
            if self._stopped:
                raise JudgingStopped("the node ends")
            if self._child is None or self._child.process.poll() is not None:
                self._child = _Child(self._open_judge)
                log.info("judging in process %d", self._child.process.pid)
            return self._child


class _Child:
    """A child process, and the socket to it."""

    def __init__(self, open_judge: Callable[[], CaseJudge]) -> None:
        self._open_judge: Callable[[], CaseJudge] | None = open_judge
        self._connection, theirs = Pipe()
        # the child finds the modules that this process finds, however that was started
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-P", "-m", CHILD_MODULE, str(theirs.fileno()), str(os.getpid())]
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603  # nosec B603  # nothing of the command comes from outside
                command,
                stdin=subprocess.DEVNULL,
                stdout=2,  # whatever a library prints goes to the log
                env=environment,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # Ctrl-C is for the node alone
            )

    def ask(self, assignment: Assignment) -> str | None:
        """Have one case judged: None, or what went wrong. Raises EOFError or OSError where the child is gone."""
        if self._open_judge is not None:
            self._connection.send(self._open_judge)
            self._open_judge = None
        self._connection.send(assignment)
        failure: str | None = json.loads(self._connection.recv_bytes())
        return failure

    def end(self) -> str:
        """Take leave of a child that is dying, or kill it: in words, how it ended."""
        self._connection.close()
        try:
            code = self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        return f"the judging process died (signal {-code})" if code < 0 else f"the judging process ended (exit code {code})"


class _Watch(threading.Thread):
    """Kills a child whose time or memory is over while the context lasts; objection: why it did."""

    def __init__(self, child: _Child, deadline_seconds: float, memory_mb: int | None) -> None:
        super().__init__(name="judging watch", daemon=True)
        self.objection: str | None = None
        self._process = child.process
        self._deadline_seconds = deadline_seconds
        self._memory_mb = memory_mb
        self._finished = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finished.set()
        self.join()

    def run(self) -> None:
        """Look until the context ends."""
        end = monotonic() + self._deadline_seconds
        while not self._finished.wait(max(0.0, min(_LOOK_SECONDS, end - monotonic()))):
            if monotonic() >= end:
                self.objection = f"judging ran over its deadline of {self._deadline_seconds:g} s"
            elif self._memory_mb is not None and _resident_mb(self._process.pid) > self._memory_mb:
                self.objection = f"the judging process took more than {self._memory_mb} MB of memory"
            if self.objection is not None:
                self._process.kill()
                return


def _resident_mb(pid: int) -> float:
    """Memory of a process in RAM, in MB (proc(5): statm counts pages); 0 where that can not be known."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
