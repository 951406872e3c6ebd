"""How the node is watched: figures and health by HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from qcnode.config.parts import Network, Port, Section, is_this_machine, read_secret
from qcnode.errors import ConfigurationError

_TOKEN_BYTES = 16


class Monitoring(Section):
    """/metrics, /health and /ready, on a port of their own."""

    enabled: bool = False
    host: str = "127.0.0.1"
    port: Port = 9110
    allowed_addresses: tuple[Network, ...] = ()
    token_file: Path | None = None
    token_env: str | None = None
    oldest_case_hours: float = Field(default=1, gt=0)

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
