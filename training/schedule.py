"""How one network is fitted: the part of a recipe that every network of it has."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Frozen(BaseModel):
    """A part of a recipe: frozen, and closed to fields that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Schedule(Frozen):
    """How one network is fitted. `snapshots` are fractions of the steps at which weights are kept beside the last ones."""

    steps: int = Field(gt=0)
    batch: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    warmup: float = Field(default=0.03, ge=0, lt=1)
    weight_decay: float = 1e-4
    averaging: float = Field(default=0.99, ge=0, lt=1, description="decay of the moving average of the weights, which is what is used")
    snapshots: tuple[float, ...] = ()
    save_every: int = 100
