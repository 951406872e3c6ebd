"""What every connection, transaction and table of the store keeps to."""

import sqlite3
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy.exc import StatementError
from store_samples import START

from qcnode.errors import ConfigurationError
from qcnode.store import audit
from qcnode.store.database import FILE_NAME, open_database
from qcnode.store.delivery import DELIVERY_MOVES
from qcnode.store.inbox import OBJECT_MOVES, VARIANT_MOVES
from qcnode.store.jobs import CASE_MOVES, QUERY_MOVES
from qcnode.store.moves import Moves
from qcnode.store.worklist import ITEM_MOVES


def test_every_connection_is_durable_and_checks_foreign_keys(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    with database.read() as one, database.begin() as other:
        for connection in (one, other):
            found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous", "foreign_keys")]
            assert found == ["wal", 2, 1]


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"not a database at all, but long enough to be looked at" * 50)
    with pytest.raises(ConfigurationError, match="can not be opened"):
        open_database(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="can not be created"):
        open_database(tmp_path / "file" / "inside")


def test_times_are_utc_and_never_naive(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    eastern = datetime(2026, 5, 4, 10, 0, tzinfo=timezone(timedelta(hours=2)))
    with database.begin() as connection:
        audit.record(connection, at=eastern, actor="a", action="b", subject="c", details={"n": 1})
    (entry,) = audit.Audit(database).entries("c")
    assert entry.at == START
    assert entry.at.utcoffset() == timedelta(0)
    assert entry.details == {"n": 1}
    with pytest.raises(StatementError, match="without timezone"), database.begin() as connection:
        audit.record(connection, at=datetime(2026, 5, 4), actor="a", action="b", subject="c", details={})


def test_audit_only_grows(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    with database.begin() as connection:
        audit.record(connection, at=START, actor="a", action="b", subject="c", details={})
    raw = sqlite3.connect(tmp_path / FILE_NAME)
    for statement in ("UPDATE audit SET actor = 'x'", "DELETE FROM audit"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            raw.execute(statement)
    raw.close()


def test_a_failing_transaction_leaves_nothing(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    with suppress(RuntimeError), database.begin() as connection:
        audit.record(connection, at=START, actor="a", action="b", subject="c", details={})
        raise RuntimeError
    assert audit.Audit(database).entries() == []


@pytest.mark.parametrize("moves", [OBJECT_MOVES, VARIANT_MOVES, QUERY_MOVES, CASE_MOVES, DELIVERY_MOVES, ITEM_MOVES])
def test_moves_lead_to_known_states(moves: Moves) -> None:
    assert frozenset().union(*moves.values()) <= moves.keys()
