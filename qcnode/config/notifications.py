"""Who is to be told of what: the section `notifications` of config.yaml."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, model_validator

from qcnode.case import Verdict
from qcnode.config.parts import HttpAddress, Section, read_secret
from qcnode.errors import ConfigurationError

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,40}$")]
Address = Annotated[str, StringConstraints(pattern=r"^[^@\s<>,;:\"]+@[^@\s<>,;:\"]+$")]
When = Literal["flagged", "decided", "given-up", "oldest-open", "oldest-delivery", "drift"]
ABOUT_CASES = ("flagged", "decided")
_SECRET_BYTES = 16


class _Channel(Section):
    name: Name
    timeout_seconds: float = Field(default=15, gt=0)
    ca_file: Path | None = None


class Webhook(_Channel):
    """A server that is told by HTTP POST. The secret that signs comes from a file or an environment variable, never from here."""

    kind: Literal["webhook"]
    url: HttpAddress
    secret_file: Path | None = None
    secret_env: str | None = None
    study_instance_uid: bool = False

    @model_validator(mode="after")
    def _has_a_secret(self) -> Self:
        if self.secret_file is None and self.secret_env is None:
            raise ValueError("secret_file or secret_env: who is told must be able to check who tells")
        return self

    def secret(self) -> bytes:
        """The key of the signature: "whsec_" and base64 (Standard Webhooks), or any text. Raises ConfigurationError."""
        what = f"channel {self.name}"
        text = read_secret(what, "secret", self.secret_file, self.secret_env) or ""
        try:
            encoded = text.removeprefix("whsec_")
            key = base64.b64decode(encoded, validate=True) if encoded != text else text.encode()
        except binascii.Error as error:
            raise ConfigurationError(f"{what}: the secret after whsec_ is not base64") from error
        if len(key) < _SECRET_BYTES:
            raise ConfigurationError(f"{what}: the secret is shorter than {_SECRET_BYTES} bytes")
        return key


class Email(_Channel):
    """A mail server and who gets mail. The password comes from a file or an environment variable, never from here."""

    kind: Literal["email"]
    host: str
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str | None = None
    password_file: Path | None = None
    password_env: str | None = None
    sender: Address
    recipients: Annotated[tuple[Address, ...], Field(min_length=1)]
    digest_minutes: float = Field(default=60, ge=0)

    @model_validator(mode="after")
    def _password_travels_encrypted(self) -> Self:
        if self.username is not None and self.security == "none":
            raise ValueError("username: a password is sent by starttls or tls only")
        return self

    def password(self) -> str | None:
        """The secret, or None. Raises ConfigurationError where it is configured but not there."""
        return read_secret(f"channel {self.name}", "password", self.password_file, self.password_env)


Channel = Annotated[Webhook | Email, Field(discriminator="kind")]


class Rule(Section):
    """Which events go to which channels; an empty filter lets everything through."""

    when: When
    channels: Annotated[tuple[Name, ...], Field(min_length=1)]
    verdicts: tuple[Verdict, ...] = ()
    tasks: tuple[str, ...] = ()
    institutions: tuple[str, ...] = ()
    scanners: tuple[str, ...] = ()
    segmenters: tuple[str, ...] = ()
    hours: float = Field(default=24, gt=0)

    @model_validator(mode="after")
    def _filters_fit(self) -> Self:
        filters = (self.verdicts, self.tasks, self.institutions, self.scanners, self.segmenters)
        if any(filters) and self.when not in ABOUT_CASES:
            raise ValueError(f"verdicts, tasks, institutions, scanners, segmenters: only when {' or '.join(ABOUT_CASES)}")
        return self


class Notifications(Section):
    """Who is to be told of what."""

    worklist_url: str | None = None
    channels: tuple[Channel, ...] = ()
    rules: tuple[Rule, ...] = ()

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        names = [channel.name for channel in self.channels]
        if len(names) != len(set(names)):
            raise ValueError("channels: names must differ")
        if unknown := {name for rule in self.rules for name in rule.channels} - set(names):
            raise ValueError(f"rules: no channel is named {', '.join(sorted(unknown))}")
        if self.worklist_url is not None and urlsplit(self.worklist_url).scheme not in ("https", "http"):
            raise ValueError("worklist_url: an http(s) address")
        return self
