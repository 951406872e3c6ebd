"""The migrations lead to the tables of the schema, all or nothing, and only forwards."""

import sqlite3
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect
from sqlalchemy.exc import StatementError
from store_samples import START

from qcnode.errors import ConfigurationError
from qcnode.store import audit
from qcnode.store.database import FILE_NAME, migrate, open_database
from qcnode.store.delivery import DELIVERY_MOVES
from qcnode.store.inbox import OBJECT_MOVES, VARIANT_MOVES
from qcnode.store.jobs import CASE_MOVES, QUERY_MOVES
from qcnode.store.migrations import MIGRATIONS, Migration
from qcnode.store.moves import Moves
from qcnode.store.schema import metadata
from qcnode.store.worklist import ITEM_MOVES, Filters, Order, Worklist


def _shape(path: Path) -> dict[str, object]:
    inspector = inspect(create_engine(f"sqlite:///{path}"))
    return {
        table: (
            [(c["name"], str(c["type"]), c["nullable"], c["primary_key"]) for c in inspector.get_columns(table)],
            sorted((str(i["name"]), tuple(i["column_names"]), bool(i["unique"])) for i in inspector.get_indexes(table)),
            sorted(tuple(f["constrained_columns"] + f["referred_columns"]) for f in inspector.get_foreign_keys(table)),
            sorted(tuple(u["column_names"]) for u in inspector.get_unique_constraints(table)),
        )
        for table in inspector.get_table_names()
        if table != "migration"
    }


def test_migrations_make_the_tables_of_the_schema(tmp_path: Path) -> None:
    open_database(tmp_path).close()
    engine = create_engine(f"sqlite:///{tmp_path / 'schema.sqlite3'}")
    metadata.create_all(engine)
    assert _shape(tmp_path / FILE_NAME) == _shape(tmp_path / "schema.sqlite3")


def _old_database(directory: Path, steps: int) -> sqlite3.Connection:
    """A database as a version of qcnode left it that knew the first `steps` migrations only."""
    raw = sqlite3.connect(directory / FILE_NAME)
    raw.execute("CREATE TABLE migration (number INTEGER PRIMARY KEY, name VARCHAR NOT NULL UNIQUE)")
    for number, migration in enumerate(MIGRATIONS[:steps], start=1):
        for statement in migration.statements:
            raw.execute(statement)
        raw.execute("INSERT INTO migration VALUES (?, ?)", (number, migration.name))
    return raw


def _old_item(raw: sqlite3.Connection, case_id: str, state: str, verdict: str, predicted_dsc: float | None, **columns: str) -> None:
    content = {
        "case_id": case_id,
        "study_instance_uid": "2.25.1",
        "query_series_instance_uid": "2.25.2",
        "query_sop_instance_uid": f"2.25.{case_id}",
        "task": "cardiac-sax",
        "patient_name": "DOE^JANE",
        "patient_id": "P1",
        "accession_number": "A1",
        "study_date": "20260504",
        "verdict": verdict,
        "predicted_dsc": predicted_dsc,
        "reasons": "[]",
        "created_at": "2026-05-04T08:00:00.000000+00:00",
        "state": state,
    } | columns
    names = ", ".join(content)
    raw.execute(f"INSERT INTO worklist_item ({names}) VALUES ({', '.join('?' * len(content))})", tuple(content.values()))


