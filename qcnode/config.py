"""Frozen pydantic model of config.yaml. Nothing else in qcnode reads configuration; every key is explained in docs/configuration.md."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

import yaml
from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator

from qcnode.config_notifications import Notifications
from qcnode.config_parts import Section as _Section
from qcnode.config_parts import read_secret
from qcnode.errors import ConfigurationError

AETitle = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=16, pattern=r"^[\x20-\x5b\x5d-\x7e]+$")]
PersonName = Annotated[str, StringConstraints(max_length=64, pattern=r"^[^\\^=\x00-\x1f]+(\^[^\\^=\x00-\x1f]*){0,4}$")]  # one group of PN
_S = TypeVar("_S", bound=_Section)
Port = Annotated[int, Field(ge=0, le=65535)]


class Caller(_Section):
    """A peer that may send: its AE title and, if given, the only address it may come from."""

    ae_title: AETitle
    address: str | None = None


class Listener(_Section):
    """What the DICOM listeners have in common."""

    ae_title: AETitle
    host: str = "127.0.0.1"
    port: Port
    maximum_associations: int = Field(default=20, ge=1)
    network_timeout_seconds: float = Field(default=60, gt=0)


class Listen(Listener):
    """The Storage SCP."""

    ae_title: AETitle = "QCNODE"
    port: Port = 11112
    callers: tuple[Caller, ...] = ()
    sop_classes: tuple[str, ...] = ()


class Storage(_Section):
    """Where received objects, results and the database are kept."""

    directory: Path = Path("var/qcnode")
    minimum_free_mb: int = Field(default=1024, ge=0)
    keep_ignored_hours: float = Field(default=1, ge=0)
    keep_images_days: float = Field(default=30, gt=0)


class Matching(_Section):
    """When a case is complete."""

    quiet_seconds: float = Field(default=30, ge=0)
    images_missing_hours: float = Field(default=24, gt=0)
    archive: str | None = None


class Threshold(_Section):
    """FAIL below value, REVIEW where the prediction's interval begins below it, else PASS.

    With a margin: PASS at or above value + margin, FAIL below value - margin, REVIEW between.
    """

    value: float = Field(default=0.75, ge=0, le=1)
    margin: float | None = Field(default=None, ge=0, le=0.5)


class SeriesRule(_Section):
    """How a further contrast's series is recognised in the study."""

    series_description: str = ".*"
    exclude: str | None = None
    contrast_agent: bool | None = None


class Task(_Section):
    """One kind of segmentation that is judged, with the weights that judge it."""

    weights: str
    enabled: bool = True
    predicted_dsc: Threshold = Threshold()
    predicted_nsd: Threshold | None = None
    contrasts: dict[str, SeriesRule] = Field(default_factory=dict)


class Inference(_Section):
    """Where the networks run."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(default=0, ge=0)


class Retry(_Section):
    """Back-off of deliveries: doubling from first_seconds to longest_seconds, given up after give_up_hours."""

    first_seconds: float = Field(default=10, gt=0)
    longest_seconds: float = Field(default=1800, gt=0)
    give_up_hours: float = Field(default=96, gt=0)

    def wait(self, attempts: int, age: timedelta) -> timedelta | None:
        """How long to wait after the `attempts`-th failure; None where what is `age` old is given up."""
        if age > timedelta(hours=self.give_up_hours):
            return None
        # the exponent is bounded, as a delivery may be tried for days
        return timedelta(seconds=min(self.first_seconds * 2 ** min(max(attempts, 1) - 1, 20), self.longest_seconds))


class _Destination(_Section):
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,40}$")]
    summary_image: bool = True
    error_map: bool = True
    decision_report: bool = True
    key_object: bool = False
    refresh_attributes: bool = True
    timeout_seconds: float = Field(default=60, gt=0)


class CStoreDestination(_Destination):
    """A PACS that is answered by C-STORE."""

    kind: Literal["c-store"]
    ae_title: AETitle
    host: str
    port: Port


class StowDestination(_Destination):
    """A PACS that is answered by STOW-RS. The password comes from a file or an environment variable, never from here."""

    kind: Literal["stow-rs"]
    url: str
    username: str | None = None
    password_file: Path | None = None
    password_env: str | None = None
    ca_file: Path | None = None

    def password(self) -> str | None:
        """The secret, or None. Raises ConfigurationError where it is configured but not there."""
        return read_secret(f"destination {self.name}", "password", self.password_file, self.password_env)


Destination = Annotated[CStoreDestination | StowDestination, Field(discriminator="kind")]


class Web(_Section):
    """The worklist in the browser, and its API."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Port = 8090
    viewer_url: str | None = None
    session_idle_minutes: float = Field(default=30, gt=0)
    session_hours: float = Field(default=12, gt=0)
    secure_cookies: bool = False
    trusted_header: str | None = None
    trusted_proxies: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.viewer_url and ("{study_instance_uid}" not in self.viewer_url or not self.viewer_url.startswith(("https://", "http://"))):
            raise ValueError("viewer_url: an http(s) address with {study_instance_uid} in it")
        if self.trusted_header is not None and not self.trusted_proxies:
            raise ValueError("trusted_header: needs trusted_proxies, the addresses that may set it")
        return self


