"""The steps lead from any earlier database to the tables of the schema, all or nothing, and only forwards."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from datetime import timedelta
from importlib import import_module
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect
from store_samples import START, at

from qcnode.errors import ConfigurationError
from qcnode.store import audit, migrations
from qcnode.store.accounts import Accounts, Role
from qcnode.store.database import FILE_NAME, migrate, open_database
from qcnode.store.decision_reports import DecisionReports
from qcnode.store.inbox import Inbox
from qcnode.store.jobs import Jobs
from qcnode.store.notices import Notices
from qcnode.store.outbox import Outbox
from qcnode.store.schema import metadata
from qcnode.store.ups_steps import UpsSteps
from qcnode.store.worklist import Filters, Order, Worklist

RELEASE = Path(__file__).parent / "databases" / "release-0008.sql"
"""What `iterdump` says of a database that the last version without Alembic wrote, with rows in every table."""

OPEN = "import sys; from pathlib import Path; from qcnode.store.database import open_database; open_database(Path(sys.argv[1])).close()"
MIGRATE = """
import sys; from pathlib import Path; from sqlalchemy import create_engine
from qcnode.store.database import open_database, migrate
migrate(open_database(Path(sys.argv[1])), Path(sys.argv[2]))
"""


def shape(path: Path) -> dict[str, object]:
    """Columns, indices and keys of every table, as SQLAlchemy sees them."""
    inspector = inspect(create_engine(f"sqlite:///{path}"))
    return {
        table: (
            [(c["name"], str(c["type"]), c["nullable"], c["primary_key"]) for c in inspector.get_columns(table)],
            sorted((str(i["name"]), tuple(i["column_names"]), bool(i["unique"])) for i in inspector.get_indexes(table)),
            sorted(tuple(f["constrained_columns"] + f["referred_columns"]) for f in inspector.get_foreign_keys(table)),
            sorted(tuple(u["column_names"]) for u in inspector.get_unique_constraints(table)),
        )
        for table in inspector.get_table_names()
        if table != "alembic_version"
    }


def declared(path: Path) -> set[tuple[str, str, str]]:
    """Every table, index and trigger, word for word."""
    raw = sqlite3.connect(path)
    found = set(raw.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    raw.close()
    return found


def rows(path: Path) -> dict[str, list[dict[str, object]]]:
    """Every row of every table but those about versions."""
    raw = sqlite3.connect(path)
    raw.row_factory = sqlite3.Row
    tables = [r[0] for r in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = {t: [dict(r) for r in raw.execute(f"SELECT * FROM {t} ORDER BY rowid")] for t in set(tables) - {"migration", "alembic_version"}}
    raw.close()
    return found


def version(path: Path) -> list[str]:
    raw = sqlite3.connect(path)
    found = [r[0] for r in raw.execute("SELECT version_num FROM alembic_version")]
    raw.close()
    return found


def release_database(directory: Path) -> Path:
    path = directory / FILE_NAME
    raw = sqlite3.connect(path)
    raw.executescript(RELEASE.read_text())
    raw.close()
    return path


def with_step(directory: Path, body: str) -> Path:
    """The steps and one more, whose `upgrade` is `body`."""
    location = directory / "steps"
    shutil.copytree(migrations.HERE, location, dirs_exist_ok=True)
    last = migrations.steps()[-1]
    head = f"from alembic import op\nrevision = '9999_more'\ndown_revision = '{last}'\n\ndef upgrade():\n"
    (location / "versions" / "m9999_more.py").write_text(head + "".join(f"    {line}\n" for line in body.splitlines()))
    return location


def python(code: str, *arguments: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stderr=subprocess.PIPE, text=True)


def test_a_step_is_named_by_its_file_and_follows_the_one_before() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations.HERE))
    found = list(ScriptDirectory.from_config(config).walk_revisions())[::-1]
    assert tuple(step.revision for step in found) == migrations.steps()
    assert [step.down_revision for step in found] == [None, *migrations.steps()[:-1]]
    numbers = [int(step.revision[:4]) for step in found]
    assert numbers == sorted(set(numbers))


def test_the_steps_make_the_tables_of_the_schema(tmp_path: Path) -> None:
    open_database(tmp_path).close()
    engine = create_engine(f"sqlite:///{tmp_path / 'schema.sqlite3'}")
    metadata.create_all(engine)
    assert shape(tmp_path / FILE_NAME) == shape(tmp_path / "schema.sqlite3")


def test_a_database_of_the_previous_release_goes_on_with_every_row(tmp_path: Path) -> None:
    path = release_database(tmp_path)
    before = rows(path)
    assert len(before) == 14
    assert all(before.values()), "a table of the previous release is not tested"
    open_database(tmp_path).close()
    (tmp_path / "fresh").mkdir()
    open_database(tmp_path / "fresh").close()
    assert declared(path) == declared(tmp_path / "fresh" / FILE_NAME)
    assert version(path) == [migrations.steps()[-1]]
    after = rows(path)
    for table, content in before.items():
        assert [{name: row[name] for name in old} for old, row in zip(content, after[table], strict=True)] == content, table


def test_what_the_previous_release_wrote_is_read(tmp_path: Path) -> None:
    release_database(tmp_path)
    database, later = open_database(tmp_path), at(100)
    inbox, jobs, worklist = Inbox(database, tmp_path, 0), Jobs(database), Worklist(database)
    assert [h.header.sop_instance_uid for h in inbox.headers_of_study("2.25.1")] == ["2.25.100", "2.25.101"]
    assert (inbox.counts().conflicting, inbox.counts().by_kind["unreadable"]) == (1, 1)
    assert [q.reason.code for q in jobs.queries("WAITING") if q.reason] == ["images-missing"]
    assert jobs.counts().cases == {"DONE": 5, "PENDING": 1, "RUNNING": 1}
    settled = jobs.result("11")
    assert settled is not None
    assert (settled.verdict, settled.directory) == ("FAIL", tmp_path / "results/11")
    assert len(jobs.cases_of_study("2.25.1")) == 7
    assert Outbox(database).counts() == {"pacs": {"DEAD": 1, "DELIVERED": 1, "PENDING": 13, "SENDING": 1}}
    assert worklist.counts() == {"CLAIMED": 1, "DECIDED": 1, "HELD": 1, "OPEN": 2}
    assert [reading.comment for reading in worklist.readings(1)] == ["apex"]
    assert DecisionReports(database).unreported(worklist.show(1, later)) is None
    assert [item.item_id for item in worklist.finalise_due(at(400))][-1] == 2, "a decision that was held becomes final"
    assert len(UpsSteps(database, lambda *_: "2.25.1").find(later)) == 5
    assert [(a.name, a.role) for a in Accounts(database).list()] == [("ann", Role.SUPERVISOR)]
    assert Notices(database).counts() == {"hook": {"PENDING": 1, "SENT": 1}}
    assert len(audit.Audit(database).entries()) == 14
    claimed = Jobs(database).claim("w", at(2000), timedelta(minutes=1))
    assert claimed is not None, "a case of the previous release is judged"


def test_an_upgrade_that_is_killed_leaves_the_old_state_and_is_repeated(tmp_path: Path) -> None:
    path = release_database(tmp_path)
    open_database(tmp_path).close()
    before, old = declared(path), version(path)
    half = "op.execute('CREATE TABLE half (a INTEGER)')\nop.execute('DELETE FROM notice')\n"
    killed = python(MIGRATE, tmp_path, with_step(tmp_path, half + "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"))
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert (declared(path), version(path)) == (before, old)
    assert len(rows(path)["notice"]) == 2
    open_database(tmp_path).close()  # the earlier version still works on it
    migrate(open_database(tmp_path), with_step(tmp_path, half))
    assert version(path) == ["9999_more"]
    assert rows(path)["notice"] == rows(path)["half"] == []


def test_a_step_that_fails_is_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    with pytest.raises(Exception, match="incomplete input"):
        migrate(database, with_step(tmp_path, "op.execute('CREATE TABLE half (a INTEGER)')\nop.execute('CREATE TABLE nonsense (')"))
    assert "half" not in shape(tmp_path / FILE_NAME)
    migrate(database, with_step(tmp_path, "op.execute('CREATE TABLE half (a INTEGER)')"))
    assert "half" in shape(tmp_path / FILE_NAME)


@pytest.mark.parametrize("release", [True, False], ids=["of the previous release", "fresh"])
def test_processes_that_open_it_at_the_same_time_upgrade_it_once(tmp_path: Path, release: bool) -> None:
    if release:
        release_database(tmp_path)
    opening = [python(OPEN, tmp_path) for _ in range(2)]
    assert [(p.communicate(timeout=60)[1], p.returncode) for p in opening] == [("", 0)] * 2
    assert version(tmp_path / FILE_NAME) == [migrations.steps()[-1]]


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    migrate(database, with_step(tmp_path, "op.execute('CREATE TABLE later (a INTEGER)')"))
    database.close()
    with pytest.raises(ConfigurationError, match="another version"):
        open_database(tmp_path)


def test_a_database_with_unknown_steps_of_before_alembic_is_refused(tmp_path: Path) -> None:
    path = release_database(tmp_path)
    raw = sqlite3.connect(path)
    raw.execute("INSERT INTO migration VALUES (9, '0009-of-somebody-else')")
    raw.commit()
    raw.close()
    before = declared(path)
    with pytest.raises(ConfigurationError, match="another version"):
        open_database(tmp_path)
    assert declared(path) == before


def test_opening_again_changes_nothing_and_needs_no_alembic(tmp_path: Path) -> None:
    first = open_database(tmp_path / "deep" / "er")
    with first.begin() as connection:
        audit.record(connection, at=START, actor="a", action="b", subject="c", details={})
    first.close()
    second = open_database(tmp_path / "deep" / "er")
    assert len(audit.Audit(second).entries()) == 1
    check = python(OPEN + "; assert 'alembic' not in sys.modules", tmp_path / "deep" / "er")
    assert (check.communicate(timeout=60)[1], check.returncode) == ("", 0)


def _old_database(directory: Path, steps: int) -> sqlite3.Connection:
    """A database as a version of qcnode left it that knew the first `steps` steps only."""
    raw = sqlite3.connect(directory / FILE_NAME)
    raw.execute("CREATE TABLE migration (number INTEGER PRIMARY KEY, name VARCHAR NOT NULL UNIQUE)")
    for number, step in enumerate(migrations.steps()[:steps], start=1):
        for statement in import_module(f"qcnode.store.migrations.versions.m{step}").STATEMENTS:
            raw.execute(statement)
        raw.execute("INSERT INTO migration VALUES (?, ?)", (number, step.replace("_", "-")))
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
