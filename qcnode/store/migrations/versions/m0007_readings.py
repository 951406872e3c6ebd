"""Several readings of one item: a final decision that is changed, a second reader, marked error regions. Never changed after a release."""

from qcnode.store.migrations import apply

revision = "0007_readings"
down_revision = "0006_sampling"

_FOUND_BY = "verdict, task, institution, scanner, segmenter, reader, lease_until, blind, person_words, stage"

STATEMENTS = (
    "ALTER TABLE worklist_item ADD COLUMN stage VARCHAR NOT NULL DEFAULT 'FIRST'",
    "ALTER TABLE worklist_item ADD COLUMN read_twice BOOLEAN NOT NULL DEFAULT 0",
    "ALTER TABLE worklist_item ADD COLUMN region_marks VARCHAR NOT NULL DEFAULT '{}'",
    "ALTER TABLE worklist_item ADD COLUMN because VARCHAR",
    "DROP INDEX item_to_find",
    f"CREATE INDEX item_to_find ON worklist_item (state, rank, created_at, {_FOUND_BY})",
    """
    CREATE TABLE reading (
        reading_id INTEGER NOT NULL,
        item_id INTEGER NOT NULL,
        stage VARCHAR NOT NULL,
        reader VARCHAR NOT NULL,
        decision VARCHAR NOT NULL,
        decision_reasons VARCHAR NOT NULL,
        comment VARCHAR,
        rating INTEGER,
        region_marks VARCHAR NOT NULL,
        because VARCHAR,
        decided_at VARCHAR NOT NULL,
        settles BOOLEAN NOT NULL,
        PRIMARY KEY (reading_id),
        FOREIGN KEY(item_id) REFERENCES worklist_item (item_id)
    )
    """,
    "CREATE INDEX reading_by_item ON reading (item_id, reader)",
    "CREATE INDEX reading_by_time ON reading (stage, decided_at)",
    """
    INSERT INTO reading (item_id, stage, reader, decision, decision_reasons, comment, rating, region_marks, decided_at, settles)
        SELECT item_id, 'FIRST', reader, decision, decision_reasons, comment, rating, '{}', decided_at, 1
        FROM worklist_item WHERE state = 'DECIDED' AND decision IS NOT NULL AND reader IS NOT NULL AND decided_at IS NOT NULL
        ORDER BY decided_at, item_id
    """,
)


def upgrade() -> None:
    """Take the step."""
    apply(STATEMENTS)
