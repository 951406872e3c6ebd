"""Watches the process that walks the road: a crash, a hang and a glut of memory each belong to one mutant, and the next one goes on."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Self

LONGEST_SECONDS = 10.0
"""Of processor time, so that other work on the machine is nobody's hang; of the clock, four times as much."""

MOST_MB = 1500
"""Resident memory that one mutant may add to that of the idle process."""


_ROOT = Path(__file__).parents[2]
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{_ROOT}:{_ROOT / 'tests'}"}


@dataclass(frozen=True, slots=True)
class Ending:
    """What became of a mutant. `defect`: why that is not as it should be."""

    seed: int
    mutation: str
    origin: str
    ending: str
    seconds: float
    peak_mb: int
    defect: str | None


class Walker:
    """The child process, started again whenever it ended."""

    def __init__(self, folder: Path, *, real: Path | None = None, reports: float = 0.1) -> None:
        self._folder = folder
        self._real = real
        self._reports = reports
        self._process: subprocess.Popen[bytes] | None = None
        self._idle_mb = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()

    @property
    def said(self) -> Path:
        """What the children wrote to standard error."""
        return self._folder / "stderr"

    def walk(self, seed: int) -> Ending:
        """The ending of a mutant."""
        process = self._running()
        assert process.stdin is not None
        process.stdin.write(f"{seed}\n".encode())
        process.stdin.flush()
        answer = self._line(process, 4 * LONGEST_SECONDS)
        if answer is None:
            hung = process.poll() is None
            self._end()
            defect = f"hang over {LONGEST_SECONDS:.0f} s" if hung else f"crash, exit status {process.returncode}"
            return Ending(seed, "?", "?", "hang" if hung else "crash", LONGEST_SECONDS, 0, defect)
        added = answer["peak_mb"] - self._idle_mb
        defect = answer["uncoded"]
        if answer["cpu_seconds"] > LONGEST_SECONDS:
            defect = f"took {answer['cpu_seconds']:.0f} s"
        if added > MOST_MB:
            defect = f"took {added} MB"
        return Ending(seed, answer["mutation"], answer["origin"], answer["ending"], answer["cpu_seconds"], added, defect)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            real = [] if self._real is None else ["--real", self._real]
            command = [sys.executable, Path(__file__).parent / "walker.py", self._folder, "--reports", str(self._reports), *real]
            with self.said.open("ab") as stderr:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, env=os.environ | _ENVIRONMENT
                )
            ready = self._line(self._process, 120)
            assert ready is not None, f"the walker does not start: {self.said.read_text()[-2000:]}"
            self._idle_mb = ready["peak_mb"]
        return self._process

    @staticmethod
    def _line(process: subprocess.Popen[bytes], seconds: float) -> dict | None:
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(seconds):
                return None
        line = process.stdout.readline()
        if not line:
            process.wait(10)
            return None
        return json.loads(line)

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process = None


class Walkers:
    """Several walkers, each with mutants of its own: one uses one core."""

    def __init__(self, folder: Path, number: int, *, real: Path | None = None, reports: float = 0.1) -> None:
        self._walkers = [Walker(folder / str(n), real=real, reports=reports) for n in range(number)]

    @property
    def said(self) -> list[Path]:
        """What the children wrote to standard error."""
        return [walker.said for walker in self._walkers if walker.said.exists()]

    def walk(self, seeds: Iterable[int]) -> Iterator[Ending]:
        """The ending of each mutant, in order."""
        free: SimpleQueue[Walker] = SimpleQueue()
        for walker in self._walkers:
            free.put(walker)

        def walk(seed: int) -> Ending:
            walker = free.get()
            try:
                return walker.walk(seed)
            finally:
                free.put(walker)

        with ExitStack() as started:
            for walker in self._walkers:
                started.enter_context(walker)
            pool = started.enter_context(ThreadPoolExecutor(len(self._walkers)))
            try:
                yield from pool.map(walk, seeds)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
