"""The model card: the one file of facts about packaged weights, read by training, inference, the SR writer and the web page alike."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from qcnode.digests import sha256_of
from qcnode.errors import ConfigurationError
from qcnode.tissues import Structure, Tissue

CARD_NAME = "model_card.json"

Vector = tuple[float, float, float]
Triple = tuple[int, int, int]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SeriesRule(_Frozen):
    """What a series must look like to serve as a contrast where config.yaml gives no rule; patterns are searched, case ignored."""

    series_description: str
    exclude: str | None = None
    contrast_agent: bool | None = None

    @field_validator("series_description", "exclude")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        re.compile(value or "")
        return value


class Contrast(_Frozen):
    """One input volume. A task with one contrast needs no rule: it judges the series that the SEG was drawn on."""

    name: str
    series_rule: SeriesRule


class StructureFacts(_Frozen):
    """A kind of segment; see qcnode.tissues.Structure."""

    name: str
    codes: tuple[tuple[str, str], ...]
    label_pattern: str


class TissueFacts(_Frozen):
    """A channel of the network; see qcnode.tissues.Tissue."""

    name: str
    structures: tuple[str, ...]
    code: tuple[str, str, str]


class Preprocessing(_Frozen):
    """How volumes become the network's input; carried out by qcnode.imaging.preprocess.

    directions: LPS vectors that the canonical axes z, y, x are turned nearest to.
    box "square": the square around query and pseudo-reference with `margin` on each side, resized to size[1] x size[2]; at most size[0]
    slices, which are not resized. box "canvas": `size` voxels as they are, around the foreground.
    """

    directions: tuple[Vector, Vector, Vector]
    keep_stack: bool
    percentiles: tuple[float, float]
    box: Literal["square", "canvas"]
    size: Triple
    margin: float = 0.0
    spacing: str = Field(description="in words: what the voxel size means to this network")


class NetworkFacts(_Frozen):
    """Parameters of qcnode.assess.networks.qcresunet.Design."""

    contrasts: int
    tissues: int
    outputs: int
    width: int
    depth: Literal[18, 34]
    strides: tuple[Triple, Triple, Triple, Triple]
    dropout: float
    stem_kernel: Triple = (7, 7, 7)
    stem_stride: Triple = (1, 1, 1)
    further_channels: int = 0
    numbers: int = 0
    flat_stages: int = 0
    norm: Literal["instance", "batch"] = "instance"
    group_norm_last: bool = False
    max_pooling: bool = False
    coarse_decoder: bool = False
    implied: bool = False


class PseudoReferenceFacts(_Frozen):
    """The two-dimensional networks that draw a pseudo-reference, see qcnode.assess.inputs.PseudoReferenceSettings.

    Their weights are prefixed "0.localiser.", "0.segmenter.", "1.localiser." ... in `file`, a pair for each member.
    """

    file: str
    field_side: int
    box_side: int
    views: tuple[float, ...] = Field(min_length=1)
    slices: int
    localiser_widths: tuple[int, ...]
    segmenter_widths: tuple[int, ...]


class QualityDefinition(_Frozen):
    """What predicted_dsc and predicted_nsd estimate. tolerance_mm is exact where the training data's voxel size is; `text` says so."""

    dsc: str
    nsd: str
    tolerance_mm: float = Field(gt=0)
    tolerance_pixels: float = Field(gt=0, description="the tolerance in pixels of the training data")


class TrainingFacts(_Frozen):
    """What the weights were learned from, and under which terms they may be used."""

    data: str
    terms: str
    recipe: str
    limits: str


class FileDigest(_Frozen):
    """A file beside the card."""

    name: str
    sha256: str


class IntervalFacts(_Frozen):
    """The prediction interval of one measure; carried out by qcnode.assess.calibration.

    below, above: weights of (1, *spread features) for how far the truth may lie below and above the prediction, cut to floor...cap, times
    `factor`; no factor: too few patients, the interval is 0...1. coverage, width: what held for patients left out of the fit.
    """

    below: tuple[float, ...]
    above: tuple[float, ...]
    floor: float = Field(gt=0)
    cap: float = Field(gt=0)
    factor: float | None
    coverage: float | None = None
    width: float | None = None


class CalibrationFacts(_Frozen):
    """How sure the predictions are, from residuals of patients that the predicting network had not seen.

    level: share of truths within an interval. failure_below: the DSC under which a query has failed; with ReviewFacts the predicted DSC
    under which it is not accepted, and a failure is what was not. flag_below: predicted DSC under which queries must be looked at to find
    `recall` of the failures; recall_bound: its lower confidence bound over patients; review_rate: share
    of the queries below. None where the records held no failure. error_map_thresholds: probability from which a voxel counts as wrong, per
    tissue.
    """

    level: float = Field(gt=0, lt=1)
    spread_features: tuple[str, ...]
    dsc: IntervalFacts
    nsd: IntervalFacts
    failure_below: float
    flag_below: float | None
    recall: float | None
    recall_bound: float | None
    review_rate: float | None
    error_map_thresholds: tuple[float, ...]
    patients: int
    queries: int


