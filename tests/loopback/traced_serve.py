"""`qcnode serve`, once for each line on standard input, in forks of this process, so that one strace sees them all.

A line is JSON: config, log, and `without`: what is taken out, to show that the check of the order sees it. "fsync:PATTERN" leaves out the
flushes of files and folders like this, "synchronous" leaves SQLite at NORMAL, which does not flush at a commit. Answered with the process
number; an empty line ends the newest one.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from fnmatch import fnmatch
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import dying_serve  # noqa: E402

from qcnode.assess import inference  # noqa: E402, F401  imported once, for every fork
from qcnode.judging import here  # noqa: E402, F401
from qcnode.store import database  # noqa: E402


def main() -> None:
    """Until the end of standard input."""
    running: list[int] = []
    for line in sys.stdin:
        for pid in running:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        running.clear()
        if line.strip():
            asked = json.loads(line)
            pid = os.fork()
            if pid == 0:
                _take_out(asked["without"])
                dying_serve.serve(Path(asked["config"]), Path(asked["log"]), None, Path("/nowhere"))
            running.append(pid)
        sys.stdout.write(f"{json.dumps(running)}\n")
        sys.stdout.flush()


def _take_out(what: str) -> None:
    kind, _, pattern = what.partition(":")
    if kind == "synchronous":
        configure = database._configure

        def without(connection, record) -> None:
            configure(connection, record)
            connection.execute("PRAGMA synchronous=NORMAL")

        database._configure = without
    elif kind == "fsync":
        fsync = os.fsync
        os.fsync = lambda descriptor: None if fnmatch(str(Path(f"/proc/self/fd/{descriptor}").readlink()), pattern) else fsync(descriptor)


if __name__ == "__main__":
    main()
