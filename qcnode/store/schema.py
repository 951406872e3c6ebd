"""The tables as they are now; how a database came to be so is in `migrations`.

Times are timezone-aware UTC. Paths inside of the node's storage directory are stored relative to it, so that it can be moved.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Boolean, Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, UniqueConstraint, and_, text

from qcnode.store.columns import UtcDateTime

metadata = MetaData()


def _table(name: str, columns: Iterable[Column[Any]], *extra: UniqueConstraint | Index) -> Table:
    return Table(name, metadata, *columns, *extra)


def _work() -> tuple[Column[Any], ...]:
    """The columns of what is claimed, worked on and settled (store.leases)."""
    return (
        Column("state", String, nullable=False),
        Column("created_at", UtcDateTime, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("next_attempt_at", UtcDateTime, nullable=False),
        Column("owner", String),
        Column("lease_until", UtcDateTime),
        Column("last_error", String),
    )


object_table = _table(
    "stored_object",
    (
        Column("object_id", Integer, primary_key=True),
        Column("sop_instance_uid", String, nullable=False),
        Column("sop_class_uid", String, nullable=False),
        Column("study_instance_uid", String, nullable=False),
        Column("series_instance_uid", String, nullable=False),
        Column("transfer_syntax_uid", String, nullable=False),
        Column("dataset_sha256", String, nullable=False),  # of the bytes after the file meta: what the peer sent
        Column("sha256", String, nullable=False),  # of the file
        Column("path", String, nullable=False),
        Column("size", Integer, nullable=False),
        Column("calling_ae_title", String, nullable=False),
        Column("peer_address", String, nullable=False),
        Column("received_at", UtcDateTime, nullable=False),
        Column("state", String, nullable=False),  # inbox.OBJECT_MOVES
        Column("kind", String),
        Column("header", String),  # InstanceHeader as JSON
        Column("unreadable_reason", String),
        Column("variant_of", Integer, ForeignKey("stored_object.object_id")),  # the first object of the same SOP Instance UID
        Column("variant_state", String),  # inbox.VARIANT_MOVES
        Column("conflicting", Boolean, nullable=False),
        Column("purged_at", UtcDateTime),
    ),
    Index("object_by_content", "sop_instance_uid", "dataset_sha256", unique=True),
    Index("object_in_use", "sop_instance_uid", unique=True, sqlite_where=text("purged_at IS NULL AND variant_of IS NULL")),
    Index("object_by_study", "study_instance_uid"),
    Index("object_by_file", "sha256"),
    Index("object_by_state", "state"),
)

IN_USE = and_(object_table.c.purged_at.is_(None), object_table.c.variant_of.is_(None))
"""Of the objects with one SOP Instance UID, the one that is used."""

study_table = _table(
    "study",
    (
        Column("study_instance_uid", String, primary_key=True),
        Column("last_received_at", UtcDateTime, nullable=False),  # strictly increasing
        Column("matched_at", UtcDateTime),  # the last_received_at up to which it was matched
    ),
)

query_table = _table(
    "query_segmentation",
    (
        Column("sop_instance_uid", String, primary_key=True),
        Column("study_instance_uid", String, nullable=False),
        Column("state", String, nullable=False),  # jobs.QUERY_MOVES
        Column("reason_code", String),
        Column("reason_text", String),
        Column("first_seen_at", UtcDateTime, nullable=False),
        Column("changed_at", UtcDateTime, nullable=False),
    ),
    Index("query_by_state", "state"),
)

case_table = _table(
    "judged_case",  # "case" is a word of SQL
    (
        Column("case_id", String, primary_key=True),
        Column("query_sop_instance_uid", String, nullable=False),
        Column("study_instance_uid", String, nullable=False),
        Column("task", String, nullable=False),
        Column("content", String, nullable=False),  # Case as JSON
        Column("predecessor_case_id", String),
        Column("corrects_query_uid", String),
        *_work(),  # jobs.CASE_MOVES
        Column("settled_at", UtcDateTime),
        Column("verdict", String),
        Column("predicted_dsc", Float),
        Column("predicted_nsd", Float),
        Column("tolerance_mm", Float),
        Column("reasons", String),  # JSON
        Column("weights", String),  # JSON
        Column("device", String),
        Column("result_directory", String),
        Column("scanner", String),  # as on the worklist
        Column("segmenter", String),
        Column("patient_key", String),  # the same for the cases of one patient, and no name of them
    ),
    Index("case_by_state", "state", "next_attempt_at"),
    Index("case_by_query", "query_sop_instance_uid"),
    Index("case_by_correction", "corrects_query_uid"),
    Index("case_by_settling", "settled_at", "verdict"),
)

result_object_table = _table(
    "result_object",
    (
        Column("case_id", String, ForeignKey("judged_case.case_id"), primary_key=True),
        Column("kind", String, primary_key=True),
        Column("sop_class_uid", String, nullable=False),
        Column("sop_instance_uid", String, nullable=False),
        Column("path", String, nullable=False),
        Column("sha256", String, nullable=False),
    ),
)

delivery_table = _table(
    "delivery",
    (
        Column("delivery_id", Integer, primary_key=True),
        Column("destination", String, nullable=False),
        Column("case_id", String, ForeignKey("judged_case.case_id"), nullable=False),
        Column("kind", String, nullable=False),
        Column("kind_order", Integer, nullable=False),  # outbox.KIND_ORDER
        Column("sop_class_uid", String, nullable=False),
        Column("sop_instance_uid", String, nullable=False),
        Column("path", String, nullable=False),
        Column("sha256", String, nullable=False),
        Column("file_settled", Boolean, nullable=False),  # its bytes were fixed before the first send
        *_work(),  # outbox.DELIVERY_MOVES
        Column("delivered_at", UtcDateTime),
    ),
    UniqueConstraint("destination", "sop_instance_uid", name="delivery_once"),
    Index("delivery_by_state", "destination", "state", "next_attempt_at"),
    Index("delivery_by_case", "case_id"),
)

_FOUND_BY = ("verdict", "task", "institution", "scanner", "segmenter", "reader", "lease_until", "blind", "person_words", "stage")
"""With these in the index, the numbers of a page are found without reading a single row of the table, which are long."""

item_table = _table(
    "worklist_item",
    (
        Column("item_id", Integer, primary_key=True),
        Column("case_id", String, ForeignKey("judged_case.case_id"), nullable=False, unique=True),
        Column("study_instance_uid", String, nullable=False),
        Column("query_series_instance_uid", String, nullable=False),
        Column("query_sop_instance_uid", String, nullable=False),
        Column("task", String, nullable=False),
        Column("patient_name", String, nullable=False),
        Column("patient_id", String, nullable=False),
        Column("accession_number", String, nullable=False),
        Column("study_date", String, nullable=False),
        Column("verdict", String, nullable=False),
        Column("predicted_dsc", Float),
        Column("predicted_nsd", Float),
        Column("reasons", String, nullable=False),  # JSON
        Column("preview_path", String),
        Column("created_at", UtcDateTime, nullable=False),
        Column("state", String, nullable=False),  # worklist.ITEM_MOVES
        Column("reader", String),
        Column("claimed_at", UtcDateTime),
        Column("decision", String),
        Column("comment", String),
        Column("decided_at", UtcDateTime),
        Column("superseded_by_case_id", String),
        Column("dsc_low", Float),
        Column("dsc_high", Float),
        Column("nsd_low", Float),
        Column("nsd_high", Float),
        Column("interval_level", Float),
        Column("birth_date", String, nullable=False),
        Column("institution", String, nullable=False),
        Column("scanner", String, nullable=False),
        Column("segmenter", String, nullable=False),
        Column("person_words", String, nullable=False),  # what a text search looks in: items.person_words
        Column("blind", Boolean, nullable=False),
        Column("viewer_path", String),
        Column("rank", Float, nullable=False),  # the worst first; new_items says how
        Column("lease_until", UtcDateTime),  # CLAIMED only
        Column("held_until", UtcDateTime),  # HELD only
        Column("rating", Integer),
        Column("decision_reasons", String, nullable=False),  # JSON
        Column("passed_on_at", UtcDateTime),  # DECIDED only: what follows from the decision is queued
        Column("sampling_probability", Float, nullable=False, server_default="1"),  # with which such a result is put here
        Column("stage", String, nullable=False, server_default="FIRST"),  # items.Stage
        Column("read_twice", Boolean, nullable=False, server_default="0"),
        Column("region_marks", String, nullable=False, server_default="{}"),  # JSON
        Column("because", String),  # stage REVISION only: why the decision before is doubted
    ),
    Index("item_to_find", "state", "rank", "created_at", *_FOUND_BY),
    Index("item_by_decision", "decided_at"),
    Index("item_to_pass_on", "state", "decided_at", sqlite_where=text("passed_on_at IS NULL")),
    Index("item_by_query", "query_sop_instance_uid"),
)

reading_table = _table(
    "reading",
    (
        Column("reading_id", Integer, primary_key=True),
        Column("item_id", Integer, ForeignKey("worklist_item.item_id"), nullable=False),
        Column("stage", String, nullable=False),  # items.Stage
        Column("reader", String, nullable=False),
        Column("decision", String, nullable=False),
        Column("decision_reasons", String, nullable=False),  # JSON
        Column("comment", String),
        Column("rating", Integer),
        Column("region_marks", String, nullable=False),  # JSON
        Column("because", String),
        Column("decided_at", UtcDateTime, nullable=False),
        Column("settles", Boolean, nullable=False),  # the item was decided by it
    ),
    Index("reading_by_item", "item_id", "reader"),
    Index("reading_by_time", "stage", "decided_at"),
)

decision_report_table = _table(
    "decision_report",
    (
        Column("case_id", String, ForeignKey("judged_case.case_id"), primary_key=True),
        Column("number", Integer, primary_key=True),
        Column("query_sop_instance_uid", String, nullable=False),
        Column("decided_at", UtcDateTime, nullable=False),
        Column("sop_class_uid", String, nullable=False),
        Column("sop_instance_uid", String, nullable=False),
        Column("series_instance_uid", String, nullable=False),
        Column("study_instance_uid", String, nullable=False),
        Column("path", String, nullable=False),
        Column("sha256", String, nullable=False),
    ),
    Index("decision_report_by_query", "query_sop_instance_uid", "decided_at"),
)

ups_step_table = _table(
    "ups_step",
    (
        Column("sop_instance_uid", String, primary_key=True),
        Column("item_id", Integer, ForeignKey("worklist_item.item_id"), nullable=False),
        Column("number", Integer, nullable=False),  # among the item's steps, from 1
        Column("state", String, nullable=False),  # ups_states.STEP_MOVES
        Column("transaction_uid", String),  # who knows it performs the step; while it is SCHEDULED: a workstation is about to
        Column("ae_title", String),  # of the workstation; without one a reader in the browser or on the command line performs it
        Column("reader", String),
        Column("claimed_at", UtcDateTime),  # with the reader: which claim of the item the step is
        Column("decided_at", UtcDateTime),  # which decision about the item came of it
        Column("created_at", UtcDateTime, nullable=False),
        Column("changed_at", UtcDateTime, nullable=False),
        Column("begun_at", UtcDateTime),
        Column("ended_at", UtcDateTime),
        Column("performed", String),  # what its performer has set, as DICOM JSON
        Column("reason", String),  # CANCELED only
    ),
    UniqueConstraint("item_id", "number", name="ups_step_number"),
    Index("ups_step_alive", "item_id", unique=True, sqlite_where=text("state IN ('SCHEDULED', 'IN PROGRESS')")),
    Index("ups_step_by_state", "state"),
)

notice_table = _table(
    "notice",
    (
        Column("notice_id", Integer, primary_key=True),
        Column("channel", String, nullable=False),
        Column("idempotency_key", String, nullable=False),
        Column("event", String, nullable=False),  # notices.EventKind
        Column("content", String, nullable=False),  # JSON, sent as it is
        *_work(),  # notices.NOTICE_MOVES
        Column("sent_at", UtcDateTime),
    ),
    UniqueConstraint("channel", "idempotency_key", name="notice_once"),
    Index("notice_by_state", "channel", "state", "next_attempt_at"),
)

account_table = _table(
    "account",
    (
        Column("account_id", Integer, primary_key=True),
        Column("name", String(collation="NOCASE"), nullable=False, unique=True),
        Column("password_hash", String, nullable=False),
        Column("role", String, nullable=False),  # accounts.Role
        Column("created_at", UtcDateTime, nullable=False),
        Column("disabled_at", UtcDateTime),
    ),
)

session_table = _table(
    "session",
    (
        Column("token_sha256", String, primary_key=True),  # the token itself is in the browser only
        Column("account_id", Integer, ForeignKey("account.account_id"), nullable=False),
        Column("opened_at", UtcDateTime, nullable=False),
        Column("last_seen_at", UtcDateTime, nullable=False),
    ),
    Index("session_by_account", "account_id"),
)

audit_table = _table(
    "audit",
    (
        Column("audit_id", Integer, primary_key=True),
        Column("at", UtcDateTime, nullable=False),
        Column("actor", String, nullable=False),
        Column("action", String, nullable=False),
        Column("subject", String, nullable=False),
        Column("details", String, nullable=False),  # JSON
    ),
    Index("audit_by_subject", "subject"),
)
