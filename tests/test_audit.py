"""`qcnode audit`: what was planted is found, by its code and where it lies; a node on which nothing is wrong is said to be so."""

import json
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
import yaml
from pynetdicom import AE
from pynetdicom.association import Association
from settled_node import settle_study, write_config
from small_study import SmallStudy, small_study
from store_samples import at
from typer.testing import CliRunner

from qcnode.audit import run
from qcnode.audit.findings import ADVICE, Code
from qcnode.cli import app
from qcnode.demo.pacs import DemoPacs
from qcnode.store.database import open_database
from qcnode.store.inbox import Inbox
from qcnode.store.schema import case_table


@dataclass(frozen=True)
class Audited:
    """A settled node, which may be harmed, and its audit."""

    config: Path
    storage: Path
    study: SmallStudy
    pacs: DemoPacs

    def report(self, code: int, *options: str) -> dict:
        outcome = CliRunner().invoke(app, ["audit", "--json", *(options or ("--offline",)), "--config", str(self.config)])
        assert outcome.exit_code == code, outcome.output
        return json.loads(outcome.stdout)

    def findings(self, *options: str) -> list[tuple[str, str]]:
        return [(finding["code"], finding["subject"]) for finding in self.report(1, *options)["findings"]]

    def in_archive(self, kind: str) -> tuple[str, Path]:
        """An answer's SOP Instance UID and its file in the archive."""
        uid = self.one("delivery", "sop_instance_uid", f"kind = '{kind}'")
        path = self.pacs.path_of(uid)
        assert path is not None
        return uid, path

    def one(self, table: str, column: str, where: str = "1") -> str:
        with sqlite3.connect(self.storage / "qcnode.sqlite3") as connection:
            return str(connection.execute(f"SELECT {column} FROM {table} WHERE {where} LIMIT 1").fetchone()[0])

    def sql(self, statement: str) -> None:
        connection = sqlite3.connect(self.storage / "qcnode.sqlite3")
        with connection:
            connection.execute(statement)
        connection.close()


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory):
    folder, study = tmp_path_factory.mktemp("settled"), small_study("audited", 2)
    with DemoPacs(folder / "pacs") as pacs:
        config = write_config(folder / "config.yaml", folder / "storage", pacs)
        settle_study(config, study)
        yield folder, study


