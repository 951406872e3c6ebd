"""The archives that are answered, and how often a delivery is tried."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from qcnode.config.parts import AETitle, HttpAddress, Port, Section, read_secret
from qcnode.config.tls import DestinationTls


class Retry(Section):
    """Back-off of deliveries: doubling from first_seconds to longest_seconds, given up after give_up_hours.

    alarm_hours: a delivery that is open for longer is an alarm of `qcnode status` and `qcnode doctor`.
    """

    first_seconds: float = Field(default=10, gt=0)
    longest_seconds: float = Field(default=1800, gt=0)
    give_up_hours: float = Field(default=96, gt=0)
    alarm_hours: float = Field(default=24, gt=0)

    def wait(self, attempts: int, age: timedelta) -> timedelta | None:
        """How long to wait after the `attempts`-th failure; None where what is `age` old is given up."""
        if age > timedelta(hours=self.give_up_hours):
            return None
        # the exponent is bounded, as a delivery may be tried for days
        return timedelta(seconds=min(self.first_seconds * 2 ** min(max(attempts, 1) - 1, 20), self.longest_seconds))


class _Destination(Section):
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
    tls: DestinationTls = DestinationTls()
    read_back: Literal["auto", "c-get", "c-move", "none"] = "auto"
    move_ae_title: AETitle = "QCNODE_MOVE"
    move_host: str = "127.0.0.1"
    move_port: Port = 11114
    commitment: bool = False
    commitment_hours: float = Field(default=6, gt=0)

    @model_validator(mode="after")
    def _comes_back_as_it_goes(self) -> Self:
        if self.tls.enabled and self.read_back == "c-move":
            raise ValueError("read_back: what c-move brings back comes in clear text; with tls use c-get")
        return self


class StowDestination(_Destination):
    """A PACS that is answered by STOW-RS. The password comes from a file or an environment variable, never from here."""

    kind: Literal["stow-rs"]
    url: HttpAddress
    username: str | None = None
    password_file: Path | None = None
    password_env: str | None = None
    ca_file: Path | None = None
    read_back: Literal["auto", "wado-rs", "none"] = "auto"
    certificate_file: Path | None = None
    private_key_file: Path | None = None

    @model_validator(mode="after")
    def _key_has_a_certificate(self) -> Self:
        if self.private_key_file is not None and self.certificate_file is None:
            raise ValueError("private_key_file: needs certificate_file")
        return self

    def password(self) -> str | None:
        """The secret, or None. Raises ConfigurationError where it is configured but not there."""
        return read_secret(f"destination {self.name}", "password", self.password_file, self.password_env)


Destination = Annotated[CStoreDestination | StowDestination, Field(discriminator="kind")]
