"""Segmenters: what they see, what they give back, that a killed fit resumes, and that a stage is what was kept at that step."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.ensemble import RandomForestClassifier

from qcnode.errors import ConfigurationError
from qcnode.imaging.grid import Grid, Volume
from training.cohorts import LabelledVolume
from training.segmenters import Segmenter, SegmenterSettings, make_segmenter
from training.segmenters.field import FieldSegmenter, central_frame, on_source, seen_volume
from training.segmenters.random_forest import Tree, _tree, feature_count, voxel_features

SCHEDULE = {"steps": 6, "batch": 2, "learning_rate": 0.01, "snapshots": (0.5,), "save_every": 3}
NETWORKS: dict[str, dict[str, Any]] = {
    "dynunet-2d": {"widths": (4, 6, 8)},
    "dynunet-3d": {"widths": (4, 6, 8), "slices": 5},
    "voxresnet-2d": {"widths": (4, 4, 6)},
    "deepmedic": {"widths": (4, 4)},
    "transformer": {"widths": (12,), "fold": 1},
}
FOREST = {"family": "random-forest", "side": 24, "forest": {"trees": 3, "voxels": 200, "depths": (1, 2, 4)}}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def settings(family: str, **changes: Any) -> SegmenterSettings:
    if family == "random-forest":
        return SegmenterSettings.model_validate({**FOREST, **changes})
    return SegmenterSettings.model_validate({"family": family, "side": 24, "schedule": SCHEDULE, **NETWORKS[family], **changes})


def disc(seed: int, contrasts: int = 1, size: tuple[int, int, int] = (4, 40, 48)) -> LabelledVolume:
    """A bright disc in a dark ring near the middle of noise: two structures that intensity and place tell apart."""
    rng = np.random.default_rng(seed)
    _, y, x = np.indices(size)
    radius = np.hypot(y - size[1] / 2 - rng.uniform(-2, 2), x - size[2] / 2 - rng.uniform(-2, 2))
    labels = np.where(radius < 5, 2, np.where(radius < 9, 1, 0)).astype(np.uint8)
    values = np.where(labels == 2, 300.0, np.where(labels == 1, 40.0, 120.0)) + rng.normal(0, 15, size)
    grid = Grid(size, (8.0, 1.5, 1.5), (0.0, 0.0, 0.0), ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))
    volumes = tuple(Volume((values * (i + 1)).astype(np.float32), grid) for i in range(contrasts))
    return LabelledVolume(f"p{seed}", f"p{seed}", volumes, labels)


def arrays(volume: LabelledVolume) -> list[np.ndarray]:
    return [c.array for c in volume.contrasts]


def fitted(family: str, folder: Path, volumes: Sequence[LabelledVolume], **changes: Any) -> Segmenter:
    segmenter = make_segmenter(settings(family, **changes), contrasts=len(volumes[0].contrasts), classes=3)
    segmenter.fit(volumes, folder, seed=5, report=lambda done, total, values: None)
    return segmenter


def dsc(found: np.ndarray, labels: np.ndarray) -> float:
    both = sum(((found == i) & (labels == i)).sum() for i in (1, 2))
    return float(2 * both / ((found > 0).sum() + (labels > 0).sum()))


@pytest.mark.parametrize("family", [*NETWORKS, "random-forest"])
@pytest.mark.parametrize("contrasts", [1, 2])
def test_every_stage_gives_probabilities_on_the_source_grid(family: str, contrasts: int, tmp_path: Path) -> None:
    segmenter = fitted(family, tmp_path, [disc(0, contrasts), disc(1, contrasts)])
    other = disc(2, contrasts, (7, 44, 40))  # deeper than a window of the 3-D network
    assert segmenter.stages()[-1] == 1
    assert list(segmenter.stages()) == sorted(set(segmenter.stages()))
    answers = []
    for stage in segmenter.stages():
        found = segmenter.predictor(tmp_path, stage)(arrays(other))
        assert found.shape == (3, 7, 44, 40)
        assert found.dtype == np.float32
        assert found.min() >= 0
        np.testing.assert_allclose(found.sum(0), 1, atol=1e-4)
        answers.append(found)
    assert all(np.abs(a - b).max() > 1e-4 for a, b in pairwise(answers))


def test_only_deepmedic_is_kept_out() -> None:
    made = [make_segmenter(settings(f), contrasts=1, classes=2) for f in (*NETWORKS, "random-forest")]
    assert [s.name for s in made if s.kept_out] == ["deepmedic"]


def test_side_outputs_of_voxresnet_are_stages() -> None:
    assert make_segmenter(settings("voxresnet-2d"), contrasts=1, classes=3).stages() == (0.5, 0.97, 0.98, 0.99, 1.0)


def test_side_outputs_add_up_to_the_final_one() -> None:
    from training.segmenters.voxresnet import VoxResNet2D

    network = VoxResNet2D(settings("voxresnet-2d"), 1, 3).eval()
    final, *sides = network(torch.randn(1, 3, 24, 24))
    assert len(sides) == network.side_outputs == 3
    torch.testing.assert_close(final, torch.stack(sides).sum(0))


@pytest.mark.parametrize("family", ["dynunet-2d", "dynunet-3d", "random-forest"])
def test_fitting_finds_the_structures(family: str, tmp_path: Path) -> None:
    schedule = {**SCHEDULE, "steps": 60, "averaging": 0.8, "batch": 4}
    changes: dict[str, Any] = {} if family == "random-forest" else {"schedule": schedule, "part": 0.9, "widths": (8, 16, 16)}
    segmenter = fitted(family, tmp_path, [disc(n) for n in range(4)], **changes)
    new = disc(9)
    assert dsc(segmenter.predictor(tmp_path, 1.0)(arrays(new)).argmax(0), new.labels) > 0.6


def test_intensity_scale_does_not_matter(tmp_path: Path) -> None:
    predict = fitted("dynunet-2d", tmp_path, [disc(0)]).predictor(tmp_path, 1.0)
    (values,) = arrays(disc(1))
    np.testing.assert_allclose(predict([values]), predict([7 * values + 100]), atol=1e-3)


class _Killed(Exception):
    pass


def test_a_killed_fit_resumes_to_the_same_weights(tmp_path: Path) -> None:
    volumes = [disc(0), disc(1)]
    whole = fitted("dynunet-2d", tmp_path / "whole", volumes)

    def kill(done: int, total: int, values: dict[str, float]) -> None:
        assert total == 6
        if done == 5:
            raise _Killed

    with pytest.raises(_Killed):
        whole.fit(volumes, tmp_path / "killed", seed=5, report=kill)
    steps: list[int] = []
    whole.fit(volumes, tmp_path / "killed", seed=5, report=lambda done, total, values: steps.append(done))
    assert steps == [4, 5, 6]  # the last checkpoint was at 3
    for stage in whole.stages():
        before, after = (whole.predictor(tmp_path / name, stage)(arrays(disc(2))) for name in ("whole", "killed"))
        np.testing.assert_array_equal(before, after)


def test_a_finished_fit_is_left_alone(tmp_path: Path) -> None:
    for family in ("dynunet-2d", "random-forest"):
        segmenter = fitted(family, tmp_path / family, [disc(0)])
        steps: list[int] = []
        segmenter.fit([], tmp_path / family, seed=5, report=lambda done, total, values, steps=steps: steps.append(done))
        assert not steps


@pytest.mark.parametrize("family", ["dynunet-2d", "random-forest"])
def test_missing_weights_and_unknown_stages_are_said(family: str, tmp_path: Path) -> None:
    segmenter = make_segmenter(settings(family), contrasts=1, classes=3)
    with pytest.raises(ConfigurationError, match="fit the segmenter"):
        segmenter.predictor(tmp_path, 1.0)
    with pytest.raises(ConfigurationError, match="no stage"):
        segmenter.predictor(tmp_path, 0.123)


@pytest.mark.parametrize(
    "wrong",
    [
        {"family": "dynunet-2d", "widths": (4, 8)},
        {"family": "dynunet-2d", "schedule": SCHEDULE},
        {"family": "random-forest"},
        {**FOREST, "schedule": SCHEDULE},
        {"family": "dynunet-2d", "widths": (4, 8), "schedule": SCHEDULE, "slices": 4},
        {"family": "dynunet-2d", "widths": (4, 8), "schedule": {**SCHEDULE, "snapshots": (0.01,)}},
        {"family": "dynunet-2d", "widths": (4, 8), "schedule": {**SCHEDULE, "snapshots": (0.5, 0.52)}},
        {"family": "voxresnet-2d", "widths": (4, 8), "schedule": {**SCHEDULE, "steps": 100, "snapshots": (0.97,)}},
    ],
)
def test_settings_that_can_not_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SegmenterSettings.model_validate(wrong)


@pytest.mark.parametrize("widths", [(10,), (12, 20)])
def test_widths_that_the_transformer_can_not_have_are_refused(widths: tuple[int, ...]) -> None:
    with pytest.raises(ConfigurationError, match="multiple of 12"):
        make_segmenter(settings("transformer", widths=widths), contrasts=1, classes=2)


def test_the_frame_is_the_middle_square_and_the_rest_is_background() -> None:
    frame = central_frame((2, 60, 100), 0.5, 20)
    assert frame.box == ((0, 2), (5, 55), (25, 75))
    found = on_source(np.ones((1, 2, 20, 20), np.float32), frame)
    assert found[1, :, 6:54, 26:74].min() == 1
    assert found[0, :, :4].min() == found[0, :, :, :24].min() == 1


def test_a_square_wider_than_the_slice_is_padded() -> None:
    frame = central_frame((1, 40, 100), 0.8, 80)
    assert frame.take(np.ones((1, 40, 100), np.float32)).mean() == pytest.approx(0.5)


def test_planes_and_labels_move_together() -> None:
    made = settings("dynunet-3d", slices=3, part=0.9)
    segmenter = make_segmenter(made, contrasts=1, classes=3)
    assert isinstance(segmenter, FieldSegmenter)
    volume = disc(0)
    stack = seen_volume(volume, made)
    planes, labels = segmenter.draw(np.random.default_rng(1), [stack])
    assert planes.shape == labels.shape == (2, 3, 24, 24)
    assert planes[labels == 2].mean() > 1.5 * planes[labels == 0].mean() > 1.5 * planes[labels == 1].mean()


@pytest.mark.parametrize(("depth", "expected"), [(1, [0]), (4, [2]), (5, [2]), (6, [2, 3]), (11, [2, 5, 8])])
def test_windows_cover_the_stack(depth: int, expected: list[int]) -> None:
    segmenter = make_segmenter(settings("dynunet-3d"), contrasts=1, classes=2)
    assert isinstance(segmenter, FieldSegmenter)
    centres = segmenter._centres(depth)
    assert centres == expected
    covered = {z for k in centres for z in range(k - 2, k + 3)}
    assert covered >= set(range(depth))


def test_a_tree_cut_below_its_leaves_is_the_whole_tree() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 4)).astype(np.float32)
    labels = ((features[:, 0] > 0) + 2 * (features[:, 1] > 0.5)).astype(np.uint8)
    grown = RandomForestClassifier(3, max_depth=12, random_state=0).fit(features, labels)
    trees: list[Tree] = [_tree(t, grown.classes_, 5) for t in grown.estimators_]
    mean = np.mean([t.at_depth(features, 12) for t in trees], 0)
    np.testing.assert_allclose(mean[:, :4], grown.predict_proba(features), atol=1e-6)
    assert not mean[:, 4].any()
    shallow = trees[0].at_depth(features, 1)
    assert len(np.unique(shallow, axis=0)) == 2


def test_features_are_one_row_per_voxel_and_know_their_place() -> None:
    found = voxel_features(np.random.default_rng(0).random((2, 3, 20, 20)).astype(np.float32))
    assert found.shape == (3, 20, 20, feature_count(2))
    np.testing.assert_allclose(found[0, 0, 0, -4:], [2 / 3, -0.95, -0.95, np.hypot(0.95, 0.95)], rtol=1e-6)
