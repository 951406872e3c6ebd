"""Names that do not tell whose they are, and stay the same from one export to the next: keyed digests (HMAC, RFC 2104).

The key stays with the node. Who has the cohort alone can neither go back nor try out known patient IDs; who deletes the key cuts the tie
between what was exported before and the patients for good.
"""

from __future__ import annotations

import hmac
import os
import secrets
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from qcnode.uids import uid_of_digest

KEY_FILE = "pseudonym.key"
_REGISTERED = "1.2.840.10008."  # DICOM's own UIDs (PS3.6, annex A): SOP classes, transfer syntaxes
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Pseudonyms under a key. With `keep`, everything but the patient stays as it is."""

    key: bytes
    keep: bool = False

    def patient(self, patient_id: str, study_instance_uid: str) -> str:
        """The person; one without an ID is told apart by the study. Two institutions with one ID count as one person."""
        return self._digest("patient", patient_id).hex()[:16] if patient_id else self._digest("study", study_instance_uid).hex()[:16]

    def uid(self, uid: str) -> str:
        """A UID in place of this one; DICOM's own stay."""
        return uid if self.keep or not uid or uid.startswith(_REGISTERED) else uid_of_digest(self._digest("uid", uid))

    def name(self, kind: str, name: str) -> str:
        """A reader, a case ..."""
        return name if self.keep else self._digest(kind, name).hex()[:16]

    def file(self, path: Path) -> str:
        """The name of the exported copy of a stored file, which never tells a UID."""
        return self._digest("file", "/".join(path.parts[-2:])).hex()[:24] + ".dcm"

    def _digest(self, kind: str, value: str) -> bytes:
        return hmac.new(self.key, f"{kind}\0{value}".encode(), sha256).digest()


def node_key(directory: Path) -> bytes:
    """The key of the node whose storage directory this is; made when it is first needed, readable by its user alone."""
    path = directory / KEY_FILE
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(descriptor, "wb") as file:
        key = secrets.token_bytes(_KEY_BYTES)
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    return key
