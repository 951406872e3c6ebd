"""What the API takes and gives, as its OpenAPI description shows it."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from qcnode.case import ReasonCode, Verdict
from qcnode.drift import By, Drift, Measure
from qcnode.regions import Mark
from qcnode.store.accounts import Role
from qcnode.store.item_queries import Order
from qcnode.store.items import Decision, Item, Stage
from qcnode.store.overview import Overview

State = Literal["OPEN", "CLAIMED", "HELD", "DECIDED", "SUPERSEDED"]


class _Given(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class Problem(_Answer):
    """An error (RFC 9457). `code` is for programs, `detail` for people."""

    type: str
    title: str
    status: int
    code: str
    detail: str


class SignInIn(_Given):
    """Who signs in."""

    name: str = Field(max_length=200)
    password: str = Field(max_length=1000)


class SessionOut(_Answer):
    """Who is signed in. `csrf_token` goes into the header X-CSRF-Token of every call that changes something."""

    account: str
    role: Role
    csrf_token: str


class ReasonOut(_Answer):
    """Why the verdict is what it is."""

    code: ReasonCode
    text: str


class ItemOut(_Answer):
    """A worklist item. Verdict, predicted numbers and reasons of a blind item are null or empty until its decision is final.

    stage: which reading is needed, or settled the item. read_twice: by two readers, who do not see one another's decision before both are
    final. marks: of error regions, by their number. because: why a decision is being revised. sampling_probability: with which a case of
    this verdict becomes an item.
    """

    item_id: int
    case_id: str
    study_instance_uid: str
    query_series_instance_uid: str
    query_sop_instance_uid: str
    task: str
    patient_name: str
    patient_id: str
    birth_date: str
    accession_number: str
    study_date: str
    institution: str
    scanner: str
    segmenter: str
    verdict: Verdict | None
    predicted_dsc: float | None
    predicted_nsd: float | None
    dsc_low: float | None
    dsc_high: float | None
    nsd_low: float | None
    nsd_high: float | None
    interval_level: float | None
    reasons: tuple[ReasonOut, ...]
    blind: bool
    has_pictures: bool
    created_at: datetime
    state: str
    reader: str | None
    claimed_at: datetime | None
    lease_until: datetime | None
    held_until: datetime | None
    decision: Decision | None
    decision_reasons: tuple[str, ...]
    comment: str | None
    rating: int | None
    decided_at: datetime | None
    superseded_by_case_id: str | None
    stage: Stage
    read_twice: bool
    marks: dict[int, Mark]
    because: str | None
    sampling_probability: float | None

    @classmethod
    def of(cls, item: Item) -> ItemOut:
        """The item without paths of this machine."""
        values = {name: getattr(item, name) for name in cls.model_fields if name != "has_pictures"}
        return cls.model_validate(values | {"has_pictures": item.viewer_path is not None})


class RegionOut(_Answer):
    """A region of predicted errors. Slices are z indices from 0; centre_mm is in patient coordinates (LPS)."""

    number: int
    tissue: str
    first_slice: int
    last_slice: int
    worst_slice: int
    voxels: int
    volume_ml: float
    centre_mm: tuple[float, float, float]


class ReadingOut(_Answer):
    """A final reading. because: why an earlier decision was revised; settles: the item was decided by it."""

    stage: Stage
    reader: str
    decision: Decision
    reasons: tuple[str, ...]
    comment: str | None
    rating: int | None
    marks: dict[int, Mark]
    because: str | None
    decided_at: datetime
    settles: bool


class ItemsOut(_Answer):
    """Some items, and how many there are in all."""

    items: tuple[ItemOut, ...]
    total: int


class ListIn(_Given):
    """Filters, order and part of the list. states: empty for every state."""

    states: tuple[State, ...] = ("OPEN", "CLAIMED")
    verdict: Verdict | None = None
    task: str | None = Field(default=None, max_length=200)
    institution: str | None = Field(default=None, max_length=200)
    scanner: str | None = Field(default=None, max_length=200)
    segmenter: str | None = Field(default=None, max_length=200)
    reader: str | None = Field(default=None, max_length=200)
    stage: Stage | None = None
    order: Order = Order.WORST
    offset: int = Field(default=0, ge=0, le=1_000_000_000)
    limit: int = Field(default=50, ge=1, le=200)


class SearchIn(ListIn):
    """The same with words that patient name, patient ID or accession number hold. They travel in the body, never in a URL."""

    text: str = Field(default="", max_length=200)
    # in a URL a number is text; in JSON nothing but a number is one
    offset: int = Field(default=0, ge=0, le=1_000_000_000, strict=True)
    limit: int = Field(default=50, ge=1, le=200, strict=True)


class JudgementIn(_Given):
    """A decision about the query segmentation. rating: 1 (worst) to 6 stars. marks: of error regions, by their number."""

    decision: Decision
    reasons: tuple[str, ...] = Field(default=(), max_length=50)
    comment: str = Field(default="", max_length=4000)
    rating: int | None = Field(default=None, ge=1, le=6, strict=True)
    marks: dict[int, Mark] = Field(default_factory=dict, max_length=100)


class ReopenIn(_Given):
    """Why a final decision is to be revised."""

    because: str = Field(min_length=1, max_length=1000)


class ReassignIn(_Given):
    """To whom the item goes."""

    to: str = Field(max_length=200)


class DayOut(_Answer):
    """One day (UTC): how many were judged and decided."""

    date: date
    judged: dict[Verdict, int]
    decided: dict[Decision, int]


class ReadersOut(_Answer):
    """Agreement of first and second readers; kappa: Cohen's, null where it is not defined."""

    read_twice: int
    agreed: int
    kappa: float | None


