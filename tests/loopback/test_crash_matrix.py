"""kill -9 at every named step of the road, and at some random moments: nothing acknowledged is lost, and nothing is there twice."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from crash_matrix import RANDOM, Row, chains, run_random, run_steps
from crash_scene import fork_server
from crash_steps import STEPS

LANES = 3
RANDOM_KILLS = 8


@pytest.mark.timeout(600)
def test_every_named_step_once_and_some_random_moments(tmp_path: Path) -> None:
    context, ways, rows = fork_server(), list(chains()), list[Row]()
    with ThreadPoolExecutor(LANES + 1) as pool:
        lanes = [pool.submit(run_steps, tmp_path / f"lane-{n}", context, ways[n::LANES], rows.append) for n in range(LANES)]
        lanes.append(pool.submit(run_random, tmp_path / "random", context, RANDOM_KILLS, rows.append, "8"))
        for lane in lanes:
            lane.result()
    assert not [row for row in rows if row.lost or row.doubled]
    assert sorted(row.step for row in rows) == sorted([*(death.step for death in STEPS), RANDOM]), "each step killed, once"
    assert sum(row.kills for row in rows) == len(STEPS) + RANDOM_KILLS
