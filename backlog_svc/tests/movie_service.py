"""A movie_svc whose films the test decides on, over real gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from backlog_svc.movies import Movies
from mesh.channels import open_channel
from mesh.server import Server, Service
from popcorn.movie.v1 import movie_pb2, movie_pb2_grpc

SERVICE = movie_pb2.DESCRIPTOR.services_by_name["MovieService"]
_MISSING = movie_pb2.MissingMovie


@dataclass
class ScriptedMovies(movie_pb2_grpc.MovieServiceServicer):
    """Knows the films that it was given; ids from 900,000 on are nobody's."""

    films: dict[int, movie_pb2.Movie] = field(default_factory=dict)
    titles: dict[tuple[int, str], str] = field(default_factory=dict)
    """By film and first language, where they are not the film's own."""
    subscriptions: dict[tuple[int, str], list[int]] = field(default_factory=dict)
    """Provider ids by film and region."""
    unavailable: set[int] = field(default_factory=set)
    nothing: bool = False
    """Answers, and has no film just now."""
    away: bool = False
    seconds: float = 0.0
    """How long an answer takes."""
    asked: list[movie_pb2.BatchGetMoviesRequest] = field(default_factory=list)
    resolved: list[movie_pb2.ResolveExternalIdsRequest] = field(default_factory=list)

    async def BatchGetMovies(
        self, request: movie_pb2.BatchGetMoviesRequest, context: Any
    ) -> movie_pb2.BatchGetMoviesResponse:
        """Answer as movie_svc would."""
        self.asked.append(request)
        await asyncio.sleep(self.seconds)
        if self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        answer = movie_pb2.BatchGetMoviesResponse()
        for movie_id in request.movie_ids:
            if self.nothing or movie_id in self.unavailable:
                answer.missing.add(movie_id=movie_id, cause=_MISSING.CAUSE_UNAVAILABLE)
            elif movie_id >= 900_000:
                answer.missing.add(movie_id=movie_id, cause=_MISSING.CAUSE_NOT_FOUND)
            else:
                answer.movies.append(self._film(movie_id, request.locale))
        return answer

    async def ResolveExternalIds(
        self, request: movie_pb2.ResolveExternalIdsRequest, context: Any
    ) -> movie_pb2.ResolveExternalIdsResponse:
        """Know "Film 7" for sure, and of "Maybe 7" that it is 7 or 8; IMDb's ids are TMDB's with a tt."""
        self.resolved.append(request)
        await asyncio.sleep(self.seconds)
        if self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        if any("refused" in one.title for one in request.movies):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "refused")
        return movie_pb2.ResolveExternalIdsResponse(movies=map(_resolved, request.movies))

    def _film(self, movie_id: int, locale: movie_pb2.Locale) -> movie_pb2.Movie:
        film = movie_pb2.Movie()
        film.CopyFrom(self.films.get(movie_id) or movie_pb2.Movie(id=movie_id, title=f"Film {movie_id}"))
        if locale.languages:
            film.title = self.titles.get((movie_id, locale.languages[0]), film.title)
        for provider_id in self.subscriptions.get((movie_id, locale.region), ()):
            film.watch.subscription.add(id=provider_id)
        return film

    @property
    def asked_for(self) -> list[int]:
        """Every film of every call."""
        return [movie_id for request in self.asked for movie_id in request.movie_ids]


def _resolved(asked: movie_pb2.ExternalMovie) -> movie_pb2.ResolvedMovie:
    word, _, number = asked.title.partition(" ")
    if asked.imdb_id:
        return movie_pb2.ResolvedMovie(movie_id=int(asked.imdb_id.removeprefix("tt")), confidence=1)
    if word == "Film":
        return movie_pb2.ResolvedMovie(movie_id=int(number), confidence=1)
    if word == "Maybe":
        candidates = [movie_pb2.Movie(id=int(number) + more) for more in range(2)]
        return movie_pb2.ResolvedMovie(confidence=0.5, candidates=candidates)
    return movie_pb2.ResolvedMovie()


def scripted_movies(films: dict[int, movie_pb2.Movie] | None = None) -> ScriptedMovies:
    """Makes one that knows these films, and any other by its number."""
    # The generated base answers what is not overridden with UNIMPLEMENTED; its stub calls those abstract.
    return ScriptedMovies(films=films or {})  # type: ignore[abstract]


@asynccontextmanager
async def serving(scripted: ScriptedMovies) -> AsyncIterator[Movies]:
    """Films from that servicer, as the service gets them."""
    service = Service(SERVICE, movie_pb2_grpc.add_MovieServiceServicer_to_server, scripted)
    async with (
        Server([service], listen="127.0.0.1:0") as server,
        open_channel(f"127.0.0.1:{server.port}", services=[SERVICE]) as channel,
    ):
        yield Movies(movie_pb2_grpc.MovieServiceStub(channel))
