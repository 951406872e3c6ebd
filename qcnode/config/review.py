"""The worklist: its pages, its readers and its rules."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from qcnode.config.parts import Port, Section, is_this_machine
from qcnode.config.tls import WebTls

PersonName = Annotated[str, StringConstraints(max_length=64, pattern=r"^[^\\^=\x00-\x1f]+(\^[^\\^=\x00-\x1f]*){0,4}$")]  # one group of PN


class Web(Section):
    """The worklist in the browser, and its API."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Port = 8090
    tls: WebTls = WebTls()
    allowed_hosts: tuple[str, ...] = ()
    viewer_url: str | None = None
    session_idle_minutes: float = Field(default=30, gt=0)
    session_hours: float = Field(default=12, gt=0)
    secure_cookies: bool = False
    trusted_header: str | None = None
    trusted_proxies: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.viewer_url and ("{study_instance_uid}" not in self.viewer_url or not self.viewer_url.startswith(("https://", "http://"))):
            raise ValueError("viewer_url: an http(s) address with {study_instance_uid} in it")
        if self.trusted_header is not None and not self.trusted_proxies:
            raise ValueError("trusted_header: needs trusted_proxies, the addresses that may set it")
        if self.enabled and not (self.is_encrypted or is_this_machine(self.host)):
            raise ValueError("host: no passwords in clear text: set tls, or put a proxy with TLS before it and secure_cookies: true")
        return self

    @property
    def is_encrypted(self) -> bool:
        """Whether browsers reach the pages by HTTPS only: by qcnode itself, or by a proxy before it."""
        return self.tls.is_on or self.secure_cookies


class Reader(Section):
    """How a reader of the worklist is named in the documents about decisions. person_name: as DICOM writes it, "Doe^Jane"."""

    reader: Annotated[str, StringConstraints(min_length=1)]
    person_name: PersonName


class Observers(Section):
    """Who stands behind a decision, in the document about it."""

    organization: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\\\x00-\x1f]*$")] | None = None
    verified: bool = False
    readers: tuple[Reader, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.verified and self.organization is None:
            raise ValueError("verified: needs organization, for which the readers verify")
        names = [reader.reader for reader in self.readers]
        if len(names) != len(set(names)):
            raise ValueError("readers: each reader once")
        return self


ReviewReason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]


class SecondReader(Section):
    """Which items two readers judge independently: a share of all, drawn at random, and all of a verdict or task."""

    share: float = Field(default=0, ge=0, le=1)
    verdicts: tuple[Literal["REVIEW", "FAIL", "UNASSESSABLE"], ...] = ()
    tasks: tuple[str, ...] = ()


class ReviewSettings(Section):
    """The radiologist's worklist: how long a claim and a held decision last, what a reader can tick, what is drawn at random."""

    lease_minutes: float = Field(default=15, gt=0)
    hold_minutes: float = Field(default=5, ge=0)
    random_pass_share: float = Field(default=0.05, ge=0, le=1)
    random_blind_share: float | None = Field(default=None, ge=0, le=1)
    second_reader: SecondReader = SecondReader()
    reasons: tuple[ReviewReason, ...] = (
        "tissue missed",
        "too much segmented",
        "wrong tissue",
        "slices left out",
        "boundary inaccurate",
        "holes or stray islands",
        "poor images",
        "other",
    )

    @field_validator("reasons")
    @classmethod
    def _reasons_differ(cls, reasons: tuple[str, ...]) -> tuple[str, ...]:
        if len(reasons) != len(set(reasons)):
            raise ValueError("reasons must differ")
        return reasons
