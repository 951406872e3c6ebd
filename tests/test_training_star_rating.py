"""Stars learned from an exported cohort of phantoms: the slices, exact resuming, and honest baselines."""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from qcnode.assess.model_card import load_card
from qcnode.case import Verdict
from qcnode.cohort.format import (
    DECISIONS,
    FORMAT,
    ContrastReference,
    Manifest,
    PlaneReference,
    ReviewedQuery,
    read_cohort,
    write_manifest,
    write_reviews,
)
from qcnode.demo.phantom_dicom import phantom_study
from qcnode.outcome import Predicted
from training import train
from training.cli import app
from training.cohorts.reviews import rated_queries
from training.methods.star_rating import RatedViews, RatingSettings, compared, views_of

PACKAGED = Path(__file__).parents[1] / "qcnode" / "models" / "cardiac-sax"
PATIENTS = 3
TINY = {
    "side": 64, "pixel_mm": 3.0, "folds": 2, "init_features": 8, "growth_rate": 4, "block_config": [2, 2],
    "schedule": {"steps": 6, "batch": 4, "learning_rate": 1e-3, "save_every": 2},
}  # fmt: skip


def review(patient: str, number: int, rating: int | None, files: Sequence[str], uids: Sequence[str], query_file: str) -> ReviewedQuery:
    planes = tuple(PlaneReference(uid, 1, file) for uid, file in zip(uids, files, strict=True))
    return ReviewedQuery(
        patient=patient, case=f"{patient}-{number}", task="cardiac-sax", study_instance_uid="2.25.1", query_series_instance_uid="2.25.2",
        query_sop_instance_uid="2.25.3", query_file=query_file, reference_contrast="cine",
        contrasts={"cine": ContrastReference("2.25.4", planes)}, verdict=Verdict.FAIL, reasons=(),
        predicted=Predicted(0.3 * number, 0.5, 2.0, {}), weights=None, judging_digest="", qcnode_version="", scanner="", segmenter="",
        blind=False, sampling_probability=1.0, decision="REJECT", decision_reasons=(), rating=rating, comment=None, reader="r",
        decided="2026-05",
    )  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)  # tiny networks: threads would only wait for one another


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms with a good query (6 stars), a shifted one (2) and one without the base, which nobody rated."""
    folder = tmp_path_factory.mktemp("cohort")
    reviews = []
    for p in range(PATIENTS):
        study = phantom_study(20 + p, phases=1, phase=0)
        files = [f"{p}-{i}.dcm" for i in range(len(study.images))]
        for file, dataset in zip(files, study.images, strict=True):
            dataset.save_as(folder / file, enforce_file_format=True)
        for q, (query, rating) in enumerate(zip(study.queries, (6, 2, None), strict=True)):
            query.dataset.save_as(folder / f"{p}-query{q}.dcm", enforce_file_format=True)
            uids = [str(d.SOPInstanceUID) for d in study.images]
            reviews.append(review(f"p{p}", q, rating, files, uids, f"{p}-query{q}.dcm"))
    digest = write_reviews(reviews, folder)
    write_manifest(Manifest(FORMAT, 1, "2026-05-04", "9", True, None, None, None, len(reviews), PATIENTS, len(reviews), digest), folder)
    return folder


def command(cohort: Path, folder: Path, run: str) -> object:
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    words = ["fit-rating", "--reviews", cohort, "--weights", PACKAGED, "--run", folder / run, "--settings", folder / "tiny.yaml"]
    return CliRunner().invoke(app, [str(word) for word in words])


def test_stars_are_learned_out_of_fold_and_resume_exactly(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = command(cohort, tmp_path, "whole")
    assert whole.exit_code == 0, whole.output
    assert f"{2 * PATIENTS} rated segmentations of {PATIENTS} patients" in whole.output
    content = json.loads((tmp_path / "whole/ratings.json").read_text())
    assert {row["case"] for row in content["queries"]} == {f"p{p}-{q}" for p in range(PATIENTS) for q in (0, 1)}
    assert all(1 <= row["estimated"] <= 6 for row in content["queries"])
    assert content["results"]["mean_rating"] == {"mae": 2.0, "r": None}  # every patient has 6 and 2
    assert content["results"]["predicted_dsc"] == {"mae": 0.0, "r": 1.0}  # and predictions that say which
    log = train._log

    def killing(path: Path, step: int, values: dict[str, float]) -> None:
        log(path, step, values)
        if step == 3 and path.parent.name == "rating-1":
            raise KeyboardInterrupt

    monkeypatch.setattr(train, "_log", killing)
    command(cohort, tmp_path, "killed")
    assert not (tmp_path / "killed/rating-1/average.pt").exists()
    monkeypatch.setattr(train, "_log", log)
    assert command(cohort, tmp_path, "killed").exit_code == 0
    for fold in range(2):
        first, second = (torch.load(tmp_path / run / f"rating-{fold}/average.pt", weights_only=True) for run in ("whole", "killed"))
        assert all(torch.equal(first[k], second[k]) for k in first)
    assert json.loads((tmp_path / "killed/ratings.json").read_text()) == content


def test_slices_go_through_the_centre_of_mass(cohort: Path) -> None:
    card = load_card(PACKAGED)
    query = next(rated_queries(read_cohort(cohort), card, "cardiac-sax"))
    views = views_of(query, card, RatingSettings.model_validate(TINY))
    assert views.contrasts.shape == (3, 1, 64, 64)
    assert views.tissues.shape == (3, 3, 64, 64)
    for view in views.tissues:  # each slice shows the heart around its middle
        rows, columns = np.nonzero(view.any(0))
        assert rows.size
        assert abs(rows.mean() - 31.5) < 5
        assert abs(columns.mean() - 31.5) < 5
    depth = np.ptp(np.nonzero(views.tissues[1].any(0))[0]) + 1  # across y the first axis is along the heart
    spacing, stack = query.contrasts[0].grid.spacing[0], np.ptp(np.nonzero(query.tissues.any((0, 2, 3)))[0]) + 1
    assert depth * TINY["pixel_mm"] == pytest.approx(stack * spacing, abs=spacing)
    only = views_of(query, card, RatingSettings.model_validate(TINY | {"views": ["z"]}))
    np.testing.assert_array_equal(only.contrasts[0], views.contrasts[0])


def test_baselines_know_the_other_patients_only() -> None:
    empty = np.zeros((1, 1, 1, 1), np.float32)
    queries = [
        RatedViews(p, p, stars, dsc, empty, empty) for p, stars, dsc in (("a", 1, 0.1), ("b", 3, 0.3), ("c", 6, None), ("d", 2, 0.2))
    ]
    results = compared(queries, np.array([1.0, 3.0, 5.0, 2.0]), np.arange(4))
    assert results.network.mae == 0.25
    assert results.mean_rating.mae == pytest.approx(np.mean([11 / 3 - 1, 0, 4, 10 / 3 - 2]), abs=1e-4)
    assert results.predicted_dsc.mae == pytest.approx(np.mean([0, 0, 4, 0]), abs=1e-4)  # c has no prediction: the mean of the others


def test_too_few_patients_and_broken_images_are_told(cohort: Path, tmp_path: Path) -> None:
    for name in (path.name for path in cohort.iterdir()):
        (tmp_path / name).write_bytes((cohort / name).read_bytes())
    (tmp_path / "0-query0.dcm").write_bytes(b"broken")
    said = command(tmp_path, tmp_path, "run")
    assert said.exit_code == 1
    assert "p0-0: " in said.output
    lines = [line for line in (cohort / DECISIONS).read_bytes().splitlines(keepends=True) if b'"p0"' in line]
    (tmp_path / DECISIONS).write_bytes(b"".join(lines[1:]))
    manifest = json.loads((cohort / "cohort.json").read_text())
    manifest["reviews_sha256"] = sha256(b"".join(lines[1:])).hexdigest()
    (tmp_path / "cohort.json").write_text(json.dumps(manifest))
    said = command(tmp_path, tmp_path, "run")
    assert "1 rated segmentations with images of 1 patients; 2 folds need" in " ".join(said.output.split())
