"""Certificates and keys: of the listeners, of the web server, and of associations that qcnode makes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from qcnode.config.parts import Section, read_secret


class Certificate(Section):
    """Who qcnode is to its peers. The key's password comes from a file or an environment variable, never from here."""

    certificate_file: Path | None = None
    private_key_file: Path | None = None
    password_file: Path | None = None
    password_env: str | None = None

    @model_validator(mode="after")
    def _belongs_to_a_certificate(self) -> Self:
        if self.certificate_file is None and any((self.private_key_file, self.password_file, self.password_env)):
            raise ValueError("private_key_file, password_file, password_env: need certificate_file")
        return self

    def password(self, section: str) -> str | None:
        """The key's password, or None. Raises ConfigurationError where it is configured but not there."""
        return read_secret(section, "password", self.password_file, self.password_env)


class ListenerTls(Certificate):
    """TLS of a DICOM listener: on where there is a certificate; callers must show one, too, unless the site says otherwise."""

    ca_file: Path | None = None
    client_certificates: Literal["required", "none"] = "required"

    @property
    def is_on(self) -> bool:
        """Whether the listener speaks TLS, and nothing else."""
        return self.certificate_file is not None

    @model_validator(mode="after")
    def _knows_its_callers(self) -> Self:
        if not self.is_on and (self.ca_file is not None or self.client_certificates == "none"):
            raise ValueError("ca_file, client_certificates: need certificate_file")
        if self.is_on and self.client_certificates == "required" and self.ca_file is None:
            raise ValueError("ca_file: the authority that signed the callers' certificates; or client_certificates: none")
        return self


class DestinationTls(Certificate):
    """TLS of the associations that qcnode makes."""

    enabled: bool = False
    ca_file: Path | None = None
    server_name: str | None = None

    @model_validator(mode="after")
    def _is_on(self) -> Self:
        if not self.enabled and any((self.certificate_file, self.ca_file, self.server_name)):
            raise ValueError("enabled: true is missing, without it the association is not encrypted")
        return self


class WebTls(Certificate):
    """HTTPS by qcnode itself: on where there is a certificate."""

    @property
    def is_on(self) -> bool:
        """Whether the web server speaks HTTPS, and nothing else."""
        return self.certificate_file is not None
