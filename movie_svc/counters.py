"""What a process has counted, under the names that its metrics have (OpenMetrics: snake case, `_total`)."""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

CACHE_READS: Final = "movie_cache_reads_total"
"""By `shelf` and `outcome`: memory, store, fetched, absent (TMDB has none), unavailable."""
CACHE_STALE: Final = "movie_cache_stale_reads_total"
"""By `shelf`: of those reads, what was served stale."""
STORE_FAILURES: Final = "movie_store_failures_total"
"""By `shelf`: reads and writes that the store did not answer."""
LEASES: Final = "movie_fetch_leases_total"
"""By `shelf` and `outcome`: taken, shared (another replica has fetched it), outwaited, without (no store)."""
TMDB_REQUESTS: Final = "movie_tmdb_requests_total"
"""By `outcome`: ok, not_found, unusable, failed, too_many, refused."""
TMDB_SPARED: Final = "movie_tmdb_spared_total"
"""By `why`: breaker, budget, concurrency: what would have been a request, and was not sent."""
FILMS_CHANGED: Final = "movie_films_changed_total"
"""Cached films that TMDB's list of changes made stale."""

_log = structlog.get_logger("movie_svc.counters")


class Counter:
    """Goes up."""

    __slots__ = ("labels", "name", "value")

    def __init__(self, name: str, labels: Sequence[tuple[str, str]] = ()) -> None:
        """Take its name and its labels, each with its value."""
        self.name = name
        self.labels = tuple(labels)
        self.value = 0

    @property
    def full_name(self) -> str:
        """The name with the labels: `name{label="value"}`."""
        shown = ",".join(f'{label}="{value}"' for label, value in self.labels)
        return f"{self.name}{{{shown}}}" if shown else self.name

    def add(self, by: int = 1) -> None:
        """Count."""
        self.value += by


class Counters:
    """All counters of a process."""

    def __init__(self) -> None:
        self._counters: dict[tuple[str, tuple[tuple[str, str], ...]], Counter] = {}
        self._told: dict[str, int] = {}

    def of(self, name: str, **labels: str) -> Counter:
        """Return a counter, the same one for the same name and labels. Keep it where it counts often."""
        values = tuple(sorted(labels.items()))
        found = self._counters.get((name, values))
        if found is None:
            found = self._counters[name, values] = Counter(name, values)
        return found

    def counted(self) -> Sequence[Counter]:
        """Return every counter there is so far."""
        return tuple(self._counters.values())

    def values(self) -> dict[str, int]:
        """Return what has been counted since the start, by name with labels: `name{label="value"}`."""
        return {counter.full_name: counter.value for counter in self.counted()}

    def tell(self) -> None:
        """Log in one line what has been counted since the last time, if anything."""
        values = self.values()
        news = {name: value - self._told.get(name, 0) for name, value in values.items()}
        self._told = values
        if any(news.values()):
            _log.info("counted", **{name: count for name, count in news.items() if count})

    async def keep_telling(self, *, seconds: float = 60.0) -> None:
        """Log every so many seconds, until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            self.tell()
