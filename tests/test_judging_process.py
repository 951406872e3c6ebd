"""Whatever a case does to the process that judges it: the node learns of it in time, and the next case is judged."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from made_judges import case, no_judge, told
from store_samples import encoded_object

from qcnode.config import Logging
from qcnode.judging.assignment import Assignment, CaseJudge, JudgingFailed, JudgingStopped
from qcnode.judging.opening import open_comparison
from qcnode.judging.process import ComparingProcess, JudgingProcess
from qcnode.outcome import Outcome

NODE = """
import sys
from pathlib import Path
from test_judging_process import JudgingProcess, assignment, told
JudgingProcess(told, deadline_seconds=60)(assignment(sys.argv[1], Path(sys.argv[2])))
"""
Judging = Callable[..., JudgingProcess]


@pytest.fixture
def judging() -> Iterator[Judging]:
    """Makes judging processes, and stops them."""
    made: list[JudgingProcess] = []

    def make(open_judge: Callable[[], CaseJudge] = told, *, deadline_seconds: float = 60, memory_mb: int | None = None) -> JudgingProcess:
        made.append(JudgingProcess(open_judge, deadline_seconds=deadline_seconds, memory_mb=memory_mb))
        return made[-1]

    yield make
    for process in made:
        process.stop()


def assignment(case_id: str, folder: Path) -> Assignment:
    return Assignment(case(case_id), folder / case_id, datetime(2026, 5, 4, tzinfo=UTC))


def process_of(outcome: Outcome) -> int:
    return int(str(outcome.device))


def is_running(pid: int) -> bool:
    """Neither gone nor a zombie, which waits for its parent only."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_for(done: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        time.sleep(0.02)
    return done()


def test_cases_are_judged_one_after_the_other_by_one_process(judging: Judging, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    judge = judging()
    first, second = (judge(assignment(name, tmp_path)) for name in ("print-1", "good-2"))
    assert process_of(first) == process_of(second) != os.getpid()
    assert os.getsid(process_of(first)) != os.getsid(0), "Ctrl-C does not reach it"
    assert (first.case_id, second.case_id) == ("print-1", "good-2")
    said = capfd.readouterr()
    assert "printed by a library" in said.err
    assert not said.out, "standard output is the node's alone"


@pytest.mark.parametrize(
    ("told_to", "ending"),
    [
        ("crash", r"the judging process died \(signal 11\)"),
        ("exit", r"the judging process ended \(exit code 3\)"),
        ("raise", r"^ValueError at made_judges.py:\d+$"),
    ],
)
def test_a_case_that_ends_its_judge_is_told_and_the_next_one_is_judged(judging: Judging, tmp_path: Path, told_to: str, ending: str) -> None:
    judge = judging()
    with pytest.raises(JudgingFailed, match=ending):
        judge(assignment(f"{told_to}-1", tmp_path))
    assert judge(assignment("good-2", tmp_path)).case_id == "good-2"


@pytest.mark.parametrize("told_to", ["hang", "seize"])
def test_a_case_that_hangs_is_broken_off_at_its_deadline(judging: Judging, tmp_path: Path, told_to: str) -> None:
    judge = judging(deadline_seconds=2)
    judge(assignment("good-0", tmp_path))
    with pytest.raises(JudgingFailed, match="judging ran over its deadline of 2 s"):
        judge(assignment(f"{told_to}-1", tmp_path))
    assert not is_running(int((tmp_path / f"{told_to}-1.pid").read_text()))
    assert judge(assignment("good-2", tmp_path)).case_id == "good-2"


def test_a_case_that_takes_too_much_memory_is_broken_off(judging: Judging, tmp_path: Path) -> None:
    judge = judging(memory_mb=300)
    with pytest.raises(JudgingFailed, match="took more than 300 MB of memory"):
        judge(assignment("grow-1", tmp_path))
    assert judge(assignment("good-2", tmp_path)).case_id == "good-2"


def test_a_process_that_died_while_it_had_nothing_to_do_is_replaced(judging: Judging, tmp_path: Path) -> None:
    judge = judging()
    first = process_of(judge(assignment("good-1", tmp_path)))
    os.kill(first, signal.SIGKILL)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)  # with all its threads: the first of them ends before the others
    assert process_of(judge(assignment("good-2", tmp_path))) != first


def test_without_a_judge_the_reason_is_in_the_log(judging: Judging, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(JudgingFailed, match="exit code 1"):
        judging(no_judge)(assignment("good-1", tmp_path))
    assert "no case can be judged: the weights are gone" in capfd.readouterr().err


def test_stopping_breaks_off_what_is_in_work(judging: Judging, tmp_path: Path) -> None:
    judge = judging()
    raised: list[BaseException] = []

    def work() -> None:
        try:
            judge(assignment("hang-1", tmp_path))
        except JudgingStopped as error:
            raised.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    pid_file = tmp_path / "hang-1.pid"
    assert wait_for(lambda: pid_file.exists() and pid_file.read_text() != "", 30)
    start = time.monotonic()
    judge.stop()
    worker.join(5)
    assert raised
    assert time.monotonic() - start < 3
    assert not is_running(int(pid_file.read_text()))
    with pytest.raises(JudgingStopped):
        judge(assignment("good-2", tmp_path))


@pytest.mark.parametrize("told_to", ["hang", "seize"])
def test_the_process_dies_with_its_node(tmp_path: Path, told_to: str) -> None:
    """Also where no line of Python can run in it any more."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    node = subprocess.Popen([sys.executable, "-c", NODE, f"{told_to}-1", str(tmp_path)], env=environment)
    pid_file = tmp_path / f"{told_to}-1.pid"
    try:
        assert wait_for(lambda: pid_file.exists() and pid_file.read_text() != "", 30)
        child = int(pid_file.read_text())
        assert is_running(child)
    finally:
        node.kill()
        node.wait()
    assert wait_for(lambda: not is_running(child), 2)


def test_files_are_compared_in_a_process_of_their_own(tmp_path: Path) -> None:
    first, second, other = (tmp_path / f"{name}.dcm" for name in ("first", "second", "other"))
    for path, rows, name in ((first, 4, "ONE"), (second, 4, "OTHER"), (other, 5, "ONE")):
        path.write_bytes(encoded_object("2.25.9", Rows=rows, PatientName=name))
    compare = ComparingProcess(partial(open_comparison, Logging()), deadline_seconds=60)
    try:
        assert compare(first, second) == "routine"
        assert compare(first, other) == "conflict"
    finally:
        compare.stop()
