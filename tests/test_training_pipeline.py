"""generate, fit, calibrate, export and evaluate on a tiny recipe: end to end from the command line, and exact after a kill."""

import json
import shutil

import numpy as np
import pytest
import torch
from tiny_training import write_cohort, write_recipe
from typer.testing import CliRunner

from qcnode.assess.inference import QCPredictor
from qcnode.assess.model_card import load_card
from training import train
from training.cli import app
from training.config import read_recipe
from training.dataset import QualityDataset, sample, shown
from training.library import entry_paths, load_entry
from training.views import load_view


class Killed(Exception):
    """In place of a kill signal."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    write_cohort(folder / "data")
    write_recipe(folder / "tiny.yaml")
    return folder


def command(folder, name, *arguments, data=False):
    further = ["--data", str(folder / "data")] if data else []
    answer = CliRunner().invoke(app, [name, str(folder / "tiny.yaml"), *arguments, "--run", str(folder / "run"), *further])
    assert answer.exit_code == 0, answer.output + str(answer.exception)
    return answer.output


@pytest.fixture(scope="module")
def generated(folder):
    return command(folder, "generate", data=True)


@pytest.fixture(scope="module")
def model(folder, generated):
    command(folder, "fit", data=True)
    command(folder, "fit", "--stage", "quality", "--variant", "query-only")
    command(folder, "calibrate")
    command(folder, "export", str(folder / "model"))
    return folder / "model"


def test_the_library_holds_every_source_of_errors(folder, generated):
    entries = [load_entry(p) for p in entry_paths(folder / "run", "train")]
    assert {o.group for e in entries for o in e.origins} == {"segmenter", "seggen", "structured"}
    families = {o.family for e in entries for o in e.origins}
    assert {"dynunet-2d", "random-forest", "deepmedic", "blend"} <= families
    assert all(o.kept_out == (o.family == "deepmedic") for e in entries for o in e.origins)
    assert {bool(e.degraded) for e in entries} == {True, False}
    assert all(e.targets.shape == (len(e.queries), 5) for e in entries)
    sets = json.loads((folder / "run" / "sets.json").read_text())
    assert sets["train"]["balanced"]["sha256"] in generated
    assert set(sets) == {"train", "val"}


def test_members_are_calibrated_and_small(folder, model):
    card = load_card(model)
    assert card.members == 3
    assert card.calibration is not None
    assert card.novelty is not None
    predictor = QCPredictor(model, device="cpu")
    entry = load_entry(entry_paths(folder / "run", "val")[0])
    prediction = predictor.predict({"cine": entry.volumes()[0]}, entry.labels == [[[[1]]], [[[2]]], [[[3]]]])
    low, high = prediction.dsc_interval
    assert 0 <= low <= prediction.predicted_dsc <= high <= 1
    assert prediction.image_p_value is not None


def test_the_head_is_fitted_to_the_numbers_that_the_network_is_given(folder, model):
    recipe, run = read_recipe(folder / "tiny.yaml"), folder / "run"
    name = entry_paths(run, "train")[0].name
    one = shown(load_entry(run / "library" / "train" / name), load_view(run / "views" / name))
    dataset = QualityDataset([one], recipe)
    batch = dataset.draw_numbers(np.random.default_rng(0))
    index = int(np.flatnonzero((one.view.numbers == batch.numbers[0, :-1].numpy()).all(1))[0])
    given = sample(one, index, recipe.network, dataset.groups, 0.1)
    assert np.array_equal(batch.numbers[0, :-1], given["numbers"][:-1])
    assert np.array_equal(batch.quality_start[0], given["quality_start"])
    assert np.array_equal(batch.targets[0], given["targets"])


def test_evaluation_writes_numbers_beside_the_card_and_pictures_in_the_run(folder, model):
    command(folder, "evaluate", str(model), "--validation")
    content = json.loads((model / "evaluation.json").read_text())
    assert {"out of fold, balanced", "validation, balanced"} <= set(content["results"])
    assert "query-only" in content["controls"]
    assert content["weights"]["files"]["weights.safetensors"]
    assert "<svg" in (folder / "run" / "report.html").read_text()
    assert not (model / "report.html").exists()
    assert load_card(model).results


def test_a_killed_fit_goes_on_to_the_same_weights(folder, model, monkeypatch):
    whole = {name: torch.load(folder / "run" / name / "average.pt", weights_only=True) for name in ("segmenter-0", "quality-0")}
    for name in whole:
        shutil.move(folder / "run" / name, folder / f"whole-{name}")
    log = train._log
    for stage, part in (("pseudo-reference", "segmenter-0"), ("quality", "head"), ("quality", "quality-0")):

        def killing(path, step, values, part=part):
            log(path, step, values)
            if step == 3 and path.parent.name == part:
                raise Killed

        monkeypatch.setattr(train, "_log", killing)
        arguments = ["fit", str(folder / "tiny.yaml"), "--stage", stage, "--fold", "0", "--run", str(folder / "run")]
        answer = CliRunner().invoke(app, [*arguments, "--data", str(folder / "data")])
        assert isinstance(answer.exception, Killed)
    monkeypatch.setattr(train, "_log", log)
    command(folder, "fit", "--fold", "0", data=True)
    for name, weights in whole.items():
        again = torch.load(folder / "run" / name / "average.pt", weights_only=True)
        assert all(torch.equal(weights[k], again[k]) for k in weights), name
