"""What is judged: from config.yaml and the model cards to matching rules and thresholds. The networks are not read here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from qcnode.assess.model_card import CalibrationFacts, ModelCard, load_card
from qcnode.assess.verdict import UNCALIBRATED_MARGIN, Limit, Limits
from qcnode.config import Config, Task, Threshold
from qcnode.errors import ConfigurationError
from qcnode.ingest.matching import ContrastRule, TaskRule

PACKAGED_WEIGHTS = Path(__file__).parent / "models"


@dataclass(frozen=True, slots=True)
class JudgedTask:
    """One kind of segmentation: how it is recognised, the weights that judge it and where they lie, and what they must predict."""

    rule: TaskRule
    card: ModelCard
    directory: Path
    limits: Limits


def weights_directory(name: str) -> Path:
    """Where weights lie: a packaged name, or a path. Raises ConfigurationError where nothing is there."""
    directory = Path(name) if "/" in name else PACKAGED_WEIGHTS / name
    if not directory.is_dir():
        packaged = ", ".join(sorted(p.name for p in PACKAGED_WEIGHTS.iterdir() if p.is_dir())) or "none"
        raise ConfigurationError(f"weights {name!r} are not there ({directory}); packaged weights: {packaged}; a path must contain a slash")
    return directory


def load_tasks(config: Config) -> dict[str, JudgedTask]:
    """Check the weights of every enabled task. Raises ConfigurationError that says which task can not be judged and why."""
    tasks = {}
    for name, task in config.tasks.items():
        if task.enabled:
            directory = weights_directory(task.weights)
            card = load_card(directory)
            tasks[name] = JudgedTask(_rule(name, task, card), card, directory, limits_of(task, card.calibration))
    if not tasks:
        raise ConfigurationError("tasks: no task is enabled, so nothing could be judged")
    return tasks


def _rule(name: str, task: Task, card: ModelCard) -> TaskRule:
    unknown = set(task.contrasts) - {c.name for c in card.contrasts}
    if unknown:
        raise ConfigurationError(f"tasks.{name}.contrasts: the weights know no contrast {', '.join(sorted(unknown))}")
    rules = []
    for contrast in card.contrasts:
        rule = task.contrasts.get(contrast.name, contrast.series_rule)
        rules.append(ContrastRule(contrast.name, rule.series_description, rule.exclude, rule.contrast_agent))
    return TaskRule(name, card.structure_list(), card.tissue_list(), tuple(rules))


def limits_of(task: Task, calibration: CalibrationFacts | None) -> Limits:
    """What config.yaml asks of the numbers, completed by what the weights know of their own certainty."""
    dsc, nsd = task.predicted_dsc, task.predicted_nsd
    review_below = calibration.flag_below if calibration and math.isclose(dsc.value, calibration.failure_below) else None
    if review_below is not None and review_below <= dsc.value:  # such a prediction fails anyway
        review_below = None
    return Limits(_limit(dsc, calibration, review_below), _limit(nsd, calibration, None) if nsd else None)


def _limit(threshold: Threshold, calibration: CalibrationFacts | None, review_below: float | None) -> Limit:
    if threshold.margin is not None or calibration is None:
        return Limit(threshold.value, UNCALIBRATED_MARGIN if threshold.margin is None else threshold.margin)
    return Limit(threshold.value, level=calibration.level, review_below=review_below)