class ReliabilityFacts(_Frozen):
    """Queries with a predicted DSC from `low` on and below `high`: the share accepted, and the one that the fitted curve says."""

    low: float
    high: float
    decisions: int
    patients: int
    accepted: float
    curve: float


class ReviewFacts(_Frozen):
    """The final decisions of a site's readers that CalibrationFacts.failure_below and its review point were fitted to.

    cohort_sha256: digest of the exported decisions. accepted: how many of `decisions`; blind: how many without the prediction, drawn at
    random from what passed. since, until: months (YYYY-MM). threshold: predicted DSC at which the share `acceptance` is accepted;
    threshold_interval: over patients, at `level`. judged_by: digests of the cards of these networks whose predictions were decided about.
    """

    cohort_sha256: str
    decisions: int
    accepted: int
    blind: int
    patients: int
    readers: int
    since: str
    until: str
    acceptance: float
    threshold: float
    threshold_interval: tuple[float, float]
    level: float
    reliability: tuple[ReliabilityFacts, ...]
    judged_by: tuple[str, ...]


class FeatureGroup(_Frozen):
    """Features judged together: their distance from training is |whitening (value - centre)| / typical.

    whitening: (component, feature). typical: an upper quantile of the distances of patients left out, so that groups compare.
    """

    name: str
    features: tuple[str, ...]
    centre: tuple[float, ...]
    whitening: tuple[tuple[float, ...], ...]
    typical: float = Field(gt=0)


class NoveltyTest(_Frozen):
    """The mean distance over the groups is the score; its conformal p-value comes from scores of patients left out.

    scores: rising. tail: share of the left-out patients (each weighs 1) that score at least as much. cut: novel below this p-value.
    """

    groups: tuple[FeatureGroup, ...]
    scores: tuple[float, ...]
    tail: tuple[float, ...]
    patients: int
    cut: float


class NoveltyFacts(_Frozen):
    """Is this image like the training images, is this query like any segmentation; carried out by qcnode.assess.novelty."""

    image: NoveltyTest
    query: NoveltyTest


class ModelCard(_Frozen):
    """Facts about one set of weights.

    members: networks whose mean judges, each learned without another part of the patients; their weights are prefixed "0.", "1." ...
    """

    name: str
    version: str
    task: str
    modality: str
    contrasts: tuple[Contrast, ...] = Field(min_length=1)
    structures: tuple[StructureFacts, ...] = Field(min_length=1)
    tissues: tuple[TissueFacts, ...] = Field(min_length=1)
    preprocessing: Preprocessing
    network: NetworkFacts
    members: int = Field(gt=0)
    pseudo_reference: PseudoReferenceFacts | None
    quality: QualityDefinition
    training: TrainingFacts
    calibration: CalibrationFacts | None = None
    novelty: NoveltyFacts | None = None
    reviews: ReviewFacts | None = None
    results: dict[str, Any]
    weights_file: str
    files: tuple[FileDigest, ...]

    def structure_list(self) -> tuple[Structure, ...]:
        """The structures in the order in which labels are tried."""
        return tuple(Structure(s.name, s.codes, s.label_pattern) for s in self.structures)

    def tissue_list(self) -> tuple[Tissue, ...]:
        """The tissues in the order of the network's channels."""
        return tuple(Tissue(t.name, t.structures, t.code) for t in self.tissues)

    @property
    def label_order(self) -> tuple[str, ...]:
        """The structures in the order of the pseudo-reference's classes: each where a tissue first names it."""
        return tuple(dict.fromkeys(name for tissue in self.tissues for name in tissue.structures))

    def digest(self) -> str:
        """SHA-256 of everything that shapes a prediction: the card, which holds its files' digests, without the results measured later."""
        absent = {"reviews"} if self.reviews is None else None  # cards from before there were any keep their digest
        return hashlib.sha256(self.model_copy(update={"results": {}}).model_dump_json(exclude=absent).encode()).hexdigest()


def load_card(model_dir: Path) -> ModelCard:
    """The card in `model_dir`, its files checked against their digests. ConfigurationError says what is wrong and what to do."""
    path = model_dir / CARD_NAME
    try:
        card = ModelCard.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"No model card at {path}: name a folder that holds {CARD_NAME}, or install the weights again.") from error
    except ValidationError as error:
        lines = "; ".join(f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors()[:5])
        raise ConfigurationError(f"{path} is not a model card of this version ({lines}): install the weights again.") from error
    for file in card.files:
        found = model_dir / file.name
        if not found.is_file():
            raise ConfigurationError(f"{found} is missing: install the weights of {card.name} again.")
        if sha256_of(found) != file.sha256:
            raise ConfigurationError(f"{found} is not the file that {CARD_NAME} describes (SHA-256 differs): install the weights again.")
    return card
