"""From readers' decisions to a threshold: worklist, export and `calibrate --reviews`, with made-up readers of known strictness."""

import json
import re
import shutil
import sys
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import event
from store_samples import at, case, result
from typer.testing import CliRunner

from qcnode.assess.model_card import ModelCard, load_card
from qcnode.assess.verdict import judge
from qcnode.case import Prediction, Verdict, Weights
from qcnode.cli import app as qcnode_app
from qcnode.cohort.format import read_cohort
from qcnode.config import Config, ReviewSettings, Storage, Task, Threshold
from qcnode.doctor import examine
from qcnode.outcome import Predicted, draw, write_outcome
from qcnode.review import Review
from qcnode.store.database import Database, open_database
from qcnode.store.jobs import Jobs
from qcnode.store.worklist import Decision, Judgement, Worklist
from qcnode.tasks import limits_of, load_tasks
from training.cli import app as training_app

PACKAGED = Path(__file__).parents[1] / "qcnode" / "models" / "cardiac-sax"
SHARE = 0.1
CASES = 800
LENIENT, STRICT = 0.75, 0.85


def relaxed(folder: Path) -> Database:
    """A database that does not wait for the disk: nobody pulls the plug here."""
    database = open_database(folder)
    event.listen(database._engine, "checkout", lambda connection, *_: connection.execute("PRAGMA synchronous=OFF"))
    return database


def prediction(dsc: float, low: float, high: float) -> Prediction:
    """A prediction with this interval."""
    none = np.zeros((1, 1, 1, 1), bool)
    interval = (low, high)
    return Prediction(dsc, dsc, 2.0, {}, none, ("any",), "CPU", dsc_interval=interval, nsd_interval=interval, interval_level=0.9)


def made_cases(seed: int = 5) -> dict[str, tuple[float, float, tuple[float, float]]]:
    """case -> true DSC, predicted DSC, interval: most are good, some fail; bad ones are predicted less well, as in model cards."""
    rng = np.random.default_rng(seed)
    good = np.clip(rng.normal(0.87, 0.05, CASES), 0, 0.98)
    true = np.where(rng.random(CASES) < 0.3, rng.beta(4, 2.5, CASES), good)
    predicted = np.clip(true + rng.normal(0, 1, CASES) * (0.02 + 0.04 * (1 - true)), 0, 1)
    low = np.clip(predicted - rng.uniform(0.02, 0.07, CASES), 0, 1)
    return {
        f"{i:04d}": (float(t), float(p), (float(b), min(2 * float(p - b) + float(b), 1)))
        for i, (t, p, b) in enumerate(zip(true, predicted, low, strict=True))
    }


def fill(database: Database, cases: dict[str, tuple[float, float, tuple[float, float]]], card: ModelCard) -> int:
    """Settle what comes onto the worklist, as the node does, two queries a patient; returns how many passed in all."""
    limits = limits_of(Task(weights="cardiac-sax"), card.calibration)
    jobs, passed = Jobs(database), 0
    for number, (name, (_, predicted, interval)) in enumerate(cases.items()):
        verdict, reasons = judge(prediction(predicted, *interval), limits)
        passed += verdict is Verdict.PASS
        blind = verdict is Verdict.PASS and draw(name, "random-pass") < SHARE
        if not (verdict.needs_review or blind):
            continue
        jobs.put_case(case(name, query=f"2.25.{number}"), at(number))
        claimed = jobs.claim("w", at(number), timedelta(seconds=9))
        assert claimed is not None
        settled = result(claimed.case, verdict, predicted, database.directory / "results")
        numbers = Predicted(predicted, predicted, 2.0, {}, interval, interval, 0.9, 0.5, 0.5)
        outcome = replace(settled.outcome, predicted=numbers, weights=Weights(card.name, card.version, card.digest()), reasons=reasons)
        settled.directory.mkdir(parents=True)
        write_outcome(outcome, settled.directory)
        sampled = SHARE if blind else 1.0
        known = replace(settled, outcome=outcome, patient_id=f"P{number // 2}", blind=blind, sampling_probability=sampled)
        jobs.settle(claimed, known, {}, at(number))
    return passed


def read_all(folder: Path, cases: dict[str, tuple[float, float, tuple[float, float]]], wanted: float) -> None:
    """A reader decides about every item: accepts what is truly at `wanted` or above, as near as anybody sees that, and sometimes slips."""
    database = relaxed(folder)
    review, rng = Review(Worklist(database), ReviewSettings(hold_minutes=0)), np.random.default_rng(8)
    for item in Worklist(database).list():
        seen = cases[item.case_id][0] + rng.normal(0, 0.02)
        accepted = (seen >= wanted) != (rng.random() < 0.02)
        review.claim(item.item_id, "ann", at(9000))
        review.decide(item.item_id, "ann", Judgement(Decision.ACCEPT if accepted else Decision.NEEDS_CORRECTION), at(9000))
    review.finalise_due(at(9000))
    database.close()


