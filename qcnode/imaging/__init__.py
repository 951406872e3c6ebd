"""Volumes out of DICOM, and what is done to them before a network sees them."""