@pytest.mark.parametrize("steps", [1, 2])
def test_items_of_an_older_version_stay(tmp_path: Path, steps: int) -> None:
    raw = _old_database(tmp_path, steps)
    claimed = {"reader": "ann", "claimed_at": "2026-05-04T09:00:00.000000+00:00"}
    decided = claimed | {"decision": "REJECT", "comment": "apex", "decided_at": "2026-05-04T09:01:00.000000+00:00"}
    _old_item(raw, "1", "OPEN", "REVIEW", 0.7)
    _old_item(raw, "2", "OPEN", "FAIL", 0.4)
    _old_item(raw, "3", "CLAIMED", "UNASSESSABLE", None, **claimed)
    _old_item(raw, "4", "DECIDED", "FAIL", 0.1, **decided)
    _old_item(raw, "5", "SUPERSEDED", "FAIL", 0.2, superseded_by_case_id="9")
    raw.commit()
    raw.close()
    worklist = Worklist(open_database(tmp_path))
    later = START + timedelta(days=1)
    waiting, total = worklist.page(Filters(text="jane"), Order.WORST, 0, 9, later)
    assert [(item.case_id, item.state, item.reader) for item in waiting] == [("3", "OPEN", None), ("2", "OPEN", None), ("1", "OPEN", None)]
    assert total == 3
    item = waiting[1]
    assert (item.predicted_dsc, item.dsc_low, item.interval_level, item.blind, item.segmenter) == (0.4, None, None, False, "")
    assert worklist.counts() == {"OPEN": 2, "CLAIMED": 1, "DECIDED": 1, "SUPERSEDED": 1}
    old = worklist.show(4, later)
    assert (old.decision, old.comment, old.reader, old.decision_reasons, old.rating) == ("REJECT", "apex", "ann", (), None)
    assert [(r.stage, r.reader, r.decision, r.comment, r.settles) for r in worklist.readings(4)] == [
        ("FIRST", "ann", "REJECT", "apex", True)
    ]
    assert (old.stage, old.read_twice, old.sampling_probability) == ("FIRST", False, 1)
    assert worklist.finalise_due(later) == [], "a decision of the past is not sent anywhere"
    assert worklist.claim(3, "bob", later, later).reader == "bob"


def test_what_was_drawn_before_counts_as_drawn_with_the_default_share(tmp_path: Path) -> None:
    raw = _old_database(tmp_path, 5)
    _old_item(raw, "1", "OPEN", "PASS", 0.9, blind="1")
    _old_item(raw, "2", "OPEN", "FAIL", 0.4, blind="0")
    raw.commit()
    raw.close()
    open_database(tmp_path).close()
    found = sqlite3.connect(tmp_path / FILE_NAME).execute("SELECT case_id, sampling_probability FROM worklist_item ORDER BY case_id")
    assert found.fetchall() == [("1", 0.05), ("2", 1.0)]


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    first = open_database(tmp_path / "deep" / "er")
    with first.begin() as connection:
        audit.record(connection, at=START, actor="a", action="b", subject="c", details={})
    first.close()
    second = open_database(tmp_path / "deep" / "er")
    assert len(audit.Audit(second).entries()) == 1
    with second.read() as connection:
        applied = connection.exec_driver_sql("SELECT name FROM migration ORDER BY number").scalars().all()
    assert list(applied) == [migration.name for migration in MIGRATIONS]


def test_every_connection_is_durable_and_checks_foreign_keys(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    with database.read() as one, database.begin() as other:
        for connection in (one, other):
            found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous", "foreign_keys")]
            assert found == ["wal", 2, 1]


def test_a_migration_is_applied_whole_or_not_at_all(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    broken = Migration("0002-broken", ("CREATE TABLE half (a INTEGER)", "CREATE TABLE nonsense ("))
    with pytest.raises(Exception, match="incomplete input"):
        migrate(database, (*MIGRATIONS, broken))
    mended = Migration("0002-mended", ("CREATE TABLE half (a INTEGER)", "CREATE TABLE whole (a INTEGER)"))
    migrate(database, (*MIGRATIONS, mended))
    assert {"half", "whole"} <= _shape(tmp_path / FILE_NAME).keys()


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    migrate(database, (*MIGRATIONS, Migration("0002-later", ("CREATE TABLE later (a INTEGER)",))))
    database.close()
    with pytest.raises(ConfigurationError, match="another version"):
        open_database(tmp_path)


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
