"""A cohort of reviewed segmentations as files: cohort.json says what it is, reviews.jsonl holds a decision a line.

    cohort.json     Manifest: format and version, what was asked for, how much there is, the digest of reviews.jsonl
    reviews.jsonl   ReviewedQuery: one line of JSON per query segmentation, in the order of the decisions
    files/          with images only: <patient>/<24 hexadecimal digits>.dcm, the query SEGs and the images that they were drawn on

Keys may be added under the same version; what a reader does not know it passes over.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from qcnode.case import Verdict, Weights
from qcnode.errors import ConfigurationError
from qcnode.outcome import Predicted

MANIFEST, DECISIONS, FILES = "cohort.json", "reviews.jsonl", "files"
FORMAT: Literal["qcnode-reviews"] = "qcnode-reviews"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class PlaneReference:
    """One plane of the images. frame_number counts from 1; file: below the cohort's folder, None without images."""

    sop_instance_uid: str
    frame_number: int
    file: str | None = None


@dataclass(frozen=True, slots=True)
class ContrastReference:
    """One contrast of the case: its series and the planes that were judged."""

    series_instance_uid: str
    planes: tuple[PlaneReference, ...]


@dataclass(frozen=True, slots=True)
class ReviewedQuery:
    """A query segmentation, what was predicted of it and what a reader finally decided.

    patient: a pseudonym; the same person has the same one in every cohort of a node. case: qcnode's case ID, or its pseudonym. UIDs are
    pseudonyms unless the manifest says otherwise. reference_contrast: the one that the query was drawn on; contrasts may be empty.
    predicted: None where nothing could be predicted. reasons: qcnode's codes. weights.sha256: digest of the model card.
    judging_digest: of the thresholds, as in verdict.json. blind: the reader did not see the prediction.
    sampling_probability: with which such a result is looked at at all: 1 / it is the decision's weight.
    decision: ACCEPT, NEEDS_CORRECTION or REJECT; rating: 1 (worst) to 6 stars. comment: None in a pseudonymised cohort.
    decided: ISO 8601, the month in a pseudonymised cohort, else the moment.
    """

    patient: str
    case: str
    task: str
    study_instance_uid: str
    query_series_instance_uid: str
    query_sop_instance_uid: str
    query_file: str | None
    reference_contrast: str
    contrasts: dict[str, ContrastReference]
    verdict: Verdict
    reasons: tuple[str, ...]
    predicted: Predicted | None
    weights: Weights | None
    judging_digest: str
    qcnode_version: str
    scanner: str
    segmenter: str
    blind: bool
    sampling_probability: float
    decision: Literal["ACCEPT", "NEEDS_CORRECTION", "REJECT"]
    decision_reasons: tuple[str, ...]
    rating: int | None
    comment: str | None
    reader: str
    decided: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a cohort is. task, since, until: what was asked for, None for everything (days, UTC, both included).

    with_images: decisions whose images and query SEG are in `files`. created: the day. reviews_sha256: digest of reviews.jsonl.
    """

    format: Literal["qcnode-reviews"]
    version: int
    created: str
    qcnode_version: str
    pseudonymised: bool
    task: str | None
    since: str | None
    until: str | None
    decisions: int
    patients: int
    with_images: int
    reviews_sha256: str


@dataclass(frozen=True, slots=True)
class Cohort:
    """A cohort that was read: file names in `reviews` are below `folder`."""

    folder: Path
    manifest: Manifest
    reviews: tuple[ReviewedQuery, ...]


_REVIEW, _MANIFEST = TypeAdapter(ReviewedQuery), TypeAdapter(Manifest)


def write_reviews(reviews: Iterable[ReviewedQuery], folder: Path) -> str:
    """Write reviews.jsonl; returns its SHA-256."""
    encoded = b"".join(_REVIEW.dump_json(review) + b"\n" for review in reviews)
    (folder / DECISIONS).write_bytes(encoded)
    return sha256(encoded).hexdigest()


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write cohort.json: last of all, so that a folder with it is whole."""
    (folder / MANIFEST).write_bytes(_MANIFEST.dump_json(manifest, indent=2) + b"\n")


def read_cohort(folder: Path) -> Cohort:
    """Read a cohort back. Raises ConfigurationError where `folder` holds none, one of another version, or a damaged one."""
    try:
        manifest = _MANIFEST.validate_json((folder / MANIFEST).read_bytes())
        encoded = (folder / DECISIONS).read_bytes()
        if manifest.version != FORMAT_VERSION:
            raise ConfigurationError(f"{folder} has version {manifest.version} of the format; this qcnode reads version {FORMAT_VERSION}.")
        if sha256(encoded).hexdigest() != manifest.reviews_sha256:
            raise ConfigurationError(f"{folder / DECISIONS} is not the file that {MANIFEST} describes (SHA-256 differs): export again.")
        reviews = tuple(_REVIEW.validate_json(line) for line in encoded.splitlines())
    except OSError as error:
        raise ConfigurationError(f"{folder} holds no exported reviews ({error.strerror}): see `qcnode worklist export --help`.") from error
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])  # the text itself would quote values
        raise ConfigurationError(f"{folder} holds no cohort of reviews that this qcnode can read (at {where!r}): export again.") from error
    return Cohort(folder, manifest, reviews)
