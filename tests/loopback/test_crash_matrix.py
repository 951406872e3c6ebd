"""kill -9 at every named step of the road, and at a few random moments: nothing that was acknowledged is lost, and nothing is there twice."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from crash_matrix import Row, run_random, run_steps
from crash_scene import fork_server
from crash_steps import STEPS

LANES = 4


@pytest.mark.timeout(400)
def test_every_named_step_once_and_some_random_moments(tmp_path: Path) -> None:
    context, rows = fork_server(), list[Row]()
    with ThreadPoolExecutor(LANES + 1) as pool:
        lanes = [
            pool.submit(run_steps, tmp_path / f"lane-{n}", context, STEPS[n::LANES], rows.append) for n in range(LANES)
        ] + [pool.submit(run_random, tmp_path / "random", context, 8, rows.append, "8")]
        for lane in lanes:
            lane.result()
    assert {row.step for row in rows if row.kills} >= {death.step for death in STEPS}
    wrong = [row for row in rows if row.lost or row.doubled]
    assert not wrong
