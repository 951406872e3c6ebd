"""What was delivered is proven. Never changed after a release.

What was delivered before stays DELIVERED, and is read back now where its destination can be read.
"""

from qcnode.store.migrations import apply

revision = "0009_proofs"
down_revision = "0008_notifications"

STATEMENTS = (
    *(f"ALTER TABLE delivery ADD COLUMN {name} INTEGER NOT NULL DEFAULT 0" for name in ("proof_attempts", "times_missing")),
    *(
        f"ALTER TABLE delivery ADD COLUMN {name} VARCHAR"
        for name in ("proof_since", "commitment", "transaction_uid", "commitment_until", "proof", "proven_at")
    ),
    "UPDATE delivery SET proof_since = strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now') WHERE state = 'DELIVERED'",
    "CREATE UNIQUE INDEX delivery_by_transaction ON delivery (transaction_uid)",
)


def upgrade() -> None:
    """Take the step."""
    apply(STATEMENTS)
