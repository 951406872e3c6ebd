"""Free ports, and waiting with an end and an explanation."""

import socket
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_open(port: int) -> bool:
    """Whether somebody listens on a port of the loopback interface."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(ask: Callable[[], T], seconds: float, what: str, explain: Callable[[], str] = str) -> T:
    """Ask until the answer is true and return it; fail with what was waited for, and `explain()`, after so many seconds."""
    until = time.monotonic() + seconds
    while not (answer := ask()):
        if time.monotonic() > until:
            raise AssertionError(f"waited {seconds:g} s for {what}\n{explain()}")
        time.sleep(0.2)
    return answer
