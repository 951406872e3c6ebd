"""The node's side of what is done in another process: judging, and comparing what came twice."""

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
from typing import Any, ClassVar, Self

from qcnode.judging.assignment import Assignment, JudgingFailed, JudgingStopped
from qcnode.outcome import Outcome, read_outcome

log = logging.getLogger(__name__)

CHILD_MODULE = "qcnode.judging.child"
_LOOK_SECONDS = 0.25
"""How often a child at work is looked at."""
_START_SECONDS = 60.0
_END_SECONDS = 5.0
"""By then a child that has closed its socket is gone, or is killed."""


class WorkProcess:
    """Works in a child process, which is started with the first request, and again with the first one after it died or was killed.

    A request that takes longer than `deadline_seconds` (with the start of a child, a minute more), or the child more memory than
    `memory_mb` (resident, MB; Linux only), ends with the child being killed. work: what is done, in the words of an error.
    """

    work: ClassVar[str]

    def __init__(self, open_work: Callable[[], Callable[[Any], object]], *, deadline_seconds: float, memory_mb: int | None = None) -> None:
        """`open_work` is pickled and called in the child, and what it returns is called with every request."""
        self._open_work = open_work
        self._deadline_seconds = deadline_seconds
        self._memory_mb = memory_mb
        self._child: _Child | None = None
        self._stopped = False
        self._starting = threading.Lock()
        self._at_work = threading.Lock()

    def ask(self, request: object) -> str | None:
        """Have one request worked on, while others wait: the answer, if it is text. Raises JudgingFailed, or JudgingStopped after `stop`.

        The child lives no longer than the thread that makes the first call: the kernel takes that for the parent.
        """
        with self._at_work:
            child = self._running_child()
            with _Watch(child, self.work, self._deadline_seconds, self._memory_mb) as watch:
                try:
                    failure, answer = child.ask(request)
                except (EOFError, OSError) as error:
                    ending = f"the {self.work} process {child.end()}"
                    if self._stopped:
                        raise JudgingStopped("the node ends") from error
                    raise JudgingFailed(watch.objection or ending) from error
        if failure is not None:
            raise JudgingFailed(failure)
        return answer

    def stop(self) -> None:
        """Kill the child, and with it what it is at. No further request is worked on."""
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
                self._child = _Child(self._open_work)
                log.info("%s in process %d", self.work, self._child.process.pid)
            return self._child


class JudgingProcess(WorkProcess):
    """Judges cases; `open_work` opens a CaseJudge."""

    work = "judging"

    def __call__(self, assignment: Assignment) -> Outcome:
        """See `ask`: the outcome is what lies in the assignment's directory afterwards."""
        self.ask(assignment)
        return read_outcome(assignment.directory)


class ComparingProcess(WorkProcess):
    """Compares files with the same SOP Instance UID, whose pixels it must decode for that; see qcnode.ingest.variants.compare."""

    work = "comparing"

    def __call__(self, first: Path, second: Path) -> str | None:
        """See `ask`: "same", "routine" or "conflict"."""
        return self.ask((first, second))


class _Child:
    """A child process, and the socket to it."""

    def __init__(self, open_work: Callable[[], Callable[[Any], object]]) -> None:
        self._open_work: Callable[[], Callable[[Any], object]] | None = open_work
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

    @property
    def is_new(self) -> bool:
        """Whether it has not been asked anything yet."""
        return self._open_work is not None

    def ask(self, request: object) -> tuple[str | None, str | None]:
        """Have one request worked on: what went wrong, and the answer. Raises EOFError or OSError where the child is gone."""
        if self._open_work is not None:
            self._connection.send(self._open_work)
            self._open_work = None
        self._connection.send(request)
        failure, answer = json.loads(self._connection.recv_bytes())
        return failure, answer

    def end(self) -> str:
        """Take leave of a child that is dying, or kill it: in words, how it ended."""
        self._connection.close()
        try:
            code = self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        return f"died (signal {-code})" if code < 0 else f"ended (exit code {code})"


class _Watch(threading.Thread):
    """Kills a child whose time or memory is over while the context lasts; objection: why it did."""

    def __init__(self, child: _Child, work: str, deadline_seconds: float, memory_mb: int | None) -> None:
        super().__init__(name=f"{work} watch", daemon=True)
        self.objection: str | None = None
        self._process = child.process
        self._start_seconds = _START_SECONDS if child.is_new else 0.0
        self._work = work
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
        end = monotonic() + self._deadline_seconds + self._start_seconds
        while not self._finished.wait(max(0.0, min(_LOOK_SECONDS, end - monotonic()))):
            if monotonic() >= end:
                self.objection = f"{self._work} ran over its deadline of {self._deadline_seconds:g} s"
            elif self._memory_mb is not None and _resident_mb(self._process.pid) > self._memory_mb:
                self.objection = f"the {self._work} process took more than {self._memory_mb} MB of memory"
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
