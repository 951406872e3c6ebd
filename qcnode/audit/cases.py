"""Is every segmentation accounted for, and does every judged case have its one result, its worklist item and its documents?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from qcnode.audit.files import FileProofs
from qcnode.audit.findings import Code, Finding
from qcnode.case import Verdict
from qcnode.outcome import FILE_NAME, Outcome, read_outcome
from qcnode.store.ledger import CaseEntry, Ledger

_RESULT_CODES = {"missing": Code.RESULT_MISSING, "changed": Code.RESULT_CHANGED}
_DOCUMENT_CODES = {"missing": Code.DOCUMENT_MISSING, "changed": Code.DOCUMENT_CHANGED}
_UNFINISHED = ".unfinished"  # as pipeline names it


def check_queries(ledger: Ledger) -> Iterator[Finding]:
    """Every segmentation is in a state that explains itself."""
    for uid in ledger.segmentations_without_query():
        yield Finding(Code.SEGMENTATION_FORGOTTEN, uid, "its study was matched, but nothing is known of it")
    for uid in ledger.matched_without_case():
        yield Finding(Code.CASE_MISSING, uid, "it was matched, but there is no case of it")
    for uid in ledger.queries_in_work_twice():
        yield Finding(Code.TWO_CASES, uid, "more than one case of it waits or is worked on")
    for uid in ledger.queries_answered_twice():
        yield Finding(Code.TWO_ANSWERS, uid, "two cases of it were answered, neither of which replaces the other")


def check_case(case: CaseEntry, proofs: FileProofs) -> Iterator[Finding]:
    """A settled case: its result as it was settled, its worklist item, the documents about decisions. Nothing is said of others."""
    if case.state != "DONE" or case.directory is None:
        return
    if case.results_purged_at is None:
        yield from _check_result(case, case.directory, proofs)
    if case.verdict is not None and Verdict(case.verdict).needs_review and case.item is None:
        yield Finding(Code.ITEM_MISSING, case.case_id, f"{case.verdict}, and not on the worklist")
    if case.item is not None:
        pictures = (case.item.preview_path, case.item.viewer_path)
        missing = [path.name for path in pictures if path is not None and not path.exists()]
        if missing:
            yield Finding(Code.PICTURES_MISSING, f"worklist item {case.item.item_id}", f"{' and '.join(missing)} of case {case.case_id}")
    yield from _check_documents(case, proofs)


def check_result_directories(ledger: Ledger, results: Path, settled: set[Path]) -> Iterator[Finding]:
    """No result lies there that no case knows. `settled`: the directories of settled cases, `results`: the folder of all.

    A case in work may have a directory: finished and not yet settled, or unfinished.
    """
    found = {path for path in results.glob("*/*") if path.is_dir() and path not in settled}
    in_work = ledger.cases_in_work() if found else set()
    for path in sorted(found):
        if path.name.removesuffix(_UNFINISHED) not in in_work and not path.name.endswith(_UNFINISHED):
            yield Finding(Code.RESULT_UNKNOWN, str(path.relative_to(results.parent)), "no case is known that it belongs to")


def _check_result(case: CaseEntry, directory: Path, proofs: FileProofs) -> Iterator[Finding]:
    try:
        outcome = read_outcome(directory)
    except FileNotFoundError:
        yield Finding(Code.RESULT_MISSING, case.case_id, FILE_NAME)
        return
    except ValueError:
        yield Finding(Code.RESULT_CHANGED, case.case_id, f"{FILE_NAME} can not be read")
        return
    differing = _differing(case, outcome, directory)
    if differing:
        yield Finding(Code.RESULT_DIFFERS, case.case_id, f"{FILE_NAME} and database differ in {', '.join(differing)}")
    if not any(written.kind == "report" for written in case.results):
        yield Finding(Code.RESULT_MISSING, case.case_id, "no report is recorded")
    for written in case.results:
        difference = proofs.difference(written.path, written.sha256)
        if difference is not None:
            yield Finding(_RESULT_CODES[difference], case.case_id, f"{written.kind} {written.sop_instance_uid}")


def _differing(case: CaseEntry, outcome: Outcome, directory: Path) -> list[str]:
    """What verdict.json and the database say differently."""
    recorded = {(o.kind, o.sop_class_uid, o.sop_instance_uid, o.path, o.sha256) for o in case.results}
    written = {(o.kind, o.sop_class_uid, o.sop_instance_uid, directory / o.file, o.sha256) for o in outcome.objects}
    pairs = {
        "case": (outcome.case_id, case.case_id),
        "query": (outcome.query.sop_instance_uid, case.query_sop_instance_uid),
        "verdict": (outcome.verdict.value, case.verdict),
        "weights": (asdict(outcome.weights) if outcome.weights else None, json.loads(case.weights) if case.weights else None),
        "objects": (written, recorded),
    }
    return [name for name, (said, known) in pairs.items() if said != known]


def _check_documents(case: CaseEntry, proofs: FileProofs) -> Iterator[Finding]:
    """A decision that was passed on has its document."""
    item, reported = case.item, {document.decided_at for document in case.documents}
    if item is not None and item.state == "DECIDED" and item.passed_on_at is not None and item.decided_at not in reported:
        yield Finding(Code.DOCUMENT_MISSING, f"worklist item {item.item_id}", f"of the decision about case {case.case_id}")
    for document in case.documents if case.results_purged_at is None else ():
        difference = proofs.difference(document.path, document.sha256)
        if difference is not None:
            yield Finding(_DOCUMENT_CODES[difference], case.case_id, f"decision {document.number}: {document.sop_instance_uid}")
