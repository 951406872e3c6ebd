"""A site's final decisions become its threshold: a model folder with the same networks, calibrated to what its readers accept."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from qcnode.assess.model_card import CalibrationFacts, ModelCard, ReviewFacts, load_card
from qcnode.cohort.format import ReviewedQuery, read_cohort
from qcnode.errors import ConfigurationError
from training.acceptance import LEVEL, Decisions, failure_mass, fit_acceptance, reliability
from training.calibrate import ReviewPoint, review_point
from training.export import write_card

EDGES = (0.0, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.001)
"""Of the bins of predicted DSC in the table."""
SUFFIX = "+reviews."


@dataclass(frozen=True, slots=True)
class Recalibrated:
    """The new card; other_weights, unpredicted: decisions that were left out, because other networks or none had predicted."""

    card: ModelCard
    reviews: ReviewFacts
    other_weights: int
    unpredicted: int


def recalibrate(
    model: Path, reviews: Path, out: Path, *, acceptance: float = 0.5, wanted_recall: float = 0.95, seed: int = 0
) -> Recalibrated:
    """Fit threshold and review point to the decisions in the cohort `reviews`; write the networks of `model` with them into `out`.

    acceptance: the share of accepted segmentations at the threshold. wanted_recall: of those not accepted, by its lower bound.
    Raises ConfigurationError where `model` is not calibrated, `out` is `model` itself, or the decisions do not suffice: it says what is
    missing.
    """
    card, cohort = load_card(model), read_cohort(reviews)
    if card.calibration is None:
        raise ConfigurationError(f"The model in {model} is not calibrated: run `python -m training calibrate` with its recipe first.")
    if out.resolve() == model.resolve():
        raise ConfigurationError(f"--out names the model itself ({model}): name another folder.")
    known = {*(card.reviews.judged_by if card.reviews else ()), card.digest()}
    predicted = [r for r in cohort.reviews if r.predicted is not None]
    usable = [r for r in predicted if r.weights is not None and r.weights.sha256 in known]
    if not usable:
        raise ConfigurationError(
            f"None of the {len(cohort.reviews)} decisions is about a prediction of {card.name} {card.version} ({card.digest()[:12]})."
        )
    decisions = decisions_of(usable)
    curve, threshold = fit_acceptance(decisions, acceptance=acceptance, seed=seed)
    value = round(threshold.value, 3)
    point = _review_point(decisions, value, card.calibration, wanted_recall, seed)
    facts = ReviewFacts(
        cohort_sha256=cohort.manifest.reviews_sha256,
        decisions=len(usable),
        accepted=int(decisions.accepted.sum()),
        blind=int(decisions.blind.sum()),
        patients=len(set(decisions.patients)),
        readers=len({r.reader for r in usable}),
        since=min(r.decided for r in usable)[:7],
        until=max(r.decided for r in usable)[:7],
        acceptance=acceptance,
        threshold=value,
        threshold_interval=(round(threshold.low, 3), round(threshold.high, 3)),
        level=LEVEL,
        reliability=tuple(reliability(decisions, curve, EDGES)),
        judged_by=tuple(sorted(known)),
    )
    calibration = card.calibration.model_copy(update={"failure_below": value, **point._asdict()})
    version = card.version.split(SUFFIX)[0] + SUFFIX + cohort.manifest.reviews_sha256[:8]
    changed = card.model_copy(update={"version": version, "calibration": calibration, "reviews": facts})
    _write(changed, model, out)
    return Recalibrated(changed, facts, len(predicted) - len(usable), len(cohort.reviews) - len(predicted))


def decisions_of(reviews: Sequence[ReviewedQuery]) -> Decisions:
    """Decisions with a prediction as arrays. What needs correction is not accepted."""
    return Decisions(
        predicted=np.array([r.predicted.dsc for r in reviews if r.predicted], float),
        accepted=np.array([r.decision == "ACCEPT" for r in reviews]),
        probability=np.array([r.sampling_probability for r in reviews], float),
        blind=np.array([r.blind for r in reviews]),
        patients=tuple(r.patient for r in reviews),
    )


def _review_point(decisions: Decisions, value: float, before: CalibrationFacts, wanted_recall: float, seed: int) -> ReviewPoint:
    """Where no PASS was looked at nothing tells what passed wrongly: then the point keeps its distance from the threshold."""
    if not decisions.blind.any():
        distance = None if before.flag_below is None else before.flag_below - before.failure_below
        return ReviewPoint(None if distance is None else round(value + distance, 3), None, None, None)
    return review_point(
        decisions.predicted,
        failure_mass(decisions),
        decisions.patients,
        wanted_recall=wanted_recall,
        seed=seed,
        weights=decisions.weights,
    )


def _write(card: ModelCard, model: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for file in card.files:
        shutil.copyfile(model / file.name, out / file.name)
    write_card(card, out)
    load_card(out)


def tell(done: Recalibrated, out: Path, console: Console) -> None:
    """Print the threshold, the review point, the reliability table, and the lines for config.yaml."""
    facts, calibration = done.reviews, done.card.calibration
    console.print(
        f"{out}: {done.card.name} {done.card.version}\n{facts.decisions} decisions about {facts.patients} patients by {facts.readers} "
        f"reader(s), {facts.since} to {facts.until}; {facts.accepted} accepted; {facts.blind} were drawn at random from what passes.",
        soft_wrap=True,
    )
    for count, why in ((done.other_weights, "other weights had predicted"), (done.unpredicted, "nothing was predicted")):
        if count:
            console.print(f"{count} decisions were left out: {why}.")
    table = Table("predicted DSC", "decisions", "patients", "accepted", "curve")
    for row in facts.reliability:
        table.add_row(
            f"{row.low:.2f}-{min(row.high, 1):.2f}", str(row.decisions), str(row.patients), f"{row.accepted:.2f}", f"{row.curve:.2f}"
        )
    console.print(table)
    low, high = facts.threshold_interval
    console.print(
        f"threshold: {100 * facts.acceptance:g} % are accepted at a predicted DSC of {facts.threshold:.3f} "
        f"({100 * facts.level:g} % interval {low:.3f} to {high:.3f})"
    )
    if calibration is not None:
        console.print(_review_point_in_words(calibration))
    console.print(
        f"for config.yaml:\n\ntasks:\n  {done.card.task}:\n    weights: {out.resolve()}\n    predicted_dsc: {{value: {facts.threshold:g}}}",
        soft_wrap=True,
    )


def _review_point_in_words(calibration: CalibrationFacts) -> str:
    if calibration.recall_bound is None:
        point = "none" if calibration.flag_below is None else f"{calibration.flag_below:.3f}, as far from the threshold as it was"
        return f"review point: {point}. No PASS was looked at (review.random_pass_share), so nothing tells what passes wrongly."
    return (
        f"review point: {calibration.flag_below:.3f} finds {100 * (calibration.recall or 0):.1f} % of what is not accepted (at least "
        f"{100 * calibration.recall_bound:.1f} %); {100 * (calibration.review_rate or 0):.1f} % of all cases lie below it"
    )
