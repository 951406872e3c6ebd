"""The worklist as Unified Procedure Steps: which step stands for which item, who performs it, and what became of it. Never changed after a
release."""

from qcnode.store.migrations import apply

revision = "0005_ups"
down_revision = "0004_decision_reports"

STATEMENTS = (
    """
    CREATE TABLE ups_step (
        sop_instance_uid VARCHAR NOT NULL,
        item_id INTEGER NOT NULL,
        number INTEGER NOT NULL,
        state VARCHAR NOT NULL,
        transaction_uid VARCHAR,
        ae_title VARCHAR,
        reader VARCHAR,
        claimed_at VARCHAR,
        decided_at VARCHAR,
        created_at VARCHAR NOT NULL,
        changed_at VARCHAR NOT NULL,
        begun_at VARCHAR,
        ended_at VARCHAR,
        performed VARCHAR,
        reason VARCHAR,
        PRIMARY KEY (sop_instance_uid),
        UNIQUE (item_id, number),
        FOREIGN KEY(item_id) REFERENCES worklist_item (item_id)
    )
    """,
    "CREATE UNIQUE INDEX ups_step_alive ON ups_step (item_id) WHERE state IN ('SCHEDULED', 'IN PROGRESS')",
    "CREATE INDEX ups_step_by_state ON ups_step (state)",
)


def upgrade() -> None:
    """Take the step."""
    apply(STATEMENTS)
