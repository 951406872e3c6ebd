"""What is judged, by which weights and thresholds, and where the networks run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from qcnode.config.parts import Section


class Threshold(Section):
    """FAIL below value, REVIEW where the prediction's interval begins below it, else PASS.

    With a margin: PASS at or above value + margin, FAIL below value - margin, REVIEW between.
    """

    value: float = Field(default=0.75, ge=0, le=1)
    margin: float | None = Field(default=None, ge=0, le=0.5)


class SeriesRule(Section):
    """How a further contrast's series is recognised in the study."""

    series_description: str = ".*"
    exclude: str | None = None
    contrast_agent: bool | None = None


class Task(Section):
    """One kind of segmentation that is judged, with the weights that judge it."""

    weights: str
    enabled: bool = True
    predicted_dsc: Threshold = Threshold()
    predicted_nsd: Threshold | None = None
    contrasts: dict[str, SeriesRule] = Field(default_factory=dict)


class Inference(Section):
    """Where the networks run, and what a case may take."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(default=0, ge=0)
    deadline_seconds: float = Field(default=600, gt=0)
    memory_mb: int | None = Field(default=None, gt=0)
