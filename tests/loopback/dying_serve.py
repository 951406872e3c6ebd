"""`qcnode serve` in a process that kills itself at a named step: nothing in the product knows of it.

Run by the fork server of multiprocessing, which has imported everything once, so that a start takes no seconds.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

import numpy as np
from spare_processes import use_spares

SPARES = 2
"""Judging processes that a node can have one after the other: one that is killed, and its successor."""


@dataclass(frozen=True, slots=True)
class Death:
    """Where a process kills itself: before or after the `call`-th call of `target`, a dotted name "module:attribute.attribute".

    path: counts only calls one of whose first two arguments is a path like this, or a descriptor of such a file. returned: counts only
    calls that return something. step: the name under which the table shows it. victim: the node, or whoever comes to the call, which may
    be the process that judges.
    """

    step: str
    target: str
    when: Literal["before", "after"]
    call: int = 1
    path: str = ""
    returned: bool = False
    victim: Literal["node", "caller"] = "node"


def serve(config: Path, log: Path, death: Death | None, marker: Path) -> None:
    """Run the command; the process leaves the death's name in `marker` before it kills."""
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    _hurry()
    if death is not None:
        _arm(death, marker, node=os.getpid())
    use_spares(importlib.import_module("qcnode.judging.process"), SPARES)
    threading.Thread(target=_end_with_the_tests, daemon=True).start()
    command(["serve", "--config", str(config)])


def _end_with_the_tests() -> None:
    """A run that is broken off leaves no node behind."""
    tests = multiprocessing.parent_process()
    if tests is not None:
        tests.join()
        os.kill(os.getpid(), signal.SIGKILL)


def command(words: list[str]) -> None:
    """What the program `qcnode` does with these words."""
    from qcnode.cli import main

    sys.argv = ["qcnode", *words]
    main()


def audit(config: Path, said: Path, offline: bool) -> None:
    """`qcnode audit --json`; what it says goes into a file, its exit code is the process's."""
    stream = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    command(["audit", "--json", "--config", str(config), *(["--offline"] if offline else [])])


def _arm(death: Death, marker: Path, node: int) -> None:
    """Wrap the target. Raises AttributeError where there is none, so that a step that was renamed is seen."""
    module, _, names = death.target.partition(":")
    owner: Any = importlib.import_module(module)
    *outer, name = names.split(".")
    for part in outer:
        owner = getattr(owner, part)
    original, counted, lock = getattr(owner, name), 0, threading.Lock()

    def is_the_call() -> bool:
        nonlocal counted
        with lock:
            counted += 1
            return counted == death.call

    def wrapped(*arguments: Any, **named: Any) -> Any:
        if death.path and not any(_is_path(argument, death.path) for argument in arguments[:2]):
            return original(*arguments, **named)
        if death.when == "before" and is_the_call():
            _die(death, marker, node)
        answer = original(*arguments, **named)
        if death.when == "after" and (answer or not death.returned) and is_the_call():
            _die(death, marker, node)
        return answer

    setattr(owner, name, wrapped)


def _is_path(argument: Any, pattern: str) -> bool:
    if isinstance(argument, int) and not isinstance(argument, bool):
        argument = Path(f"/proc/self/fd/{argument}").readlink()
    return isinstance(argument, str | Path) and fnmatch(str(argument), pattern)


def _die(death: Death, marker: Path, node: int) -> None:
    if marker.exists():  # the successor of the judging process that was killed
        return
    marker.write_text(death.step)
    os.kill(node if death.victim == "node" else os.getpid(), signal.SIGKILL)
    time.sleep(60)  # never: the signal ends every thread, and the node's end its child


def _hurry() -> None:
    """Timers of minutes become seconds, and the networks are left out: what they say has nothing to do with what a crash leaves."""
    from apscheduler.schedulers.background import BackgroundScheduler

    from qcnode.assess import inference
    from qcnode.workers import assess

    add_job = BackgroundScheduler.add_job

    def add_soon(self: BackgroundScheduler, job: Callable[..., Any], trigger: str, **timing: Any) -> Any:
        if trigger == "interval" and not timing.keys() & {"hours"}:
            timing = {key: value for key, value in timing.items() if key not in ("minutes", "seconds")} | {"seconds": 1}
        return add_job(self, job, trigger, **timing)

    BackgroundScheduler.add_job = add_soon
    assess._back_off = lambda _: timedelta(seconds=0.2)
    inference._read_members = lambda *_: ()
    inference.QCPredictor.predict = _say


def _say(self: Any, contrasts: Any, query: Any) -> Any:
    """A prediction that fails the query, with an error map."""
    from qcnode.case import Prediction

    tissues = tuple(t.name for t in self.card.tissues)
    wrong = np.zeros_like(query)
    wrong[:, :, 10:14, 10:14] = True
    return Prediction(0.4, 0.3, 2.0, dict.fromkeys(tissues, 0.4), wrong, tissues, "CPU")
