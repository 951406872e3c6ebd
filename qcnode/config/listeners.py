"""The DICOM listeners: where they listen, and who may call."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from qcnode.config.parts import AETitle, Port, Section
from qcnode.config.tls import ListenerTls


def _is_network(text: str) -> str:
    """An address, or a network in CIDR notation. Raises ValueError."""
    try:
        ip_network(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not an IP address, and no network like 192.0.2.0/24") from error
    return text


class Caller(Section):
    """A peer that may send: its AE title and, if given, the only address or network it may come from and the name in its certificate."""

    ae_title: AETitle
    address: Annotated[str, AfterValidator(_is_network)] | None = None
    certificate_name: str | None = None


class Listener(Section):
    """What the DICOM listeners have in common."""

    ae_title: AETitle
    host: str = "127.0.0.1"
    port: Port
    tls: ListenerTls = ListenerTls()
    check_called_ae_title: bool = False
    maximum_associations: int = Field(default=20, ge=1)
    maximum_associations_per_address: int | None = Field(default=None, ge=1)
    maximum_association_minutes: float = Field(default=720, gt=0)
    maximum_object_mb: int = Field(default=1024, ge=1)
    request_timeout_seconds: float = Field(default=15, gt=0)
    network_timeout_seconds: float = Field(default=60, gt=0)

    def _check_names(self, callers: Sequence[Caller]) -> None:
        by_certificate = self.tls.is_on and self.tls.client_certificates == "required"
        if not by_certificate and any(caller.certificate_name is not None for caller in callers):
            raise ValueError("callers: certificate_name needs tls with client_certificates: required")


class Listen(Listener):
    """The Storage SCP."""

    ae_title: AETitle = "QCNODE"
    port: Port = 11112
    callers: tuple[Caller, ...] = ()
    sop_classes: tuple[str, ...] = ()
    maximum_unindexed_objects: int = Field(default=20000, ge=1)
    maximum_waiting_cases: int = Field(default=1000, ge=1)
    resume_share: float = Field(default=0.8, ge=0, le=1)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self._check_names(self.callers)
        return self


class Workstation(Caller):
    """A workstation that may work on the worklist, and the reader whom it stands for."""

    reader: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Ups(Listener):
    """The worklist as Unified Procedure Steps."""

    enabled: bool = False
    ae_title: AETitle = "QCNODE_UPS"
    port: Port = 11113
    maximum_object_mb: int = Field(default=16, ge=1)
    callers: tuple[Workstation, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self._check_names(self.callers)
        if self.enabled and not self.callers:
            raise ValueError("enabled: needs callers, the workstations and whom they stand for")
        known = [(caller.ae_title, caller.address) for caller in self.callers]
        if len(known) != len(set(known)):
            raise ValueError("callers: each AE title once, or once per address")
        return self