def run(program: object, *words: object) -> str:
    answer = CliRunner().invoke(program, [str(word) for word in words], env={"COLUMNS": "160"})  # type: ignore[arg-type]
    assert answer.exit_code == 0, answer.output + str(answer.exception)
    return re.sub(r"\s+", " ", answer.output)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[float, str], int]:
    """A folder with a node per reader, what each exported and calibrated, what the command said, and how many cases passed."""
    folder = tmp_path_factory.mktemp("site")
    cases, card = made_cases(), load_card(PACKAGED)
    database = relaxed(folder / "node")
    passed = fill(database, cases, card)
    database.close()
    said = {}
    for wanted in (LENIENT, STRICT):
        node = shutil.copytree(folder / "node", folder / f"node-{wanted}")
        read_all(node, cases, wanted)
        (folder / f"{wanted}.yaml").write_text(f"storage: {{directory: node-{wanted}}}\n")
        run(qcnode_app, "worklist", "export", "--out", folder / f"reviews-{wanted}", "--config", folder / f"{wanted}.yaml")
        options = ("--weights", PACKAGED, "--out", folder / f"model-{wanted}")
        said[wanted] = run(training_app, "calibrate", "--reviews", folder / f"reviews-{wanted}", *options)
    return folder, said, passed


def test_a_stricter_reader_moves_the_threshold_as_much(
    site: tuple[Path, dict[float, str], int], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, said, _ = site
    facts = {wanted: load_card(folder / f"model-{wanted}").reviews for wanted in (LENIENT, STRICT)}
    lenient, strict = (facts[wanted] for wanted in (LENIENT, STRICT))
    assert lenient is not None
    assert strict is not None
    with capsys.disabled():
        sys.stdout.write(
            f"\nthresholds {lenient.threshold} and {strict.threshold}, of {lenient.decisions} decisions, {lenient.blind} blind\n"
        )
    assert strict.threshold - lenient.threshold == pytest.approx(0.1, abs=0.03)
    for wanted, found in facts.items():
        assert found is not None
        assert found.threshold == pytest.approx(wanted, abs=0.02)
        assert found.threshold_interval[0] <= found.threshold <= found.threshold_interval[1]
        assert found.threshold_interval[1] - found.threshold_interval[0] < 0.06
        assert f"predicted_dsc: {{value: {found.threshold:g}}}" in said[wanted]


def test_decisions_stand_for_what_nobody_looked_at(site: tuple[Path, dict[float, str], int]) -> None:
    folder, _, passed = site
    reviews = read_cohort(folder / f"reviews-{STRICT}").reviews
    assert sum(1 / r.sampling_probability for r in reviews if r.blind) == pytest.approx(passed, rel=0.2)
    assert {r.sampling_probability for r in reviews if not r.blind} == {1.0}
    assert {r.verdict for r in reviews if r.blind} == {Verdict.PASS}


def test_the_review_point_finds_what_the_reader_does_not_accept(site: tuple[Path, dict[float, str], int]) -> None:
    folder, said, _ = site
    cases = made_cases()
    for wanted in (LENIENT, STRICT):
        calibration = load_card(folder / f"model-{wanted}").calibration
        assert calibration is not None
        assert calibration.flag_below is not None
        assert calibration.recall_bound is not None
        assert calibration.recall_bound >= 0.95
        assert calibration.flag_below > calibration.failure_below
        below = [p < calibration.flag_below for t, p, _ in cases.values() if t < wanted]
        assert np.mean(below) >= 0.95
        assert f"review point: {calibration.flag_below:.3f}" in said[wanted]


def test_the_node_judges_by_it(site: tuple[Path, dict[float, str], int]) -> None:
    folder, _, _ = site
    near = prediction(0.81, 0.79, 0.83)
    before = limits_of(Task(weights="cardiac-sax"), load_card(PACKAGED).calibration)
    assert judge(near, before)[0] is Verdict.PASS
    weights = folder / f"model-{STRICT}"
    reviews = load_card(weights).reviews
    assert reviews is not None
    task = Task(weights=str(weights), predicted_dsc=Threshold(value=reviews.threshold))
    loaded = load_tasks(Config(tasks={"cardiac-sax": task}))["cardiac-sax"]
    assert judge(near, loaded.limits)[0] is Verdict.FAIL
    assert loaded.limits.predicted_dsc.review_below == load_card(weights).calibration.flag_below  # type: ignore[union-attr]
    version = loaded.card.version
    assert version.startswith(f"{load_card(PACKAGED).version}+reviews.")
    assert len(version) <= 64  # LO
    assert loaded.card.digest() != load_card(PACKAGED).digest()


def test_doctor_says_which_threshold_the_decisions_ask_for(site: tuple[Path, dict[float, str], int], tmp_path: Path) -> None:
    weights = site[0] / f"model-{STRICT}"
    reviews = load_card(weights).reviews
    assert reviews is not None
    for value in (0.75, reviews.threshold):
        task = Task(weights=str(weights), predicted_dsc=Threshold(value=value))
        config = Config(tasks={"cardiac-sax": task}, storage=Storage(directory=tmp_path))
        check = next(check for check in examine(config) if check.name == "threshold cardiac-sax")
        assert check.ok == (value == reviews.threshold)
        assert f"about {reviews.patients} patients ask for tasks.cardiac-sax.predicted_dsc.value {reviews.threshold:g}" in check.detail


def test_what_was_calibrated_is_calibrated_again(site: tuple[Path, dict[float, str], int], tmp_path: Path) -> None:
    """The networks are the same, so decisions about their earlier predictions still count; the suffix does not grow."""
    folder, _, _ = site
    again = tmp_path / "again"
    run(training_app, "calibrate", "--reviews", folder / f"reviews-{LENIENT}", "--weights", folder / f"model-{STRICT}", "--out", again)
    card, first = load_card(again), load_card(folder / f"model-{LENIENT}")
    assert card.reviews is not None
    assert first.reviews is not None
    assert card.reviews.threshold == first.reviews.threshold
    assert card.version == first.version
    assert set(card.reviews.judged_by) == {load_card(PACKAGED).digest(), load_card(folder / f"model-{STRICT}").digest()}


def changed_cohort(source: Path, target: Path, change: object) -> Path:
    """A copy of a cohort with each line changed, or left out where None comes back."""
    target.mkdir()
    lines = [change(json.loads(line)) for line in (source / "reviews.jsonl").read_text().splitlines()]  # type: ignore[operator]
    encoded = "".join(json.dumps(line) + "\n" for line in lines if line is not None).encode()
    (target / "reviews.jsonl").write_bytes(encoded)
    manifest = json.loads((source / "cohort.json").read_text())
    (target / "cohort.json").write_text(json.dumps(manifest | {"reviews_sha256": sha256(encoded).hexdigest()}))
    return target


def refused(reviews: Path, out: Path, weights: Path = PACKAGED) -> str:
    words = ["calibrate", "--reviews", str(reviews), "--weights", str(weights), "--out", str(out)]
    answer = CliRunner().invoke(training_app, words, env={"COLUMNS": "160"})
    assert answer.exit_code == 1
    assert not out.exists() or out == weights
    return re.sub(r"\s+", " ", answer.output)


def test_too_little_is_refused_and_says_what_is_missing(site: tuple[Path, dict[float, str], int], tmp_path: Path) -> None:
    source = site[0] / f"reviews-{LENIENT}"
    rejected = changed_cohort(source, tmp_path / "a", lambda line: line if line["decision"] != "ACCEPT" else None)
    said = refused(rejected, tmp_path / "out")
    assert "0 segmentations of 0 patients were accepted; 20 of 10 patients are needed of each kind" in said
    one = changed_cohort(source, tmp_path / "b", lambda line: line | {"patient": "one"})
    assert "of 1 patients were accepted and" in refused(one, tmp_path / "out")
    others = changed_cohort(source, tmp_path / "c", lambda line: line | {"weights": line["weights"] | {"sha256": "0" * 64}})
    assert re.search(r"None of the \d+ decisions is about a prediction of cardiac-sax", refused(others, tmp_path / "out"))
    backwards = changed_cohort(
        source, tmp_path / "d", lambda line: line | {"decision": "REJECT" if line["decision"] == "ACCEPT" else "ACCEPT"}
    )
    assert "do not follow the predicted DSC" in refused(backwards, tmp_path / "out")
    assert "names the model itself" in refused(source, PACKAGED)
    (tmp_path / "c" / "reviews.jsonl").write_text("{}\n")
    assert "SHA-256 differs" in refused(tmp_path / "c", tmp_path / "out")
    assert "no exported reviews" in refused(tmp_path / "nothing", tmp_path / "out")


def test_without_a_look_at_what_passes_the_review_point_keeps_its_distance(
    site: tuple[Path, dict[float, str], int], tmp_path: Path
) -> None:
    seen = changed_cohort(site[0] / f"reviews-{LENIENT}", tmp_path / "seen", lambda line: None if line["blind"] else line)
    said = run(training_app, "calibrate", "--reviews", seen, "--weights", PACKAGED, "--out", tmp_path / "out")
    assert "nothing tells what passes wrongly" in said
    before, after = load_card(PACKAGED).calibration, load_card(tmp_path / "out").calibration
    assert before is not None
    assert after is not None
    assert before.flag_below is not None
    assert after.flag_below == pytest.approx(after.failure_below + before.flag_below - before.failure_below)
    assert after.recall_bound is None


def test_cards_without_reviews_keep_their_digest() -> None:
    """Digests stand in reports that were sent: what is new in cards must not change them."""
    card = load_card(PACKAGED)
    content = card.model_copy(update={"results": {}}).model_dump_json(exclude={"reviews"})
    assert card.digest() == sha256(content.encode()).hexdigest()
