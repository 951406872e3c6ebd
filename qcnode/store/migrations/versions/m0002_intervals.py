"""Worklist items know between what their predicted numbers lie. Never changed after a release."""

from qcnode.store.migrations import apply

revision = "0002_intervals"
down_revision = "0001_first_tables"

STATEMENTS = tuple(
    f"ALTER TABLE worklist_item ADD COLUMN {name} FLOAT" for name in ("dsc_low", "dsc_high", "nsd_low", "nsd_high", "interval_level")
)


def upgrade() -> None:
    """Take the step."""
    apply(STATEMENTS)
