"""What the sections of config.yaml share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from qcnode.errors import ConfigurationError

AETitle = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=16, pattern=r"^[\x20-\x5b\x5d-\x7e]+$")]
Port = Annotated[int, Field(ge=0, le=65535)]
SECRET_FILES = frozenset({"password_file", "private_key_file", "secret_file", "token_file"})


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname or "@" in parts.netloc:
        raise ValueError("an http(s) address without user and password")
    return url


def _is_network(text: str) -> str:
    try:
        ip_network(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not an IP address, and no network like 192.0.2.0/24") from error
    return text


Network = Annotated[str, AfterValidator(_is_network)]
"""An address, or a network in CIDR notation."""

# Addresses are shown in logs and by commands, so no secret may be in one.
HttpAddress = Annotated[str, AfterValidator(_without_credentials)]


class Section(BaseModel):
    """A part of config.yaml: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def is_this_machine(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_secret(what: str, key: str, file: Path | None, variable: str | None) -> str | None:
    """The secret in `file`, or in the environment variable, or None where neither is configured.

    `what` and `key` name it in errors: `<key>_file` and `<key>_env`. Raises ConfigurationError where it is configured but not there.
    """
    if file is not None:
        try:
            return file.read_text().strip()
        except OSError as error:
            raise ConfigurationError(f"{what}: {key}_file can not be read: {error.strerror}") from error
    if variable is not None:
        if variable not in os.environ:
            raise ConfigurationError(f"{what}: environment variable {variable} is not set")
        return os.environ[variable]
    return None


def secret_files(section: Section) -> Iterator[Path]:
    """Every file with a secret that a section, or one inside of it, names."""
    for key, value in section:
        if key in SECRET_FILES and value is not None:
            yield value
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, Section):
                yield from secret_files(part)
