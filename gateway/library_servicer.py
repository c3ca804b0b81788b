"""popcorn.gateway.v1.LibraryService. The generated base answers UNIMPLEMENTED for what comes later."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol, TypeAlias
from uuid import UUID

import grpc

from gateway.account_servicer import user_id_of
from gateway.accounts import Preferences
from gateway.library import BacklogPage, Library, MovieNights
from mesh.checks import Checks
from mesh.errors import NotImplementedYet
from mesh.identity import Identity, caller
from mesh.locale import requested_locale
from popcorn.backlog.v1 import backlog_pb2
from popcorn.gateway.v1 import library_pb2, library_pb2_grpc
from popcorn.movie.v1 import movie_pb2

_LONGEST_PAGE_TOKEN: Final = 1024
_YEARS: Final = range(1870, 2201)
_LANGUAGE: Final = re.compile(r"[a-z]{2}")

# In quotes: it is generic in the stubs only.
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class PreferenceStore(Protocol):
    """Knows what accounts would like where a call says nothing."""

    async def preferences(self, user_id: UUID) -> Preferences | None:
        """Return an account's language and region, or None when there is no such account."""
        ...


class LibraryServicer(library_pb2_grpc.LibraryServiceServicer):
    """Films and the caller's backlog, composed."""

    def __init__(self, library: Library, *, preferences: PreferenceStore) -> None:
        """Take what asks the other services, and what knows the accounts' own language and region."""
        self._library = library
        self._preferences = preferences

    async def GetMovie(
        self, request: library_pb2.GetMovieRequest, context: _Context
    ) -> library_pb2.GetMovieResponse:
        """Return a film and the caller's entry."""
        checks = Checks()
        movie_id = checks.movie_id("movie_id", request.movie_id)
        checks.done()
        who = caller()
        film, entry = await self._library.film_and_entry(who.user_id, movie_id, self._reader(who, context))
        return library_pb2.GetMovieResponse(movie=film.movie, entry=entry, attribution=film.attribution)

    async def SearchMovies(
        self, request: library_pb2.SearchMoviesRequest, context: _Context
    ) -> library_pb2.SearchMoviesResponse:
        """Return films by title, each with the caller's entry."""
        checks = Checks()
        query = checks.text("query", request.query, shortest=1, longest=200)
        _check_year(checks, "year", request.year)
        page_size, page_token = _paging(checks, request, most=20)
        checks.done()
        who = caller()
        found = await self._library.search(
            movie_pb2.SearchMoviesRequest(
                query=query,
                year=request.year,
                page_size=page_size,
                page_token=page_token,
                locale=await self._reader(who, context),
            )
        )
        return library_pb2.SearchMoviesResponse(
            movies=await self._with_entries(who, found.movies),
            next_page_token=found.next_page_token,
            total_size=found.total_size,
            attribution=found.attribution,
        )

    async def ListTrendingMovies(
        self, request: library_pb2.ListTrendingMoviesRequest, context: _Context
    ) -> library_pb2.ListTrendingMoviesResponse:
        """Return what is popular this week, each film with the caller's entry."""
        checks = Checks()
        page_size, page_token = _paging(checks, request, most=20)
        checks.done()
        who = caller()
        found = await self._library.trending(
            movie_pb2.ListTrendingRequest(
                page_size=page_size, page_token=page_token, locale=await self._reader(who, context)
            )
        )
        return library_pb2.ListTrendingMoviesResponse(
            movies=await self._with_entries(who, found.movies),
            next_page_token=found.next_page_token,
            total_size=found.total_size,
            attribution=found.attribution,
        )

    async def SuggestMovies(
        self, request: library_pb2.SuggestMoviesRequest, context: _Context
    ) -> library_pb2.SuggestMoviesResponse:
        """Return titles that begin with what the caller has typed so far."""
        checks = Checks()
        prefix = checks.text("prefix", request.prefix, shortest=1, longest=100)
        page_size = checks.page_size("page_size", request.page_size, default=8, most=20)
        checks.done()
        found = await self._library.suggestions(
            movie_pb2.SuggestMoviesRequest(
                prefix=prefix, page_size=page_size, locale=await self._reader(caller(), context)
            )
        )
        return library_pb2.SuggestMoviesResponse(movies=found.movies, attribution=found.attribution)

    async def DiscoverMovies(
        self, request: library_pb2.DiscoverMoviesRequest, context: _Context
    ) -> library_pb2.DiscoverMoviesResponse:
        """Return films that pass a filter, each with the caller's entry."""
        checks = Checks()
        wanted = _checked_filter(checks, request)
        page_size, page_token = _paging(checks, request, most=20)
        checks.done()
        who = caller()
        found = await self._library.discoveries(
            movie_pb2.DiscoverMoviesRequest(
                filter=wanted,
                page_size=page_size,
                page_token=page_token,
                locale=await self._reader(who, context),
            )
        )
        return library_pb2.DiscoverMoviesResponse(
            movies=await self._with_entries(who, found.movies),
            next_page_token=found.next_page_token,
            total_size=found.total_size,
            attribution=found.attribution,
        )

    async def ListGenres(
        self, _request: library_pb2.ListGenresRequest, context: _Context
    ) -> library_pb2.ListGenresResponse:
        """Return all genres, in the caller's language."""
        found = await self._library.genres(await self._reader(caller(), context))
        return library_pb2.ListGenresResponse(genres=found.genres, attribution=found.attribution)

    async def ListWatchProviders(
        self, _request: library_pb2.ListWatchProvidersRequest, context: _Context
    ) -> library_pb2.ListWatchProvidersResponse:
        """Return all services one can watch films on in the caller's region."""
        found = await self._library.watch_providers(await self._reader(caller(), context))
        return library_pb2.ListWatchProvidersResponse(
            providers=found.providers, attribution=found.attribution
        )

    async def ListBacklog(
        self, request: library_pb2.ListBacklogRequest, context: _Context
    ) -> library_pb2.ListBacklogResponse:
        """Return a page of the caller's backlog, films included."""
        checks = Checks()
        status = checks.choice("status", request.status, backlog_pb2.EntryStatus, default=0)
        order = checks.choice(
            "order_by", request.order_by, backlog_pb2.EntryOrder, default=backlog_pb2.ENTRY_ORDER_ADDED_DESC
        )
        tag = checks.text("tag", request.tag, longest=40)
        _check_film_filters(checks, request)
        page_size, page_token = _paging(checks, request, most=100)
        checks.done()
        later = ("genre_ids", "max_runtime_minutes", "decade", "provider_ids", "text")
        if used := [field for field in later if getattr(request, field)]:
            raise NotImplementedYet(used)
        who = caller()
        page = await self._library.page(
            backlog_pb2.ListEntriesRequest(
                user_id=who.user_id,
                filter=backlog_pb2.EntryFilter(status=backlog_pb2.EntryStatus.ValueType(status), tag=tag),
                order=backlog_pb2.EntryOrder.ValueType(order),
                page_size=page_size,
                page_token=page_token,
            ),
            self._reader(who, context),
        )
        return library_pb2.ListBacklogResponse(
            items=_items(page),
            next_page_token=page.entries.next_page_token,
            total_size=page.entries.total_size,
            attribution=None if page.films is None else page.films.attribution,
        )

    async def PutBacklogEntry(
        self, request: library_pb2.PutBacklogEntryRequest, context: _Context
    ) -> library_pb2.PutBacklogEntryResponse:
        """Add a film to the caller's backlog, or replace the entry that is there."""
        checks = Checks()
        draft = backlog_pb2.EntryDraft(
            movie_id=checks.movie_id("movie_id", request.movie_id),
            status=backlog_pb2.EntryStatus.ValueType(
                checks.choice(
                    "status",
                    request.status,
                    backlog_pb2.EntryStatus,
                    default=backlog_pb2.ENTRY_STATUS_WANT_TO_WATCH,
                )
            ),
            note=checks.text("note", request.note, longest=1024, multiline=True),
            rating=request.rating if request.HasField("rating") else None,
            tags=_checked_tags(checks, request.tags),
            source=backlog_pb2.ENTRY_SOURCE_BY_HAND,
        )
        if request.HasField("rating"):
            _check_rating(checks, request.rating)
        checks.done()
        who = caller()
        film = await self._library.film(draft.movie_id, await self._reader(who, context))
        done = await self._library.put(who.user_id, draft)
        return library_pb2.PutBacklogEntryResponse(
            item=library_pb2.BacklogItem(entry=done.entry, movie=film.movie), added=done.added
        )

    async def RemoveBacklogEntry(
        self, request: library_pb2.RemoveBacklogEntryRequest, _context: _Context
    ) -> library_pb2.RemoveBacklogEntryResponse:
        """Take a film out of the caller's backlog."""
        checks = Checks()
        movie_id = checks.movie_id("movie_id", request.movie_id)
        checks.done()
        removed = await self._library.remove(caller().user_id, movie_id)
        return library_pb2.RemoveBacklogEntryResponse(removed=removed)

    async def ListMovieNights(
        self, request: library_pb2.ListMovieNightsRequest, context: _Context
    ) -> library_pb2.ListMovieNightsResponse:
        """Return what was matched, when and with whom, films included."""
        checks = Checks()
        page_size, page_token = _paging(checks, request, most=100)
        checks.done()
        who = caller()
        page = await self._library.movie_nights(
            backlog_pb2.ListMatchesRequest(user_id=who.user_id, page_size=page_size, page_token=page_token),
            self._reader(who, context),
        )
        return library_pb2.ListMovieNightsResponse(
            movie_nights=_movie_nights(page, who),
            next_page_token=page.matches.next_page_token,
            total_size=page.matches.total_size,
            attribution=None if page.films is None else page.films.attribution,
        )

    async def MarkMovieNightWatched(
        self, request: library_pb2.MarkMovieNightWatchedRequest, _context: _Context
    ) -> library_pb2.MarkMovieNightWatchedResponse:
        """Move the film of a movie night to watched for all who were there."""
        checks = Checks()
        asked = backlog_pb2.MarkMatchWatchedRequest(
            user_id=caller().user_id,
            game_id=checks.text("game_id", request.game_id, shortest=1, longest=64),
            movie_id=checks.movie_id("movie_id", request.movie_id),
            watch_time=request.watch_time if request.HasField("watch_time") else None,
        )
        checks.done()
        done = await self._library.mark_watched(asked)
        return library_pb2.MarkMovieNightWatchedResponse(
            match=_as_seen_by(caller(), done.match),
            entry=done.entry if done.HasField("entry") else None,
            moved=done.moved,
        )

    async def _reader(self, who: Identity, context: _Context) -> movie_pb2.Locale:
        """Return who reads: what the call says, then what the account says, then nothing."""
        asked = requested_locale(context)
        languages, region = asked.languages, asked.region
        if not languages or region is None:
            # One row by its primary key, and only for callers that leave a header out.
            own = await self._preferences.preferences(user_id_of(who))
            if own is not None:
                languages = languages or ((own.language,) if own.language else ())
                region = region or own.region
        return movie_pb2.Locale(languages=languages, region=region or "")

    async def _with_entries(
        self, who: Identity, movies: Iterable[movie_pb2.Movie]
    ) -> list[library_pb2.LibraryMovie]:
        entries = await self._library.entries_for(who.user_id, movies)
        return [library_pb2.LibraryMovie(movie=movie, entry=entries.get(movie.id)) for movie in movies]


