"""The clock, as something that is handed in."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Answers the present moment as a timezone-aware datetime."""


def utc_now() -> datetime:
    """Return the present moment in UTC: the clock of production."""
    return datetime.now(UTC)
