"""What a kill can not show: whether the bytes were on the disk. strace sees in which order the node writes, flushes, commits and answers.

Each check is run again with one flush taken out, and has to fail then.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from system_calls import Order, OutOfOrder, read_trace

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "loopback")]

from crash_scene import Scene, open_scene  # noqa: E402

pytestmark = pytest.mark.peers
CALLS = "openat,write,pwrite64,writev,pwritev,fsync,fdatasync,rename,renameat,renameat2,mkdir,mkdirat,sendto,sendmsg"

CHECKS: dict[str, Callable[[Order, Scene], None]] = {
    "receiving": lambda order, scene: order.check_receiving(scene.port),
    "results": lambda order, scene: order.check_results(),
    "delivery": lambda order, scene: order.check_delivery(scene.pacs.port),
}
TAKEN_OUT = {
    "synchronous": ("receiving", "delivery"),
    "fsync:*/incoming/*.part": ("receiving",),
    "fsync:*/objects/??": ("receiving",),
    "fsync:*/results/*": ("results",),
    "fsync:*/results/??": ("results",),
    "fsync:*/node": ("results", "delivery"),
    "fsync:*/outbox/pacs/*": ("delivery",),
    "fsync:*/outbox/pacs": ("delivery",),
}
"""What is taken out -> the checks that have to see it."""


class Tracing:
    """The traced process, which forks a node for each scene."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace
        command = ["strace", "-f", "--seccomp-bpf", "-yy", "-s", "8", "-qq", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(trace)]
        script = [sys.executable, str(TESTS / "loopback" / "traced_serve.py")]
        self._process = subprocess.Popen([*command, *script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def Process(self, target: Any, args: tuple[Any, ...]) -> Any:  # noqa: N802  the part of multiprocessing's context that a scene uses
        config, log, without, _ = args
        line = {"config": str(config), "log": str(log), "without": without or ""}

        def start() -> None:
            self._ask(json.dumps(line))

        return SimpleNamespace(start=start, is_alive=lambda: True, kill=lambda: self._ask(""), join=lambda: None, exitcode=None)

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def _ask(self, line: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline(), "the traced process ended"


@pytest.fixture(scope="module")
def tracing(tmp_path_factory: pytest.TempPathFactory, require_peers: Callable[..., None]) -> Iterator[Tracing]:
    require_peers("strace")
    tracing = Tracing(tmp_path_factory.mktemp("strace") / "trace")
    yield tracing
    tracing.end()


def order_of(tracing: Tracing, folder: Path, without: str = "") -> Iterator[tuple[Order, Scene]]:
    """The system calls of a node that took one study the whole road."""
    with open_scene(folder, tracing) as scene:
        study = scene.new_study(f"traced {folder.name}")
        scene.start(without)
        scene.wait_until(lambda: scene.send(study), 60, "acknowledged study")
        scene.wait_until(lambda: bool(scene.pacs.stores()), 60, "delivery")
        scene.kill()
    yield Order(read_trace(tracing.trace), scene.storage), scene


def test_a_node_flushes_before_it_says_so(tracing: Tracing, tmp_path: Path) -> None:
    for order, scene in order_of(tracing, tmp_path):
        for check in CHECKS.values():
            check(order, scene)


@pytest.mark.parametrize("without", TAKEN_OUT)
def test_a_flush_that_is_missing_is_seen(tracing: Tracing, tmp_path: Path, without: str) -> None:
    for order, scene in order_of(tracing, tmp_path, without):
        for name, check in CHECKS.items():
            if name in TAKEN_OUT[without]:
                with pytest.raises(OutOfOrder) as seen:
                    check(order, scene)
                print(f"{without}: {name}: {seen.value}")  # noqa: T201
            else:
                check(order, scene)