class OverviewOut(_Answer):
    """The worklist in figures; review_rate and agreement are shares, null where there is nothing to count."""

    days: tuple[DayOut, ...]
    judged: dict[Verdict, int]
    decisions: dict[Verdict, dict[Decision, int]]
    review_rate: float | None
    agreement: float | None
    agreed: int
    compared: int
    backlog: int
    held: int
    oldest_open: datetime | None
    oldest_item_id: int | None
    readers: ReadersOut
    deliveries: dict[str, dict[str, int]]

    @classmethod
    def of(cls, overview: Overview, deliveries: dict[str, dict[str, int]]) -> OverviewOut:
        """The figures, with the deliveries of each destination by state."""
        values = {name: getattr(overview, name) for name in cls.model_fields if name != "deliveries"}
        return cls.model_validate(values | {"deliveries": deliveries})


class WeekOut(_Answer):
    """A group in one week (UTC). predicted_dsc: the median, null where there are too few cases."""

    monday: date
    cases: int
    predicted_dsc: float | None


class ComparisonOut(_Answer):
    """The last weeks against those before: median of the predicted DSC, or share of patients. q: corrected for all tests of the look."""

    measure: Measure
    before: float
    after: float
    patients_before: int
    patients_after: int
    p: float
    q: float
    superiority: float | None
    drifted: bool


class DriftGroupOut(_Answer):
    """A task's cases of one scanner or segmenter. comparisons: none where there are too few patients."""

    task: str
    by: By
    name: str
    weeks: tuple[WeekOut, ...]
    comparisons: tuple[ComparisonOut, ...]


class DriftOut(_Answer):
    """Whether predictions have shifted since a week. level: the largest q of a finding. findings: in words."""

    since: date
    level: float
    findings: tuple[str, ...]
    groups: tuple[DriftGroupOut, ...]

    @classmethod
    def of(cls, drift: Drift) -> DriftOut:
        """A look at drift."""
        groups = tuple(map(DriftGroupOut.model_validate, drift.groups))
        return cls(since=drift.since, level=drift.level, findings=tuple(said for _, _, said in drift.sentences()), groups=groups)
