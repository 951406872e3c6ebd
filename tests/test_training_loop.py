"""Fitting: a killed run gives the weights of one that was not; losses, augmentation and the learning rate do what they say."""

import csv

import numpy as np
import pytest
import torch
from tiny_training import RECIPE
from torch import nn
from typer.testing import CliRunner

from qcnode.errors import ConfigurationError
from training.augment import change_look, draw_look, draw_warp, warp_planes
from training.cli import app
from training.config import Tier, read_recipe
from training.dataset import Turn, turned
from training.losses import consistency_loss, error_map_loss, quality_loss, segmentation_loss
from training.schedule import Schedule
from training.train import fit, learning_rate

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
    for run in ("whole", "killed"):
        rows = list(csv.DictReader((tmp_path / run / "log.csv").open()))
        assert [int(r["step"]) for r in rows] == list(range(1, 13))
        assert (tmp_path / run / "curves.png").stat().st_size > 1000


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
    assert consistency_loss(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.75, 0.5]])) == 0.125


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
    answer = CliRunner().invoke(app, ["calibrate", str(path)])
    assert answer.exit_code == 1
    assert "tolerance_mm" in answer.output


def test_the_gpu_tier_changes_what_it_names_and_nothing_else():
    small, large = (read_recipe(RECIPE, tier) for tier in (Tier.CPU, Tier.GPU))
    assert large.network.width > small.network.width
    assert large.card == small.card
    assert large.network.side == small.network.side
    assert {f.family for f in large.segmenters.families} - {f.family for f in small.segmenters.families} == {"transformer"}
