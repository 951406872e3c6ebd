"""The first tables. Never changed after a release: what comes later is a further migration."""

from qcnode.store.migrations import apply

revision = "0001_first_tables"
down_revision = None

STATEMENTS = (
    """
    CREATE TABLE audit (
        audit_id INTEGER NOT NULL,
        at VARCHAR NOT NULL,
        actor VARCHAR NOT NULL,
        action VARCHAR NOT NULL,
        subject VARCHAR NOT NULL,
        details VARCHAR NOT NULL,
        PRIMARY KEY (audit_id)
    )
    """,
    "CREATE INDEX audit_by_subject ON audit (subject)",
    """
    CREATE TABLE judged_case (
        case_id VARCHAR NOT NULL,
        query_sop_instance_uid VARCHAR NOT NULL,
        study_instance_uid VARCHAR NOT NULL,
        task VARCHAR NOT NULL,
        content VARCHAR NOT NULL,
        predecessor_case_id VARCHAR,
        corrects_query_uid VARCHAR,
        state VARCHAR NOT NULL,
        created_at VARCHAR NOT NULL,
        attempts INTEGER NOT NULL,
        next_attempt_at VARCHAR NOT NULL,
        owner VARCHAR,
        lease_until VARCHAR,
        last_error VARCHAR,
        settled_at VARCHAR,
        verdict VARCHAR,
        predicted_dsc FLOAT,
        predicted_nsd FLOAT,
        tolerance_mm FLOAT,
        reasons VARCHAR,
        weights VARCHAR,
        device VARCHAR,
        result_directory VARCHAR,
        PRIMARY KEY (case_id)
    )
    """,
    "CREATE INDEX case_by_correction ON judged_case (corrects_query_uid)",
    "CREATE INDEX case_by_query ON judged_case (query_sop_instance_uid)",
    "CREATE INDEX case_by_state ON judged_case (state, next_attempt_at)",
    """
    CREATE TABLE query_segmentation (
        sop_instance_uid VARCHAR NOT NULL,
        study_instance_uid VARCHAR NOT NULL,
        state VARCHAR NOT NULL,
        reason_code VARCHAR,
        reason_text VARCHAR,
        first_seen_at VARCHAR NOT NULL,
        changed_at VARCHAR NOT NULL,
        PRIMARY KEY (sop_instance_uid)
    )
    """,
    "CREATE INDEX query_by_state ON query_segmentation (state)",
    """
    CREATE TABLE stored_object (
        object_id INTEGER NOT NULL,
        sop_instance_uid VARCHAR NOT NULL,
        sop_class_uid VARCHAR NOT NULL,
        study_instance_uid VARCHAR NOT NULL,
        series_instance_uid VARCHAR NOT NULL,
        transfer_syntax_uid VARCHAR NOT NULL,
        dataset_sha256 VARCHAR NOT NULL,
        sha256 VARCHAR NOT NULL,
        path VARCHAR NOT NULL,
        size INTEGER NOT NULL,
        calling_ae_title VARCHAR NOT NULL,
        peer_address VARCHAR NOT NULL,
        received_at VARCHAR NOT NULL,
        state VARCHAR NOT NULL,
        kind VARCHAR,
        header VARCHAR,
        unreadable_reason VARCHAR,
        variant_of INTEGER,
        variant_state VARCHAR,
        conflicting BOOLEAN NOT NULL,
        purged_at VARCHAR,
        PRIMARY KEY (object_id),
        FOREIGN KEY(variant_of) REFERENCES stored_object (object_id)
    )
    """,
    "CREATE UNIQUE INDEX object_by_content ON stored_object (sop_instance_uid, dataset_sha256)",
    "CREATE INDEX object_by_file ON stored_object (sha256)",
    "CREATE INDEX object_by_state ON stored_object (state)",
    "CREATE INDEX object_by_study ON stored_object (study_instance_uid)",
    "CREATE UNIQUE INDEX object_in_use ON stored_object (sop_instance_uid) WHERE purged_at IS NULL AND variant_of IS NULL",
    """
    CREATE TABLE study (
        study_instance_uid VARCHAR NOT NULL,
        last_received_at VARCHAR NOT NULL,
        matched_at VARCHAR,
        PRIMARY KEY (study_instance_uid)
    )
    """,
    """
    CREATE TABLE delivery (
        delivery_id INTEGER NOT NULL,
        destination VARCHAR NOT NULL,
        case_id VARCHAR NOT NULL,
        kind VARCHAR NOT NULL,
        kind_order INTEGER NOT NULL,
        sop_class_uid VARCHAR NOT NULL,
        sop_instance_uid VARCHAR NOT NULL,
        path VARCHAR NOT NULL,
        sha256 VARCHAR NOT NULL,
        file_settled BOOLEAN NOT NULL,
        state VARCHAR NOT NULL,
        created_at VARCHAR NOT NULL,
        attempts INTEGER NOT NULL,
        next_attempt_at VARCHAR NOT NULL,
        owner VARCHAR,
        lease_until VARCHAR,
        last_error VARCHAR,
        delivered_at VARCHAR,
        PRIMARY KEY (delivery_id),
        CONSTRAINT delivery_once UNIQUE (destination, sop_instance_uid),
        FOREIGN KEY(case_id) REFERENCES judged_case (case_id)
    )
    """,
    "CREATE INDEX delivery_by_case ON delivery (case_id)",
    "CREATE INDEX delivery_by_state ON delivery (destination, state, next_attempt_at)",
    """
    CREATE TABLE result_object (
        case_id VARCHAR NOT NULL,
        kind VARCHAR NOT NULL,
        sop_class_uid VARCHAR NOT NULL,
        sop_instance_uid VARCHAR NOT NULL,
        path VARCHAR NOT NULL,
        sha256 VARCHAR NOT NULL,
        PRIMARY KEY (case_id, kind),
        FOREIGN KEY(case_id) REFERENCES judged_case (case_id)
    )
    """,
    """
    CREATE TABLE worklist_item (
        item_id INTEGER NOT NULL,
        case_id VARCHAR NOT NULL,
        study_instance_uid VARCHAR NOT NULL,
        query_series_instance_uid VARCHAR NOT NULL,
        query_sop_instance_uid VARCHAR NOT NULL,
        task VARCHAR NOT NULL,
        patient_name VARCHAR NOT NULL,
        patient_id VARCHAR NOT NULL,
        accession_number VARCHAR NOT NULL,
        study_date VARCHAR NOT NULL,
        verdict VARCHAR NOT NULL,
        predicted_dsc FLOAT,
        predicted_nsd FLOAT,
        reasons VARCHAR NOT NULL,
        preview_path VARCHAR,
        created_at VARCHAR NOT NULL,
        state VARCHAR NOT NULL,
        reader VARCHAR,
        claimed_at VARCHAR,
        decision VARCHAR,
        comment VARCHAR,
        decided_at VARCHAR,
        superseded_by_case_id VARCHAR,
        PRIMARY KEY (item_id),
        UNIQUE (case_id),
        FOREIGN KEY(case_id) REFERENCES judged_case (case_id)
    )
    """,
    "CREATE INDEX item_by_query ON worklist_item (query_sop_instance_uid)",
    "CREATE INDEX item_by_state ON worklist_item (state)",
    "CREATE TRIGGER audit_never_changed BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit table is append-only'); END",
    "CREATE TRIGGER audit_never_deleted BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit table is append-only'); END",
)


def upgrade() -> None:
    """Take the step."""
    apply(STATEMENTS)
