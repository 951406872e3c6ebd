"""A recipe: every choice of a training run, read from YAML, frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qcnode.assess.model_card import Contrast, StructureFacts, TissueFacts, Vector
from qcnode.errors import ConfigurationError


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Schedule(_Frozen):
    """How one network is fitted. `snapshots` are fractions of the steps at which weights are kept beside the last ones."""

    steps: int = Field(gt=0)
    batch: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    warmup: float = Field(default=0.03, ge=0, lt=1)
    weight_decay: float = 1e-4
    averaging: float = Field(default=0.99, ge=0, lt=1, description="decay of the moving average of the weights, which is what is used")
    snapshots: tuple[float, ...] = ()
    save_every: int = 100


class PhantomShare(_Frozen):
    """Phantoms among the training volumes: how many, from which seed on, and how often one is drawn."""

    count: int = Field(ge=0)
    first_seed: int = Field(ge=1000)
    share: float = Field(ge=0, lt=1)


class PseudoReference(_Frozen):
    """The two-dimensional networks that draw a pseudo-reference; a network for each of `folds` learns from the patients of the others."""

    side: int
    crop: int
    slices: int
    widths: tuple[int, ...]
    folds: int = Field(ge=2)
    schedule: Schedule


class Queries(_Frozen):
    """The library of training queries, per volume."""

    generated: int
    snapshots: int
    bin_weights: tuple[float, ...] = Field(description="how often each DSC bin of width 0.1 is drawn")


class Network(_Frozen):
    """Parameters of QCResUNet and of the box that it sees."""

    width: int
    depth: Literal[18, 34]
    side: int
    margin: float
    most_slices: int
    dropout: float
    schedule: Schedule
    error_weight: float = Field(description="lambda of the paper: weight of the error map's losses")


class CardFacts(_Frozen):
    """What the model card says that no training run finds out; see qcnode.assess.model_card for the fields."""

    task: str
    modality: str
    contrasts: tuple[Contrast, ...]
    structures: tuple[StructureFacts, ...]
    tissues: tuple[TissueFacts, ...]
    directions: tuple[Vector, Vector, Vector]
    spacing: str
    data: str
    terms: str
    limits: str


class Recipe(_Frozen):
    """A whole training run, from a cohort to exported weights."""

    name: str
    version: str
    seed: int
    cohort: Literal["acdc"]
    tolerance_mm: float = Field(gt=0)
    threads: int = Field(default=0, ge=0, description="0: as many as there are")
    phantoms: PhantomShare
    pseudo_reference: PseudoReference
    queries: Queries
    network: Network
    card: CardFacts


def read_recipe(path: Path) -> Recipe:
    """The recipe in this YAML file; ConfigurationError says which field is wrong."""
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(f"Recipe {path} can not be read: {error}") from error
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        lines = (f"  {'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors())
        raise ConfigurationError(f"Recipe {path} is wrong:\n" + "\n".join(lines)) from error
