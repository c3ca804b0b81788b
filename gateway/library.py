"""Films and backlogs, from the two services that know one each."""

from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import grpc
import structlog

from gateway.films import Films
from mesh import running
from popcorn.backlog.v1 import backlog_pb2, backlog_pb2_grpc
from popcorn.movie.v1 import movie_pb2, movie_pb2_grpc

# A page of the backlog is worth showing without films, so films may not use up the caller's whole patience.
_PATIENCE_WITH_FILMS_SECONDS: Final = 2.0
_FILMS_SHARE_OF_THE_DEADLINE: Final = 0.7

FALLBACK_REGION: Final = "US"
"""Where somebody is of whom nothing is known; movie_svc has the same."""

_BY_TITLE: Final = frozenset({backlog_pb2.ENTRY_ORDER_TITLE_ASC, backlog_pb2.ENTRY_ORDER_TITLE_DESC})

_log = structlog.get_logger("gateway.library")


@dataclass(frozen=True, slots=True)
class BacklogPage:
    """One page of somebody's backlog."""

    entries: backlog_pb2.ListEntriesResponse
    """The entries, and where the list goes on."""
    films: movie_pb2.BatchGetMoviesResponse | None
    """Their films; None when films cannot be had now at all, or the page is empty."""


@dataclass(frozen=True, slots=True)
class MovieNights:
    """One page of somebody's movie nights."""

    matches: backlog_pb2.ListMatchesResponse
    """The matches, and where the list goes on."""
    films: movie_pb2.BatchGetMoviesResponse | None
    """Their films; None when films cannot be had now at all, or the page is empty."""