class _Paged(Protocol):
    """A request for a page of something."""

    page_size: int
    page_token: str


def _paging(checks: Checks, request: _Paged, *, most: int) -> tuple[int, str]:
    """Return page size and token. What a token holds is the business of the service that gave it."""
    return (
        checks.page_size("page_size", request.page_size, default=20, most=most),
        checks.text("page_token", request.page_token, longest=_LONGEST_PAGE_TOKEN),
    )


def _check_rating(checks: Checks, rating: float) -> None:
    in_steps = math.isfinite(rating) and (rating * 2).is_integer()
    checks.require(
        in_steps and 0.5 <= rating <= 5, "rating", "INVALID_RATING", "Must be 0.5 to 5 in steps of a half."
    )


def _checked_tags(checks: Checks, tags: Iterable[str]) -> list[str]:
    given = list(tags)
    checks.require(len(given) <= 20, "tags", "TOO_MANY", "Must be at most 20.")
    return [
        checks.text(f"tags[{position}]", tag, shortest=1, longest=40)
        for position, tag in enumerate(given[:20])
    ]


def _check_year(checks: Checks, field: str, year: int) -> None:
    sensible = year == 0 or year in _YEARS
    checks.require(sensible, field, "OUT_OF_RANGE", "Must be 1870 to 2200, or 0 for any.")


