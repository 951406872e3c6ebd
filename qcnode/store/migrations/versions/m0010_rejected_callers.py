"""Who was turned away by the DICOM listeners. Never changed after a release."""

from qcnode.store.migrations import apply

revision = "0010_rejected_callers"
down_revision = "0009_proofs"

STATEMENTS = (
    """
    CREATE TABLE rejected_caller (
        rejected_caller_id INTEGER NOT NULL,
        listener VARCHAR NOT NULL,
        reason VARCHAR NOT NULL,
        address VARCHAR NOT NULL,
        calling_ae_title VARCHAR NOT NULL,
        called_ae_title VARCHAR NOT NULL,
        count INTEGER NOT NULL,
        first_at VARCHAR NOT NULL,
        last_at VARCHAR NOT NULL,
        PRIMARY KEY (rejected_caller_id),
        CONSTRAINT rejected_caller_once UNIQUE (listener, reason, address, calling_ae_title, called_ae_title)
    )
    """,
    "CREATE INDEX rejected_caller_by_time ON rejected_caller (last_at)",
)


def upgrade() -> None:
    """Take the step."""
    apply(STATEMENTS)
