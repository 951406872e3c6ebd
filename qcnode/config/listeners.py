"""The DICOM listeners: where they listen, and who may call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from qcnode.config.parts import AETitle, Network, Port, Section
from qcnode.config.tls import ListenerTls


class Caller(Section):
    """A peer that may send: its AE title and, if given, the only address or network it may come from and the name in its certificate."""

    ae_title: AETitle
    address: Network | None = None
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
    maximum_receiving_mb: int = Field(default=2048, ge=1)
    request_timeout_seconds: float = Field(default=15, gt=0)
    network_timeout_seconds: float = Field(default=60, gt=0)

    def _check(self, callers: Sequence[Caller]) -> None:
        if self.maximum_receiving_mb < self.maximum_object_mb:
            raise ValueError("maximum_receiving_mb: must not be less than maximum_object_mb, or no object of that size is ever taken")
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
        self._check(self.callers)
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
    maximum_receiving_mb: int = Field(default=64, ge=1)
    callers: tuple[Workstation, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self._check(self.callers)
        if self.enabled and not self.callers:
            raise ValueError("enabled: needs callers, the workstations and whom they stand for")
        known = [(caller.ae_title, caller.address) for caller in self.callers]
        if len(known) != len(set(known)):
            raise ValueError("callers: each AE title once, or once per address")
        return self
