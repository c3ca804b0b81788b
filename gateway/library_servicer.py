"""popcorn.gateway.v1.LibraryService. The generated base answers UNIMPLEMENTED for what comes later."""

import math
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Final, Protocol, TypeAlias
from uuid import UUID

import grpc
from google.api import httpbody_pb2

from gateway import stats_chart, stats_picture
from gateway.account_servicer import user_id_of
from gateway.accounts import Preferences
from gateway.backlog_files import LARGEST_EXPORT_BYTES, LARGEST_MESSAGE_BYTES, BacklogFiles
from gateway.chart_words import words_for
from gateway.library import Library, MovieNights
from gateway.stats_messages import figures_of
from mesh.checks import Checks
from mesh.clock import Clock
from mesh.identity import Identity, caller
from mesh.locale import requested_locale
from popcorn.backlog.v1 import backlog_pb2
from popcorn.gateway.v1 import library_pb2, library_pb2_grpc
from popcorn.movie.v1 import movie_pb2

_LONGEST_PAGE_TOKEN: Final = 1024
_YEARS: Final = range(1870, 2201)
_LANGUAGE: Final = re.compile(r"[a-z]{2}")
_LONGEST_IMPORT_ID: Final = 64
_MOST_CHOICES: Final = 50
_FILES: Final = {
    backlog_pb2.EXPORT_FORMAT_JSON: ("application/json", "evening-popcorn-backlog.json"),
    backlog_pb2.EXPORT_FORMAT_LETTERBOXD_CSV: ("text/csv; charset=utf-8", "evening-popcorn-letterboxd.csv"),
}
"""The content type and the name of each export."""

# In quotes: it is generic in the stubs only.
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class PreferenceStore(Protocol):
    """Knows what accounts would like where a call says nothing."""

    async def preferences(self, user_id: UUID) -> Preferences | None:
        """Return an account's language and region, or None when there is no such account."""
        ...


