"""Films from movie_svc, remembered for a minute: people ask for the same films again and again.

The copy here spares a call through another process, which costs more than all else that a film's page does.
movie_svc knows of changes at TMDB within the hour; a minute more is nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Final

from cachetools import TTLCache

from popcorn.movie.v1 import movie_pb2, movie_pb2_grpc

MOST_FILMS: Final = 4_000
"""How many films are remembered, each in one language and region: about 5 KB each."""

REMEMBERED: Final = timedelta(minutes=1)
"""For how long, in production."""

_Key = tuple[int, tuple[str, ...], str]


class Films:
    """What movie_svc knows. What it refuses is never remembered, and raised as it comes (`AioRpcError`)."""

    def __init__(
        self,
        movies: "movie_pb2_grpc.MovieServiceAsyncStub",
        *,
        remembered: timedelta,
        seconds: Callable[[], float],
    ) -> None:
        """Take the stub, how long a film is remembered, and a clock that goes on evenly."""
        self._movies = movies
        self._remembered: TTLCache[_Key, movie_pb2.GetMovieResponse] = TTLCache(
            MOST_FILMS, remembered.total_seconds(), timer=seconds
        )

    async def get(self, movie_id: int, locale: movie_pb2.Locale) -> movie_pb2.GetMovieResponse:
        """Return a film; NOT_FOUND for an unknown one. The answer is shared: nobody may change it."""
        key = _key(movie_id, locale)
        film = self._remembered.get(key)
        if film is None:
            film = await self._movies.GetMovie(movie_pb2.GetMovieRequest(movie_id=movie_id, locale=locale))
            self._remembered[key] = film
        return film

    async def batch(
        self, movie_ids: Sequence[int], locale: movie_pb2.Locale, *, patience: float
    ) -> movie_pb2.BatchGetMoviesResponse:
        """Return films in the order asked for, and which are missing and why.

        Args:
            movie_ids: At least one, at most 500.
            locale: Who reads.
            patience: How many seconds movie_svc has, if it is asked at all.
        """
        known = {
            movie_id: film
            for movie_id in movie_ids
            if (film := self._remembered.get(_key(movie_id, locale))) is not None
        }
        wanted = [movie_id for movie_id in movie_ids if movie_id not in known]
        missing: Iterable[movie_pb2.MissingMovie] = ()
        if wanted:
            request = movie_pb2.BatchGetMoviesRequest(movie_ids=wanted, locale=locale)
            answer = await self._movies.BatchGetMovies(request, timeout=patience)
            missing = answer.missing
            for movie in answer.movies:
                film = movie_pb2.GetMovieResponse(movie=movie, attribution=_notices(answer, movie))
                known[movie.id] = self._remembered[_key(movie.id, locale)] = film
        attribution = movie_pb2.Attribution()
        for film in known.values():
            attribution.MergeFrom(film.attribution)
        return movie_pb2.BatchGetMoviesResponse(
            movies=[known[movie_id].movie for movie_id in dict.fromkeys(movie_ids) if movie_id in known],
            missing=missing,
            attribution=attribution,
        )


def _key(movie_id: int, locale: movie_pb2.Locale) -> _Key:
    return movie_id, tuple(locale.languages), locale.region


def _notices(answer: movie_pb2.BatchGetMoviesResponse, movie: movie_pb2.Movie) -> movie_pb2.Attribution:
    """Return what of a batch's notices one film needs: JustWatch's credit goes with where to watch."""
    credit = answer.attribution.justwatch if movie.HasField("watch") else ""
    return movie_pb2.Attribution(tmdb=answer.attribution.tmdb, justwatch=credit)
