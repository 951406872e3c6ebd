"""What is to be told to whom, and what the look at drift needs of every case. Never changed after a release.

Cases from before stay without scanner and segmenter: they are known of flagged ones only, which would make a false picture.
"""

from qcnode.store.migrations import apply

revision = "0008_notifications"
down_revision = "0007_readings"

STATEMENTS = (
    *(f"ALTER TABLE judged_case ADD COLUMN {name} VARCHAR" for name in ("scanner", "segmenter", "patient_key")),
    """
    CREATE TABLE notice (
        notice_id INTEGER NOT NULL,
        channel VARCHAR NOT NULL,
        idempotency_key VARCHAR NOT NULL,
        event VARCHAR NOT NULL,
        content VARCHAR NOT NULL,
        state VARCHAR NOT NULL,
        created_at VARCHAR NOT NULL,
        attempts INTEGER NOT NULL,
        next_attempt_at VARCHAR NOT NULL,
        owner VARCHAR,
        lease_until VARCHAR,
        last_error VARCHAR,
        sent_at VARCHAR,
        PRIMARY KEY (notice_id),
        CONSTRAINT notice_once UNIQUE (channel, idempotency_key)
    )
    """,
    "CREATE INDEX notice_by_state ON notice (channel, state, next_attempt_at)",
)


def upgrade() -> None:
    """Take the step."""
    apply(STATEMENTS)
