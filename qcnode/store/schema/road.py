"""The tables of the road: what was received, what is judged, what is delivered."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, ForeignKey, Index, Integer, String, UniqueConstraint, and_, text

from qcnode.store.columns import UtcDateTime
from qcnode.store.schema.base import table, work

object_table = table(
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
    Index("object_to_purge", "received_at", sqlite_where=text("purged_at IS NULL AND variant_of IS NULL")),
    Index("object_variant", "variant_of", sqlite_where=text("variant_of IS NOT NULL")),
)

IN_USE = and_(object_table.c.purged_at.is_(None), object_table.c.variant_of.is_(None))
"""Of the objects with one SOP Instance UID, the one that is used."""

study_table = table(
    "study",
    (
        Column("study_instance_uid", String, primary_key=True),
        Column("last_received_at", UtcDateTime, nullable=False),  # strictly increasing
        Column("matched_at", UtcDateTime),  # the last_received_at up to which it was matched
    ),
)

query_table = table(
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

case_table = table(
    "judged_case",  # "case" is a word of SQL
    (
        Column("case_id", String, primary_key=True),
        Column("query_sop_instance_uid", String, nullable=False),
        Column("study_instance_uid", String, nullable=False),
        Column("task", String, nullable=False),
        Column("content", String, nullable=False),  # Case as JSON
        Column("predecessor_case_id", String),
        Column("corrects_query_uid", String),
        *work(),  # jobs.CASE_MOVES
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
        Column("results_purged_at", UtcDateTime),  # when the files of result_directory were removed
    ),
    Index("case_by_state", "state", "next_attempt_at"),
    Index("case_by_query", "query_sop_instance_uid"),
    Index("case_by_correction", "corrects_query_uid"),
    Index("case_by_settling", "settled_at", "verdict"),
    Index("case_to_purge", "settled_at", sqlite_where=text("results_purged_at IS NULL")),
)

result_object_table = table(
    "result_object",
    (
        Column("case_id", String, ForeignKey("judged_case.case_id"), primary_key=True),
        Column("kind", String, primary_key=True),
        Column("sop_class_uid", String, nullable=False),
        Column("sop_instance_uid", String, nullable=False),
        Column("path", String, nullable=False),
        Column("sha256", String, nullable=False),
        Column("series_instance_uid", String),  # of a report whose file was purged
    ),
)

delivery_table = table(
    "delivery",
    (
        Column("delivery_id", Integer, primary_key=True),
        Column("destination", String, nullable=False),
        Column("case_id", String, ForeignKey("judged_case.case_id"), nullable=False),
        Column("kind", String, nullable=False),
        Column("kind_order", Integer, nullable=False),  # delivery.KIND_ORDER
        Column("sop_class_uid", String, nullable=False),
        Column("sop_instance_uid", String, nullable=False),
        Column("path", String, nullable=False),
        Column("sha256", String, nullable=False),
        Column("file_settled", Boolean, nullable=False),  # its bytes were fixed before the first send
        *work(),  # delivery.DELIVERY_MOVES
        Column("delivered_at", UtcDateTime),
        Column("proof_attempts", Integer, nullable=False, server_default=text("0")),
        Column("times_missing", Integer, nullable=False, server_default=text("0")),
        Column("proof_since", UtcDateTime),
        Column("commitment", String),  # proofs.COMMITMENT_STATES
        Column("transaction_uid", String),  # of Storage Commitment
        Column("commitment_until", UtcDateTime),
        Column("proof", String),
        Column("proven_at", UtcDateTime),
    ),
    UniqueConstraint("destination", "sop_instance_uid", name="delivery_once"),
    Index("delivery_by_state", "destination", "state", "next_attempt_at"),
    Index("delivery_by_case", "case_id"),
    Index("delivery_by_transaction", "transaction_uid", unique=True),
)

notice_table = table(
    "notice",
    (
        Column("notice_id", Integer, primary_key=True),
        Column("channel", String, nullable=False),
        Column("idempotency_key", String, nullable=False),
        Column("event", String, nullable=False),  # notices.EventKind
        Column("content", String, nullable=False),  # JSON, sent as it is
        *work(),  # notices.NOTICE_MOVES
        Column("sent_at", UtcDateTime),
    ),
    UniqueConstraint("channel", "idempotency_key", name="notice_once"),
    Index("notice_by_state", "channel", "state", "next_attempt_at"),
)
