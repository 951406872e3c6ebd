"""What is in the package can be used: every folder of weights loads, is small, says its terms, and knows what it has not learned."""

from pathlib import Path

import numpy as np
import pytest

import qcnode
from qcnode.assess import novelty
from qcnode.assess.inference import QCPredictor
from qcnode.assess.model_card import load_card
from qcnode.imaging.grid import Grid, Volume

FOLDERS = sorted(p.parent for p in (Path(qcnode.__file__).parent / "models").glob("*/model_card.json"))
LARGEST = 20 * 1000 * 1000  # bytes


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.name)
def test_weights_are_small_calibrated_and_say_their_terms(folder: Path) -> None:
    card = load_card(folder)
    assert card.name == folder.name
    assert card.members == 3
    assert card.calibration is not None
    assert card.training.terms
    assert sum(p.stat().st_size for p in folder.glob("*.safetensors")) < LARGEST


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.name)
def test_noise_is_like_no_training_image(folder: Path) -> None:
    predictor = QCPredictor(folder, device="cpu")
    size = (12, 128, 128)
    grid = Grid(size, (8.0, 1.5, 1.5), (0.0, 0.0, 0.0), ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))
    noise = np.random.default_rng(0).rayleigh(300, size).astype(np.float32)
    p_value = predictor.look({c.name: Volume(noise, grid) for c in predictor.card.contrasts}).image_p_value
    assert p_value is not None
    assert predictor.card.novelty is not None
    assert novelty.is_novel(predictor.card.novelty.image, p_value)
