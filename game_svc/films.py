"""Films for the cards, from movie_svc, remembered for a while: everybody in a room sees the same ones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import grpc
import structlog

from game_svc.events import Film
from game_svc.refusals import MovieNotFound
from mesh.clock import Clock
from mesh.errors import Unavailable
from mesh.locale import Locale
from popcorn.movie.v1 import movie_pb2, movie_pb2_grpc

MOST_FILMS: Final = 5_000
"""How many films are remembered; a film with its cast takes about 4 KB."""

REMEMBERED: Final = timedelta(minutes=10)

_PATIENCE_SECONDS: Final = 3.0
_BATCH: Final = 500
_PAGE: Final = 20

_log = structlog.get_logger("game_svc.films")

Key = tuple[int, tuple[str, ...], str | None]


class Films:
    """What movie_svc knows, for players of all languages."""

    def __init__(self, movies: movie_pb2_grpc.MovieServiceAsyncStub, *, clock: Clock) -> None:
        self._movies = movies
        self._clock = clock
        self._remembered: OrderedDict[Key, tuple[movie_pb2.Movie, datetime]] = OrderedDict()
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

    async def trending(self, most: int) -> tuple[Film, ...]:
        """Return what is popular these days, up to `most` films.

        Raises:
            grpc.aio.AioRpcError: movie_svc does not answer.
        """
        films: list[Film] = []
        page_token = ""
        while len(films) < most:
            page = await self._movies.ListTrending(
                movie_pb2.ListTrendingRequest(page_size=_PAGE, page_token=page_token),
                timeout=_PATIENCE_SECONDS,
            )
            films += map(_film, page.movies)
            page_token = page.next_page_token
            if not page_token:
                break
        return tuple(films[:most])

    def remembered(self, movie_ids: Iterable[int], locale: Locale) -> Mapping[int, movie_pb2.Movie]:
        """Return those of the films that need no call."""
        now = self._clock()
        found = {}
        for movie_id in movie_ids:
            entry = self._remembered.get(_key(movie_id, locale))
            if entry is not None and entry[1] > now:
                found[movie_id] = entry[0]
        return found

    async def movies(self, movie_ids: Sequence[int], locale: Locale) -> Mapping[int, movie_pb2.Movie]:
        """Return those of the films that can be had now: a card without its film can still be swiped."""
        found = dict(self.remembered(movie_ids, locale))
        wanted = [movie_id for movie_id in movie_ids if movie_id not in found]
        for start in range(0, len(wanted), _BATCH):
            try:
                answer = await self._batch(wanted[start : start + _BATCH], locale)
            except grpc.aio.AioRpcError as error:
                _log.warning("films.unavailable", code=error.code().name)
                break
            found.update({movie.id: movie for movie in answer.movies})
        return found

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
            self._remembered[key] = (movie, expires)
            self._remembered.move_to_end(key)
        while len(self._remembered) > MOST_FILMS:
            self._remembered.popitem(last=False)
        return answer


def _key(movie_id: int, locale: Locale) -> Key:
    return movie_id, locale.languages, locale.region


def _film(movie: movie_pb2.Movie) -> Film:
    genres = tuple(genre.id for genre in movie.genres)
    return Film(movie.id, movie.rating if movie.HasField("rating") else 0.0, genres)
