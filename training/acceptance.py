"""Which predicted DSC a site's readers want: the acceptance curve of their decisions, and where it crosses a wanted share.

Mostly failures are looked at, PASS cases only by a random share: a decision weighs 1 / the probability with which such a case is looked
at. The curve is a logistic one that never comes nearer than SLIPS to 0 or 1: without that, a single slip on a case that was drawn
with a probability of 0.05 would weigh as much as twenty honest decisions and move the threshold by hundredths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from qcnode.assess.model_card import ReliabilityFacts
from qcnode.errors import ConfigurationError

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

SLIPS = 0.02
"""Share of decisions, each way, that are taken for slips of the hand."""
LEAST_DECISIONS, LEAST_PATIENTS = 20, 10
"""Of either kind, accepted and not, before anything is fitted."""
LEVEL = 0.9
"""Of the interval around a threshold."""

_DRAWS = 500  # bootstrap
_ROUNDS, _REDRAWN_ROUNDS = 100, 15  # of expectation-maximisation: from nothing, and from the curve of all patients
_RIDGE = 0.01  # on the slope: decisions that a prediction divides without exception have no finite one


@dataclass(frozen=True, slots=True)
class Decisions:
    """Decisions about query segmentations, arrays (decision,). probability: with which such a case is looked at; blind: without the
    prediction, drawn at random out of what passes."""

    predicted: FloatArray
    accepted: BoolArray
    probability: FloatArray
    blind: BoolArray
    patients: tuple[str, ...]

    @property
    def weights(self) -> FloatArray:
        """How many cases each decision stands for."""
        return 1 / self.probability


class Threshold(NamedTuple):
    """The predicted DSC at which `acceptance` of the queries are accepted; low, high: its interval over patients."""

    value: float
    low: float
    high: float


class AcceptanceCurve(NamedTuple):
    """Share accepted at a predicted DSC: SLIPS + (1 - 2 SLIPS) / (1 + exp(-(intercept + slope predicted)))."""

    intercept: float
    slope: float

    def at(self, predicted: FloatArray) -> FloatArray:
        """Acceptance (query,) at predictions (query,)."""
        return np.asarray(SLIPS + (1 - 2 * SLIPS) * expit(self.intercept + self.slope * predicted))


def fit_acceptance(decisions: Decisions, *, acceptance: float, seed: int) -> tuple[AcceptanceCurve, Threshold]:
    """The curve, and the prediction at which it crosses `acceptance`, bootstrapped over patients.

    Raises ConfigurationError, which says what is missing: too few decisions or patients of a kind, decisions that do not follow the
    prediction, or a crossing outside of the predictions that were looked at.
    """
    _check_enough(decisions)
    everybody = _fit(decisions, decisions.weights[None])
    curve = AcceptanceCurve(float(everybody[0, 0]), float(everybody[0, 1]))
    if curve.slope <= 0:
        raise ConfigurationError("The readers' decisions do not follow the predicted DSC: there is no threshold in them.")
    value = float(_crossing(everybody, acceptance)[0])
    seen = float(decisions.predicted.min()), float(decisions.predicted.max())
    if not seen[0] <= value <= seen[1]:
        raise ConfigurationError(
            f"{100 * acceptance:g} % acceptance would be reached at a predicted DSC of {value:.2f}, outside of what was looked at "
            f"({seen[0]:.2f} to {seen[1]:.2f}): decisions on both sides of it are missing."
        )
    crossings = _crossing(_fit(decisions, _drawn_weights(decisions, seed), everybody[0]), acceptance)
    low, high = np.quantile(np.clip(crossings, 0, 1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return curve, Threshold(value, float(low), float(high))


def failure_mass(decisions: Decisions) -> FloatArray:
    """How many not accepted cases each decision stands for.

    The next PASS that is looked at could be one that is not accepted: one more is spread over those that were, or a handful of accepted
    ones would prove that nothing is ever missed.
    """
    drawn = int(decisions.blind.sum())
    return np.asarray(decisions.weights * (~decisions.accepted + decisions.blind / max(drawn, 1)))


def reliability(decisions: Decisions, curve: AcceptanceCurve, edges: Sequence[float]) -> list[ReliabilityFacts]:
    """Acceptance per bin of predictions, bins without a decision left out."""
    bins = []
    names = np.asarray(decisions.patients)
    for low, high in pairwise(edges):
        here = (low <= decisions.predicted) & (decisions.predicted < high)
        if here.any():
            weights = decisions.weights[here]
            accepted = float(weights @ decisions.accepted[here] / weights.sum())
            expected = float(weights @ curve.at(decisions.predicted[here]) / weights.sum())
            bins.append(
                ReliabilityFacts(
                    low=low,
                    high=high,
                    decisions=int(here.sum()),
                    patients=len(set(names[here])),
                    accepted=round(accepted, 3),
                    curve=round(expected, 3),
                )
            )
    return bins


def _check_enough(decisions: Decisions) -> None:
    names = np.asarray(decisions.patients)
    missing = []
    for kind, chosen in (("accepted", decisions.accepted), ("not accepted", ~decisions.accepted)):
        count, patients = int(chosen.sum()), len(set(names[chosen]))
        if count < LEAST_DECISIONS or patients < LEAST_PATIENTS:
            missing.append(f"{count} segmentations of {patients} patients were {kind}")
    if missing:
        raise ConfigurationError(
            f"Too few decisions to calibrate from: {' and '.join(missing)}; {LEAST_DECISIONS} of {LEAST_PATIENTS} patients are needed of "
            "each kind, accepted and not accepted."
        )


def _drawn_weights(decisions: Decisions, seed: int) -> FloatArray:
    """Weights (draw, decision): as many patients as there are, drawn with replacement."""
    known, which = np.unique(np.asarray(decisions.patients), return_inverse=True)
    times = np.random.default_rng([seed, 33]).multinomial(len(known), np.full(len(known), 1 / len(known)), _DRAWS)
    return np.asarray(times[:, which] * decisions.weights)


def _crossing(lines: FloatArray, acceptance: float) -> FloatArray:
    """Predictions (draw,) at which curves (draw, 2) reach `acceptance`; 1, the worst case, where one does not rise."""
    wanted = logit((acceptance - SLIPS) / (1 - 2 * SLIPS))
    rising = lines[:, 1] > 0
    return np.where(rising, (wanted - lines[:, 0]) / np.where(rising, lines[:, 1], 1.0), 1.0)


def _fit(decisions: Decisions, weights: FloatArray, start: FloatArray | None = None) -> FloatArray:
    """Intercept and slope (draw, 2) of curves that weigh decisions as (draw, decision) says.

    Expectation-maximisation: how likely a decision is no slip, then a step of the logistic regression weighed by that. Without a `start`
    the first rounds take none for a slip, which has one solution wherever they begin.
    """
    plain = decisions.weights / decisions.weights.sum()
    centre = float(plain @ decisions.predicted)
    scale = max(float(np.sqrt(plain @ (decisions.predicted - centre) ** 2)), 1e-3)
    along = (decisions.predicted - centre) / scale
    signs = np.where(decisions.accepted, 1.0, -1.0)
    weights = weights * len(signs) / weights.sum(1, keepdims=True)
    lines = np.zeros((len(weights), 2))
    if start is not None:
        lines += (start[0] + start[1] * centre, start[1] * scale)
    rounds, sure = (_ROUNDS, _ROUNDS // 5) if start is None else (_REDRAWN_ROUNDS, 0)
    for round_ in range(rounds):
        agreeing = (1 - 2 * SLIPS) * expit(signs * (lines[:, :1] + lines[:, 1:] * along))
        earnest = agreeing / (SLIPS + agreeing) if round_ >= sure else 1.0
        lines = _newton(lines, along, decisions.accepted, weights * earnest)
    slopes = lines[:, 1] / scale
    return np.stack([lines[:, 0] - slopes * centre, slopes], 1)


def _newton(lines: FloatArray, along: FloatArray, accepted: BoolArray, weights: FloatArray) -> FloatArray:
    """One step of each draw's logistic regression, at most 2 long: far from the solution Newton's own would overshoot."""
    expected = expit(lines[:, :1] + lines[:, 1:] * along)
    off = weights * (accepted - expected)
    pull = weights * expected * (1 - expected)
    gradient = np.stack([off.sum(1), off @ along - _RIDGE * lines[:, 1]], 1)
    a, b, d = pull.sum(1) + 1e-9, pull @ along, pull @ along**2 + _RIDGE
    determinant = np.maximum(a * d - b * b, 1e-12)
    step = np.stack([d * gradient[:, 0] - b * gradient[:, 1], a * gradient[:, 1] - b * gradient[:, 0]], 1) / determinant[:, None]
    return np.asarray(lines + step * np.minimum(1, 2 / np.maximum(np.linalg.norm(step, axis=1, keepdims=True), 1e-9)))
