"""A predictor that says what the test wants, in place of a network."""

from dataclasses import replace

import numpy as np

from qcnode.assess.model_card import load_card
from qcnode.assess.verdict import Limit, Limits
from qcnode.case import Prediction, Weights
from qcnode.pipeline import Judge
from qcnode.tasks import weights_directory

MARGIN = Limits(Limit(0.75, 0.05))


class SaidPredictor:
    """Predicts what it was told, and remembers what it was shown."""

    weights = Weights("cardiac-sax", "test", "0" * 64)

    def __init__(self, said: Prediction | Exception) -> None:
        self.card = load_card(weights_directory("cardiac-sax"))
        self.said = said
        self.shown: list[np.ndarray] = []

    def predict(self, contrasts, query) -> Prediction:
        self.shown.append(query)
        if isinstance(self.said, Exception):
            raise self.said
        return replace(self.said, error_map=np.zeros_like(query) | _one_voxel(query.shape))


def _one_voxel(shape) -> np.ndarray:
    wrong = np.zeros(shape, bool)
    wrong[0, 2, 10, 10] = True
    return wrong


def prediction(dsc: float) -> Prediction:
    tissues = ("right ventricle", "myocardium", "left ventricle")
    return Prediction(dsc, 0.8, 2.0, dict.fromkeys(tissues, dsc), np.zeros((3, 1, 1, 1), bool), tissues, "CPU")


def judge_that_says(said: Prediction | Exception, limits: Limits = MARGIN) -> Judge:
    return Judge(SaidPredictor(said), limits)
