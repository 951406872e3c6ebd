"""What the tests share: where the real data lies, and which peers must be there."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

# Two test processes on two cores, and the programs that they start: a thread each. Left alone, numerical libraries take a thread for each
# core in every process; these wait for one another, and a prediction costs twice to four times the time. Set before they are imported.
for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
    os.environ.setdefault(_threads, "1")


def _missing(text: str, required_by: str) -> None:
    """Skip visibly; fail where the environment says that nothing may be skipped."""
    if os.environ.get(required_by) == "1":
        pytest.fail(f"{text} ({required_by}=1 forbids to skip)", pytrace=False)
    pytest.skip(text)


# These take longest, so they come first: no process is left alone with one of them at the end. Then by name.
_LONGEST_FIRST = (
    "peers/test_orthanc.py",
    "peers/test_ohif.py",
    "loopback/",
    "fuzz/",
    "peers/",
    "test_real_hearts.py",
    "test_memory.py",
    "test_web_contract.py",
    "test_training_",
)
# The archives and nodes that these look at are started once, so one process runs both.
_TOGETHER = ("tests/peers/test_orthanc.py", "tests/peers/test_ohif.py")


class _ByFile(LoadFileScheduling):
    """Tests are dealt out a file at a time, but for the files that belong together."""

    def _split_scope(self, nodeid: str) -> str:
        scope = super()._split_scope(nodeid)
        return _TOGETHER[0] if scope in _TOGETHER else scope


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """Our own way in place of --dist loadfile."""
    return _ByFile(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Longest files first."""

    def place(item: pytest.Item) -> int:
        path = item.path.relative_to(Path(__file__).parent).as_posix()
        return next((i for i, start in enumerate(_LONGEST_FIRST) if path.startswith(start)), len(_LONGEST_FIRST))

    items.sort(key=place)


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real data sets (docs/testing.md)."""
    folder = os.environ.get("QCNODE_REALDATA")
    if not folder or not Path(folder).is_dir():
        _missing("real data: set QCNODE_REALDATA to the folder that holds acdc/ and dicom/", "QCNODE_REQUIRE_REALDATA")
    return Path(str(folder))


@pytest.fixture(scope="session")
def require_peers() -> Callable[..., None]:
    """`require_peers("Orthanc", "storescu")` skips the test unless these programs (or files) are installed."""

    def check(*programs: str) -> None:
        absent = [p for p in programs if not (Path(p).exists() if p.startswith("/") else shutil.which(p))]
        if absent:
            _missing(f"peers are not installed: {', '.join(absent)} (docs/testing.md)", "QCNODE_REQUIRE_PEERS")

    return check
