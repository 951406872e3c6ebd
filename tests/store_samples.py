"""What the tests of the store put into it: encoded objects, cases and results."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from qcnode.case import (
    Case,
    FrameRef,
    InstanceHeader,
    QueryRef,
    Reason,
    ReasonCode,
    ResultObject,
    Stack,
    Verdict,
    Weights,
)
from qcnode.outcome import CaseResult, Outcome, Predicted, Query
from qcnode.store.database import Database
from qcnode.store.inbox import Acceptance, Inbox
from qcnode.store.jobs import Jobs
from qcnode.store.worklist import Item, Worklist

START = datetime(2026, 5, 4, 8, 0, tzinfo=UTC)
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
EVERYTHING = {"pacs": frozenset({"report", "error_map", "summary"})}


def at(seconds: float) -> datetime:
    """That many seconds after the beginning of the test."""
    return START + timedelta(seconds=seconds)


def encoded_object(
    sop_instance_uid: str, *, study: str = "2.25.1", series: str = "2.25.2", version: str = "QCNODE", **elements: object
) -> bytes:
    """A small complete Part 10 file; `version` goes into the file meta only."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.file_meta.ImplementationVersionName = version
    dataset.SOPClassUID, dataset.SOPInstanceUID = MR_IMAGE, sop_instance_uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.PatientName = "TEST^ONLY"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def receive(
    inbox: Inbox, sop_instance_uid: str, now: datetime, *, study: str = "2.25.1", kind: str | None = "image", **elements: object
) -> Acceptance:
    """Accept an object and index it as `kind` (not at all for None)."""
    acceptance = inbox.accept(
        encoded_object(sop_instance_uid, study=study, **elements),
        sop_class_uid=MR_IMAGE,
        sop_instance_uid=sop_instance_uid,
        study_instance_uid=study,
        series_instance_uid="2.25.2",
        transfer_syntax_uid=str(uid.ExplicitVRLittleEndian),
        calling_ae_title="PACS",
        peer_address="127.0.0.1",
        now=now,
    )
    for stored in inbox.unindexed(100) if kind is not None else []:
        inbox.index(stored.object_id, header(stored.sop_instance_uid, study=stored.study_instance_uid, kind=kind or ""))
    return acceptance


def header(sop_instance_uid: str, *, study: str = "2.25.1", kind: str = "image") -> InstanceHeader:
    """The least that a header may say."""
    return InstanceHeader(MR_IMAGE, sop_instance_uid, study, "2.25.2", kind)


def case(case_id: str, *, query: str = "2.25.9", study: str = "2.25.1", directory: Path = Path("/data"), **changes: object) -> Case:
    """A case of one stack with two frames."""
    frames = tuple(FrameRef(directory / f"objects/0{i}.dcm", f"2.25.10{i}") for i in range(2))
    content: dict[str, object] = {
        "case_id": case_id,
        "study_instance_uid": study,
        "query": QueryRef(directory / "objects/query.dcm", "2.25.8", query),
        "task": "cardiac-sax",
        "contrasts": {"cine": Stack("2.25.2", frames)},
        "reference_contrast": "cine",
        "completeness_evidence": "archive-count",
    }
    return Case(**content | changes)  # type: ignore[arg-type]


def result(
    judged: Case, verdict: Verdict = Verdict.FAIL, predicted_dsc: float | None = 0.4, directory: Path = Path("/data/results")
) -> CaseResult:
    """A result with all three objects, whose files need not exist."""
    predicted = None if predicted_dsc is None else Predicted(predicted_dsc, 0.5, 2.0, {})
    reasons = (Reason(ReasonCode.BELOW_THRESHOLD, "the predicted DSC is below the threshold"),)
    folder = directory / judged.case_id
    objects = tuple(
        ResultObject(
            kind, f"1.2.{i}", f"2.25.{judged.case_id.encode().hex()}{i}".translate(_TO_DIGITS), folder / f"{kind}.dcm", f"digest-{kind}"
        )
        for i, kind in enumerate(("report", "error_map", "summary"))
    )
    outcome = Outcome(
        case_id=judged.case_id,
        study_instance_uid=judged.study_instance_uid,
        query=Query(judged.query.series_instance_uid, judged.query.sop_instance_uid),
        task=judged.task,
        weights=Weights("cardiac-sax", "1", "ab" * 32),
        device=None if predicted is None else "cpu",
        predicted=predicted,
        verdict=verdict,
        reasons=reasons,
        completeness_evidence=judged.completeness_evidence,
    )
    return CaseResult(judged, outcome, folder, objects, "TEST^ONLY", "T1", "20260504", "A1")


def put_item(
    database: Database,
    case_id: str,
    verdict: Verdict = Verdict.FAIL,
    predicted_dsc: float | None = 0.4,
    seconds: float = 0,
    jobs: Jobs | None = None,
    **changes: object,
) -> Item:
    """Settle a case of its own query at that second and return its worklist item. `changes` are of its CaseResult."""
    jobs = jobs or Jobs(database)
    jobs.put_case(case(case_id, query=f"2.25.{case_id}"), at(seconds))
    claimed = jobs.claim("w", at(seconds), timedelta(seconds=9))
    assert claimed is not None
    judged = result(claimed.case, verdict, predicted_dsc, database.directory / "results")
    jobs.settle(claimed, replace(judged, **changes), EVERYTHING, at(seconds))  # type: ignore[arg-type]
    return next(item for item in Worklist(database).list(None) if item.case_id == case_id)


_TO_DIGITS = str.maketrans("abcdef", "012345")
