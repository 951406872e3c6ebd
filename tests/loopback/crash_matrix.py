"""The crash matrix: `qcnode serve` is killed at every named step of the road and at random moments under load, and nothing is lost or doubled.

    make crash-matrix                 every named step three times, 200 random moments; prints the table
    make crash-matrix CRASH_ARGS="--rounds 1 --random 20"

What was done is kept in the folder, so that a run that was broken off goes on where it was.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "loopback")]

from crash_scene import Scene, open_scene  # noqa: E402
from crash_steps import STEPS  # noqa: E402
from dying_serve import Death  # noqa: E402
from rich.table import Table  # noqa: E402

RANDOM = "random moment under load"
LONGEST_SECONDS = 4.0
"""After which a node is killed at the latest: a study takes the whole road in about two seconds."""
KILLS_BETWEEN_AUDITS = 10


@dataclass(frozen=True, slots=True)
class Row:
    """What came of the kills at one step: how often the node was killed, what was lost, what was there twice."""

    step: str
    kills: int
    lost: tuple[str, ...]
    doubled: tuple[str, ...]


def kill_at(scene: Scene, death: Death, seed: str) -> Row:
    """One kill at a named step. Raises AssertionError where the node did not come to it, or does not come to rest afterwards."""
    decides = death.step.startswith("decide")
    if decides:
        assert scene.decide(), "no item waits"
    study = scene.new_study(seed)
    scene.start(death)
    if scene.process.is_alive():
        scene.send(study)
    assert scene.dies_of(death), f"the node never came to {death.step!r}: {scene.log_tail()}"
    return _afterwards(scene, death.step, 1)


def kill_at_random(scene: Scene, kills: int, seed: str) -> Row:
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
    return _afterwards(scene, RANDOM, kills)


def _use(scene: Scene, ended: threading.Event, seed: str) -> None:
    """Two studies at once, the second one with two queries; what was cut off before; and decisions."""
    new = [scene.new_study(f"{seed} {part}", queries) for part, queries in (("a", 1), ("b", 2))]
    with ThreadPoolExecutor(3) as pool:
        for study in (*scene.studies[-6:-2], *new):
            pool.submit(scene.send, study)
        while not ended.wait(0.5):
            scene.decide()


def _afterwards(scene: Scene, step: str, kills: int) -> Row:
    scene.start()
    scene.come_to_rest()
    verdict = scene.judge()
    scene.kill()
    return Row(step, kills, tuple(verdict.lost), tuple(verdict.doubled))


def run_steps(folder: Path, context: Any, deaths: Sequence[Death], done: Callable[[Row], None], seed: str = "") -> None:
    """Kill a node on a storage directory of its own at each of the steps."""
    with open_scene(folder, context) as scene:
        scene.new_study(f"{folder.name} {seed} first")
        scene.start()
        scene.come_to_rest()
        scene.kill()
        for number, death in enumerate(deaths):
            done(kill_at(scene, death, f"{folder.name} {seed} {number}"))


def run_random(folder: Path, context: Any, kills: int, done: Callable[[Row], None], seed: str) -> None:
    """Kill a node on a storage directory of its own so often."""
    with open_scene(folder, context) as scene:
        for start in range(0, kills, KILLS_BETWEEN_AUDITS):
            done(kill_at_random(scene, min(KILLS_BETWEEN_AUDITS, kills - start), f"{seed} {folder.name} {start}"))


def summary(rows: Sequence[Row]) -> Table:
    """The rows of each step as one."""
    table = Table("step", "kills", "lost", "doubled")
    for step in (*(death.step for death in STEPS), RANDOM):
        of_step = [row for row in rows if row.step == step]
        counts = (sum(r.kills for r in of_step), sum(len(r.lost) for r in of_step), sum(len(r.doubled) for r in of_step))
        table.add_row(step, *map(str, counts))
    totals = (sum(r.kills for r in rows), sum(len(r.lost) for r in rows), sum(len(r.doubled) for r in rows))
    table.add_row("all", *map(str, totals))
    return table
