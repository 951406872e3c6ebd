"""Deep Quality Estimation (Kofler et al. 2022, paper 002): a reader's stars out of slices through the segmentation's centre of mass.

As in the paper: the slices across each axis through the centre of mass, the contrasts between their 0.5 and 99.5 percentiles and a
channel per tissue, DenseNet121 in two dimensions, mean squared error, heavy augmentation, the last weights, the mean over the views.
Otherwise: AdamW in place of Ranger21 (their second best), slices at one pixel size in mm, folds over patients in place of one split, and
motion and ghosting are not simulated.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import yaml
from monai.networks.nets import DenseNet
from pydantic import Field, ValidationError
from scipy.ndimage import map_coordinates
from torch import Tensor, nn
from torch.nn import functional

from qcnode.assess.model_card import ModelCard, load_card
from qcnode.cohort.format import read_cohort
from qcnode.errors import ConfigurationError
from qcnode.imaging.preprocess import normalise, orientation_to
from training.augment import augment_planes, draw_look, draw_warp
from training.calibrate import dealt
from training.cohorts.reviews import RatedQuery, rated_queries
from training.progress import Progress
from training.schedule import Frozen, Schedule
from training.train import fit

FloatArray = npt.NDArray[np.float32]
STARS = (1.0, 6.0)
RESULTS = "ratings.json"
_AXES = {"z": 0, "y": 1, "x": 2}


class RatingSettings(Frozen):
    """views: axes of the canonical orientation that the slices lie across. side: pixels of a slice, of pixel_mm each.

    init_features, growth_rate, block_config: of the DenseNet; as they are, DenseNet121. The paper fits 500 epochs in batches of 80.
    """

    views: tuple[Literal["z", "y", "x"], ...] = Field(default=("z", "y", "x"), min_length=1)
    side: int = Field(default=128, ge=32)
    pixel_mm: float = Field(default=1.5, gt=0)
    percentiles: tuple[float, float] = (0.5, 99.5)
    folds: int = Field(default=5, ge=2)
    seed: int = 0
    init_features: int = 64
    growth_rate: int = 32
    block_config: tuple[int, ...] = (6, 12, 24, 16)
    schedule: Schedule = Schedule(steps=2000, batch=80, learning_rate=1e-3, save_every=50)


@dataclass(frozen=True, slots=True)
class RatedViews:
    """contrasts: (view, contrast, side, side), tissues: (view, tissue, side, side) of one rated query."""

    patient: str
    case: str
    rating: int
    predicted_dsc: float | None
    contrasts: FloatArray
    tissues: FloatArray

    @property
    def channels(self) -> int:
        """What the network is given of a view: its contrasts, then its tissues."""
        return int(self.contrasts.shape[1] + self.tissues.shape[1])


class RatingBatch(NamedTuple):
    """planes: (query, channel, y, x); ratings: (query,) stars."""

    planes: Tensor
    ratings: Tensor


@dataclass(frozen=True, slots=True)
class Agreement:
    """With readers' stars, out of fold: mean absolute error in stars, and Pearson's r (None where the estimates do not differ)."""

    mae: float
    r: float | None


@dataclass(frozen=True, slots=True)
class RatingResults:
    """This method beside two that need no network: the mean of the other patients' ratings, and a line through the predicted DSC."""

    queries: int
    patients: int
    network: Agreement
    mean_rating: Agreement
    predicted_dsc: Agreement


