"""How the node is watched: figures and health by HTTP."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from qcnode.config.parts import Port, Section, is_this_machine, read_secret
from qcnode.errors import ConfigurationError

_TOKEN_BYTES = 16


class Monitoring(Section):
    """/metrics, /health and /ready, on a port of their own."""

    enabled: bool = False
    host: str = "127.0.0.1"
    port: Port = 9110
    allowed_addresses: tuple[str, ...] = ()
    token_file: Path | None = None
    token_env: str | None = None
    oldest_case_hours: float = Field(default=1, gt=0)

    @field_validator("allowed_addresses")
    @classmethod
    def _are_networks(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        for address in addresses:
            ip_network(address)  # raises ValueError
        return addresses

    @model_validator(mode="after")
    def _is_not_open_to_all(self) -> Self:
        restricted = self.allowed_addresses or self.token_file is not None or self.token_env is not None
        if self.enabled and not restricted and not is_this_machine(self.host):
            raise ValueError("host: beyond this machine it needs allowed_addresses, or a token (token_file, token_env)")
        return self

    def token(self) -> str | None:
        """The secret that /metrics asks for, or None. Raises ConfigurationError."""
        token = read_secret("monitoring", "token", self.token_file, self.token_env)
        if token is not None and len(token.encode()) < _TOKEN_BYTES:
            raise ConfigurationError(f"monitoring: the token is shorter than {_TOKEN_BYTES} bytes")
        return token
