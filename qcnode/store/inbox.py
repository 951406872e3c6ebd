"""What was received: every acknowledged object with its bytes as sent, and what is known of it.

An object is acknowledged only after its file and then its row are durable (`accept`), so that a file without a row was never
acknowledged and a row without a file does not occur. Of each SOP Instance UID one object is in use: the first received; others
with the same UID and other bytes are kept beside it as variants.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter
from sqlalchemy import Connection, and_, insert, select, update
from sqlalchemy.exc import DBAPIError

from qcnode.case import InstanceHeader, StoredHeader
from qcnode.errors import Retryable
from qcnode.store import audit, retention, studies
from qcnode.store.database import Database
from qcnode.store.inbox_records import Acceptance, DirtyStudy, InboxCounts, Recovery, StoredObject, Variant
from qcnode.store.moves import Moves, states_before
from qcnode.store.object_files import ObjectFiles
from qcnode.store.retention import Served
from qcnode.store.schema import IN_USE, object_table

__all__ = ["Acceptance", "DirtyStudy", "DiskFull", "Inbox", "InboxCounts", "Recovery", "StoredObject", "Variant"]

OBJECT_MOVES: Moves = {
    "RECEIVED": frozenset({"INDEXED", "UNREADABLE"}),
    "INDEXED": frozenset({"RECEIVED"}),  # purged and received again
    "UNREADABLE": frozenset({"RECEIVED"}),
}
VARIANT_MOVES: Moves = {"PENDING": frozenset({"ROUTINE", "CONFLICT"}), "ROUTINE": frozenset(), "CONFLICT": frozenset()}

_HEADER = TypeAdapter(InstanceHeader)
_CHUNK = 500


class DiskFull(Retryable):
    """No room for another object; the peer should send it again later."""


@dataclass(frozen=True, slots=True)
class _Arrival:
    columns: dict[str, Any]
    sop_instance_uid: str
    dataset_sha256: str
    now: datetime


class Inbox:
    """The received objects below `directory`; the free space of its file system is kept above `minimum_free_bytes`."""

    def __init__(self, database: Database, directory: Path, minimum_free_bytes: int) -> None:
        self._database = database
        self._files = ObjectFiles(directory.absolute())
        self._minimum_free_bytes = minimum_free_bytes

    def accept(
        self,
        encoded: bytes,
        *,
        sop_class_uid: str,
        sop_instance_uid: str,
        study_instance_uid: str,
        series_instance_uid: str,
        transfer_syntax_uid: str,
        calling_ae_title: str,
        peer_address: str,
        now: datetime,
    ) -> Acceptance:
        """Keep a received object durably; when this returns, the peer may be told so.

        `encoded` is a complete Part 10 file (PS3.10 7.1): preamble, file meta, data set as sent. Two objects are the same when the
        bytes after the file meta, which is ours, are. Raises DiskFull, or Retryable when disk or database can not be written for now;
        nothing is left then.
        """
        dataset_sha256 = hashlib.sha256(memoryview(encoded)[_dataset_offset(encoded) :]).hexdigest()
        with self._database.read() as connection:
            known = _object_with_content(connection, sop_instance_uid, dataset_sha256)
        if known is not None and known.purged_at is None:
            return Acceptance.SAME
        sha256 = hashlib.sha256(encoded).hexdigest()
        columns = {
            "sop_class_uid": sop_class_uid,
            "study_instance_uid": study_instance_uid,
            "series_instance_uid": series_instance_uid,
            "transfer_syntax_uid": transfer_syntax_uid,
            "sha256": sha256,
            "path": self._files.relative_path(sha256),
            "size": len(encoded),
            "calling_ae_title": calling_ae_title,
            "peer_address": peer_address,
        }
        return self._keep(encoded, _Arrival(columns, sop_instance_uid, dataset_sha256, now))

    def _keep(self, encoded: bytes, arrival: _Arrival) -> Acceptance:
        with _disk_failures_are_retryable():
            if self._files.free_bytes() - len(encoded) < self._minimum_free_bytes:
                raise DiskFull("the storage directory is nearly full")
            temporary = self._files.write_temporary(encoded)
            try:
                # The rename happens while the write lock is held, so that no purge of the same file can cross it.
                with self._database.begin() as connection:
                    known = _object_with_content(connection, arrival.sop_instance_uid, arrival.dataset_sha256)
                    if known is not None and known.purged_at is None:
                        return Acceptance.SAME
                    self._files.place(temporary, arrival.columns["sha256"])
                    return _write_rows(connection, arrival, known)
            except BaseException:
                with suppress(OSError, Retryable, DBAPIError):
                    self._remove_unrecorded([arrival.columns["path"]])
                raise
            finally:
                temporary.unlink(missing_ok=True)

    def recover(self, now: datetime) -> Recovery:
        """Clean up after a crash; to be called at start, before anything is received.

        Temporary files and files without a row were never acknowledged and are removed. A row whose file is missing (somebody
        removed it) is marked as purged, so that the object is taken when it is sent again; the loss is kept in the audit table.
        """
        temporary = list(self._files.temporary_files())
        for path in temporary:
            path.unlink()
        removed = self._remove_unrecorded(list(self._files.placed_files()))
        placed = set(self._files.placed_files())
        with self._database.begin() as connection:
            rows = connection.execute(select(object_table).where(object_table.c.purged_at.is_(None))).all()
            lost = [row for row in rows if row.path not in placed]
            for row in lost:
                _lose(connection, row, now)
        return Recovery(len(temporary), removed, tuple(row.sop_instance_uid for row in lost))

    def damaged(self, paths: Iterable[Path]) -> list[Path]:
        """Those of the files of received objects that are missing or not what was received."""
        return [path for path in paths if not self._files.is_intact(path)]

    def lose(self, paths: Iterable[Path], now: datetime) -> None:
        """Objects whose files are damaged: they are taken when they are sent again, and their studies are matched without them."""
        stored = [self._database.relative(path) for path in paths]
        with self._database.begin() as connection:
            for row in connection.execute(
                select(object_table).where(object_table.c.path.in_(stored), object_table.c.purged_at.is_(None))
            ).all():
                _lose(connection, row, now)
                studies.touch(connection, row.study_instance_uid)

    def free_bytes(self) -> int:
        """What the file system of the storage directory still takes. Raises OSError."""
        return self._files.free_bytes()

    def unindexed(self, limit: int) -> list[StoredObject]:
        """The oldest objects in use whose header is still to be read."""
        query = select(object_table).where(object_table.c.state == "RECEIVED", IN_USE).order_by(object_table.c.object_id).limit(limit)
        with self._database.read() as connection:
            return [self._stored(row) for row in connection.execute(query)]

    def index(self, object_id: int, header: InstanceHeader) -> None:
        """Keep what the object's header says. A second call changes nothing."""
        content = json.dumps(_HEADER.dump_python(header))
        self._move(object_id, "INDEXED", kind=header.kind, header=content)

    def mark_unreadable(self, object_id: int, reason: str) -> None:
        """The header can not be read; `reason` is for the administrator and holds no patient data."""
        self._move(object_id, "UNREADABLE", unreadable_reason=reason)

    def _move(self, object_id: int, state: str, **columns: Any) -> None:
        allowed = object_table.c.state.in_(states_before(OBJECT_MOVES, state))
        with self._database.begin() as connection:
            connection.execute(update(object_table).where(object_table.c.object_id == object_id, allowed).values(state=state, **columns))

    def variants_to_compare(self, limit: int) -> list[Variant]:
        """Objects whose SOP Instance UID was received before with other bytes, not yet judged by ingest.variants."""
        first = object_table.alias("first")
        query = (
            select(object_table.c.object_id, object_table.c.sop_instance_uid, object_table.c.path, first.c.path.label("first_path"))
            .join(first, first.c.object_id == object_table.c.variant_of)
            .where(object_table.c.variant_state == "PENDING", object_table.c.purged_at.is_(None))
            .order_by(object_table.c.object_id)
            .limit(limit)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [Variant(r.object_id, r.sop_instance_uid, self._path(r.first_path), self._path(r.path)) for r in rows]

    def settle_variant(self, object_id: int, outcome: Literal["routine", "conflict"]) -> None:
        """Keep the outcome of a comparison. A conflict flags the object in use, and its study is matched again."""
        allowed = object_table.c.variant_state.in_(states_before(VARIANT_MOVES, outcome.upper()))
        settle = update(object_table).where(object_table.c.object_id == object_id, allowed).values(variant_state=outcome.upper())
        with self._database.begin() as connection:
            first_id = connection.execute(settle.returning(object_table.c.variant_of)).scalar_one_or_none()
            if first_id is None or outcome != "conflict":
                return
            flag = update(object_table).where(object_table.c.object_id == first_id).values(conflicting=True)
            first = connection.execute(flag.returning(object_table.c.study_instance_uid)).scalar_one()
            studies.touch(connection, first)

    def headers_of_study(self, study_instance_uid: str) -> list[StoredHeader]:
        """The indexed objects in use of a study, in order of arrival."""
        of_study = object_table.c.study_instance_uid == study_instance_uid
        query = select(object_table).where(of_study, object_table.c.state == "INDEXED", IN_USE).order_by(object_table.c.object_id)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [StoredHeader(_HEADER.validate_json(r.header), self._path(r.path), r.sha256, r.conflicting) for r in rows]

    def study_of(self, sop_instance_uid: str) -> str | None:
        """The Study Instance UID of the object in use with this SOP Instance UID, if there is one."""
        query = select(object_table.c.study_instance_uid).where(object_table.c.sop_instance_uid == sop_instance_uid, IN_USE)
        with self._database.read() as connection:
            return connection.execute(query).scalar_one_or_none()

    def dirty_studies(self) -> list[DirtyStudy]:
        """Studies to match, longest waiting first: something arrived since `mark_matched`.

        A study with objects that are still to be indexed or compared is left out until they are, so that what is matched is whole.
        """
        with self._database.read() as connection:
            return studies.dirty(connection)

    def studies_to_match(self, quiet_since: datetime) -> list[DirtyStudy]:
        """The dirty studies in which nothing arrived after `quiet_since`."""
        return [study for study in self.dirty_studies() if study.last_received_at <= quiet_since]

    def mark_matched(self, study_instance_uid: str, as_of: datetime) -> None:
        """The study was matched with all that had arrived at `as_of`, the `last_received_at` that `dirty_studies` gave.

        It stays dirty when something newer arrived: `last_received_at` never stands still when an object does arrive.
        """
        with self._database.begin() as connection:
            studies.mark_matched(connection, study_instance_uid, as_of)

    def purge(self, why: Served, before: datetime, now: datetime, limit: int = 200) -> int:
        """Remove the files of the oldest objects that were received before `before` and have served; their rows stay. Returns how many.

        At most `limit` objects (and their variants), so that nobody waits for long.
        """
        with self._database.read() as connection:
            chosen = retention.served(connection, why, before, limit)
        if not chosen:
            return 0
        with self._database.begin() as connection:
            paths = retention.purge(connection, why, chosen, before, now)
        self._remove_unrecorded(paths)  # after the commit: a crash between leaves a file without a row, which `recover` removes
        return len(paths)

    def counts(self) -> InboxCounts:
        """Figures for status and doctor."""
        with self._database.read() as connection:
            return retention.counts(connection)

    def _remove_unrecorded(self, paths: list[str]) -> int:
        """Remove those of the placed files that no row needs. Holds the write lock, so that `accept` can not place them meanwhile."""
        removed = 0
        for start in range(0, len(paths), _CHUNK):
            chunk = paths[start : start + _CHUNK]
            needed = select(object_table.c.path).where(object_table.c.path.in_(chunk), object_table.c.purged_at.is_(None))
            with self._database.begin() as connection:
                for path in set(chunk).difference(connection.execute(needed).scalars()):
                    self._path(path).unlink(missing_ok=True)
                    removed += 1
        return removed

    def _path(self, stored: str) -> Path:
        return self._files.directory / stored

    def _stored(self, row: Any) -> StoredObject:
        columns = {field.name: getattr(row, field.name) for field in fields(StoredObject)}
        return StoredObject(**columns | {"path": self._path(row.path)})


def _dataset_offset(encoded: bytes) -> int:
    """Where the data set begins. The file meta starts with its own length, (0002,0000) UL (PS3.10 7.1)."""
    if encoded[128:132] != b"DICM" or encoded[132:140] != b"\x02\x00\x00\x00UL\x04\x00":
        raise ValueError("not a DICOM file with a file meta group length")
    (length,) = struct.unpack_from("<I", encoded, 140)
    return 144 + int(length)


def _lose(connection: Connection, row: Any, now: datetime) -> None:
    connection.execute(update(object_table).where(object_table.c.object_id == row.object_id).values(purged_at=now))
    subject, details = audit.object_subject(row.object_id), {"sop_instance_uid": row.sop_instance_uid}
    audit.record(connection, at=now, actor=audit.NODE, action=audit.LOSE_OBJECT, subject=subject, details=details)


def _object_with_content(connection: Connection, sop_instance_uid: str, dataset_sha256: str) -> Any:
    query = select(object_table.c.object_id, object_table.c.purged_at)
    same = and_(object_table.c.sop_instance_uid == sop_instance_uid, object_table.c.dataset_sha256 == dataset_sha256)
    return connection.execute(query.where(same)).one_or_none()


def _write_rows(connection: Connection, arrival: _Arrival, purged: Any) -> Acceptance:
    """Insert the object's row, or bring back the row of an object that was purged, and make its study dirty."""
    in_use = select(object_table.c.object_id).where(object_table.c.sop_instance_uid == arrival.sop_instance_uid, IN_USE)
    first_id = connection.execute(in_use).scalar_one_or_none()
    columns = arrival.columns | {
        "received_at": arrival.now,
        "state": "RECEIVED",
        "variant_of": first_id,
        "variant_state": None if first_id is None else "PENDING",
        "purged_at": None,
    }
    if purged is not None:
        connection.execute(update(object_table).where(object_table.c.object_id == purged.object_id).values(columns))
    else:
        identity = {"sop_instance_uid": arrival.sop_instance_uid, "dataset_sha256": arrival.dataset_sha256, "conflicting": False}
        connection.execute(insert(object_table).values(columns | identity))
    studies.touch(connection, arrival.columns["study_instance_uid"], arrival.now)
    return Acceptance.NEW if first_id is None else Acceptance.OTHER_BYTES


@contextmanager
def _disk_failures_are_retryable() -> Iterator[None]:
    """Whatever keeps a file from being written is of the disk, not of the object: the sender shall try again."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull("the storage directory is full") from error
        raise Retryable(f"the storage directory can not be written ({os.strerror(error.errno or errno.EIO)})") from error
