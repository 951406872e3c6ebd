"""Bringing results back into the archive: one destination kind, one file."""
