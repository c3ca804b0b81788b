"""Keeps what is known of films fresh, in the background: new ones at once, old ones after some days.

Any replica takes films that are due for the length of a lease (`FilmStore.take`) and asks movie_svc for them
in one call. What cannot be had is put off, for longer each time; what a crash leaves is due again when the
lease ends.
"""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Final

import grpc
import structlog

from backlog_svc.film_store import FilmStore
from backlog_svc.films import View, pause_after
from backlog_svc.movies import Movies
from mesh.clock import Clock
from mesh.errors import Unavailable

BATCH: Final = 25
"""Films a call: few enough that TMDB's budget, 40 a second, is not taken from people who wait."""
LEASE: Final = timedelta(seconds=30)
"""How long films belong to the replica that took them; longer than a round can last."""

_PATIENCE_SECONDS: Final = 5.0
_SWEEP_EVERY: Final = timedelta(minutes=10)

_log = structlog.get_logger("backlog_svc.refreshing")


class Refreshing:
    """Refreshes films for as long as `run` runs."""

    def __init__(self, store: FilmStore, movies: Movies, *, clock: Clock) -> None:
        self._store = store
        self._movies = movies
        self._clock = clock
        self._failures = 0

    async def run(self) -> None:
        """Refresh whatever is due, for ever; cancel it to end it."""
        swept = self._clock()
        while True:
            try:
                while await self.round():
                    pass
                if self._clock() - swept >= _SWEEP_EVERY:
                    swept = self._clock()
                    await self._store.sweep(now=swept)
            except Unavailable:
                pass  # PostgreSQL is away, which the log says already; what is due is due when it is back
            except Exception as error:  # a mistake of ours may cost this round, and not all that come after
                _log.error("refreshing.round_failed", exc_info=error)
                self._failures += 1
            # Without failures that is once a second, which is soon enough for a film that has just come in.
            await asyncio.sleep(pause_after(self._failures).total_seconds())

    async def round(self) -> bool:
        """Refresh one batch, and say whether there may be more to do at once."""
        now = self._clock()
        taken = await self._store.take(now=now, lease_until=now + LEASE, most=BATCH)
        if not taken:
            self._failures = 0
            return False
        try:
            answer = await self._movies.facts(list(taken), View(), patience_seconds=_PATIENCE_SECONDS)
        except grpc.aio.AioRpcError as error:
            self._failures += 1
            _log.warning("refreshing.put_off", status=error.code().name, films=len(taken))
            await self._put_off(taken, taken)
            return False
        self._failures = 0
        await self._store.write(answer.facts, now=now)
        if answer.unavailable:
            await self._put_off(answer.unavailable, taken)
        return len(taken) == BATCH

    async def _put_off(self, movie_ids: Iterable[int], attempts: Mapping[int, int]) -> None:
        now = self._clock()
        await self._store.put_off({movie_id: now + pause_after(attempts[movie_id]) for movie_id in movie_ids})
