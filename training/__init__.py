"""How qcnode's networks are trained: python -m training."""
