"""A recipe: every choice of a training run, read from YAML, frozen."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from qcnode.assess.model_card import Contrast, StructureFacts, TissueFacts, Vector
from qcnode.errors import ConfigurationError
from training.schedule import Frozen, Schedule
from training.segmenters import SegmenterSettings


class PhantomShare(Frozen):
    """Phantoms among the training volumes: how many, from which seed on, and how often one is drawn."""

    count: int = Field(ge=0)
    first_seed: int = Field(ge=1000)
    share: float = Field(ge=0, lt=1)


class PlaneNetwork(Frozen):
    """A two-dimensional network: the side of the square it sees, its channels per level and its schedule."""

    side: int
    widths: tuple[int, ...]
    schedule: Schedule


class PseudoReference(Frozen):
    """The networks that draw a pseudo-reference: in each fold they learn from the patients of the other folds.

    field: side to which whole slices are kept for fitting. slices: neighbours given together. margin: of the segmenter's box, on each side.
    views: margins of the boxes whose results are averaged. phantom_share: how often a phantom's slice is drawn. looks: how far intensities
    are changed in fitting, 1 as between scanners (training.augment.draw_look).
    """

    field: int
    slices: int
    margin: float
    views: tuple[float, ...] = Field(min_length=1)
    phantom_share: float = Field(default=0.0, ge=0, lt=1)
    looks: float = Field(default=1.0, ge=0)
    localiser: PlaneNetwork
    segmenter: PlaneNetwork


class Segmenters(Frozen):
    """The sources of realistic errors: each family is fitted once per fold on the patients of the other folds."""

    folds: int = Field(ge=2)
    families: tuple[SegmenterSettings, ...] = ()


class Queries(Frozen):
    """The library of query segmentations, per volume.

    generated: out of the reference by plans. blended: between the reference and a segmenter. degraded: copies with damaged images, each
    with the segmenters' late results on it and `generated_degraded` plans. segmenter_share: how often a segmenter's query is shown.
    evaluation_per_bin, evaluation_natural: sizes of the fixed sets.
    """

    generated: int
    blended: int
    degraded: int
    generated_degraded: int
    bin_weights: tuple[float, ...] = Field(min_length=10, max_length=10, description="how often each DSC bin of width 0.1 is drawn")
    segmenter_share: float = Field(default=0.6, ge=0, le=1)
    evaluation_per_bin: int = Field(gt=0)
    evaluation_natural: int = Field(gt=0)


class Network(Frozen):
    """Parameters of QCResUNet and of the box that it sees.

    head: of the fit of the head to the numbers alone, before the rest (seconds).
    inputs: "all"; "query" blinds the network to volumes and pseudo-reference, "no-pseudo-reference" to the latter (controls).
    """

    width: int
    depth: Literal[18, 34]
    side: int
    margin: float
    most_slices: int
    dropout: float
    strides: tuple[tuple[int, int, int], ...] = Field(min_length=4, max_length=4)
    stem_kernel: tuple[int, int, int]
    stem_stride: tuple[int, int, int]
    flat_stages: int
    norm: Literal["instance", "batch"] = "batch"
    group_norm_last: bool = False
    coarse_decoder: bool = False
    schedule: Schedule
    head: Schedule = Schedule(steps=600, batch=256, learning_rate=0.003, save_every=200)
    error_weight: float = Field(description="lambda of the paper: weight of the error map's losses")
    consistency_weight: float = Field(default=0.0, description="weight of the error of the DSC that the error map itself implies")
    inputs: Literal["all", "no-pseudo-reference", "query"] = "all"


class NoveltyCuts(Frozen):
    """The p-values below which an image, or a query, is called novel: the shares of like ones that are called so, too.

    With few patients an image's must leave room for those whose pseudo-reference failed, who are unlike the others themselves.
    """

    image: float = Field(default=0.02, gt=0, lt=1)
    query: float = Field(default=0.05, gt=0, lt=1)


class CardFacts(Frozen):
    """What the model card says that no training run finds out; see qcnode.assess.model_card for the fields."""

    task: str
    modality: str
    contrasts: tuple[Contrast, ...]
    structures: tuple[StructureFacts, ...]
    tissues: tuple[TissueFacts, ...]
    directions: tuple[Vector, Vector, Vector]
    keep_stack: bool = True
    spacing: str
    data: str
    terms: str
    limits: str


class Recipe(Frozen):
    """A whole training run, from a cohort to exported weights."""

    name: str
    version: str
    seed: int
    cohort: str
    folds: int = Field(ge=2, description="members of the ensemble; each is judged on the patients of its fold, which it has not seen")
    tolerance_mm: float = Field(gt=0)
    pixel_mm: float = Field(gt=0, description="in-plane voxel size of the training data, nominal where it was lost")
    threads: int = Field(default=0, ge=0, description="0: as many as there are")
    phantoms: PhantomShare
    pseudo_reference: PseudoReference
    segmenters: Segmenters
    queries: Queries
    network: Network
    novelty_cuts: NoveltyCuts = NoveltyCuts()
    card: CardFacts


class Tier(StrEnum):
    """How much computing a recipe may spend: "gpu" is the recipe with what its section `gpu` says otherwise."""

    CPU = "cpu"
    GPU = "gpu"


def read_recipe(path: Path, tier: Tier = Tier.CPU) -> Recipe:
    """The recipe in this YAML file; ConfigurationError says which field is wrong."""
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(f"Recipe {path} can not be read: {error}") from error
    if isinstance(content, dict):
        changes = content.pop("gpu", {})
        content = _merged(content, changes) if tier is Tier.GPU else content
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        lines = (f"  {'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors())
        raise ConfigurationError(f"Recipe {path} is wrong:\n" + "\n".join(lines)) from error


def _merged(content: Any, changes: Any) -> Any:
    """`content` with the keys that `changes` names replaced, mapping by mapping."""
    if not isinstance(content, dict) or not isinstance(changes, dict):
        return changes
    return content | {key: _merged(content.get(key), value) for key, value in changes.items()}
