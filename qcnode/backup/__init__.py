"""Backup and restore of a node's storage: a copy that is consistent while the node runs, with a digest of every file."""
