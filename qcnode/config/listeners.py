"""The DICOM listeners: where they listen, and who may call."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from qcnode.config.parts import AETitle, Port, Section


class Caller(Section):
    """A peer that may send: its AE title and, if given, the only address it may come from."""

    ae_title: AETitle
    address: str | None = None


class Listener(Section):
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
    maximum_unindexed_objects: int = Field(default=20000, ge=1)
    maximum_waiting_cases: int = Field(default=1000, ge=1)
    resume_share: float = Field(default=0.8, ge=0, le=1)


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
