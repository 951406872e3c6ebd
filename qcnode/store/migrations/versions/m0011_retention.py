"""What was purged leaves its row, and what purging looks for is found in an index. Never changed after a release."""

from qcnode.store.migrations import apply

revision = "0011_retention"
down_revision = "0010_rejected_callers"

STATEMENTS = (
    "ALTER TABLE judged_case ADD COLUMN results_purged_at VARCHAR",
    "ALTER TABLE result_object ADD COLUMN series_instance_uid VARCHAR",
    "ALTER TABLE worklist_item ADD COLUMN purged_at VARCHAR",
    "CREATE INDEX object_to_purge ON stored_object (received_at) WHERE purged_at IS NULL AND variant_of IS NULL",
    "CREATE INDEX object_variant ON stored_object (variant_of) WHERE variant_of IS NOT NULL",
    "CREATE INDEX case_to_purge ON judged_case (settled_at) WHERE results_purged_at IS NULL",
)


def upgrade() -> None:
    """Take the step."""
    apply(STATEMENTS)
