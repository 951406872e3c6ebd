"""The tables as they are now; how a database came to be so is in `migrations`.

Times are timezone-aware UTC. Paths inside of the node's storage directory are stored relative to it, so that it can be moved.
"""

from qcnode.store.schema.base import metadata
from qcnode.store.schema.people import account_table, audit_table, rejected_caller_table, session_table
from qcnode.store.schema.road import (
    IN_USE,
    case_table,
    delivery_table,
    notice_table,
    object_table,
    query_table,
    result_object_table,
    study_table,
)
from qcnode.store.schema.worklist import decision_report_table, item_table, reading_table, ups_step_table

__all__ = [
    "IN_USE",
    "account_table",
    "audit_table",
    "case_table",
    "decision_report_table",
    "delivery_table",
    "item_table",
    "metadata",
    "notice_table",
    "object_table",
    "query_table",
    "reading_table",
    "rejected_caller_table",
    "result_object_table",
    "session_table",
    "study_table",
    "ups_step_table",
]
