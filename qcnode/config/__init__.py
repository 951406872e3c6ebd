"""Frozen pydantic model of config.yaml. Nothing else in qcnode reads configuration; every key is explained in docs/configuration.md."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self, TypeVar

import yaml
from pydantic import Field, ValidationError, model_validator

from qcnode.config.audit_log import AuditLog
from qcnode.config.destinations import CStoreDestination, Destination, Retry, StowDestination
from qcnode.config.judging import Inference, SeriesRule, Task, Threshold
from qcnode.config.listeners import Caller, Listen, Listener, Ups, Workstation
from qcnode.config.monitoring import Monitoring
from qcnode.config.notifications import Notifications
from qcnode.config.parts import Section, is_this_machine
from qcnode.config.review import Observers, Reader, ReviewSettings, SecondReader, Web
from qcnode.config.tls import Certificate, DestinationTls, ListenerTls, WebTls
from qcnode.errors import ConfigurationError

__all__ = [
    "AuditLog",
    "CStoreDestination",
    "Caller",
    "Certificate",
    "Config",
    "Destination",
    "DestinationTls",
    "Inference",
    "Listen",
    "Listener",
    "ListenerTls",
    "Logging",
    "Matching",
    "Monitoring",
    "Notifications",
    "Observers",
    "Reader",
    "Retry",
    "ReviewSettings",
    "SecondReader",
    "SeriesRule",
    "Storage",
    "StowDestination",
    "Task",
    "Threshold",
    "Ups",
    "Web",
    "WebTls",
    "Workstation",
    "is_this_machine",
    "load_config",
]

_S = TypeVar("_S", bound=Section)


class Storage(Section):
    """Where received objects, results and the database are kept."""

    directory: Path = Path("var/qcnode")
    minimum_free_mb: int = Field(default=1024, ge=0)
    resume_free_mb: int | None = Field(default=None, ge=0)
    keep_ignored_hours: float = Field(default=1, ge=0)
    keep_unmatched_days: float = Field(default=7, gt=0)
    keep_images_days: float = Field(default=30, gt=0)
    keep_results_days: float | None = Field(default=365, gt=0)
    purge_below_free_mb: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.resume_free_mb is not None and self.resume_free_mb < self.minimum_free_mb:
            raise ValueError("resume_free_mb: at least minimum_free_mb")
        if self.purge_below_free_mb is not None and self.purge_below_free_mb < self.resumes_at_mb:
            raise ValueError("purge_below_free_mb: at least resume_free_mb, or refusing would not end by itself")
        return self

    @property
    def resumes_at_mb(self) -> float:
        """Free space from which on objects are taken again."""
        return self.minimum_free_mb * 1.25 if self.resume_free_mb is None else self.resume_free_mb

    @property
    def purged_until_mb(self) -> float:
        """Free space that purging early keeps free."""
        return self.resumes_at_mb * 1.2 if self.purge_below_free_mb is None else self.purge_below_free_mb


class Matching(Section):
    """When a case is complete."""

    quiet_seconds: float = Field(default=30, ge=0)
    images_missing_hours: float = Field(default=24, gt=0)
    archive: str | None = None


class Logging(Section):
    """Log lines; they never hold patient data."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    json_lines: bool = False


class Config(Section):
    """The whole of config.yaml. Relative paths are relative to the file's folder."""

    listen: Listen = Listen()
    storage: Storage = Storage()
    matching: Matching = Matching()
    tasks: dict[str, Task] = Field(default_factory=lambda: {name: Task(weights=name) for name in ("cardiac-sax", "la-lge")})
    inference: Inference = Inference()
    retry: Retry = Retry()
    destinations: tuple[Destination, ...] = ()
    review: ReviewSettings = ReviewSettings()
    observers: Observers = Observers()
    notifications: Notifications = Notifications()
    web: Web = Web()
    ups: Ups = Ups()
    monitoring: Monitoring = Monitoring()
    audit_log: AuditLog = AuditLog()
    logging: Logging = Logging()

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        names = [d.name for d in self.destinations]
        if len(names) != len(set(names)):
            raise ValueError("destinations: names must differ")
        if self.matching.archive is not None and self.matching.archive not in names:
            raise ValueError(f"matching.archive: no destination is named {self.matching.archive!r}")
        return self


def load_config(path: Path) -> Config:
    """Read and check config.yaml. Raises ConfigurationError that names every wrong key and what is wrong with it."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise ConfigurationError(f"{path}: can not be read ({error.strerror}); give the configuration file with --config") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: not valid YAML: {error}") from error
    try:
        config = Config.model_validate(content)
    except ValidationError as error:
        lines = [f"  {'.'.join(str(part) for part in e['loc']) or '(top level)'}: {e['msg']}" for e in error.errors()]
        raise ConfigurationError(f"{path}: {len(lines)} wrong key(s), see docs/configuration.md\n" + "\n".join(lines)) from error
    return _with_absolute_paths(config, path.resolve().parent)


def _with_absolute_paths(config: Config, folder: Path) -> Config:
    config = _with_absolute_files(config, folder)
    storage = config.storage.model_copy(update={"directory": folder / config.storage.directory})
    tasks = {
        name: task.model_copy(update={"weights": str(folder / task.weights) if "/" in task.weights else task.weights})
        for name, task in config.tasks.items()
    }
    return config.model_copy(update={"storage": storage, "tasks": tasks})


def _with_absolute_files(section: _S, folder: Path) -> _S:
    """Every key that ends with _file, in sections and lists of sections, too."""
    found: dict[str, object] = {}
    for key in type(section).model_fields:
        value = getattr(section, key)
        if key.endswith("_file") and value is not None:
            found[key] = folder / value
        elif isinstance(value, Section):
            found[key] = _with_absolute_files(value, folder)
        elif isinstance(value, tuple):
            found[key] = tuple(_with_absolute_files(part, folder) if isinstance(part, Section) else part for part in value)
    return section.model_copy(update=found)
