"""The long run: `make fuzz FUZZ_OBJECTS=10000`. Ends with 1 where a mutant crashed, hung, glutted or failed without a code.

Six of ten mutants walk the road of `qcnode assess`, four are sent to a `qcnode serve`, and between them garbage is thrown at its ports.
What failed is kept in var/fuzz: `python tests/fuzz/run.py --again SEED` makes that mutant once more and walks its road with a traceback.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import garbage
from corpus import Corpus, make_corpus
from mutants import make_mutant
from node import ServedNode, store_mutant
from rich.console import Console
from rich.progress import Progress
from rich.table import Table as Rows
from watch import Ending, Walkers

_ROOT = Path(__file__).parents[2]
KEPT = _ROOT / "var" / "fuzz"
FORBIDDEN = b"PHANTOM"
"""A part of the phantoms' names, which no log line may hold."""

_FILES_SHARE = 0.6
_LOOK_EVERY = 50
_GARBAGE_EVERY = 10
_SETTLE_SECONDS = 300


def main() -> None:
    """Read the command line, run, print the tables; Ctrl-C ends the part that runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=10000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--real", type=Path, help="a folder of DICOM files to make mutants of, too")
    parser.add_argument("--reports", type=float, default=0.03, help="the share of cases whose result files are written as well")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants that walk over a folder at a time")
    parser.add_argument("--only", choices=("files", "network"))
    parser.add_argument("--again", type=int, metavar="SEED")
    arguments = parser.parse_args()
    if arguments.again is not None:
        _again(arguments.again, arguments.real)
        return
    console = Console()
    files = {"files": arguments.objects, "network": 0}.get(arguments.only, round(arguments.objects * _FILES_SHARE))
    first, middle, last = arguments.first, arguments.first + files, arguments.first + arguments.objects
    defects: list[str] = []
    with tempfile.TemporaryDirectory(prefix="qcnode-fuzz-") as folder, Progress(console=console) as progress:
        if files:
            walkers = Walkers(Path(folder) / "walkers", arguments.jobs, real=arguments.real, reports=arguments.reports)
            endings = progress.track(walkers.walk(range(first, middle)), total=files, description="files")
            defects += _report_files(endings, console, arguments.real)
            for said in walkers.said:
                defects += _leaks(said)
        if middle < last:
            corpus = make_corpus(arguments.real)
            with ServedNode(Path(folder) / "node") as node:
                defects += _network(node, corpus, progress.track(range(middle, last), description="network"), console)
                defects += _leaks(node.log)
    for defect in defects:
        console.print(f"[red]defect[/] {defect}", soft_wrap=True)
    console.print(f"{arguments.objects} mutants, {len(defects)} defects" + (f"; see {KEPT}" if defects else ""))
    sys.exit(1 if defects else 0)


def _report_files(endings: Iterator[Ending], console: Console, real: Path | None) -> list[str]:
    counts: Counter[str] = Counter()
    defects, slowest, peak = [], 0.0, 0
    corpus: Corpus | None = None
    with suppress(KeyboardInterrupt):  # what was counted so far is still printed
        for ending in endings:
            counts[ending.ending] += 1
            slowest, peak = max(slowest, ending.seconds), max(peak, ending.peak_mb)
            if ending.defect:
                defects.append(f"mutant {ending.seed} ({ending.mutation}, {ending.origin}): {ending.defect}")
                console.print(defects[-1], soft_wrap=True)
                corpus = corpus or make_corpus(real)
                KEPT.mkdir(parents=True, exist_ok=True)
                (KEPT / f"{ending.seed}.dcm").write_bytes(make_mutant(corpus, ending.seed).content)
    _print("over a folder", counts, console)
    console.print(f"slowest {slowest:.1f} s of processor time, most memory {peak} MB more than idle")
    return defects


def _network(node: ServedNode, corpus: Corpus, seeds: Iterator[int], console: Console) -> list[str]:
    answers: Counter[str] = Counter()
    thrown: Counter[str] = Counter()
    defects, idle = [], node.peak_mb()
    with suppress(KeyboardInterrupt):
        for seed in seeds:
            try:
                answers[store_mutant(corpus, seed, node.port)[1]] += 1
                if seed % _GARBAGE_EVERY == 0:
                    name, answer = garbage.throw(seed // _GARBAGE_EVERY, node.ups_port if seed % 40 == 0 else node.port)
                    thrown[f"{name}: {answer}"] += 1
                wrong = node.stands() if seed % _LOOK_EVERY == 0 else None
            except OSError as error:
                wrong = f"{type(error).__name__} while sending"
            if wrong:
                defects.append(f"mutant {seed}: {wrong}")
                if node.process.poll() is not None:
                    break
    defects += _settled(node)
    if answers["status C211H"]:
        defects.append(f"{answers['status C211H']} C-STORE answers without a reason of their own (C211H)")
    _print("C-STORE", answers, console)
    _print("what became of them", node.states(), console)
    _print("garbage", thrown, console)
    console.print(f"most memory of the node {node.peak_mb()} MB, {idle} MB idle")
    return defects


def _settled(node: ServedNode) -> list[str]:
    """Everything that was taken has been looked at."""
    end = time.monotonic() + _SETTLE_SECONDS
    while node.unindexed() and time.monotonic() < end and node.process.poll() is None:
        time.sleep(1)
    wrong = node.stands()
    defects = [f"at the end: {wrong}"] if wrong else []
    if left := node.unindexed():
        defects.append(f"{left} objects are taken and not looked at")
    return defects


def _leaks(log: Path) -> list[str]:
    lines = [line for line in log.read_bytes().splitlines() if FORBIDDEN in line]
    if lines:
        KEPT.mkdir(parents=True, exist_ok=True)
        shutil.copy(log, KEPT / f"leaking-{log.name}")
    return [f"{len(lines)} lines of {log.name} hold a patient's name"] if lines else []


def _print(title: str, counts: Counter[str], console: Console) -> None:
    rows = Rows(title=title, title_justify="left", show_header=False)
    for name, count in sorted(counts.items()):
        rows.add_row(name, str(count))
    rows.add_row("all", str(counts.total()))
    console.print(rows)


def _again(seed: int, real: Path | None) -> None:
    import walker

    mutant = make_mutant(make_corpus(real), seed)
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / f"{seed}.dcm").write_bytes(mutant.content)
    console = Console()
    console.print(f"{mutant.mutation}, {mutant.origin}, place {mutant.place}: {KEPT / f'{seed}.dcm'}", soft_wrap=True)
    with tempfile.TemporaryDirectory() as folder:
        console.print(walker.walk(mutant, Path(folder), walker.cardiac_task(), report=True))


if __name__ == "__main__":
    main()
