"""DICOM audit messages to the site's audit record repository."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from qcnode.config.parts import Port, Section

Token = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]


class AuditLog(Section):
    """Where the audit messages of PS3.15 A.5 go, by syslog."""

    enabled: bool = False
    transport: Literal["tls", "tcp", "udp"] = "tls"
    host: str | None = None
    port: Port = 6514
    ca_file: Path | None = None
    certificate_file: Path | None = None
    private_key_file: Path | None = None
    source: Token = "qcnode"
    site: Token | None = None
    patient: bool = True
    timeout_seconds: float = Field(default=10, gt=0)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.enabled and self.host is None:
            raise ValueError("host: who gets the audit messages")
        if (self.certificate_file is None) != (self.private_key_file is None):
            raise ValueError("certificate_file, private_key_file: both or none")
        return self
