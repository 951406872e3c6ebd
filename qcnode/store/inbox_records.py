"""What the inbox gives out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple


class Acceptance(StrEnum):
    """What became of a received object; each is a success for the peer."""

    NEW = "new"
    SAME = "same"  # already there, byte for byte
    OTHER_BYTES = "other-bytes"  # the same SOP Instance UID with other bytes, kept beside the first


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An acknowledged object; `path` is absolute, `sha256` the digest of the file."""

    object_id: int
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    path: Path
    sha256: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Variant:
    """Two objects with one SOP Instance UID and different bytes; `object_id` is the later one's."""

    object_id: int
    sop_instance_uid: str
    first: Path
    second: Path


class DirtyStudy(NamedTuple):
    """A study in which something arrived since it was matched."""

    study_instance_uid: str
    last_received_at: datetime


@dataclass(frozen=True, slots=True)
class Recovery:
    """What `Inbox.recover` found after a crash. `lost`: acknowledged objects whose file is missing."""

    removed_temporary: int
    removed_unacknowledged: int
    lost: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class InboxCounts:
    """Objects that still have a file, by kind ("unindexed", "unreadable" beside the kinds of InstanceHeader)."""

    by_kind: dict[str, int]
    bytes: int
    purged: int
    variants: int
    conflicting: int
    dirty_studies: int
