"""The only SQL of qcnode: what was received, what is to be judged, delivered and looked at, and who did what."""
