"""The tables of the worklist, and of the decisions about its items."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, ForeignKey, Index, Integer, String, UniqueConstraint, text

from qcnode.store.columns import UtcDateTime
from qcnode.store.schema.base import table

_FOUND_BY = ("verdict", "task", "institution", "scanner", "segmenter", "reader", "lease_until", "blind", "person_words", "stage")
"""With these in the index, the numbers of a page are found without reading a single row of the table, which are long."""

item_table = table(
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
        Column("purged_at", UtcDateTime),  # when the files of the case's results were removed
    ),
    Index("item_to_find", "state", "rank", "created_at", *_FOUND_BY),
    Index("item_by_decision", "decided_at"),
    Index("item_to_pass_on", "state", "decided_at", sqlite_where=text("passed_on_at IS NULL")),
    Index("item_by_query", "query_sop_instance_uid"),
)

reading_table = table(
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

decision_report_table = table(
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

ups_step_table = table(
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
