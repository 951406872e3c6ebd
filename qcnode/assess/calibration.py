"""How far the truth may lie from a prediction: split-conformal intervals, as training.calibrate fitted them.

Scaled by a predicted spread on each side (Romano et al. 2019, conformalised quantile regression, arXiv 1905.03222).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from qcnode.assess.model_card import IntervalFacts

FloatArray = npt.NDArray[np.float64]


def interval(facts: IntervalFacts, predicted: float, features: Sequence[float]) -> tuple[float, float]:
    """The interval (low, high) around one predicted DSC or NSD, within 0...1; `features` as the card's `spread_features` name them."""
    low, high = intervals(facts, np.array([predicted]), np.array([features], float))[0]
    return float(low), float(high)


def intervals(facts: IntervalFacts, predicted: FloatArray, features: FloatArray) -> FloatArray:
    """Intervals (query, 2) around predictions (query,) with their spread features (query, feature)."""
    if facts.factor is None:
        return np.tile([0.0, 1.0], (len(predicted), 1))
    below, above = (facts.factor * spread(w, facts.floor, facts.cap, features) for w in (facts.below, facts.above))
    return np.clip(np.stack([predicted - below, predicted + above], 1), 0.0, 1.0)


def spread(weights: Sequence[float], floor: float, cap: float, features: FloatArray) -> FloatArray:
    """Spread (query,) out of features (query, feature): a constant and the weighted features, cut; `cap` where a feature is not finite."""
    if features.shape[1] != len(weights) - 1:
        raise ValueError(f"{features.shape[1]} spread features were given, the card weighs {len(weights) - 1}")
    plain = weights[0] + features @ np.asarray(weights[1:], float)
    return np.clip(np.where(np.isfinite(plain), plain, cap), floor, cap)
