"""The crash matrix: `qcnode serve` is killed at every named step of the road and at random moments under load; what is lost or doubled?

    make crash-matrix                                            every named step three times and 200 random moments; prints the table
    make crash-matrix CRASH_ARGS="--rounds 1 --random 20"        less

Rows are kept in a file of the folder: a run that was broken off goes on where it was.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import crash_steps as steps
from crash_scene import Scene, fork_server, open_scene
from dying_serve import Death
from rich.console import Console
from rich.table import Table

RANDOM = "random moments under load"
LONGEST_SECONDS = 4.0
"""After which a node is killed at the latest: a study takes the whole road in about two seconds."""
KILLS_BETWEEN_AUDITS = 10


@dataclass(frozen=True, slots=True)
class Row:
    """What came of the kills at one step: how often it was killed, what was lost, what was there twice."""

    step: str
    kills: int
    lost: tuple[str, ...]
    doubled: tuple[str, ...]


def kill_at(scene: Scene, deaths: Sequence[Death], seed: str, *, offline: bool) -> list[Row]:
    """A kill at each of the steps, on the road of one study; afterwards nothing may be lost or doubled (offline: see Scene.judge).

    Raises AssertionError where the node does not come to a step, or not to rest afterwards.
    """
    study = scene.new_study(seed)
    for death in deaths:
        if death in steps.DECIDING:
            assert scene.decide(), "no item waits"
        scene.start(death)
        sent = None if death in (*steps.DECIDING, *steps.STARTING) else study
        assert scene.dies_of(death, sent), f"the node never came to {death.step!r}: {scene.log_tail()}"
    rows = _afterwards(scene, offline=offline)
    return [Row(death.step, 1, *rows) for death in deaths]


def kill_at_random(scene: Scene, kills: int, seed: str, *, offline: bool) -> Row:
    """Kills at random moments, while studies are sent and decisions are made."""
    chance = random.Random(seed)
    for number in range(kills):
        scene.start()
        ended = threading.Event()
        user = threading.Thread(target=_use, args=(scene, ended, f"{seed} {number}"))
        user.start()
        time.sleep(chance.uniform(0, LONGEST_SECONDS))
        scene.kill()
        ended.set()
        user.join()
    return Row(RANDOM, kills, *_afterwards(scene, offline=offline))


def _use(scene: Scene, ended: threading.Event, seed: str) -> None:
    """A new study and what was cut off before, at the same time; and decisions."""
    scene.new_study(seed, queries=1 + scene.kills % 2)
    with ThreadPoolExecutor(3) as pool:
        for study in scene.studies[-3:]:
            pool.submit(scene.send, study)
        while not ended.wait(0.5):
            scene.decide()


def _afterwards(scene: Scene, *, offline: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is lost and what is doubled, when the node was started again and rests."""
    if not scene.process.is_alive():
        scene.start()
    scene.come_to_rest()
    verdict = scene.judge(offline=offline)
    scene.kill()
    return tuple(verdict.lost), tuple(verdict.doubled)


def chains() -> Iterator[tuple[Death, ...]]:
    """Every named step once, several on the road of each study: those of a chain come one after the other on it."""
    beginnings = (*steps.RECEIVING, *steps.PURGING, *steps.STARTING)
    endings = (*steps.DELIVERING, *steps.PROVING, *steps.TELLING)
    for chain in zip_longest(steps.DECIDING, beginnings, steps.MATCHING, steps.JUDGING, endings):
        yield tuple(death for death in chain if death is not None)


def run_steps(folder: Path, context: Any, ways: Sequence[Sequence[Death]], done: Callable[[Row], None], seed: str = "") -> None:
    """Kill a node on a storage directory of its own at each of the steps; before, it answers as many studies as decisions are needed."""
    with open_scene(folder, context) as scene:
        for number in range(1 + sum(death in steps.DECIDING for way in ways for death in way)):
            scene.new_study(f"{folder.name} {seed} before {number}")
        scene.start()
        scene.come_to_rest()
        scene.kill()
        for number, way in enumerate(ways):
            for row in kill_at(scene, way, f"{folder.name} {seed} {number}", offline=number + 1 < len(ways)):
                done(row)


