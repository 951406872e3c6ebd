"""Which documents tell of final decisions: the next one about a query names the one that it replaces. Never changed after a release."""

from qcnode.store.migrations import apply

revision = "0004_decision_reports"
down_revision = "0003_review"

STATEMENTS = (
    """
    CREATE TABLE decision_report (
        case_id VARCHAR NOT NULL,
        number INTEGER NOT NULL,
        query_sop_instance_uid VARCHAR NOT NULL,
        decided_at VARCHAR NOT NULL,
        sop_class_uid VARCHAR NOT NULL,
        sop_instance_uid VARCHAR NOT NULL,
        series_instance_uid VARCHAR NOT NULL,
        study_instance_uid VARCHAR NOT NULL,
        path VARCHAR NOT NULL,
        sha256 VARCHAR NOT NULL,
        PRIMARY KEY (case_id, number),
        FOREIGN KEY(case_id) REFERENCES judged_case (case_id)
    )
    """,
    "CREATE INDEX decision_report_by_query ON decision_report (query_sop_instance_uid, decided_at)",
)


def upgrade() -> None:
    """Take the step."""
    apply(STATEMENTS)
