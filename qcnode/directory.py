"""`qcnode assess DIR`: every SEG found under a folder is judged, without a network and without a database."""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from qcnode.case import Reason, StoredHeader, Verdict
from qcnode.digests import sha256_of
from qcnode.errors import Rejected
from qcnode.headers import read_header
from qcnode.imaging.pixels import decode_frame
from qcnode.ingest.matching import Matched, NotApplicable, TaskRule, match_study
from qcnode.ingest.variants import compare
from qcnode.judging.assignment import Assignment
from qcnode.judging.here import JudgeHere
from qcnode.outcome import Outcome, Query, read_outcome, write_outcome

EVIDENCE = "directory"


@dataclass(frozen=True, slots=True)
class Found:
    """What lies under a folder: readable headers, one per SOP Instance UID, and how many files were not DICOM."""

    headers: tuple[StoredHeader, ...]
    unreadable: int

    @property
    def segmentations(self) -> int:
        """SEGs that can be a query."""
        return sum(h.header.kind in ("seg", "labelmap") for h in self.headers)


def find_headers(directory: Path) -> Found:
    """Read the header of every file under `directory`. Of several files with one SOP Instance UID the first by name is used."""
    first: dict[str, StoredHeader] = {}
    unreadable = 0
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        try:
            header = read_header(path)
        except Rejected:
            unreadable += 1
            continue
        known = first.get(header.sop_instance_uid)
        if known is None:
            first[header.sop_instance_uid] = StoredHeader(header, path, sha256_of(path))
        elif compare(known.path, path, decode_frame=decode_frame) == "conflict":
            first[header.sop_instance_uid] = replace(known, conflicting=True)
    return Found(tuple(first.values()), unreadable)


def assess_directory(
    found: Found,
    out: Path,
    rules: Sequence[TaskRule],
    judge: JudgeHere,
    *,
    now: Callable[[], datetime],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Outcome]:
    """Judge every SEG in `found`; each gets `<out>/<SEG SOP Instance UID>/` with verdict.json, report.dcm, error_map.dcm, preview.png.

    A result that the same inputs, weights, thresholds and version gave before is kept; any other one is replaced. on_progress: SEGs
    judged, and how many there are.
    """
    studies: dict[str, list[StoredHeader]] = defaultdict(list)
    for stored in found.headers:
        studies[stored.header.study_instance_uid].append(stored)
    outcomes: list[Outcome] = []
    on_progress(0, found.segmentations)
    for headers in studies.values():
        for outcome in _assess_study(headers, out, rules, judge, now):
            outcomes.append(outcome)
            on_progress(len(outcomes), found.segmentations)
    return outcomes


def _assess_study(
    headers: list[StoredHeader], out: Path, rules: Sequence[TaskRule], judge: JudgeHere, now: Callable[[], datetime]
) -> Iterable[Outcome]:
    for matched in match_study(headers, rules, quiet=True, quiet_evidence=EVIDENCE, archive_counts={}, is_overdue=lambda _: True):
        if isinstance(matched, Matched):
            case = matched.case
            folder = _folder(out, case.query.sop_instance_uid)
            of_task = judge.judges[case.task]
            _remove_other_result(folder, case.case_id, of_task.judging.digest, of_task.predictor.weights.sha256, judge.version)
            yield judge(Assignment(case, folder, created=now().astimezone()))
        elif isinstance(matched, NotApplicable):
            stored = next(h for h in headers if h.header.sop_instance_uid == matched.query_sop_instance_uid)
            folder = _folder(out, matched.query_sop_instance_uid)
            _remove_other_result(folder, "", "", "", judge.version)
            folder.mkdir(parents=True, exist_ok=True)
            outcome = _not_applicable(stored, matched.reason, judge.version, now())
            write_outcome(outcome, folder)
            yield outcome


def _not_applicable(stored: StoredHeader, reason: Reason, version: str, created: datetime) -> Outcome:
    header = stored.header
    return Outcome(
        case_id="",
        study_instance_uid=header.study_instance_uid,
        query=Query(header.series_instance_uid, header.sop_instance_uid),
        task=None,
        weights=None,
        device=None,
        predicted=None,
        verdict=Verdict.NOT_APPLICABLE,
        reasons=(reason,),
        completeness_evidence=EVIDENCE,
        qcnode_version=version,
        created=created.isoformat(),
    )


def _folder(out: Path, sop_instance_uid: str) -> Path:
    """A UID comes from a peer and may be anything: only digits and dots become a folder's name as they are."""
    is_uid = re.fullmatch(r"[0-9]+(\.[0-9]+)+", sop_instance_uid) is not None and len(sop_instance_uid) <= 64
    return out / (sop_instance_uid if is_uid else sha256(sop_instance_uid.encode()).hexdigest())


def _remove_other_result(folder: Path, case_id: str, judging_digest: str, weights_sha256: str, version: str) -> None:
    try:
        earlier = read_outcome(folder)
    except (OSError, ValueError):
        return
    weights = earlier.weights.sha256 if earlier.weights else ""
    if (earlier.case_id, earlier.judging_digest, weights, earlier.qcnode_version) != (case_id, judging_digest, weights_sha256, version):
        shutil.rmtree(folder)
