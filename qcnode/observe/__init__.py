"""What the node says of itself: log lines without patient data."""
