"""Looks films up while somebody waits: what a list asks about and nobody has asked before.

Titles in a language and providers of a region are kept from the first time that they matter to somebody's
list. A lookup fills in as much as it can within its time, in bounded batches; the list is answered with what
is known then, and says how much is not.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Final

import grpc
import structlog

from backlog_svc.film_store import FilmStore
from backlog_svc.films import FRESH, View
from backlog_svc.list_store import ListStore
from backlog_svc.movies import Movies
from mesh.clock import Clock

BATCH: Final = 100
"""Films a call."""
MOST_AT_ONCE: Final = 4
"""Lookups that run at the same time in one replica; further lists are answered with what is known."""

_SHORTEST_TRY_SECONDS: Final = 0.05
_PAUSE_AFTER_FAILURE: Final = timedelta(seconds=2)

_log = structlog.get_logger("backlog_svc.lookups")


class Lookups:
    """Fills in what lists lack."""

    def __init__(self, lists: ListStore, films: FilmStore, movies: Movies, *, clock: Clock) -> None:
        self._lists = lists
        self._films = films
        self._movies = movies
        self._clock = clock
        self._running = 0
        self._not_before: datetime | None = None

    async def fill_in(self, user_id: str, view: View, *, seconds: float) -> bool:
        """Look up films of somebody's backlog, and say whether anything has become known.

        Args:
            user_id: Whose backlog.
            view: The titles and providers that matter, beside what every film has.
            seconds: How long it may take.
        """
        if self._running >= MOST_AT_ONCE or (self._not_before and self._clock() < self._not_before):
            return False
        self._running += 1
        try:
            loop = asyncio.get_running_loop()
            deadline = loop.time() + seconds
            found = await self._batches(user_id, View(), deadline)
            if view != View():
                found = await self._batches(user_id, view, deadline) or found
            return found
        except grpc.aio.AioRpcError as error:
            # It is in trouble, and each list that comes would wait for it.
            self._not_before = self._clock() + _PAUSE_AFTER_FAILURE
            _log.warning("lookups.failed", status=error.code().name)
            return True  # of the batches before, if there were any
        finally:
            self._running -= 1

    async def _batches(self, user_id: str, view: View, deadline: float) -> bool:
        loop = asyncio.get_running_loop()
        tried: set[int] = set()
        found = False
        while (left := deadline - loop.time()) >= _SHORTEST_TRY_SECONDS:
            now = self._clock()
            wanted = await self._lists.lacking(
                user_id, view, fresh_since=now - FRESH, without=tried, most=BATCH
            )
            if not wanted:
                break
            answer = await self._movies.facts(wanted, view, patience_seconds=left)
            if view == View():
                await self._films.write(answer.facts, now=now)
            else:
                await self._films.write_view(answer.facts, view, now=now)
            tried.update(wanted)
            found = found or bool(answer.facts)
            if len(wanted) < BATCH:
                break
        return found
