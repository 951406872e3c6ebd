"""What time it is. Everything that needs to know is given this as an argument."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The node's clock."""
    return datetime.now(UTC)
