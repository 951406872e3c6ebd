"""How likely an item was to be put on the worklist: what decisions weigh in a calibration. Never changed after a release.

What was drawn at random before is taken as drawn with the default share.
"""

from qcnode.store.migrations import apply

revision = "0006_sampling"
down_revision = "0005_ups"

STATEMENTS = (
    "ALTER TABLE worklist_item ADD COLUMN sampling_probability FLOAT NOT NULL DEFAULT '1'",
    "UPDATE worklist_item SET sampling_probability = 0.05 WHERE blind",
)


def upgrade() -> None:
    """Take the step."""
    apply(STATEMENTS)
