"""Worklist items know between what their predicted numbers lie. Never changed after a release."""

STATEMENTS = tuple(
    f"ALTER TABLE worklist_item ADD COLUMN {name} FLOAT" for name in ("dsc_low", "dsc_high", "nsd_low", "nsd_high", "interval_level")
)
