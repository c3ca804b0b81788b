"""Films from movie_svc: the only module of this service that knows its stub."""

import math
from collections.abc import Sequence
from datetime import date
from typing import Final

from backlog_svc.films import Answer, FilmFacts, View
from backlog_svc.imports.claims import Claim
from backlog_svc.imports.jobs import Found
from popcorn.movie.v1 import movie_pb2, movie_pb2_grpc

MOST_IN_A_BATCH: Final = 500
"""Films that movie_svc gives at once."""


class Movies:
    """Asks movie_svc. Failures of the call itself are raised as they come (`grpc.aio.AioRpcError`)."""

    def __init__(self, stub: "movie_pb2_grpc.MovieServiceAsyncStub") -> None:
        """Take a stub on a channel of the mesh: it brings the deadlines and the retries."""
        self._stub = stub

    async def facts(self, movie_ids: Sequence[int], view: View, *, patience_seconds: float) -> Answer:
        """Return what movie_svc knows of up to 500 films.

        Args:
            movie_ids: TMDB's ids.
            view: Who looks at them.
            patience_seconds: How long to wait for it.
        """
        answer = await self._stub.BatchGetMovies(
            movie_pb2.BatchGetMoviesRequest(
                movie_ids=movie_ids,
                locale=movie_pb2.Locale(languages=view.languages, region=view.region),
            ),
            timeout=patience_seconds,
        )
        gone = [one for one in answer.missing if one.cause == movie_pb2.MissingMovie.CAUSE_NOT_FOUND]
        known = {one.id for one in answer.movies} | {one.movie_id for one in gone}
        return Answer(
            facts=(
                *map(_facts, answer.movies),
                *(FilmFacts(movie_id=one.movie_id, missing=True) for one in gone),
            ),
            unavailable=tuple(movie_id for movie_id in movie_ids if movie_id not in known),
        )

    async def resolve(
        self, claims: Sequence[Claim], languages: Sequence[str], *, patience_seconds: float
    ) -> list[Found]:
        """Return which films other sites' names stand for, in their order.

        Args:
            claims: Up to 100, each with IMDb's id or a title.
            languages: Those of the lists' owner, the best first.
            patience_seconds: How long to wait for it.
        """
        answer = await self._stub.ResolveExternalIds(
            movie_pb2.ResolveExternalIdsRequest(
                movies=[
                    movie_pb2.ExternalMovie(imdb_id=claim.imdb_id, title=claim.title, year=claim.year)
                    for claim in claims
                ],
                locale=movie_pb2.Locale(languages=languages),
            ),
            timeout=patience_seconds,
        )
        return [Found(one.movie_id, tuple(film.id for film in one.candidates)) for one in answer.movies]


def _facts(movie: movie_pb2.Movie) -> FilmFacts:
    return FilmFacts(
        movie_id=movie.id,
        title=_text(movie.title),
        original_title=_text(movie.original_title),
        release_date=_release_date(movie) if movie.HasField("release_date") else None,
        runtime_minutes=movie.runtime_minutes if movie.runtime_minutes > 0 else None,
        genre_ids=tuple(genre.id for genre in movie.genres),
        popularity=movie.popularity if math.isfinite(movie.popularity) else None,
        provider_ids=tuple(provider.id for provider in movie.watch.subscription),
    )


def _text(title: str) -> str:
    return title.replace("\x00", "")  # PostgreSQL has no such character, and one film must not stop a batch


def _release_date(movie: movie_pb2.Movie) -> date | None:
    day = movie.release_date
    try:
        return date(day.year, day.month, day.day)
    except ValueError:  # google.type.Date may leave parts out
        return None
