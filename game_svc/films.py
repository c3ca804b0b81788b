"""Films for the cards, from movie_svc, remembered for a while: everybody in a room sees the same ones."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import grpc
import structlog

from game_svc import frames, messages
from game_svc.events import Film, Filter
from game_svc.refusals import MovieNotFound
from mesh.clock import Clock
from mesh.errors import Unavailable
from mesh.locale import Locale
from mesh.running import start_detached
from popcorn.movie.v1 import movie_pb2, movie_pb2_grpc

MOST_FILMS: Final = 5_000
"""How many films are remembered; a film with its cast takes about 8 KB."""

REMEMBERED: Final = timedelta(minutes=10)

_PATIENCE_SECONDS: Final = 3.0
_LONGEST_READ: Final = timedelta(seconds=4)
_BATCH: Final = 100
_PAGE: Final = 20
_MOST_PAGES: Final = 50
"""How far a list is read on for a room that has watched the top of it: twice the largest deck."""

_log = structlog.get_logger("game_svc.films")

Key = tuple[int, tuple[str, ...], str | None]
_Page = movie_pb2.ListTrendingResponse | movie_pb2.DiscoverMoviesResponse
Sieve = Callable[[Sequence[Film]], Awaitable[Sequence[Film]]]
"""Returns those of some films that are wanted."""


@dataclass(slots=True)
class _Remembered:
    movie: movie_pb2.Movie
    expires: datetime
    card: bytes | None = None
    """As part of a message to a player: made once, for the first who gets it."""


class Films:
    """What movie_svc knows, for players of all languages."""

    def __init__(self, movies: movie_pb2_grpc.MovieServiceAsyncStub, *, clock: Clock) -> None:
        self._movies = movies
        self._clock = clock
        self._remembered: OrderedDict[Key, _Remembered] = OrderedDict()
        self._flights: dict[Key, asyncio.Task[None]] = {}
        self.attribution = movie_pb2.Attribution()
        """The notices to show with films, as movie_svc last sent them."""

    async def find(self, movie_id: int, locale: Locale) -> Film:
        """Return what the rules know of a film.

        Raises:
            MovieNotFound: TMDB has none with this id.
            grpc.aio.AioRpcError: movie_svc does not answer.
        """
        known = self.remembered([movie_id], locale).get(movie_id)
        if known is not None:
            return _film(known)
        answer = await self._batch([movie_id], locale)
        if not answer.movies:
            if any(missing.cause == movie_pb2.MissingMovie.CAUSE_UNAVAILABLE for missing in answer.missing):
                raise Unavailable("movie_svc", timedelta(seconds=1))
            raise MovieNotFound(movie_id=str(movie_id))
        return _film(answer.movies[0])

    async def films(self, movie_ids: Sequence[int], locale: Locale) -> tuple[Film, ...]:
        """Return what the rules know of films; of one that cannot be had now, its id."""
        found = await self.movies(movie_ids, locale)
        return tuple(
            _film(found[movie_id]) if movie_id in found else Film(movie_id, 0.0) for movie_id in movie_ids
        )

    async def trending(self, most: int, sieve: Sieve) -> tuple[Film, ...]:
        """Return what is popular these days, up to `most` films that the sieve lets through.

        Raises:
            grpc.aio.AioRpcError: movie_svc does not answer.
        """
        return await self._pages(self._trending, most, sieve)

    async def discover(self, by: Filter, most: int, sieve: Sieve) -> tuple[Film, ...]:
        """Return films that pass a filter, the popular first, up to `most` that the sieve lets through.

        Raises:
            grpc.aio.AioRpcError: movie_svc does not answer.
        """
        return await self._pages(partial(self._discovered, by), most, sieve)

    async def count_trending(self) -> int:
        """Return how many films are popular these days. Raises as `trending` does."""
        return (await self._trending(1, "")).total_size

    async def count_discovered(self, by: Filter) -> int:
        """Return how many films pass a filter. Raises as `discover` does."""
        return (await self._discovered(by, 1, "")).total_size

    async def _trending(self, page_size: int, page_token: str) -> movie_pb2.ListTrendingResponse:
        request = movie_pb2.ListTrendingRequest(page_size=page_size, page_token=page_token)
        return await self._movies.ListTrending(request, timeout=_PATIENCE_SECONDS)

    async def _discovered(
        self, by: Filter, page_size: int, page_token: str
    ) -> movie_pb2.DiscoverMoviesResponse:
        request = movie_pb2.DiscoverMoviesRequest(
            filter=messages.movie_filter(by),
            page_size=page_size,
            page_token=page_token,
            locale=movie_pb2.Locale(region=by.region),
        )
        return await self._movies.DiscoverMovies(request, timeout=_PATIENCE_SECONDS)

    async def _pages(
        self, ask: Callable[[int, str], Awaitable[_Page]], most: int, sieve: Sieve
    ) -> tuple[Film, ...]:
        """Return the films of one page after the other; when a later one does not come, what has come."""
        found: list[Film] = []
        unsieved: list[Film] = []
        page_token = ""
        began = self._clock()
        for _ in range(_MOST_PAGES):
            if len(found) + len(unsieved) >= most:  # not page by page: each time is a call for every player
                found += await sieve(unsieved)
                unsieved = []
            if len(found) >= most or self._clock() - began >= _LONGEST_READ:
                break
            try:
                page = await ask(_PAGE, page_token)
            except grpc.aio.AioRpcError as error:
                if not page_token:
                    raise
                _log.warning("films.unavailable", code=error.code().name)
                break
            unsieved += map(_film, page.movies)
            page_token = page.next_page_token
            if not page_token:
                break
        if unsieved:
            found += await sieve(unsieved)
        return tuple(found[:most])

    def remembered(self, movie_ids: Iterable[int], locale: Locale) -> Mapping[int, movie_pb2.Movie]:
        """Return those of the films that need no call."""
        found = {}
        for movie_id in movie_ids:
            entry = self._entry(_key(movie_id, locale))
            if entry is not None:
                found[movie_id] = entry.movie
        return found

    def card(self, movie_id: int, locale: Locale) -> bytes | None:
        """Return a card with its film, to be joined into a `PlayResponse`, if that needs no call."""
        entry = self._entry(_key(movie_id, locale))
        if entry is None:
            return None
        if entry.card is None:
            entry.card = frames.card(entry.movie)
        return entry.card

    async def movies(self, movie_ids: Sequence[int], locale: Locale) -> Mapping[int, movie_pb2.Movie]:
        """Return those of the films that can be had now: a card without its film can still be swiped.

        Who asks for a film that somebody else has just asked for waits for the same answer.
        """
        keys = [_key(movie_id, locale) for movie_id in movie_ids]
        under_way = {self._flights[key] for key in keys if key in self._flights}
        wanted = [key for key in keys if key not in self._flights and self._entry(key) is None]
        if wanted:
            flight = start_detached(self._fetch(wanted, locale), name="fetch films")
            self._flights.update(dict.fromkeys(wanted, flight))
            under_way.add(flight)
        if under_way:
            await asyncio.wait(under_way)
        return self.remembered(movie_ids, locale)

    async def _fetch(self, keys: Sequence[Key], locale: Locale) -> None:
        try:
            for start in range(0, len(keys), _BATCH):
                await self._batch([movie_id for movie_id, *_ in keys[start : start + _BATCH]], locale)
        except grpc.aio.AioRpcError as error:
            _log.warning("films.unavailable", code=error.code().name)
        finally:
            for key in keys:
                del self._flights[key]

    def _entry(self, key: Key) -> _Remembered | None:
        entry = self._remembered.get(key)
        return entry if entry is not None and entry.expires > self._clock() else None

    async def _batch(self, movie_ids: Sequence[int], locale: Locale) -> movie_pb2.BatchGetMoviesResponse:
        answer = await self._movies.BatchGetMovies(
            movie_pb2.BatchGetMoviesRequest(
                movie_ids=movie_ids,
                locale=movie_pb2.Locale(languages=locale.languages, region=locale.region or ""),
            ),
            timeout=_PATIENCE_SECONDS,
        )
        self.attribution = answer.attribution
        expires = self._clock() + REMEMBERED
        for movie in answer.movies:
            key = _key(movie.id, locale)
            self._remembered[key] = _Remembered(movie, expires)
            self._remembered.move_to_end(key)
        while len(self._remembered) > MOST_FILMS:
            self._remembered.popitem(last=False)
        return answer


def _key(movie_id: int, locale: Locale) -> Key:
    return movie_id, locale.languages, locale.region


def _film(movie: movie_pb2.Movie) -> Film:
    genres = tuple(genre.id for genre in movie.genres)
    return Film(movie.id, movie.rating if movie.HasField("rating") else 0.0, genres)