class Library:
    """Asks movie_svc and backlog_svc. Failures of theirs are raised as they come (`grpc.aio.AioRpcError`)."""

    def __init__(
        self,
        *,
        movies: "movie_pb2_grpc.MovieServiceAsyncStub",
        films: Films,
        backlogs: "backlog_pb2_grpc.BacklogServiceAsyncStub",
    ) -> None:
        """Take stubs on channels of the mesh: they bring the deadlines and the retries."""
        self._movies = movies
        self._films = films
        self._backlogs = backlogs

    async def film_and_entry(
        self, user_id: str, movie_id: int, locale: Awaitable[movie_pb2.Locale]
    ) -> tuple[movie_pb2.GetMovieResponse, backlog_pb2.Entry | None]:
        """Return a film and somebody's entry for it, both asked for at once."""
        entries = self._backlogs.BatchGetEntries(
            backlog_pb2.BatchGetEntriesRequest(user_id=user_id, movie_ids=[movie_id])
        )
        try:
            # The film comes first, so that an unknown one is NOT_FOUND whatever else fails.
            film = await self._films.get(movie_id, await locale)
            found = await entries
        finally:
            entries.cancel()
        return film, found.entries[0] if found.entries else None

    async def film(self, movie_id: int, locale: movie_pb2.Locale) -> movie_pb2.GetMovieResponse:
        """Return a film; NOT_FOUND for an unknown one."""
        return await self._films.get(movie_id, locale)

    async def search(self, request: movie_pb2.SearchMoviesRequest) -> movie_pb2.SearchMoviesResponse:
        """Return films by title."""
        return await self._movies.SearchMovies(request)

    async def trending(self, request: movie_pb2.ListTrendingRequest) -> movie_pb2.ListTrendingResponse:
        """Return what is popular this week."""
        return await self._movies.ListTrending(request)

    async def suggestions(self, request: movie_pb2.SuggestMoviesRequest) -> movie_pb2.SuggestMoviesResponse:
        """Return titles that begin with what was typed."""
        return await self._movies.SuggestMovies(request)

    async def discoveries(self, request: movie_pb2.DiscoverMoviesRequest) -> movie_pb2.DiscoverMoviesResponse:
        """Return films that pass a filter."""
        return await self._movies.DiscoverMovies(request)

    async def genres(self, locale: movie_pb2.Locale) -> movie_pb2.ListGenresResponse:
        """Return all genres."""
        return await self._movies.ListGenres(movie_pb2.ListGenresRequest(locale=locale))

    async def watch_providers(self, locale: movie_pb2.Locale) -> movie_pb2.ListWatchProvidersResponse:
        """Return all services one can watch films on in the reader's region."""
        return await self._movies.ListWatchProviders(movie_pb2.ListWatchProvidersRequest(locale=locale))

    async def entries_for(
        self, user_id: str, movies: Iterable[movie_pb2.Movie]
    ) -> dict[int, backlog_pb2.Entry]:
        """Return the entries that somebody has for films, by the film's id."""
        movie_ids = [movie.id for movie in movies]
        if not movie_ids:
            return {}
        found = await self._backlogs.BatchGetEntries(
            backlog_pb2.BatchGetEntriesRequest(user_id=user_id, movie_ids=movie_ids)
        )
        return {entry.movie_id: entry for entry in found.entries}

    async def page(
        self, request: backlog_pb2.ListEntriesRequest, locale: Awaitable[movie_pb2.Locale]
    ) -> BacklogPage:
        """Return a page of a backlog with its films: one request to each service, however long the page.

        Args:
            request: Which page; where it depends on the reader, their languages and region are filled in.
            locale: Who reads.
        """
        if _depends_on_the_reader(request):
            reader = await locale
            request.languages.extend(reader.languages)
            request.filter.region = reader.region or FALLBACK_REGION
            entries = await self._backlogs.ListEntries(request)
        else:
            listing = self._backlogs.ListEntries(request)
            try:
                reader = await locale
                entries = await listing
            finally:
                listing.cancel()
        if not entries.entries:
            return BacklogPage(entries, None)
        return BacklogPage(
            entries, await self._films_of([entry.movie_id for entry in entries.entries], reader)
        )

    async def movie_nights(
        self, request: backlog_pb2.ListMatchesRequest, locale: Awaitable[movie_pb2.Locale]
    ) -> MovieNights:
        """Return a page of movie nights with their films: one request to each service."""
        listing = self._backlogs.ListMatches(request)
        try:
            reader = await locale
            matches = await listing
        finally:
            listing.cancel()
        if not matches.matches:
            return MovieNights(matches, None)
        movie_ids = sorted({match.movie_id for match in matches.matches})
        return MovieNights(matches, await self._films_of(movie_ids, reader))

    async def mark_watched(
        self, request: backlog_pb2.MarkMatchWatchedRequest
    ) -> backlog_pb2.MarkMatchWatchedResponse:
        """Move the film of a movie night to watched for all who were there."""
        return await self._backlogs.MarkMatchWatched(request)

    async def stats(self, user_id: str) -> backlog_pb2.Stats:
        """Return somebody's backlog in numbers."""
        answer = await self._backlogs.GetStats(backlog_pb2.GetStatsRequest(user_id=user_id))
        return answer.stats

    async def stats_and_genres(
        self, user_id: str, locale: Awaitable[movie_pb2.Locale]
    ) -> tuple[backlog_pb2.Stats, movie_pb2.ListGenresResponse, movie_pb2.Locale]:
        """Return somebody's backlog in numbers, all genres, and the reader they are named for."""
        counting = self._backlogs.GetStats(backlog_pb2.GetStatsRequest(user_id=user_id))
        try:
            reader = await locale
            genres = await self.genres(reader)
            counted = await counting
        finally:
            counting.cancel()
        return counted.stats, genres, reader

    async def update(
        self, request: backlog_pb2.UpdateEntryRequest, locale: movie_pb2.Locale
    ) -> tuple[backlog_pb2.Entry, movie_pb2.BatchGetMoviesResponse | None]:
        """Change parts of an entry; return it with its film, None when that cannot be had now."""
        done = await self._backlogs.UpdateEntry(request)
        return done.entry, await self._films_of([done.entry.movie_id], locale)

    async def _films_of(
        self, movie_ids: Sequence[int], locale: movie_pb2.Locale
    ) -> movie_pb2.BatchGetMoviesResponse | None:
        try:
            return await self._films.batch(movie_ids, locale, patience=_patience_with_films())
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                raise  # a mistake of ours, not an outage
            _log.warning("library.films_missing", status=error.code().name, films=len(movie_ids))
            return None

    async def put(self, user_id: str, draft: backlog_pb2.EntryDraft) -> backlog_pb2.PutEntryResponse:
        """Add or replace an entry. Whether the film exists is the caller's to find out first."""
        return await self._backlogs.PutEntry(backlog_pb2.PutEntryRequest(user_id=user_id, entry=draft))

    async def remove(self, user_id: str, movie_id: int) -> bool:
        """Remove an entry; say whether there was one."""
        done = await self._backlogs.RemoveEntry(
            backlog_pb2.RemoveEntryRequest(user_id=user_id, movie_id=movie_id)
        )
        return done.removed


def _depends_on_the_reader(request: backlog_pb2.ListEntriesRequest) -> bool:
    return bool(request.order in _BY_TITLE or request.filter.text or request.filter.provider_ids)


def _patience_with_films() -> float:
    call = running.current()
    time_left = call.time_left() if call is not None else None
    if time_left is None:
        return _PATIENCE_WITH_FILMS_SECONDS
    return min(_PATIENCE_WITH_FILMS_SECONDS, time_left * _FILMS_SHARE_OF_THE_DEADLINE)
