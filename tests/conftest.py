"""What the tests share: where the real data lies, and which peers must be there."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

# Two test processes on two cores, and the programs that they start: a thread each. Left alone, numerical libraries take a thread for each
# core in every process; these wait for one another, and a prediction costs twice to four times the time. Set before they are imported.
for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
    os.environ.setdefault(_threads, "1")


def _missing(text: str, required_by: str) -> None:
    """Skip visibly; fail where the environment says that nothing may be skipped."""
    if os.environ.get(required_by) == "1":
        pytest.fail(f"{text} ({required_by}=1 forbids to skip)", pytrace=False)
    pytest.skip(text)


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
