"""Data sets: one file is one layout."""
