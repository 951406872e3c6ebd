"""One SQLite file, opened, brought up to date, and handed out as transactions.

WAL lets readers and one writer work side by side; synchronous=FULL makes a commit survive a power cut, which is what lets the
Storage SCP answer 0x0000 after it. Writers take the lock at BEGIN (IMMEDIATE), so that a transaction never fails half way for
having read first. Several threads and several processes (`qcnode serve` and the CLI) may use the file at the same time.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, DBAPIError

from qcnode.durable import make_directories
from qcnode.errors import ConfigurationError, Retryable
from qcnode.store import migrations

FILE_NAME = "qcnode.sqlite3"
_BUSY_SECONDS = 30.0
_FULL, _DISK_FAILED = "the database has no room", "the database can not be written or read"
_DAMAGED = "the database is damaged: stop the node and restore it from a backup"
_REMEDY = "make the directory writable, or, where the file is damaged, restore it from a backup (qcnode restore)"
_BUSY_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_FAILURES = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: _DISK_FAILED,
    sqlite3.SQLITE_IOERR: _DISK_FAILED,
    sqlite3.SQLITE_CANTOPEN: _DISK_FAILED,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,  # an administrator must act, but whoever sends or is sent something shall try again
    sqlite3.SQLITE_NOTADB: _DAMAGED,
}


class DatabaseBusy(Retryable):
    """Another writer holds the database for longer than the busy timeout."""

    def __init__(self) -> None:
        super().__init__("the database is busy")


class DatabaseFailed(Retryable):
    """The disk took no more, failed, or has damaged the database; the text says which."""


class Database:
    """The node's tables. `directory` is the storage directory: paths in the tables are relative to it where they lie inside."""

    def __init__(self, engine: Engine, directory: Path) -> None:
        self.directory = directory
        self._engine = engine
        self._writers = engine.execution_options(qcnode_writes=True)
        # SQLite's own waiting is polling and not fair: between threads of this process a lock decides who writes next.
        self._one_writer = threading.Lock()

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A write transaction: committed, durably, at the end of the block; rolled back when the block raises.

        Raises DatabaseBusy and DatabaseFailed. Not to be nested.
        """
        if not self._one_writer.acquire(timeout=_BUSY_SECONDS):
            raise DatabaseBusy
        try:
            with self._failures_that_pass(), self._writers.begin() as connection:
                yield connection
        finally:
            self._one_writer.release()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one moment of the database and writes nothing. Raises DatabaseBusy and DatabaseFailed."""
        with self._failures_that_pass(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _failures_that_pass(self) -> Iterator[None]:
        """What is of the disk or of another process is Retryable; an error in a statement is not."""
        try:
            yield
        except DBAPIError as error:
            code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
            if code in _BUSY_CODES:
                raise DatabaseBusy from error
            failure = _FAILURES.get(code)
            if failure is None:
                raise
            if failure is _DISK_FAILED:
                # a connection that was opened, or failed, on such a disk may stay as it is when the disk is well again
                self._engine.dispose()
            raise DatabaseFailed(failure) from error

    def check_writable(self) -> None:
        """Write something that changes nothing. Raises DatabaseBusy and DatabaseFailed."""
        with self.begin() as connection:
            version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            connection.exec_driver_sql(f"PRAGMA user_version = {int(version)}")

    def relative(self, path: Path) -> str:
        """`path` as it is stored: relative where it lies in the storage directory."""
        return str(path.relative_to(self.directory)) if path.is_relative_to(self.directory) else str(path)

    def absolute(self, stored: str | Path) -> Path:
        """The path that `relative` stored."""
        return self.directory / stored

    def close(self) -> None:
        """Close every connection; the database can not be used afterwards."""
        self._engine.dispose()


def open_database(directory: Path) -> Database:
    """Open the database in `directory`, which is created where missing, and apply the migrations that it lacks.

    Raises ConfigurationError when the directory can not be used or a newer version of qcnode wrote the database.
    """
    directory = directory.absolute()
    try:
        make_directories(directory, mode=0o700)
    except OSError as error:
        raise ConfigurationError(f"storage.directory can not be created: {error.strerror}") from error
    engine = create_engine(f"sqlite:///{directory / FILE_NAME}", pool_size=8, max_overflow=64, connect_args={"timeout": _BUSY_SECONDS})
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    database = Database(engine, directory)
    try:
        migrate(database)
    except (DatabaseError, DatabaseFailed) as error:
        why = error.orig if isinstance(error, DatabaseError) else error
        raise ConfigurationError(f"the database in storage.directory can not be opened: {why}; {_REMEDY}") from error
    return database


def open_for_reading(directory: Path) -> Database:
    """Open the database of a node, which may run: nothing is created, migrated or written.

    Raises ConfigurationError where there is none, or where its tables are those of another version.
    """
    directory = directory.absolute()
    engine = create_engine(f"sqlite:///file:{quote(str(directory / FILE_NAME))}?mode=rw&uri=true", connect_args={"timeout": _BUSY_SECONDS})
    event.listen(engine, "connect", _only_reads)  # not mode=ro: after a crash the first who opens the file must bring its log in order
    event.listen(engine, "begin", _begin)
    try:
        with engine.begin() as connection:
            is_current = migrations.is_current(connection)
    except DatabaseError as error:
        raise ConfigurationError(f"no database of a node can be read in {directory}: {error.orig}") from error
    if not is_current:
        raise ConfigurationError("the database was written by another version of qcnode; start the node of this version first")
    return Database(engine, directory)


def migrate(database: Database, location: Path = migrations.HERE) -> None:
    """Take the steps in `location` that the database lacks, in one transaction.

    Raises ConfigurationError when a newer version of qcnode wrote the database.
    """
    with database.read() as connection:
        if migrations.is_current(connection, location):
            return
    with database.begin() as connection:  # another process may be at it, too: what is missing is found out under the lock
        migrations.upgrade(connection, location)


def _configure(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun by _begin, not by the sqlite3 module
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={int(_BUSY_SECONDS * 1000)}"):
        connection.execute(f"PRAGMA {pragma}")


def _only_reads(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    for pragma in ("query_only=ON", f"busy_timeout={int(_BUSY_SECONDS * 1000)}"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("qcnode_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