def read_settings(path: Path | None) -> RatingSettings:
    """The settings in a YAML file; what it does not name, or without a file all, as in the class."""
    if path is None:
        return RatingSettings()
    try:
        return RatingSettings.model_validate(yaml.safe_load(path.read_text()) or {})
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path} can not be read: {error}") from error
    except ValidationError as error:
        lines = (f"  {'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors())
        raise ConfigurationError(f"{path} is wrong:\n" + "\n".join(lines)) from error


def fit_rating(
    settings: RatingSettings, reviews: Path, model: Path, run: Path, progress: Progress, task: str | None = None
) -> RatingResults:
    """Fit a network per fold of patients into `run`/rating-N, resuming where it was stopped; judge each fold by the one that left it out.

    `model`: a model folder, whose card says contrasts, tissues and orientation. Writes `run`/ratings.json. Raises ConfigurationError
    where fewer patients were rated than there are folds, or images can not be read.
    """
    card = load_card(model)
    queries = [views_of(query, card, settings) for query in rated_queries(read_cohort(reviews), card, task or card.task)]
    patients = [q.patient for q in queries]
    if len(set(patients)) < settings.folds:
        raise ConfigurationError(
            f"{reviews} holds {len(queries)} rated segmentations with images of {len(set(patients))} patients; {settings.folds} folds need "
            "as many patients. Readers give stars on the worklist; `qcnode worklist export --images` writes the images."
        )
    fold = dealt(patients, settings.folds, settings.seed)
    stars = np.empty(len(queries))
    for k in range(settings.folds):
        network = _fitted([q for q, f in zip(queries, fold, strict=True) if f != k], settings, run, k, progress)
        stars[fold == k] = [rate(network, q) for q, f in zip(queries, fold, strict=True) if f == k]
    results = compared(queries, stars, fold)
    _write(queries, stars, results, run)
    return results


def views_of(query: RatedQuery, card: ModelCard, settings: RatingSettings) -> RatedViews:
    """The slices of a query across each axis, through the centre of mass of its tissues; of the volume where there is none."""
    grid, facts = query.contrasts[0].grid, card.preprocessing
    orientation = orientation_to(grid, facts.directions, keep_stack=facts.keep_stack)
    values = orientation.apply(np.stack([normalise(v.array, *settings.percentiles) for v in query.contrasts]))
    tissues = orientation.apply(query.tissues)
    spacing = np.asarray(grid.spacing)[list(orientation.order)]
    inside = np.argwhere(tissues.any(0))
    centre = inside.mean(0) if len(inside) else (np.asarray(values.shape[1:]) - 1) / 2
    step = settings.pixel_mm / spacing
    slices = [_Slice(_AXES[view], centre, step, settings.side) for view in settings.views]
    contrasts = np.stack([s.of(values, order=1) for s in slices])
    drawn = np.stack([s.of(tissues, order=0) for s in slices])
    return RatedViews(query.patient, query.case, query.rating, query.predicted_dsc, contrasts, drawn)


def empty_network(settings: RatingSettings, channels: int) -> nn.Module:
    """The DenseNet with random weights: (query, channel, y, x) to (query, 1), stars above and below their middle."""
    return DenseNet(  # type: ignore[no-any-return]
        spatial_dims=2,
        in_channels=channels,
        out_channels=1,
        init_features=settings.init_features,
        growth_rate=settings.growth_rate,
        block_config=settings.block_config,
    )


@torch.no_grad()
def rate(network: nn.Module, query: RatedViews) -> float:
    """Stars of one query: the mean over its views, within 1 to 6."""
    planes = torch.from_numpy(np.concatenate([query.contrasts, query.tissues], 1))
    return float(_stars(network, planes).mean().clamp(*STARS))


def compared(queries: Sequence[RatedViews], stars: npt.NDArray[np.float64], fold: npt.NDArray[np.int_]) -> RatingResults:
    """Out-of-fold stars beside those of two baselines, which are fitted on the same patients."""
    rating = np.array([q.rating for q in queries], float)
    predicted = np.array([np.nan if q.predicted_dsc is None else q.predicted_dsc for q in queries])
    mean, line = np.empty(len(queries)), np.empty(len(queries))
    for k in np.unique(fold):
        here, rest = fold == k, fold != k
        mean[here] = line[here] = rating[rest].mean()
        known = rest & np.isfinite(predicted)
        if len(np.unique(predicted[known])) > 1:
            slope, start = np.polyfit(predicted[known], rating[known], 1)
            estimate = np.clip(start + slope * predicted[here], *STARS)
            line[here] = np.where(np.isfinite(estimate), estimate, line[here])
    network, by_mean, by_line = (_agreement(rating, found) for found in (stars, mean, line))
    return RatingResults(len(queries), len({q.patient for q in queries}), network, by_mean, by_line)


def _agreement(rating: npt.NDArray[np.float64], found: npt.NDArray[np.float64]) -> Agreement:
    varies = min(rating.std(), found.std()) > 1e-9
    r = round(float(np.corrcoef(rating, found)[0, 1]), 4) if varies else None
    return Agreement(round(float(np.abs(rating - found).mean()), 4), r)


@dataclass(frozen=True, slots=True)
class _Slice:
    """The square across `axis` around `centre` (z, y, x); step: voxels per pixel along each axis."""

    axis: int
    centre: npt.NDArray[np.float64]
    step: npt.NDArray[np.float64]
    side: int

    def of(self, channels: npt.NDArray[np.generic], *, order: Literal[0, 1]) -> FloatArray:
        """Values (channel, side, side) of channels (channel, z, y, x), linear or (order 0) of the nearest voxel; 0 outside."""
        number = int(np.clip(round(float(self.centre[self.axis])), 0, channels.shape[1 + self.axis] - 1))
        pixels = np.arange(self.side) - (self.side - 1) / 2
        lines = [self.centre[a] + pixels * self.step[a] for a in range(3) if a != self.axis]
        where = np.stack(np.meshgrid(*lines, indexing="ij"))
        cut = np.take(channels, number, 1 + self.axis).astype(np.float32)
        return np.stack([map_coordinates(plane, where, order=order) for plane in cut])


def _fitted(queries: Sequence[RatedViews], settings: RatingSettings, run: Path, fold: int, progress: Progress) -> nn.Module:
    folder, by_patient = run / f"rating-{fold}", _by_patient(queries)
    torch.manual_seed(settings.seed + fold)

    def draw(rng: np.random.Generator) -> RatingBatch:
        return _draw(by_patient, rng, settings)

    def report(step: int, values: dict[str, float]) -> None:
        progress(f"rating {fold}", step, settings.schedule.steps, values)

    network = empty_network(settings, queries[0].channels)
    return fit(network, draw, _step, settings.schedule, folder, seed=settings.seed + 300 + fold, report=report)


def _by_patient(queries: Sequence[RatedViews]) -> list[list[RatedViews]]:
    found: dict[str, list[RatedViews]] = {}
    for query in queries:
        found.setdefault(query.patient, []).append(query)
    return list(found.values())


def _draw(by_patient: Sequence[Sequence[RatedViews]], rng: np.random.Generator, settings: RatingSettings) -> RatingBatch:
    """Patients are drawn evenly, then a query, a view, a warp and a look."""
    chosen = []
    for _ in range(settings.schedule.batch):
        of_patient = by_patient[int(rng.integers(len(by_patient)))]
        chosen.append((of_patient[int(rng.integers(len(of_patient)))], int(rng.integers(len(settings.views)))))
    warps = [draw_warp(rng, (0.0, 0.0), any_turn=0.0, flip=0.5, scales=(0.85, 1.18)) for _ in chosen]
    looks = [draw_look(rng) for _ in chosen]
    contrasts, tissues = (np.stack([getattr(q, name)[view] for q, view in chosen]) for name in ("contrasts", "tissues"))
    values, drawn = augment_planes(contrasts, tissues, warps, looks, settings.side)
    return RatingBatch(torch.cat([values, drawn.float()], 1), torch.tensor([float(q.rating) for q, _ in chosen]))


def _step(network: nn.Module, batch: RatingBatch) -> tuple[Tensor, dict[str, float]]:
    found = _stars(network, batch.planes)
    return functional.mse_loss(found, batch.ratings), {"mean_absolute_error": float((found.detach() - batch.ratings).abs().mean())}


def _stars(network: nn.Module, planes: Tensor) -> Tensor:
    """Stars (query,): the network says how far from the middle of the scale."""
    return network(planes)[:, 0] + sum(STARS) / 2  # type: ignore[no-any-return]


def _write(queries: Sequence[RatedViews], stars: npt.NDArray[np.float64], results: RatingResults, run: Path) -> None:
    rows = [
        {"case": q.case, "patient": q.patient, "rating": q.rating, "estimated": round(float(found), 3)}
        for q, found in zip(queries, stars, strict=True)
    ]
    (run / RESULTS).write_text(json.dumps({"results": asdict(results), "queries": rows}, indent=1) + "\n")