def run_random(folder: Path, context: Any, kills: int, done: Callable[[Row], None], seed: str) -> None:
    """Kill a node on a storage directory of its own so often."""
    with open_scene(folder, context) as scene:
        for start in range(0, kills, KILLS_BETWEEN_AUDITS):
            number, is_last = min(KILLS_BETWEEN_AUDITS, kills - start), start + KILLS_BETWEEN_AUDITS >= kills
            done(kill_at_random(scene, number, f"{seed} {folder.name} {start}", offline=not is_last))


def table_of(rows: Sequence[Row]) -> Table:
    """The rows of each step as one."""
    table = Table("step", "kills", "lost", "doubled")
    for step in (*(death.step for death in steps.STEPS), RANDOM, "all"):
        of_step = [row for row in rows if step in (row.step, "all")]
        counts = (sum(r.kills for r in of_step), sum(len(r.lost) for r in of_step), sum(len(r.doubled) for r in of_step))
        table.add_row(step, *map(str, counts))
    return table


def main() -> int:
    """Run what is still to be run, say how far it is, and print the table. Exit code 1 where something was lost or doubled."""
    parser = ArgumentParser(description="kill qcnode serve, and see what is lost or doubled")
    parser.add_argument("--rounds", type=int, default=3, help="how often at every named step (default: 3)")
    parser.add_argument("--random", type=int, default=200, help="how often at random moments (default: 200)")
    parser.add_argument("--seed", default="1", help="of the random moments (default: 1)")
    parser.add_argument("--lanes", type=int, default=3, help="nodes at the same time (default: 3)")
    parser.add_argument("--folder", type=Path, help="where it lies, and goes on (default: a new temporary folder)")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(mkdtemp(prefix="qcnode-crash-"))
    folder.mkdir(parents=True, exist_ok=True)
    rows, failures = _run(folder, arguments.rounds, arguments.random, arguments.seed, arguments.lanes)
    console = Console()
    console.print(table_of(rows))
    for row in rows:
        for what in (*row.lost, *row.doubled):
            console.print(f"{row.step}: {what}", soft_wrap=True)
    for failure in failures:
        console.print(f"not finished: {failure}", soft_wrap=True)
    return 1 if failures or any(row.lost or row.doubled for row in rows) else 0


def _run(folder: Path, rounds: int, kills: int, seed: str, lanes: int) -> tuple[list[Row], list[str]]:
    """All rows, those of an earlier run in the folder included, and why a lane ended early."""
    kept, lock = folder / "rows.jsonl", threading.Lock()
    rows = [Row(**json.loads(line)) for line in kept.read_text().splitlines()] if kept.exists() else []
    total, begun = rounds * len(steps.STEPS) + kills, time.strftime("%H%M%S")

    def done(row: Row) -> None:
        with lock, kept.open("a") as file:
            file.write(json.dumps(asdict(row)) + "\n")
            rows.append(row)
            sys.stderr.write(f"{time.strftime('%H:%M:%S')} {sum(r.kills for r in rows)} of {total} kills: {row.step}\n")

    times = Counter({row.step: 0 for row in rows})
    for row in rows:
        times[row.step] += row.kills
    todo = [(death,) for death in steps.STEPS for _ in range(rounds - times[death.step])]
    random.Random(seed).shuffle(todo)
    context = fork_server()
    with ThreadPoolExecutor(lanes + 1) as pool:
        running = [pool.submit(run_steps, folder / f"{begun}-{n}", context, todo[n::lanes], done, begun) for n in range(lanes)]
        running.append(pool.submit(run_random, folder / f"{begun}-random", context, max(0, kills - times[RANDOM]), done, seed))
    return rows, [str(lane.exception()) for lane in running if lane.exception() is not None]


if __name__ == "__main__":
    sys.exit(main())