@pytest.fixture
def node(settled: tuple[Path, SmallStudy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder, study = settled
    monkeypatch.setitem(run.audit.__kwdefaults__, "pauses_seconds", (0.0,))
    shutil.copytree(folder / "storage", tmp_path / "storage")
    shutil.copytree(folder / "pacs", tmp_path / "pacs")
    with DemoPacs(tmp_path / "pacs") as pacs:
        write_config(tmp_path / "config.yaml", tmp_path / "storage", pacs)
        yield Audited(tmp_path / "config.yaml", tmp_path / "storage", study, pacs)


def test_on_a_clean_node_nothing_differs(node: Audited) -> None:
    report = node.report(0, "--json")
    assert report["findings"] == []
    assert report["under_way"] == report["uncompared"] == {}
    assert (report["objects"], report["cases"]) == (len(node.study.datasets), 2)
    assert "nothing differs" in CliRunner().invoke(app, ["audit", "--config", str(node.config)]).stdout


def test_every_finding_says_what_to_do() -> None:
    assert set(ADVICE) == set(Code)


def test_a_missing_file(node: Audited) -> None:
    uid = str(node.study.images[1].SOPInstanceUID)
    path = node.storage / node.one("stored_object", "path", f"sop_instance_uid = '{uid}'")
    path.unlink()
    assert node.findings() == [("object-missing", uid)]
    database = open_database(node.storage)
    assert Inbox(database, node.storage, 0).recover(at(7200)).lost == (uid,), "what a start of the node makes of it"
    database.close()
    assert node.findings() == [("object-lost", uid)]


def test_a_changed_byte(node: Audited) -> None:
    uid = str(node.study.images[0].SOPInstanceUID)
    path = node.storage / node.one("stored_object", "path", f"sop_instance_uid = '{uid}'")
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    assert node.findings() == [("object-changed", uid)]


def test_a_file_that_no_row_knows(node: Audited) -> None:
    stray = node.storage / "objects" / "ab" / f"{'0' * 62}.dcm"
    stray.write_bytes(b"stray")
    assert node.findings() == [("file-without-object", str(stray.relative_to(node.storage)))]


def test_temporary_files_are_no_finding(node: Audited) -> None:
    (node.storage / "incoming" / "x.part").write_bytes(b"half")
    (node.storage / "results" / "ab" / ("ab" * 32 + ".unfinished")).mkdir(parents=True)
    assert node.report(0)["findings"] == []


def test_a_lost_result(node: Audited) -> None:
    case_id = node.one("judged_case", "case_id")
    shutil.rmtree(node.storage / "results" / case_id[:2] / case_id)
    found = node.findings()
    assert ("result-missing", case_id) in found
    assert {code for code, _ in found} == {"result-missing", "pictures-missing", "decision-document-missing", "delivery-file-missing"}


def test_a_changed_result(node: Audited) -> None:
    case_id = node.one("judged_case", "case_id")
    directory = node.storage / "results" / case_id[:2] / case_id
    with (directory / "report.dcm").open("ab") as file:
        file.write(b"\0")
    assert ("result-changed", case_id) in node.findings()
    (directory / "verdict.json").write_text("{}")
    assert node.findings().count(("result-changed", case_id)) == 1


def test_a_result_of_another_backup(node: Audited) -> None:
    ids = [node.one("judged_case", f"{which}(case_id)") for which in ("min", "max")]
    one, other = (node.storage / "results" / case_id[:2] / case_id for case_id in ids)
    (one / "verdict.json").write_bytes((other / "verdict.json").read_bytes())
    assert node.findings() == [("result-differs-from-record", one.name)]


def test_a_purged_result_is_no_finding_unless_it_was_still_needed(node: Audited) -> None:
    case_id = node.one("judged_case", "case_id")
    shutil.rmtree(node.storage / "results" / case_id[:2] / case_id)
    node.sql(f"UPDATE judged_case SET results_purged_at = '2026-07-01T00:00:00+00:00' WHERE case_id = '{case_id}'")
    node.sql(f"UPDATE worklist_item SET preview_path = NULL, viewer_path = NULL WHERE case_id = '{case_id}'")
    assert node.report(0)["findings"] == []
    node.sql(f"UPDATE delivery SET state = 'PENDING' WHERE case_id = '{case_id}' AND kind = 'report'")
    assert node.findings() == [("result-purged-early", case_id)]


def test_a_result_that_no_case_knows(node: Audited) -> None:
    stray = node.storage / "results" / "cd" / ("cd" * 32)
    stray.mkdir(parents=True)
    assert node.findings() == [("result-without-case", f"results/cd/{'cd' * 32}")]


def test_a_missing_worklist_item(node: Audited) -> None:
    case_id = node.one("worklist_item", "case_id")
    node.sql("DELETE FROM reading")
    node.sql(f"DELETE FROM worklist_item WHERE case_id = '{case_id}'")
    assert node.findings() == [("worklist-item-missing", case_id)]


def test_a_missing_document_about_a_decision(node: Audited) -> None:
    number, case_id = node.one("worklist_item", "item_id"), node.one("worklist_item", "case_id")
    node.sql(f"DELETE FROM decision_report WHERE case_id = '{case_id}'")
    assert node.findings() == [("decision-document-missing", f"worklist item {number}")]


def test_a_delivery_that_was_never_queued(node: Audited) -> None:
    case_id = node.one("judged_case", "max(case_id)")
    node.sql(f"DELETE FROM delivery WHERE case_id = '{case_id}' AND kind = 'error_map'")
    assert node.findings() == [("delivery-missing", f"pacs: error_map of {case_id}")]
    node.sql("DELETE FROM delivery WHERE kind = 'error_map'")
    assert node.report(0)["findings"] == [], "a destination that never got one did not want it"


def test_a_delivery_that_was_given_up(node: Audited) -> None:
    uid = node.one("delivery", "sop_instance_uid", "kind = 'report'")
    node.sql(f"UPDATE delivery SET state = 'DEAD' WHERE sop_instance_uid = '{uid}'")
    assert node.findings() == [("delivery-given-up", f"pacs: report {uid}")]


def test_segmentations_that_nobody_accounts_for(node: Audited) -> None:
    forgotten, caseless = (str(query.SOPInstanceUID) for query in node.study.queries)
    node.sql(f"DELETE FROM query_segmentation WHERE sop_instance_uid = '{forgotten}'")
    assert node.findings() == [("segmentation-without-outcome", forgotten)]
    node.sql(f"UPDATE judged_case SET state = 'SUPERSEDED' WHERE query_sop_instance_uid = '{caseless}'")
    assert ("query-without-case", caseless) in node.findings()


def test_two_cases_of_one_query(node: Audited) -> None:
    uid = str(node.study.queries[0].SOPInstanceUID)
    columns = [column.name for column in case_table.columns if column.name != "case_id"]
    names = ", ".join(columns)
    node.sql(f"INSERT INTO judged_case (case_id, {names}) SELECT 'x', {names} FROM judged_case WHERE query_sop_instance_uid = '{uid}'")
    assert ("two-answers", uid) in node.findings()
    node.sql(f"UPDATE judged_case SET state = 'PENDING', result_directory = NULL WHERE query_sop_instance_uid = '{uid}'")
    assert ("two-cases-in-work", uid) in node.findings()


def test_a_stale_duplicate_at_the_destination(node: Audited) -> None:
    """What archives do that were sent a UID before: they answer success, and keep what they had."""
    uid, path = node.in_archive("report")
    stale = pydicom.dcmread(path)
    stale.ContentSequence[-1].ConceptNameCodeSequence[0].CodeMeaning = "Something else"
    stale.save_as(path)
    assert node.findings("--json") == [("answer-differs", f"pacs: report {uid}")]
    assert node.report(0, "--offline")["findings"] == []


def test_attributes_that_an_archive_may_correct_are_no_difference(node: Audited) -> None:
    _, path = node.in_archive("report")
    corrected = pydicom.dcmread(path)
    corrected.PatientName, corrected.AccessionNumber = "PHANTOM^MARRIED", "A2"
    corrected.save_as(path)
    assert node.report(0, "--json")["findings"] == []


def test_an_answer_that_the_destination_does_not_hold(node: Audited) -> None:
    uid, path = node.in_archive("error_map")
    node.pacs.stop()
    path.unlink()
    with DemoPacs(node.pacs.folder, port=node.pacs.port):
        assert node.findings("--json") == [("answer-missing", f"pacs: error_map {uid}")]


def test_a_surplus_report_at_the_destination(node: Audited) -> None:
    surplus = pydicom.dcmread(node.in_archive("report")[1])
    surplus.SOPInstanceUID = surplus.file_meta.MediaStorageSOPInstanceUID = "2.25.4711"
    node.pacs.keep(surplus)
    assert node.findings("--json") == [("answer-surplus", "pacs: 2.25.4711")]


def test_a_destination_that_is_away_or_gives_nothing_back(node: Audited) -> None:
    content = yaml.safe_load(node.config.read_text())
    content["destinations"][0]["read_back"] = "none"
    node.config.write_text(yaml.safe_dump(content))
    report = node.report(0, "--json")
    assert list(report["uncompared"]) == ["pacs"]
    node.pacs.stop()
    content["destinations"][0] |= {"read_back": "c-get", "timeout_seconds": 1}
    node.config.write_text(yaml.safe_dump(content))
    assert node.findings("--json") == [("destination-silent", "pacs")]


def test_all_answers_are_asked_for_on_the_same_associations(node: Audited, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, associate = [], AE.associate

    def counted(entity: AE, *arguments: object, **settings: object) -> Association:
        association = associate(entity, *arguments, **settings)
        asked.append(association)
        return association

    monkeypatch.setattr(AE, "associate", counted)
    assert int(node.one("delivery", "count(*)")) >= 3
    assert node.report(0, "--json")["findings"] == []
    assert len(asked) == 2, "C-GET and C-FIND"
    assert all(association.is_released for association in asked)


def test_what_is_under_way_is_no_finding(node: Audited) -> None:
    node.sql("UPDATE delivery SET state = 'PENDING'")
    node.sql("UPDATE study SET matched_at = NULL")
    report = node.report(0)
    assert report["findings"] == []
    assert report["under_way"]["studies to match"] == 1
    assert report["under_way"]["deliveries to make"] > 5


def test_it_writes_nothing_and_needs_a_database_of_this_version(node: Audited, tmp_path: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in node.storage.rglob("*") if not p.name.endswith(("-shm", "-wal"))}
    node.report(0)
    assert {p: p.stat().st_mtime_ns for p in node.storage.rglob("*") if not p.name.endswith(("-shm", "-wal"))} == before
    node.config.write_text(f"storage: {{directory: {tmp_path / 'nowhere'}}}")
    outcome = CliRunner().invoke(app, ["audit", "--config", str(node.config)])
    assert "no database" in str(outcome.exception)
    assert not (tmp_path / "nowhere").exists()
