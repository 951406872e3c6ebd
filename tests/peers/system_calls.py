"""What strace has written, as system calls in their order; and the order in which a node must make them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FLUSHES = ("fsync", "fdatasync")
WRITES = ("write", "pwrite64", "writev", "pwritev")
RENAMES = ("rename", "renameat", "renameat2")
P_DATA_TF = r'"\4'
"""How the send of a P-DATA-TF begins (PS3.8 table 9-22)."""

_LINE = re.compile(r"(?P<pid>\d+)\s+(?:(?P<name>\w+)\((?P<arguments>.*)|<\.\.\. (?P<resumed>\w+) resumed>(?P<rest>.*))", re.DOTALL)
_DESCRIPTOR = re.compile(r"^\d+<(?P<what>.*?)>(?=[,)]|$)")
_PATH = re.compile(r'"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that succeeded. begun, ended: places in the trace; subject: what its first descriptor is; paths: texts in quotes."""

    thread: int
    name: str
    begun: int
    ended: int
    subject: str
    paths: tuple[str, ...]
    arguments: str


class OutOfOrder(AssertionError):
    """A step that must be durable is not, or not in time."""


def read_trace(path: Path) -> list[Call]:
    """The calls in the order in which they began."""
    begun: dict[int, tuple[int, str, str]] = {}
    calls = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines()):
        match = _LINE.match(line)
        if match is None:
            continue
        thread = int(match["pid"])
        if match["name"] and line.endswith("<unfinished ...>"):
            begun[thread] = (number, match["name"], match["arguments"].removesuffix("<unfinished ...>").rstrip())
        elif match["name"]:
            calls.append(_call(thread, match["name"], number, number, match["arguments"]))
        elif thread in begun:
            first, name, arguments = begun.pop(thread)
            calls.append(_call(thread, name, first, number, arguments + match["rest"]))
    return sorted((call for call in calls if call is not None), key=lambda call: call.begun)


def _call(thread: int, name: str, begun: int, ended: int, text: str) -> Call | None:
    if re.search(r"= -1 E\w+", text):
        return None
    descriptor = _DESCRIPTOR.match(text)
    return Call(thread, name, begun, ended, descriptor["what"] if descriptor else "", tuple(_PATH.findall(text)), text)