def _checked_filter(checks: Checks, request: library_pb2.DiscoverMoviesRequest) -> movie_pb2.MovieFilter:
    _check_ids_and_runtime(checks, request)
    _check_year(checks, "year_from", request.year_from)
    _check_year(checks, "year_to", request.year_to)
    in_order = not (request.year_from and request.year_to) or request.year_from <= request.year_to
    checks.require(in_order, "year_to", "YEARS_REVERSED", "Must not be before year_from.")
    rated = 0 <= request.min_rating <= 10  # false for NaN as well
    checks.require(rated, "min_rating", "OUT_OF_RANGE", "Must be 0 to 10.")
    language = request.original_language.lower()
    coded = not language or _LANGUAGE.fullmatch(language) is not None
    checks.require(coded, "original_language", "INVALID_LANGUAGE", 'Must be an ISO 639-1 code such as "de".')
    return movie_pb2.MovieFilter(
        genre_ids=request.genre_ids,
        year_from=request.year_from,
        year_to=request.year_to,
        max_runtime_minutes=request.max_runtime_minutes,
        min_rating=request.min_rating,
        provider_ids=request.provider_ids,
        original_language=language,
    )


class _Filtered(Protocol):
    """A request for films that pass a filter."""

    max_runtime_minutes: int

    @property
    def genre_ids(self) -> Sequence[int]: ...

    @property
    def provider_ids(self) -> Sequence[int]: ...


