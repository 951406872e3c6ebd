"""The named steps of the road at which `qcnode serve` is killed.

The calls are counted so that a step can follow one of an earlier phase on the road of the same study: what is left of it suffices.
"""

from __future__ import annotations

from dying_serve import Death

_FILES, _INBOX, _MATCH = "qcnode.store.object_files", "qcnode.store.inbox", "qcnode.workers.match"
_JOBS, _OUTBOX, _NOTICES = "qcnode.store.jobs", "qcnode.store.outbox", "qcnode.store.notices"
_REPORTS = "qcnode.store.decision_reports"
_PROOFS, _REQUEST = "qcnode.store.proofs", "qcnode.deliver.request_commitment"

RECEIVING = (
    Death("receive: nothing written", f"{_FILES}:ObjectFiles.write_temporary", "before", 2),
    Death("receive: temporary file written, not flushed", "os:fsync", "before", 2, path="*/incoming/*.part"),
    Death("receive: temporary file flushed", "os:fsync", "after", 3, path="*/incoming/*.part"),
    Death("receive: renamed, directory not flushed", "os:replace", "after", 2, path="*/incoming/*.part"),
    Death("receive: directory flushed, no row", f"{_FILES}:ObjectFiles.place", "after", 3),
    Death("receive: row written, not committed", f"{_INBOX}:_write_rows", "after", 3),
    Death("receive: row committed, not answered", f"{_INBOX}:Inbox.accept", "after", 2),
    Death("receive: answered", "qcnode.ingest.storage_scp:read_head", "before", 3),
)
MATCHING = (
    Death("index: header not yet read", f"{_MATCH}:read_header", "before", 2),
    Death("index: header read, not kept", f"{_MATCH}:read_header", "after", 2),
    Death("index: header kept", f"{_INBOX}:Inbox.index", "after", 2),
    Death("match: begun", f"{_MATCH}:match_study", "before"),
    Death("match: matched, nothing kept", f"{_MATCH}:match_study", "after", returned=True),
    Death("match: case row written, not committed", f"{_JOBS}:_record_query", "after"),
    Death("match: case row committed", f"{_JOBS}:Jobs.put_case", "after", returned=True),
    Death("match: study said to be matched", f"{_INBOX}:Inbox.mark_matched", "after"),
)
JUDGING = (
    Death("judge: claimed", f"{_JOBS}:Jobs.claim", "after", returned=True),
    Death("judge: network begun", "qcnode.assess.inference:QCPredictor.predict", "before"),
    Death("judge: network done", "qcnode.assess.inference:QCPredictor.predict", "after"),
    Death("judge: result files half written", "qcnode.report.results:write_object", "after"),
    Death("judge: all DICOM objects written", "qcnode.report.results:write_viewer", "before"),
    Death("judge: verdict.json written, nothing flushed", "qcnode.pipeline:write_outcome", "after"),
    Death("judge: flushed, not renamed", "pathlib:Path.rename", "before", path="*.unfinished"),
    Death("judge: renamed, directory not flushed", "pathlib:Path.rename", "after", path="*.unfinished"),
    Death("judging process: network begun", "qcnode.assess.inference:QCPredictor.predict", "before", victim="caller"),
    Death("judging process: result files half written", "qcnode.report.results:write_object", "after", victim="caller"),
    Death("judging process: result in place, node not told", "qcnode.pipeline:_settle", "after", victim="caller"),
    Death("settle: nothing kept", f"{_JOBS}:Jobs.settle", "before"),
    Death("settle: worklist item written, not committed", f"{_JOBS}:add_item", "after"),
    Death("settle: notices written, not committed", f"{_JOBS}:add_notices", "after"),
    Death("settle: outbox written, not committed", f"{_JOBS}:add_deliveries", "after"),
    Death("settle: committed", f"{_JOBS}:Jobs.settle", "after"),
)
DELIVERING = (
    Death("deliver: claimed", f"{_OUTBOX}:Outbox.claim", "after", returned=True),
    Death("deliver: refreshed file written, not flushed", "os:fsync", "before", path="*/outbox/pacs/*.unfinished"),
    Death("deliver: refreshed file in place, no row", f"{_OUTBOX}:Outbox.replace_file", "before"),
    Death("deliver: bytes settled, nothing sent", f"{_OUTBOX}:Outbox.replace_file", "after", 2),
    Death("deliver: C-STORE about to be sent", "pynetdicom.association:Association.send_c_store", "before", 2),
    Death("deliver: C-STORE answered, not settled", "pynetdicom.association:Association.send_c_store", "after", 2),
    Death("deliver: settled", f"{_OUTBOX}:Outbox.delivered", "after", 2),
)
PROVING = (
    Death("prove: claimed", f"{_PROOFS}:Proofs.claim", "after", returned=True),
    Death("prove: transaction kept, commitment not requested", f"{_PROOFS}:Proofs.ask", "after"),
    Death("prove: commitment requested, not noted", f"{_REQUEST}:StorageCommitment.ask", "after"),
    Death("prove: commitment pending", f"{_PROOFS}:Proofs.await_report", "after"),
    Death("prove: report received, not kept", f"{_PROOFS}:Proofs.report", "before"),
    Death("prove: report kept, not answered", f"{_PROOFS}:Proofs.report", "after"),
    Death("prove: about to be read back", "qcnode.deliver.c_store:CStore.retrieve", "before", 2),
    Death("prove: read back, not settled", "qcnode.deliver.c_store:CStore.retrieve", "after"),
    Death("prove: proven", f"{_PROOFS}:Proofs.proven", "after"),
)
TELLING = (
    Death("tell: notice claimed", f"{_NOTICES}:Notices.claim", "after", returned=True),
    Death("tell: notice taken, not settled", "qcnode.notify.webhook:WebhookChannel.send", "after"),
    Death("tell: notice settled", f"{_NOTICES}:Notices.sent", "after"),
)
DECIDING = (
    Death("decide: saved, not yet final", "qcnode.store.worklist:Worklist.finalise_due", "before"),
    Death("decide: final, not passed on", "qcnode.store.worklist:Worklist.finalise_due", "after", returned=True),
    Death("decide: document written, not flushed", "qcnode.report.results:write_durably", "before", path="*/decision-*.dcm"),
    Death("decide: document written, no row", f"{_REPORTS}:DecisionReports.queue", "before"),
    Death("decide: queued, not committed", f"{_REPORTS}:add_deliveries", "after"),
    Death("decide: queued, not said to be passed on", f"{_REPORTS}:DecisionReports.queue", "after"),
    Death("decide: passed on", "qcnode.store.worklist:Worklist.passed_on", "after"),
)
PURGING = (
    Death("purge: rows marked, not committed", "qcnode.store.retention:purge", "after", returned=True),
    Death("purge: committed, files still there", "pathlib:Path.unlink", "before", path="*/objects/*.dcm"),
    Death("purge: files removed", "pathlib:Path.unlink", "after", path="*/objects/*.dcm"),
)
STARTING = (
    Death("start: database open, nothing recovered", f"{_INBOX}:Inbox.recover", "before"),
    Death("start: recovered, leases not given back", "qcnode.node:release_leases", "before"),
    Death("start: before it listens", "qcnode.node:start_storage_scp", "before"),
)
STEPS = (*RECEIVING, *MATCHING, *JUDGING, *DELIVERING, *PROVING, *TELLING, *DECIDING, *PURGING, *STARTING)
