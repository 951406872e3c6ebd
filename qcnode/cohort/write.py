"""From final decisions to a folder that training reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

from qcnode.cohort.deidentify import deidentified
from qcnode.cohort.format import (
    FILES,
    FORMAT,
    FORMAT_VERSION,
    ContrastReference,
    Manifest,
    PlaneReference,
    ReviewedQuery,
    write_manifest,
    write_reviews,
)
from qcnode.cohort.pseudonyms import Pseudonyms
from qcnode.durable import link_or_copy
from qcnode.errors import ConfigurationError, Rejected
from qcnode.headers import read_dataset
from qcnode.outcome import Outcome, Predicted, read_outcome
from qcnode.store.final_decisions import FinalDecision


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for. since, until: days (UTC), both included. images: query SEGs and images, too."""

    task: str | None = None
    since: date | None = None
    until: date | None = None
    images: bool = False


def new_folder(folder: Path) -> Path:
    """Make the folder of a cohort, readable by its owner alone. Raises ConfigurationError where it holds something or can not be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        empty = not any(folder.iterdir())
    except OSError as error:
        raise ConfigurationError(f"{folder} can not be written to ({error.strerror}): name another folder.") from error
    if not empty:
        raise ConfigurationError(f"{folder} is not empty: name a new folder to export to.")
    return folder


def write_cohort(
    decisions: Sequence[FinalDecision], folder: Path, pseudonyms: Pseudonyms, wanted: Wanted, *, now: datetime, version: str
) -> Manifest:
    """Write the decisions as a cohort into a `new_folder`.

    Images that are not there any more, can not be read or say that text is burned in are left out, with their query SEG. Raises OSError
    where the disk fails.
    """
    reviews = [reviewed(decision, pseudonyms) for decision in decisions]
    if wanted.images:
        reviews = [_with_files(r, d, folder, pseudonyms) for r, d in zip(reviews, decisions, strict=True)]
    manifest = Manifest(
        format=FORMAT,
        version=FORMAT_VERSION,
        created=now.astimezone(UTC).date().isoformat(),
        qcnode_version=version,
        pseudonymised=not pseudonyms.keep,
        task=wanted.task,
        since=wanted.since.isoformat() if wanted.since else None,
        until=wanted.until.isoformat() if wanted.until else None,
        decisions=len(reviews),
        patients=len({r.patient for r in reviews}),
        with_images=sum(r.query_file is not None for r in reviews),
        reviews_sha256=write_reviews(reviews, folder),
    )
    write_manifest(manifest, folder)
    return manifest


def reviewed(decision: FinalDecision, pseudonyms: Pseudonyms) -> ReviewedQuery:
    """One decision as the cohort tells it, without files. Raises ValueError for an item that is not decided."""
    item, case = decision.item, decision.case
    if item.decision is None or item.decided_at is None or item.reader is None:
        raise ValueError(f"item {item.item_id} is {item.state}: nothing final was decided")
    if item.verdict is None or item.sampling_probability is None:
        raise ValueError(f"item {item.item_id} is hidden: what is exported must be told as it is")
    outcome = _outcome(decision.directory)
    decided = item.decided_at.astimezone(UTC)
    return ReviewedQuery(
        patient=pseudonyms.patient(item.patient_id, item.study_instance_uid),
        case=pseudonyms.name("case", case.case_id),
        task=item.task,
        study_instance_uid=pseudonyms.uid(item.study_instance_uid),
        query_series_instance_uid=pseudonyms.uid(item.query_series_instance_uid),
        query_sop_instance_uid=pseudonyms.uid(item.query_sop_instance_uid),
        query_file=None,
        reference_contrast=case.reference_contrast,
        contrasts={
            name: ContrastReference(
                pseudonyms.uid(stack.series_instance_uid),
                tuple(PlaneReference(pseudonyms.uid(frame.sop_instance_uid), frame.frame_number) for frame in stack.frames),
            )
            for name, stack in case.contrasts.items()
        },
        verdict=item.verdict,
        reasons=tuple(reason.code.value for reason in item.reasons),
        predicted=_predicted(decision, outcome),
        weights=decision.weights,
        judging_digest=outcome.judging_digest if outcome else "",
        qcnode_version=outcome.qcnode_version if outcome else "",
        scanner=item.scanner,
        segmenter=item.segmenter,
        blind=item.blind,
        sampling_probability=item.sampling_probability,
        decision=item.decision.value,
        decision_reasons=item.decision_reasons,
        rating=item.rating,
        comment=item.comment if pseudonyms.keep else None,  # free text may name the patient
        reader=pseudonyms.name("reader", item.reader),
        decided=decided.isoformat() if pseudonyms.keep else f"{decided:%Y-%m}",
    )


def _outcome(directory: Path) -> Outcome | None:
    """verdict.json knows more than the tables; it may be gone."""
    with suppress(OSError, ValueError):
        return read_outcome(directory)
    return None


def _predicted(decision: FinalDecision, outcome: Outcome | None) -> Predicted | None:
    if outcome is not None:
        return outcome.predicted
    item = decision.item
    if item.predicted_dsc is None or item.predicted_nsd is None:
        return None
    return Predicted(
        dsc=item.predicted_dsc,
        nsd=item.predicted_nsd,
        tolerance_mm=decision.tolerance_mm,
        per_tissue={},
        dsc_interval=_interval(item.dsc_low, item.dsc_high),
        nsd_interval=_interval(item.nsd_low, item.nsd_high),
        interval_level=item.interval_level,
    )


def _interval(low: float | None, high: float | None) -> tuple[float, float] | None:
    return None if low is None or high is None else (low, high)


def _with_files(review: ReviewedQuery, decision: FinalDecision, folder: Path, pseudonyms: Pseudonyms) -> ReviewedQuery:
    """The review with its files put into `folder`; unchanged where one of them can not be had."""
    case = decision.case
    sources = dict.fromkeys((case.query.path, *(frame.path for stack in case.contrasts.values() for frame in stack.frames)))
    names = {path: f"{FILES}/{review.patient}/{pseudonyms.file(path)}" for path in sources}
    if not case.contrasts or not _put(names, folder, review.patient, pseudonyms):
        return review
    contrasts = {
        name: ContrastReference(
            reference.series_instance_uid,
            tuple(
                replace(plane, file=names[frame.path]) for plane, frame in zip(reference.planes, case.contrasts[name].frames, strict=True)
            ),
        )
        for name, reference in review.contrasts.items()
    }
    return replace(review, query_file=names[case.query.path], contrasts=contrasts)


def _put(names: dict[Path, str], folder: Path, patient: str, pseudonyms: Pseudonyms) -> bool:
    """Put every file where its name says; False where one can not be had, and then none of them was added."""
    added: list[Path] = []
    for source, name in names.items():
        target = folder / name
        if target.exists():  # another query on the same images brought it
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        added.append(target)
        try:
            if pseudonyms.keep:
                link_or_copy(source, target)
            else:
                deidentified(read_dataset(source), pseudonyms, patient).save_as(target, enforce_file_format=True)
        except (FileNotFoundError, Rejected):
            _remove(added)
            return False
    return True


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