@dataclass(frozen=True, slots=True)
class Order:
    """Checks the calls that concern one storage directory. Each check raises OutOfOrder where a flush is missing or too late."""

    calls: list[Call]
    storage: Path

    def check_receiving(self, port: int) -> None:
        """Temporary file, flush, rename, flush of the folder, commit with its flush; only then the answer to the C-STORE."""
        renamed = next(self._renames(f"{self.storage}/objects/"))
        self._written_and_flushed(renamed.paths[0], before=renamed)
        placed = self._flush_of(str(Path(renamed.paths[1]).parent), after=renamed.ended)
        committed = self._commit(renamed.thread, after=placed.ended)
        answer = self._send(f":{port}->", after=renamed.ended)
        self._require(committed.ended < answer.begun, "the C-STORE was answered before its commit was durable")

    def check_results(self) -> None:
        """Every result file, its folder, the rename, the folders above; only then the commit that settles the case."""
        renamed = next(self._renames(f"{self.storage}/results/"))
        unfinished, final = renamed.paths[:2]
        written = {call.subject for call in self.calls if call.name in WRITES and call.subject.startswith(f"{unfinished}/")}
        self._require(len(written) > 4, "no result files were seen")
        for path in sorted(written):
            self._written_and_flushed(path, before=renamed)
        for folder in {unfinished, *(str(Path(path).parent) for path in written)}:
            self._require(self._flush_of(folder, after=-1).ended < renamed.begun, f"{folder} was not flushed before the rename")
        flushed = [self._flush_of(str(Path(final).parent), after=renamed.ended)]
        for made in (call for call in self.calls if call.name in ("mkdir", "mkdirat") and call.paths[0] in self._above(final)):
            flushed.append(self._flush_of(str(Path(made.paths[0]).parent), after=made.ended))
        opened = (
            c for c in self.calls if c.name == "openat" and c.paths and c.paths[0] == f"{final}/verdict.json" and c.begun > renamed.ended
        )
        settling = next(c for c in opened if c.thread != renamed.thread)
        commit = self._commit_begun(settling.thread, after=settling.ended)
        self._require(max(call.ended for call in flushed) < commit.begun, "the case was settled before its result was durable")

    def check_delivery(self, port: int) -> None:
        """The settled bytes, their row; only then the first send."""
        renamed = next(self._renames(f"{self.storage}/outbox/"))
        self._written_and_flushed(renamed.paths[0], before=renamed)
        placed = self._flush_of(str(Path(renamed.paths[1]).parent), after=renamed.ended)
        for made in (call for call in self.calls if call.name in ("mkdir", "mkdirat") and call.paths[0] in self._above(renamed.paths[1])):
            flushed = self._flush_of(str(Path(made.paths[0]).parent), after=made.ended)
            self._require(flushed.ended < renamed.begun, f"{made.paths[0]} was not durable")
        committed = self._commit(renamed.thread, after=placed.ended)
        sent = self._send(f"->127.0.0.1:{port}]", after=renamed.ended)
        self._require(committed.ended < sent.begun, "the object was sent before its bytes were settled")

    def _renames(self, folder: str) -> Iterator[Call]:
        found = [call for call in self.calls if call.name in RENAMES and call.paths[1].startswith(folder)]
        self._require(bool(found), f"nothing was renamed into {folder}")
        return iter(found)

    def _above(self, path: str) -> set[str]:
        """The folders inside of the storage directory in which a path lies."""
        return {str(parent) for parent in Path(path).parents if parent.is_relative_to(self.storage) and parent != self.storage}

    def _written_and_flushed(self, path: str, *, before: Call) -> None:
        writes = [call for call in self.calls if call.name in WRITES and call.subject == path]
        self._require(bool(writes), f"nothing was written to {path}")
        flush = self._flush_of(path, after=max(call.ended for call in writes))
        self._require(flush.ended < before.begun, f"{path} was renamed before it was flushed")

    def _flush_of(self, path: str, *, after: int) -> Call:
        found = next((call for call in self.calls if call.name in FLUSHES and call.subject == path and call.begun > after), None)
        if found is None:
            raise OutOfOrder(f"{path} was never flushed")
        return found

    def _commit_begun(self, thread: int, *, after: int) -> Call:
        """The first write of a thread to the database's log."""
        log = f"{self.storage}/qcnode.sqlite3-wal"
        found = next((c for c in self.calls if c.name in WRITES and c.subject == log and c.thread == thread and c.begun > after), None)
        if found is None:
            raise OutOfOrder("nothing was committed")
        return found

    def _commit(self, thread: int, *, after: int) -> Call:
        """The flush that ends the thread's commit: it comes before the thread writes anything else to the log."""
        log, written = f"{self.storage}/qcnode.sqlite3-wal", self._commit_begun(thread, after=after)
        of_thread = [c for c in self.calls if c.thread == thread and c.subject == log and c.begun > written.begun]
        flush = next((c for c in of_thread if c.name in FLUSHES), None)
        if flush is None:
            raise OutOfOrder("the commit was not flushed")
        return flush

    def _send(self, connection: str, *, after: int) -> Call:
        """The first P-DATA on a TCP connection, named as strace names it."""
        sends = (c for c in self.calls if c.name in ("sendto", "sendmsg") and connection in c.subject and P_DATA_TF in c.arguments)
        found = next((call for call in sends if call.begun > after), None)
        if found is None:
            raise OutOfOrder(f"nothing was sent on {connection}")
        return found

    def _require(self, condition: bool, text: str) -> None:
        if not condition:
            raise OutOfOrder(text)
