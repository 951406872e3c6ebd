"""What judges each task: from config.yaml and the model cards to matching rules and loaded networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qcnode.assess.inference import QCPredictor
from qcnode.assess.model_card import ModelCard
from qcnode.assess.verdict import Limit, Limits
from qcnode.config import Config, Task, Threshold
from qcnode.errors import ConfigurationError
from qcnode.ingest.matching import ContrastRule, TaskRule
from qcnode.pipeline import Judge

PACKAGED_WEIGHTS = Path(__file__).parent / "models"


@dataclass(frozen=True, slots=True)
class JudgedTask:
    """One kind of segmentation: how it is recognised and what judges it."""

    rule: TaskRule
    judge: Judge


def weights_directory(name: str) -> Path:
    """Where weights lie: a packaged name, or a path. Raises ConfigurationError where nothing is there."""
    directory = Path(name) if "/" in name else PACKAGED_WEIGHTS / name
    if not directory.is_dir():
        packaged = ", ".join(sorted(p.name for p in PACKAGED_WEIGHTS.iterdir() if p.is_dir())) or "none"
        raise ConfigurationError(f"weights {name!r} are not there ({directory}); packaged weights: {packaged}; a path must contain a slash")
    return directory


def load_tasks(config: Config) -> dict[str, JudgedTask]:
    """Load the weights of every enabled task. Raises ConfigurationError that says which task can not be judged and why."""
    tasks = {}
    for name, task in config.tasks.items():
        if task.enabled:
            predictor = QCPredictor(weights_directory(task.weights), device=config.inference.device, threads=config.inference.threads)
            tasks[name] = JudgedTask(_rule(name, task, predictor.card), Judge(predictor, _limits(task)))
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


def _limits(task: Task) -> Limits:
    def limit(threshold: Threshold) -> Limit:
        return Limit(threshold.value, threshold.margin)

    return Limits(limit(task.predicted_dsc), limit(task.predicted_nsd) if task.predicted_nsd else None)
