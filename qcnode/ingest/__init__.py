"""Receive objects and match segmentations with their images."""