class LibraryServicer(library_pb2_grpc.LibraryServiceServicer):
    """Films and the caller's backlog, composed."""

    def __init__(
        self, library: Library, *, files: BacklogFiles, preferences: PreferenceStore, clock: Clock
    ) -> None:
        """Take what asks the other services, what knows the accounts' language and region, and a clock."""
        self._library = library
        self._files = files
        self._preferences = preferences
        self._clock = clock

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
        text = checks.text("text", request.text, longest=100)
        _check_film_filters(checks, request)
        page_size, page_token = _paging(checks, request, most=100)
        checks.done()
        who = caller()
        page = await self._library.page(
            backlog_pb2.ListEntriesRequest(
                user_id=who.user_id,
                filter=backlog_pb2.EntryFilter(
                    status=backlog_pb2.EntryStatus.ValueType(status),
                    tag=tag,
                    genre_ids=request.genre_ids,
                    max_runtime_minutes=request.max_runtime_minutes,
                    decade=request.decade,
                    provider_ids=request.provider_ids,
                    text=text,
                ),
                order=backlog_pb2.EntryOrder.ValueType(order),
                page_size=page_size,
                page_token=page_token,
            ),
            self._reader(who, context),
        )
        return library_pb2.ListBacklogResponse(
            items=_items(page.entries.entries, page.films),
            next_page_token=page.entries.next_page_token,
            total_size=page.entries.total_size,
            undecided_size=page.entries.undecided_size,
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

    async def UpdateBacklogEntry(
        self, request: library_pb2.UpdateBacklogEntryRequest, context: _Context
    ) -> library_pb2.UpdateBacklogEntryResponse:
        """Change parts of an entry."""
        checks = Checks()
        # What may be changed, and to what, is for the service that keeps it to say; fields are named alike.
        draft = backlog_pb2.EntryDraft()
        draft.CopyFrom(request.entry)
        draft.movie_id = checks.movie_id("movie_id", request.movie_id)
        checks.done()
        who = caller()
        entry, films = await self._library.update(
            backlog_pb2.UpdateEntryRequest(
                user_id=who.user_id, entry=draft, update_mask=request.update_mask, etag=request.etag
            ),
            await self._reader(who, context),
        )
        [item] = _items([entry], films)
        return library_pb2.UpdateBacklogEntryResponse(item=item)

    async def RemoveBacklogEntry(
        self, request: library_pb2.RemoveBacklogEntryRequest, _context: _Context
    ) -> library_pb2.RemoveBacklogEntryResponse:
        """Take a film out of the caller's backlog."""
        checks = Checks()
        movie_id = checks.movie_id("movie_id", request.movie_id)
        checks.done()
        removed = await self._library.remove(caller().user_id, movie_id)
        return library_pb2.RemoveBacklogEntryResponse(removed=removed)

    async def ImportBacklog(
        self, requests: AsyncIterator[library_pb2.ImportBacklogRequest], context: _Context
    ) -> library_pb2.ImportBacklogResponse:
        """Take in a list from elsewhere."""
        who = caller()
        reader = await self._reader(who, context)
        first = await anext(requests, library_pb2.ImportBacklogRequest())
        job = await self._files.take_in(
            backlog_pb2.StartImportRequest(
                user_id=who.user_id,
                dry_run=first.dry_run,
                plain_status=first.plain_status,
                languages=reader.languages,
            ),
            _file_pieces(first, requests),
        )
        answer = library_pb2.ImportBacklogResponse(
            added=job.added,
            changed=job.changed,
            unchanged=job.unchanged,
            skipped_series=job.skipped_series,
            job=job,
        )
        if job.unsettled:
            page = await self._files.rows(
                backlog_pb2.ListImportRowsRequest(user_id=who.user_id, import_id=job.import_id)
            )
            films = _films(await self._files.candidates(page.rows, reader))
            answer.unsettled.extend(
                library_pb2.ImportBacklogResponse.Unsettled(
                    line=row.line,
                    title=row.title,
                    year=row.year,
                    candidates=[films[one] for one in row.candidate_ids if one in films],
                    row=row.row,
                    file=row.file,
                )
                for row in page.rows
            )
        return answer

    async def GetImport(
        self, request: library_pb2.GetImportRequest, _context: _Context
    ) -> library_pb2.GetImportResponse:
        """Say how far an import is."""
        checks = Checks()
        import_id = checks.text("import_id", request.import_id, shortest=1, longest=_LONGEST_IMPORT_ID)
        checks.done()
        return library_pb2.GetImportResponse(job=await self._files.job(caller().user_id, import_id))

    async def ListImportRows(
        self, request: library_pb2.ListImportRowsRequest, context: _Context
    ) -> library_pb2.ListImportRowsResponse:
        """Return lines of an import that need attention, with the films they could be about."""
        checks = Checks()
        import_id = checks.text("import_id", request.import_id, shortest=1, longest=_LONGEST_IMPORT_ID)
        kind = checks.choice(
            "kind",
            request.kind,
            backlog_pb2.ImportRowKind,
            default=backlog_pb2.IMPORT_ROW_KIND_UNSETTLED,
        )
        page_size, page_token = _paging(checks, request, most=100)
        checks.done()
        who = caller()
        page = await self._files.rows(
            backlog_pb2.ListImportRowsRequest(
                user_id=who.user_id,
                import_id=import_id,
                kind=backlog_pb2.ImportRowKind.ValueType(kind),
                page_size=page_size,
                page_token=page_token,
            )
        )
        found = await self._files.candidates(page.rows, await self._reader(who, context))
        films = _films(found)
        return library_pb2.ListImportRowsResponse(
            rows=[
                library_pb2.ListImportRowsResponse.Row(
                    row=row, candidates=[films[one] for one in row.candidate_ids if one in films]
                )
                for row in page.rows
            ],
            next_page_token=page.next_page_token,
            total_size=page.total_size,
            attribution=None if found is None else found.attribution,
        )

    async def SettleImport(
        self, request: library_pb2.SettleImportRequest, context: _Context
    ) -> library_pb2.SettleImportResponse:
        """Say which films unsettled lines are about."""
        checks = Checks()
        import_id = checks.text("import_id", request.import_id, shortest=1, longest=_LONGEST_IMPORT_ID)
        _check_choices(checks, request.choices)
        checks.done()
        who = caller()
        job = await self._files.settle(
            backlog_pb2.SettleImportRequest(
                user_id=who.user_id, import_id=import_id, choices=request.choices
            ),
            await self._reader(who, context),
        )
        return library_pb2.SettleImportResponse(job=job)

    async def ExportBacklog(
        self, request: library_pb2.ExportBacklogRequest, _context: _Context
    ) -> library_pb2.ExportBacklogResponse:
        """Return the caller's backlog as a file in one message."""
        wanted = _checked_export(request)
        pieces = await self._files.export(wanted, most_bytes=LARGEST_MESSAGE_BYTES)
        content_type, _ = _FILES[wanted.format]
        return library_pb2.ExportBacklogResponse(
            file=httpbody_pb2.HttpBody(content_type=content_type, data=b"".join(pieces))
        )

    async def DownloadBacklog(
        self, request: library_pb2.DownloadBacklogRequest, context: _Context
    ) -> AsyncIterator[library_pb2.DownloadBacklogResponse]:
        """Return the caller's backlog as a file of any length."""
        wanted = _checked_export(request)
        pieces = await self._files.export(wanted, most_bytes=LARGEST_EXPORT_BYTES)
        content_type, name = _FILES[wanted.format]
        await context.send_initial_metadata((("content-disposition", f'attachment; filename="{name}"'),))
        for piece in pieces:
            body = httpbody_pb2.HttpBody(content_type=content_type, data=piece)
            yield library_pb2.DownloadBacklogResponse(file=body)

    async def GetBacklogStats(
        self, _request: library_pb2.GetBacklogStatsRequest, _context: _Context
    ) -> library_pb2.GetBacklogStatsResponse:
        """Return the caller's backlog in numbers."""
        return library_pb2.GetBacklogStatsResponse(stats=await self._library.stats(caller().user_id))

    async def GetBacklogStatsChart(
        self, _request: library_pb2.GetBacklogStatsChartRequest, context: _Context
    ) -> library_pb2.GetBacklogStatsChartResponse:
        """Return the caller's backlog in numbers, as a picture."""
        who = caller()
        stats, genres, reader = await self._library.stats_and_genres(who.user_id, self._reader(who, context))
        picture = stats_chart.draw(
            figures_of(stats, genres.genres),
            words_for(reader.languages),
            today=self._clock().date(),
            notice=genres.attribution.tmdb,
        )
        return library_pb2.GetBacklogStatsChartResponse(
            chart=httpbody_pb2.HttpBody(
                content_type=stats_picture.CONTENT_TYPE, data=stats_picture.svg(picture)
            )
        )

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


def _movie_nights(page: MovieNights, who: Identity) -> list[library_pb2.MovieNight]:
    """Return movie nights with their films, or why a film is missing."""
    films = _films(page.films)
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


def _items(
    entries: Iterable[backlog_pb2.Entry], found: movie_pb2.BatchGetMoviesResponse | None
) -> list[library_pb2.BacklogItem]:
    """Return entries with their films, or why a film is missing."""
    unavailable = movie_pb2.MissingMovie.CAUSE_UNAVAILABLE
    films = {} if found is None else {film.id: film for film in found.movies}
    causes = {} if found is None else {film.movie_id: film.cause for film in found.missing}
    return [
        library_pb2.BacklogItem(entry=entry, movie=films[entry.movie_id])
        if entry.movie_id in films
        else library_pb2.BacklogItem(entry=entry, movie_missing=causes.get(entry.movie_id, unavailable))
        for entry in entries
    ]


def _films(found: movie_pb2.BatchGetMoviesResponse | None) -> dict[int, movie_pb2.Movie]:
    return {} if found is None else {film.id: film for film in found.movies}


async def _file_pieces(
    first: library_pb2.ImportBacklogRequest, others: AsyncIterator[library_pb2.ImportBacklogRequest]
) -> AsyncIterator[bytes]:
    yield first.file.data
    async for message in others:
        yield message.file.data


def _check_choices(checks: Checks, choices: Sequence[backlog_pb2.ImportChoice]) -> None:
    checks.require(len(choices) > 0, "choices", "REQUIRED", "Must not be empty.")
    few = len(choices) <= _MOST_CHOICES
    checks.require(few, "choices", "TOO_MANY", f"Must be at most {_MOST_CHOICES}.")
    for position, choice in enumerate(choices[:_MOST_CHOICES]):
        if not choice.skip:
            checks.movie_id(f"choices[{position}].movie_id", choice.movie_id)


class _ExportRequest(Protocol):
    """A request for the backlog as a file."""

    @property
    def format(self) -> int: ...

    @property
    def status(self) -> int: ...


def _checked_export(request: _ExportRequest) -> backlog_pb2.ExportEntriesRequest:
    """Return what is asked for. Both contracts count their formats alike."""
    checks = Checks()
    formats = library_pb2.ExportBacklogRequest
    format_ = checks.choice("format", request.format, formats.Format, default=formats.FORMAT_JSON)
    status = checks.choice("status", request.status, backlog_pb2.EntryStatus, default=0)
    checks.done()
    return backlog_pb2.ExportEntriesRequest(
        user_id=caller().user_id,
        format=backlog_pb2.ExportFormat.ValueType(format_),
        status=backlog_pb2.EntryStatus.ValueType(status),
    )
