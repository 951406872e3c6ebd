"""Review in the browser: whose study and whose segmentation an item is, leases, held decisions, accounts. Never changed after a release.

A claim from before there were leases has run out: the item is free again. A decision from before there were reports of decisions counts as
passed on, so that an update sends nothing about the past.
"""

from qcnode.store.migrations import apply

revision = "0003_review"
down_revision = "0002_intervals"

_TEXTS = ("birth_date", "institution", "scanner", "segmenter", "person_words")
_FOUND_BY = "verdict, task, institution, scanner, segmenter, reader, lease_until, blind, person_words"

STATEMENTS = (
    *(f"ALTER TABLE worklist_item ADD COLUMN {name} VARCHAR NOT NULL DEFAULT ''" for name in _TEXTS),
    "ALTER TABLE worklist_item ADD COLUMN blind BOOLEAN NOT NULL DEFAULT 0",
    "ALTER TABLE worklist_item ADD COLUMN viewer_path VARCHAR",
    "ALTER TABLE worklist_item ADD COLUMN rank FLOAT NOT NULL DEFAULT 0",
    "ALTER TABLE worklist_item ADD COLUMN lease_until VARCHAR",
    "ALTER TABLE worklist_item ADD COLUMN held_until VARCHAR",
    "ALTER TABLE worklist_item ADD COLUMN rating INTEGER",
    "ALTER TABLE worklist_item ADD COLUMN decision_reasons VARCHAR NOT NULL DEFAULT '[]'",
    "ALTER TABLE worklist_item ADD COLUMN passed_on_at VARCHAR",
    """
    UPDATE worklist_item SET
        rank = CASE WHEN verdict IN ('FAIL', 'UNASSESSABLE') THEN 0 ELSE 3 END + coalesce(predicted_dsc, -1),
        person_words = lower(replace(replace(patient_name, '^', ' '), '=', ' ') || ' ' || patient_id || ' ' || accession_number),
        lease_until = CASE WHEN state = 'CLAIMED' THEN claimed_at END,
        passed_on_at = CASE WHEN state = 'DECIDED' THEN decided_at END
    """,
    "DROP INDEX item_by_state",
    f"CREATE INDEX item_to_find ON worklist_item (state, rank, created_at, {_FOUND_BY})",
    "CREATE INDEX item_by_decision ON worklist_item (decided_at)",
    "CREATE INDEX item_to_pass_on ON worklist_item (state, decided_at) WHERE passed_on_at IS NULL",
    "CREATE INDEX case_by_settling ON judged_case (settled_at, verdict)",
    """
    CREATE TABLE account (
        account_id INTEGER NOT NULL,
        name VARCHAR COLLATE "NOCASE" NOT NULL,
        password_hash VARCHAR NOT NULL,
        role VARCHAR NOT NULL,
        created_at VARCHAR NOT NULL,
        disabled_at VARCHAR,
        PRIMARY KEY (account_id),
        UNIQUE (name)
    )
    """,
    """
    CREATE TABLE session (
        token_sha256 VARCHAR NOT NULL,
        account_id INTEGER NOT NULL,
        opened_at VARCHAR NOT NULL,
        last_seen_at VARCHAR NOT NULL,
        PRIMARY KEY (token_sha256),
        FOREIGN KEY(account_id) REFERENCES account (account_id)
    )
    """,
    "CREATE INDEX session_by_account ON session (account_id)",
)


def upgrade() -> None:
    """Take the step."""
    apply(STATEMENTS)
