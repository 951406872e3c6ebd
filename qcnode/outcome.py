"""verdict.json: the answer to one case as a document, with the names and digests of the DICOM objects beside it.

The file is the first settled truth of a case: after a crash it is read back, never computed again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from pydantic import TypeAdapter

from qcnode.case import Case, Reason, ResultObject, Verdict, Weights
from qcnode.regions import MarkedRegion

FILE_NAME = "verdict.json"


@dataclass(frozen=True, slots=True)
class Query:
    """The SEG that was judged."""

    series_instance_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class TissueNumbers:
    """What is predicted of one tissue; `dsc` is None where the weights give no number for it."""

    dsc: float | None
    error_voxels: int


@dataclass(frozen=True, slots=True)
class Predicted:
    """Predicted, never measured: pooled DSC and NSD at tolerance_mm, their intervals (low, high) at interval_level, the tissues' numbers.

    The p-values say how like the training data images and query are. All of these are None where the weights have no calibration.
    spread_features: what the intervals were made of, by name; None in files of versions that did not keep it.
    """

    dsc: float
    nsd: float
    tolerance_mm: float
    per_tissue: dict[str, TissueNumbers]
    dsc_interval: tuple[float, float] | None = None
    nsd_interval: tuple[float, float] | None = None
    interval_level: float | None = None
    image_p_value: float | None = None
    query_p_value: float | None = None
    spread_features: dict[str, float] | None = None


@dataclass(frozen=True, slots=True)
class ObjectFile:
    """A DICOM object beside verdict.json."""

    kind: str
    file: str
    sop_class_uid: str
    sop_instance_uid: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The content of verdict.json; `predicted` is None where nothing could be predicted."""

    case_id: str
    study_instance_uid: str
    query: Query
    task: str | None
    weights: Weights | None
    device: str | None
    predicted: Predicted | None
    verdict: Verdict
    reasons: tuple[Reason, ...]
    completeness_evidence: str
    timings_ms: dict[str, float] = field(default_factory=dict)
    objects: tuple[ObjectFile, ...] = ()
    judging_digest: str = ""
    qcnode_version: str = ""
    created: str = ""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """A settled case: verdict.json, preview.png, viewer/ and the DICOM objects lie in `directory`.

    What follows `objects` is for the radiologist's worklist only and never logged; "" where unknown. Dates are YYYYMMDD. scanner: what made
    the images; segmenter: who made the query. blind: drawn at random, to be reviewed without the prediction. read_twice: by two readers.
    sampling_probability: with which a case of this verdict becomes an item.
    """

    case: Case
    outcome: Outcome
    directory: Path
    objects: tuple[ResultObject, ...]
    patient_name: str = ""
    patient_id: str = ""
    study_date: str = ""
    accession_number: str = ""
    birth_date: str = ""
    institution: str = ""
    scanner: str = ""
    segmenter: str = ""
    blind: bool = False
    read_twice: bool = False
    sampling_probability: float = 1.0


_ADAPTER = TypeAdapter(Outcome)


def write_outcome(outcome: Outcome, directory: Path) -> None:
    """Write verdict.json into `directory`."""
    (directory / FILE_NAME).write_bytes(_ADAPTER.dump_json(outcome, indent=2) + b"\n")


def read_outcome(directory: Path) -> Outcome:
    """Read verdict.json back. Raises OSError, or ValueError where it is not what write_outcome writes."""
    return _ADAPTER.validate_json((directory / FILE_NAME).read_bytes())


def result_objects(outcome: Outcome, directory: Path) -> tuple[ResultObject, ...]:
    """The DICOM objects of a settled case, with their full paths."""
    return tuple(ResultObject(o.kind, o.sop_class_uid, o.sop_instance_uid, directory / o.file, o.sha256) for o in outcome.objects)


@dataclass(frozen=True, slots=True)
class ReaderDecision:
    """What a reader finally said of a query segmentation. `comment` may name the patient: it goes into the study, and nowhere else.

    decision: "ACCEPT", "REJECT" or "NEEDS_CORRECTION"; rating: 1 (worst) to 6 stars, None where none was given; decided_at: local time.
    regions: of predicted errors, as the reader marked them. because: why an earlier decision was revised, "" where none was.
    """

    decision: str
    reasons: tuple[str, ...]
    comment: str
    rating: int | None
    reader: str
    decided_at: datetime
    regions: tuple[MarkedRegion, ...] = ()
    because: str = ""


def draw(case_id: str, purpose: str) -> float:
    """A random number in [0, 1) that depends on the case and the purpose alone: a repeat after a crash draws the same."""
    return int.from_bytes(sha256(f"{purpose}\0{case_id}".encode()).digest()[:7], "big") / 2**56
