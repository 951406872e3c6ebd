"""What the processes of a node take: memory, threads and open files, out of /proc (Linux)."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

PROC = Path("/proc")
JUDGING = "qcnode.judging"


@dataclass(frozen=True)
class Taken:
    """What one process takes at one moment. Memory in MB: resident, its share of what is shared (proportional), and its alone."""

    second: float
    process: str
    pid: int
    resident_mb: float
    proportional_mb: float
    own_mb: float
    threads: int
    files: int


def children_of(pid: int) -> list[int]:
    """Process IDs of the children of every thread of a process."""
    children: list[int] = []
    for listed in PROC.glob(f"{pid}/task/*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread has just ended; who is left takes over its children
            children += map(int, listed.read_text().split())
    return children


def name_of(pid: int) -> str:
    """What a child of the node is there for."""
    return "judging" if JUDGING in (PROC / f"{pid}/cmdline").read_text() else f"child {pid}"


def look_at(pid: int, name: str, second: float) -> Taken:
    """A process now. Raises OSError where it is gone."""
    lines = (PROC / f"{pid}/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {key: int(value.split()[0]) for key, value in (line.split(":") for line in lines)}
    status = dict(line.split(":\t", 1) for line in (PROC / f"{pid}/status").read_text().splitlines() if ":\t" in line)
    own = kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]
    megabytes = (kilobytes["Rss"] / 1024, kilobytes["Pss"] / 1024, own / 1024)
    return Taken(second, name, pid, *megabytes, int(status["Threads"]), len(list((PROC / f"{pid}/fd").iterdir())))


@dataclass(frozen=True)
class Growth:
    """Resident memory of one process in MB, once it had settled and at the end; and its largest number of threads and open files then."""

    process: str
    settled_mb: float
    end_mb: float
    threads: tuple[int, int]
    files: tuple[int, int]

    @property
    def percent(self) -> float:
        """How much more it is at the end."""
        return 100 * (self.end_mb / self.settled_mb - 1)


def growths(samples: list[Taken], settled_second: float, window_seconds: float = 60.0) -> list[Growth]:
    """Each process: the median of a window that begins when all had time to settle against that of the last window.

    Raises ValueError where a process has no samples in one of them.
    """
    end = max(s.second for s in samples)
    found = []
    for process in sorted({s.process for s in samples}):
        of_it = [s for s in samples if s.process == process]
        first = [s for s in of_it if settled_second <= s.second <= settled_second + window_seconds]
        last = [s for s in of_it if s.second >= end - window_seconds]
        if not first or not last:
            raise ValueError(f"{process} was not there from second {settled_second:.0f} to the end")
        found.append(
            Growth(
                process,
                median(s.resident_mb for s in first),
                median(s.resident_mb for s in last),
                (max(s.threads for s in first), max(s.threads for s in last)),
                (max(s.files for s in first), max(s.files for s in last)),
            )
        )
    return found
