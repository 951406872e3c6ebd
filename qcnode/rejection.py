"""Who was turned away by a DICOM listener, and why, in words for administrators."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

OTHERS = "(others)"
"""Stands for the AE titles of an address that uses too many, and for addresses when they are too many."""

REASONS: Mapping[str, str] = MappingProxyType(
    {
        "caller-unknown": "is not among the callers, by AE title, address and certificate together",
        "called-title-wrong": "calls another AE title",
        "limit": "too many associations at the same time",
        "address-limit": "too many associations of its address at the same time",
        "silent": "did not ask for an association in time",
        "no-dicom": "does not speak DICOM, or not rightly",
        "tls-not-spoken": "speaks TLS, and the listener does not",
        "no-tls": "does not speak TLS",
        "tls-too-old": "speaks no TLS 1.2 with authenticated encryption",
        "no-certificate": "shows no certificate",
        "certificate-expired": "its certificate has expired",
        "certificate-not-yet-valid": "its certificate is not valid yet: is a clock wrong?",
        "certificate-refused": "its certificate can not be verified",
        "unknown-authority": "its certificate was signed by none of the authorities of ca_file",
        "own-certificate-refused": "does not accept qcnode's certificate",
        "handshake-ended": "ended the TLS handshake",
    }
)

_AE_TITLE = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}")


@dataclass(frozen=True, slots=True)
class Rejection:
    """One way of being turned away. `listener`: section of config.yaml. AE titles are a stranger's text, empty where none was said yet."""

    listener: str
    reason: str  # of REASONS
    address: str
    calling_ae_title: str
    called_ae_title: str

    @property
    def config_line(self) -> str | None:
        """The entry of `callers` that would let this caller in; None where that is not what keeps it out."""
        is_named = OTHERS not in (self.address, self.calling_ae_title) and _AE_TITLE.fullmatch(self.calling_ae_title)
        if self.reason != "caller-unknown" or not is_named:
            return None
        reader = ", reader: NAME" if self.listener == "ups" else ""
        return f"- {{ae_title: {json.dumps(self.calling_ae_title)}, address: {json.dumps(self.address)}{reader}}}"


@dataclass(frozen=True, slots=True)
class Times:
    """How often, when first and when last."""

    count: int
    first_at: datetime
    last_at: datetime

    def with_more(self, more: Times) -> Times:
        """Both together."""
        return Times(self.count + more.count, min(self.first_at, more.first_at), max(self.last_at, more.last_at))
