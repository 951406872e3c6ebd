"""The worklist for workstations: flagged cases as Unified Procedure Steps (PS3.4 Annex CC)."""