def _check_ids_and_runtime(checks: Checks, request: _Filtered) -> None:
    for field, ids, most in (
        ("genre_ids", request.genre_ids, 10),
        ("provider_ids", request.provider_ids, 20),
    ):
        checks.require(len(ids) <= most, field, "TOO_MANY", f"Must be at most {most}.")
        checks.require(
            all(one >= 1 for one in ids), field, "INVALID_ID", "Must be ids of TMDB: whole numbers from 1."
        )
    checks.require(
        request.max_runtime_minutes >= 0,
        "max_runtime_minutes",
        "NEGATIVE",
        "Must be 1 or more, or 0 for any.",
    )


def _check_film_filters(checks: Checks, request: library_pb2.ListBacklogRequest) -> None:
    _check_ids_and_runtime(checks, request)
    checks.require(
        request.decade == 0 or (request.decade in _YEARS and request.decade % 10 == 0),
        "decade",
        "INVALID_DECADE",
        "Must be the first year of a decade, such as 1990, or 0 for any.",
    )
    checks.text("text", request.text, longest=100)


def _movie_nights(page: MovieNights, who: Identity) -> list[library_pb2.MovieNight]:
    """Return movie nights with their films, or why a film is missing."""
    films = {} if page.films is None else {film.id: film for film in page.films.movies}
    causes = {} if page.films is None else {film.movie_id: film.cause for film in page.films.missing}
    return [
        library_pb2.MovieNight(match=_as_seen_by(who, match), movie=films[match.movie_id])
        if match.movie_id in films
        else library_pb2.MovieNight(
            match=_as_seen_by(who, match),
            movie_missing=causes.get(match.movie_id, movie_pb2.MissingMovie.CAUSE_UNAVAILABLE),
        )
        for match in page.matches.matches
    ]


def _as_seen_by(who: Identity, match: backlog_pb2.Match) -> backlog_pb2.Match:
    """Return a match in which other people are names only."""
    seen = backlog_pb2.Match()
    seen.CopyFrom(match)
    for participant in seen.participants:
        if participant.user_id != who.user_id:
            participant.ClearField("user_id")
    return seen


def _items(page: BacklogPage) -> list[library_pb2.BacklogItem]:
    """Return the entries of a page with their films, or why a film is missing."""
    unavailable = movie_pb2.MissingMovie.CAUSE_UNAVAILABLE
    films = {} if page.films is None else {film.id: film for film in page.films.movies}
    causes = {} if page.films is None else {film.movie_id: film.cause for film in page.films.missing}
    return [
        library_pb2.BacklogItem(entry=entry, movie=films[entry.movie_id])
        if entry.movie_id in films
        else library_pb2.BacklogItem(entry=entry, movie_missing=causes.get(entry.movie_id, unavailable))
        for entry in page.entries.entries
    ]
