"""The steps from an empty database to the tables of `schema`, as Alembic revisions: a file each in versions/, never changed once released.

The number in a file's name says its place, and its name is its revision: m0004_decision_reports.py is 0004_decision_reports. All missing
steps are taken in one transaction together with the entry that says so: an upgrade that is interrupted, or fails, leaves what the earlier
version of qcnode wrote, and that version can still be used.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import Connection

from qcnode.errors import ConfigurationError

HERE = Path(__file__).parent
_OTHER_VERSION = "the database was written by another version of qcnode; install that one, or a newer one"
_ONE_UPGRADE = threading.Lock()  # Alembic keeps the upgrade that runs in its modules: one at a time in a process


def steps(location: Path = HERE) -> tuple[str, ...]:
    """The names of the steps in `location`/versions, first to last."""
    return tuple(sorted(path.stem.removeprefix("m") for path in (location / "versions").glob("m[0-9]*.py")))


def is_current(connection: Connection, location: Path = HERE) -> bool:
    """Whether nothing is to be done. Cheap, and Alembic is not imported: every command asks."""
    return _has_table(connection, "alembic_version") and _version(connection) == steps(location)[-1]


def upgrade(connection: Connection, location: Path = HERE) -> None:
    """Take the missing steps in the write transaction that `connection` is in.

    Raises ConfigurationError for a database that is not at one of the steps: a newer version of qcnode wrote it.
    """
    from alembic import command
    from alembic.config import Config

    known = steps(location)
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(location).replace("%", "%%"))
    with _ONE_UPGRADE:
        if _has_table(connection, "alembic_version"):
            if _version(connection) not in known:
                raise ConfigurationError(_OTHER_VERSION)
        elif _has_table(connection, "migration"):
            command.stamp(config, _last_before_alembic(connection, known))
            connection.exec_driver_sql("DROP TABLE migration")
        command.upgrade(config, "head")


def apply(statements: Iterable[str]) -> None:
    """Called by a step: run its statements, as they are, on the database that is upgraded."""
    from alembic import op

    for statement in statements:
        op.get_bind().exec_driver_sql(statement)


def _last_before_alembic(connection: Connection, known: tuple[str, ...]) -> str:
    """A database from before Alembic names the steps that it has taken in a table of its own: the last of them."""
    names = connection.exec_driver_sql("SELECT name FROM migration ORDER BY number").scalars().all()
    taken = tuple(name.replace("-", "_") for name in names)
    if taken != known[: len(taken)]:
        raise ConfigurationError(_OTHER_VERSION)
    return taken[-1] if taken else "base"


def _has_table(connection: Connection, name: str) -> bool:
    return connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)).scalar() is not None


def _version(connection: Connection) -> str | None:
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
