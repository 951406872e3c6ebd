"""Fitting: a killed run gives the weights of one that was not, and a tiny run goes through every stage to exported weights."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from qcnode.assess.inference import QCPredictor
from qcnode.errors import ConfigurationError
from training import stages
from training.augment import change_look, draw_look, draw_warp, warp_planes
from training.cli import app
from training.config import Schedule, read_recipe
from training.dataset import QualityDataset, Turn, turned
from training.evaluate import BINS, bin_of, choose_queries, figures, judge
from training.library import load_entry
from training.losses import error_map_loss, quality_loss, segmentation_loss
from training.train import fit, learning_rate
from training.volumes import labelled_phantom

RECIPE = Path(stages.__file__).parent / "recipes" / "cardiac-sax-first.yaml"
SCHEDULE = Schedule(steps=12, batch=2, learning_rate=1e-2, averaging=0.5, snapshots=(0.5,), save_every=5)


def small_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 1))


def draw(rng):
    x = torch.from_numpy(rng.normal(size=(8, 4)).astype(np.float32))
    return x, x.sum(1, keepdim=True)


def loss_of(network, batch):
    loss = (network(batch[0]) - batch[1]).abs().mean()
    return loss, {"error": float(loss.detach())}


def test_a_killed_run_resumes_exactly(tmp_path):
    whole = fit(small_network(), draw, loss_of, SCHEDULE, tmp_path / "whole", seed=1)
    fit(small_network(), draw, loss_of, SCHEDULE, tmp_path / "killed", seed=1, stop_at=8)  # the last checkpoint is of step 5
    resumed = fit(small_network(), draw, loss_of, SCHEDULE, tmp_path / "killed", seed=1)
    for first, second in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(first, second)
    assert (tmp_path / "killed" / "snapshot-0.50.pt").is_file()
    rows = list(csv.DictReader((tmp_path / "whole" / "log.csv").open()))
    assert [int(r["step"]) for r in rows] == list(range(1, 13))


def test_learning_rate_warms_up_and_falls():
    rates = [learning_rate(Schedule(steps=100, batch=1, learning_rate=1.0, warmup=0.1), s) for s in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] < 0.02


def test_losses_are_lowest_for_the_truth():
    labels = torch.randint(0, 4, (2, 16, 16))
    sharp = 20.0 * nn.functional.one_hot(labels, 4).movedim(-1, 1)
    assert segmentation_loss(sharp, labels) < 0.01 < segmentation_loss(-sharp, labels)
    errors, seen = torch.zeros(1, 3, 2, 8, 8), torch.ones(1, 1, 2, 8, 8)
    errors[:, :, 0, :4] = 1
    right = 20 * (2 * errors - 1)
    assert error_map_loss(right, errors, seen) < 0.01
    wrong_in_padding = right.clone()
    wrong_in_padding[:, :, 1] = 20
    seen[:, :, 1] = 0
    assert error_map_loss(wrong_in_padding, errors, seen) < 0.01
    assert quality_loss(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.75, 0.25]])) == 0.5


def test_augmentation_moves_everything_together():
    planes = torch.zeros(1, 1, 64, 64)
    planes[:, :, 20:40, 24:44] = 1
    warp = draw_warp(np.random.default_rng(3), (2.0, -2.0), any_turn=1.0, flip=0.5, scales=(0.8, 1.2))
    smooth, hard = (warp_planes(planes, [warp], 48, nearest=n) for n in (False, True))
    assert ((smooth > 0.5) == (hard > 0.5)).float().mean() > 0.99
    look = draw_look(np.random.default_rng(4))
    values = torch.rand(2, 32, 32)
    torch.testing.assert_close(change_look(values, look), change_look(values, look))
    array = np.random.default_rng(5).normal(size=(2, 3, 6, 6)).astype(np.float32)
    for turn in (Turn(0, False, False), Turn(1, True, False), Turn(3, False, True)):
        np.testing.assert_array_equal(np.sort(turned(array, turn).ravel()), np.sort(array.ravel()))


def test_recipe_errors_name_the_field(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.read_text().replace("tolerance_mm: 2.0", "tolerance_mm: -1"))
    with pytest.raises(ConfigurationError, match="tolerance_mm"):
        read_recipe(path)
    answer = CliRunner().invoke(app, ["fit", str(path)])
    assert answer.exit_code == 1
    assert "tolerance_mm" in answer.output


@pytest.fixture(scope="module")
def tiny():
    """The recipe with everything small."""
    recipe = read_recipe(RECIPE)
    few = Schedule(steps=2, batch=2, learning_rate=1e-3, snapshots=(0.5,))
    return recipe.model_copy(
        update={
            "pseudo_reference": recipe.pseudo_reference.model_copy(update={"side": 64, "crop": 32, "widths": (4, 8), "schedule": few}),
            "queries": recipe.queries.model_copy(update={"generated": 4, "snapshots": 2}),
            "network": recipe.network.model_copy(update={"width": 8, "side": 48, "schedule": few}),
        }
    )


def test_all_stages_on_phantoms(tiny, tmp_path, monkeypatch):
    volumes = [labelled_phantom(s) for s in (1101, 1102)]
    monkeypatch.setattr(stages, "training_volumes", lambda recipe, data: volumes)
    seen = []
    for fold in (0, 1):
        stages.fit_pseudo_reference(tiny, tmp_path, tmp_path, fold, lambda *a: seen.append(a))
    stages.build_library(tiny, tmp_path, tmp_path, lambda *a: seen.append(a))
    entry = load_entry(tmp_path / "library" / "phantom1101.npz")
    assert entry.targets.shape == (6, 5)
    assert entry.kinds[-1] == "snapshot"
    dataset = QualityDataset([], [entry], tiny)
    assert dataset.draw(np.random.default_rng(0)).query.shape[1:3] == (3, entry.size[0])
    stages.fit_quality(tiny, tmp_path, lambda *a: seen.append(a))
    card = stages.export_run(tiny, tmp_path, tmp_path / "model")
    assert card.network.width == 8
    case = judge(QCPredictor(tmp_path / "model", device="cpu"), volumes[0], "untouched", volumes[0].labels)
    assert case.dsc == 1.0
    assert 0 < case.predicted_dsc < 1
    assert {s[0] for s in seen} == {"pseudo-reference 0", "pseudo-reference 1", "library", "QCResUNet"}


def test_evaluation_fills_every_bin_alike():
    volumes = [labelled_phantom(s) for s in (1103, 1104)]
    chosen = choose_queries(volumes, 2)
    assert len(chosen) == 2 * len(BINS)
    assert [bin_of(v) for v in (0.29, 0.3, 0.35, 0.95, 1.0)] == [None, 0, 0, 6, 6]
    assert figures([])["dsc_mae"] is None
