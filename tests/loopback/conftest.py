"""A phantom study and an archive on loopback."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from qcnode.demo.pacs import DemoPacs
from qcnode.demo.phantom_dicom import PhantomStudy, phantom_study


@pytest.fixture(scope="session")
def phantom() -> PhantomStudy:
    return phantom_study(1)


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[DemoPacs]:
    with DemoPacs(tmp_path / "pacs", commits_to={}) as archive:
        yield archive
