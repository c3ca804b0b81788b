"""A backlog in numbers. Plain values; what is counted, and in which spans."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from backlog_svc.entries import Status

RUNTIME_BOUNDS: Final = (60, 90, 120, 150, 180)
"""Where one span of lengths ends and the next begins, in minutes: a film of 90 minutes is in the second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """All of somebody's entries, counted at one moment. All but the first two count watched films only."""

    statuses: Mapping[Status, int]
    """Entries by status; those without any are left out."""
    half_stars: Mapping[int, int]
    """Entries by rating, 1 to 10 half stars; those without any are left out."""
    genres: Mapping[int, int]
    """By TMDB's genre id. A film counts in each of its genres."""
    decades: Mapping[int, int]
    """By the first year of the decade of the release."""
    runtimes: Mapping[int, int]
    """By span: 0 is below the first of `RUNTIME_BOUNDS`, 1 from there on, and so on."""
    months: Mapping[date, int]
    """By the first day of the month they were watched in, by UTC."""
    watched_minutes: int
    """How long all of them are together, as far as known."""
    without_genre: int
    """How many have no genre here: what they are is not known, or not known yet."""
    without_decade: int
    """How many have no release date here."""
    without_runtime: int
    """How many have no length here."""
