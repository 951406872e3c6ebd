"""What the child processes work with. The node, which only names these functions, does without what they import."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qcnode import __version__
from qcnode.config import Config, Logging
from qcnode.judging.assignment import CaseJudge
from qcnode.observe.logging import set_up_logging
from qcnode.tasks import load_tasks


def open_judge(config: Config) -> CaseJudge:
    """A judge that knows every enabled task, and whose log is the node's. Raises ConfigurationError."""
    from qcnode.judging.here import JudgeHere, load_judges

    set_up_logging(config.logging)
    return JudgeHere(load_judges(load_tasks(config), config.inference), __version__)


def open_comparison(logging: Logging) -> Callable[[tuple[Path, Path]], str]:
    """Compares two files with the same SOP Instance UID."""
    from qcnode.imaging.pixels import decode_frame
    from qcnode.ingest.variants import compare

    set_up_logging(logging)
    return lambda files: compare(*files, decode_frame=decode_frame)