class Reader(_Section):
    """How a reader of the worklist is named in the documents about decisions. person_name: as DICOM writes it, "Doe^Jane"."""

    reader: Annotated[str, StringConstraints(min_length=1)]
    person_name: PersonName


class Observers(_Section):
    """Who stands behind a decision, in the document about it."""

    organization: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\\\x00-\x1f]*$")] | None = None
    verified: bool = False
    readers: tuple[Reader, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.verified and self.organization is None:
            raise ValueError("verified: needs organization, for which the readers verify")
        names = [reader.reader for reader in self.readers]
        if len(names) != len(set(names)):
            raise ValueError("readers: each reader once")
        return self


ReviewReason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]


class SecondReader(_Section):
    """Which items two readers judge independently: a share of all, drawn at random, and all of a verdict or task."""

    share: float = Field(default=0, ge=0, le=1)
    verdicts: tuple[Literal["REVIEW", "FAIL", "UNASSESSABLE"], ...] = ()
    tasks: tuple[str, ...] = ()


class ReviewSettings(_Section):
    """The radiologist's worklist: how long a claim and a held decision last, what a reader can tick, what is drawn at random."""

    lease_minutes: float = Field(default=15, gt=0)
    hold_minutes: float = Field(default=5, ge=0)
    random_pass_share: float = Field(default=0.05, ge=0, le=1)
    random_blind_share: float | None = Field(default=None, ge=0, le=1)
    second_reader: SecondReader = SecondReader()
    reasons: tuple[ReviewReason, ...] = (
        "tissue missed",
        "too much segmented",
        "wrong tissue",
        "slices left out",
        "boundary inaccurate",
        "holes or stray islands",
        "poor images",
        "other",
    )

    @field_validator("reasons")
    @classmethod
    def _reasons_differ(cls, reasons: tuple[str, ...]) -> tuple[str, ...]:
        if len(reasons) != len(set(reasons)):
            raise ValueError("reasons must differ")
        return reasons


class Workstation(Caller):
    """A workstation that may work on the worklist, and the reader whom it stands for."""

    reader: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Ups(Listener):
    """The worklist as Unified Procedure Steps."""

    enabled: bool = False
    ae_title: AETitle = "QCNODE_UPS"
    port: Port = 11113
    callers: tuple[Workstation, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.enabled and not self.callers:
            raise ValueError("enabled: needs callers, the workstations and whom they stand for")
        known = [(caller.ae_title, caller.address) for caller in self.callers]
        if len(known) != len(set(known)):
            raise ValueError("callers: each AE title once, or once per address")
        return self


class Logging(_Section):
    """Log lines; they never hold patient data."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    json_lines: bool = False


class Config(_Section):
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
    storage = config.storage.model_copy(update={"directory": folder / config.storage.directory})
    destinations = tuple(_with_absolute_files(destination, folder) for destination in config.destinations)
    channels = tuple(_with_absolute_files(channel, folder) for channel in config.notifications.channels)
    notifications = config.notifications.model_copy(update={"channels": channels})
    tasks = {
        name: task.model_copy(update={"weights": str(folder / task.weights) if "/" in task.weights else task.weights})
        for name, task in config.tasks.items()
    }
    return config.model_copy(update={"storage": storage, "destinations": destinations, "notifications": notifications, "tasks": tasks})


def _with_absolute_files(section: _S, folder: Path) -> _S:
    files = ("password_file", "secret_file", "ca_file")
    return section.model_copy(update={key: folder / getattr(section, key) for key in files if getattr(section, key, None) is not None})
