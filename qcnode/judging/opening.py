"""From configuration to what judges in the judging process."""

from __future__ import annotations

from qcnode import __version__
from qcnode.config import Config
from qcnode.judging.assignment import CaseJudge
from qcnode.observe.logging import set_up_logging
from qcnode.tasks import load_tasks


def open_judge(config: Config) -> CaseJudge:
    """Called in the judging process: its log is the node's, its judge knows every enabled task. Raises ConfigurationError."""
    from qcnode.judging.here import JudgeHere, load_judges  # the node, which only names this function, does without

    set_up_logging(config.logging)
    return JudgeHere(load_judges(load_tasks(config), config.inference), __version__)
