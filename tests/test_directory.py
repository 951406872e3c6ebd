"""`qcnode assess`: its files, its verdict.json and its exit codes."""

import json
import sys
from pathlib import Path

import pydicom
import pytest

from qcnode.cli import main
from qcnode.demo.phantom_dicom import PhantomStudy, phantom_study, seg_of
from qcnode.tissues import Tissue

PROSTATE = (Tissue("prostate", ("prostate",), ("41216001", "SCT", "Prostate")),)


@pytest.fixture(scope="module")
def study() -> PhantomStudy:
    return phantom_study(2)


def save(folder: Path, *datasets: pydicom.Dataset) -> Path:
    folder.mkdir(exist_ok=True)
    for i, dataset in enumerate(datasets):
        dataset.save_as(folder / f"{len(list(folder.iterdir()))}-{i}.dcm", enforce_file_format=True)
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["qcnode", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_each_query_gets_its_folder_and_a_second_run_keeps_it(
    study: PhantomStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    query = study.queries[1].dataset
    prostate = seg_of(study.queries[0].segmentation[:1], study.images, study.study, tissues=PROSTATE, series_number=200)
    folder = save(tmp_path / "in", *study.images, query, prostate)
    (folder / "notes.txt").write_text("not DICOM")
    assert run(monkeypatch, "assess", folder, "--out", tmp_path / "out") == 0
    result = tmp_path / "out" / query.SOPInstanceUID
    assert {p.name for p in result.iterdir()} >= {"verdict.json", "report.dcm", "error_map.dcm", "preview.png"}
    verdict = json.loads((result / "verdict.json").read_text())
    assert verdict["query"] == {"series_instance_uid": query.SeriesInstanceUID, "sop_instance_uid": query.SOPInstanceUID}
    assert set(verdict["weights"]) == {"name", "version", "sha256"}
    pooled = {"dsc", "nsd", "tolerance_mm", "dsc_interval", "nsd_interval", "interval_level"}
    pooled |= {"image_p_value", "query_p_value", "spread_features"}
    assert set(verdict["predicted"]) == pooled | {"per_tissue"}
    assert verdict["completeness_evidence"] == "directory"
    assert verdict["study_instance_uid"] == study.study.study_instance_uid
    assert verdict["verdict"] in ("PASS", "FAIL", "REVIEW")
    not_ours = json.loads((tmp_path / "out" / prostate.SOPInstanceUID / "verdict.json").read_text())
    assert (not_ours["verdict"], not_ours["predicted"], not_ours["reasons"][0]["code"]) == ("NOT_APPLICABLE", None, "no-task")
    before = {p: p.read_bytes() for p in result.rglob("*") if p.is_file()}
    assert run(monkeypatch, "assess", folder, "--out", tmp_path / "out") == 0
    assert {p: p.read_bytes() for p in result.rglob("*") if p.is_file()} == before
    assert "PHANTOM" not in capsys.readouterr().out


def test_images_that_are_not_there_are_unassessable(study: PhantomStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save(tmp_path / "in", study.queries[1].dataset)
    assert run(monkeypatch, "assess", folder, "--out", tmp_path / "out") == 3
    result = tmp_path / "out" / study.queries[1].dataset.SOPInstanceUID
    verdict = json.loads((result / "verdict.json").read_text())
    assert (verdict["verdict"], verdict["predicted"]) == ("UNASSESSABLE", None)
    assert verdict["reasons"][0]["code"] == "images-missing"
    assert (result / "report.dcm").exists()


def test_no_segmentation_at_all(study: PhantomStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "assess", save(tmp_path / "in", study.images[0]), "--out", tmp_path / "out") == 4


def test_wrong_usage_and_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "assess", tmp_path / "nothing", "--out", tmp_path / "out") == 2
    wrong = tmp_path / "config.yaml"
    wrong.write_text("listen: {prot: 104}\n")
    assert run(monkeypatch, "assess", tmp_path, "--out", tmp_path / "out", "--config", wrong) == 2
    assert "listen.prot" in capsys.readouterr().err


def test_a_peers_uid_is_never_a_path(study: PhantomStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    query = pydicom.Dataset(study.queries[1].dataset)
    query.file_meta = study.queries[1].dataset.file_meta
    query.SOPInstanceUID = query.file_meta.MediaStorageSOPInstanceUID = "../../escaped"
    run(monkeypatch, "assess", save(tmp_path / "in", query), "--out", tmp_path / "a" / "b" / "out")
    assert not (tmp_path / "a" / "escaped").exists()
    assert not (tmp_path / "escaped").exists()


@pytest.mark.filterwarnings("default")
def test_what_an_element_holds_is_not_quoted(
    study: PhantomStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """pydicom warns of invalid values in their own words; they may be a name in the wrong place."""
    query = pydicom.Dataset(study.queries[1].dataset)
    query.file_meta = study.queries[1].dataset.file_meta
    with pydicom.config.disable_value_validation():
        query.PatientBirthDate, query.ContentDate, query.SegmentSequence[0].TrackingUID = "DOE^JOHN", "DOE^JOHN", "DOE^JOHN"
        folder = save(tmp_path / "in", query)
    recwarn.clear()
    run(monkeypatch, "assess", folder, "--out", tmp_path / "out")
    assert [str(warning.message) for warning in recwarn if "DOE" in str(warning.message)] == []
