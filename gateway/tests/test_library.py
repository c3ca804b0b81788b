"""Films and backlogs, composed: what is asked of whom, and what happens when one of them is away."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import httpx
import jwt
import pytest
from google.protobuf.message import Message

from dev.processes import free_port
from gateway.__main__ import build_deletions, services
from gateway.tests.conftest import NOTICE, QUICK, Refused, World, as_caller, entry, film
from gateway.tests.refusals import refusal
from mesh.channels import open_channel
from mesh.postgres import Database
from mesh.server import Server
from popcorn.backlog.v1 import backlog_pb2
from popcorn.gateway.v1 import library_pb2, library_pb2_grpc
from popcorn.movie.v1 import movie_pb2

Metadata = tuple[tuple[str, str], ...]
Subject = Callable[[], str]

HERE = (("accept-language", "de-at, en;q=0.5"), ("x-region", "at"))
HERE_AS_LOCALE = movie_pb2.Locale(languages=["de-AT", "en"], region="AT")


@pytest.fixture
async def me(world: World, somebody: Subject) -> Metadata:
    """A caller who says language and region."""
    return as_caller(await world.sign_in(somebody()), *HERE)


def user_id_of(asked: Message) -> str:
    user_id: str = getattr(asked, "user_id")  # noqa: B009 - mypy knows that not every message has one
    return user_id


# ---- one film ----


async def test_a_film_comes_with_the_callers_entry(world: World, somebody: Subject) -> None:
    signed_in = await world.sign_in(somebody())
    world.backlogs.entries = {7: entry(7, "soon")}
    answer = await world.library.GetMovie(
        library_pb2.GetMovieRequest(movie_id=7), metadata=as_caller(signed_in, *HERE)
    )
    assert answer == library_pb2.GetMovieResponse(movie=film(7), entry=entry(7, "soon"), attribution=NOTICE)
    assert world.movies.script.asked == [movie_pb2.GetMovieRequest(movie_id=7, locale=HERE_AS_LOCALE)]
    assert world.backlogs.script.asked == [
        backlog_pb2.BatchGetEntriesRequest(user_id=signed_in.account.user_id, movie_ids=[7])
    ]


async def test_a_film_without_an_entry_has_none(world: World, me: Metadata) -> None:
    answer = await world.library.GetMovie(library_pb2.GetMovieRequest(movie_id=7), metadata=me)
    assert not answer.HasField("entry")
    assert answer.movie == film(7)


async def test_an_unknown_film_is_not_found_even_when_backlogs_are_away(world: World, me: Metadata) -> None:
    world.backlogs.script.failure = Refused("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
    seen = await refusal(world.library.GetMovie(library_pb2.GetMovieRequest(movie_id=1000), metadata=me))
    assert (seen.code, seen.reason) == ("NOT_FOUND", "MOVIE_NOT_FOUND")


async def test_a_film_whose_entry_cannot_be_had_is_unavailable_not_without_entry(
    world: World, me: Metadata
) -> None:
    world.backlogs.script.failure = Refused("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
    seen = await refusal(world.library.GetMovie(library_pb2.GetMovieRequest(movie_id=7), metadata=me))
    assert (seen.code, seen.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")


async def test_film_and_entry_are_asked_for_at_once(world: World, me: Metadata) -> None:
    world.movies.script.hanging = world.backlogs.script.hanging = True
    call = world.library.GetMovie(library_pb2.GetMovieRequest(movie_id=7), metadata=me)
    async with asyncio.timeout(20):
        await world.movies.script.was_asked.wait()
        await world.backlogs.script.was_asked.wait()
    call.cancel()


# ---- whose language ----


@pytest.mark.parametrize(
    ("headers", "locale"),
    [
        (HERE, HERE_AS_LOCALE),
        ((), movie_pb2.Locale(languages=["fr"], region="CH")),
        ((("x-region", "de"),), movie_pb2.Locale(languages=["fr"], region="DE")),
        ((("accept-language", "it"),), movie_pb2.Locale(languages=["it"], region="CH")),
        ((("accept-language", "?!"), ("x-region", "Mars")), movie_pb2.Locale(languages=["fr"], region="CH")),
    ],
)
async def test_the_call_decides_on_language_and_region_then_the_account(
    world: World, somebody: Subject, headers: Metadata, locale: movie_pb2.Locale
) -> None:
    signed_in = await world.sign_in(somebody())
    await world.database.execute(
        "UPDATE gateway.accounts SET language = 'fr', region = 'CH' WHERE user_id = $1",
        signed_in.account.user_id,
    )
    who = as_caller(signed_in, *headers)
    world.backlogs.entries = {7: entry(7)}
    await world.library.GetMovie(library_pb2.GetMovieRequest(movie_id=7), metadata=who)
    await world.library.SearchMovies(library_pb2.SearchMoviesRequest(query="x"), metadata=who)
    await world.library.ListTrendingMovies(library_pb2.ListTrendingMoviesRequest(), metadata=who)
    await world.library.ListBacklog(library_pb2.ListBacklogRequest(), metadata=who)
    await world.library.PutBacklogEntry(library_pb2.PutBacklogEntryRequest(movie_id=7), metadata=who)
    asked: list[Any] = world.movies.script.asked
    assert len(asked) == 5
    for request in asked:
        assert request.locale == locale


async def test_who_chose_nothing_gets_nothing_chosen(world: World, somebody: Subject) -> None:
    who = as_caller(await world.sign_in(somebody()))
    await world.library.GetMovie(library_pb2.GetMovieRequest(movie_id=7), metadata=who)
    assert world.movies.script.asked == [movie_pb2.GetMovieRequest(movie_id=7, locale=movie_pb2.Locale())]


# ---- lists of films ----


async def test_films_found_come_with_the_callers_entries(world: World, me: Metadata) -> None:
    world.backlogs.entries = {2: entry(2), 9: entry(9)}
    answer = await world.library.SearchMovies(
        library_pb2.SearchMoviesRequest(query=" film ", year=1999, page_size=5, page_token="t"), metadata=me
    )
    assert answer == library_pb2.SearchMoviesResponse(
        movies=[
            library_pb2.LibraryMovie(movie=film(1)),
            library_pb2.LibraryMovie(movie=film(2), entry=entry(2)),
            library_pb2.LibraryMovie(movie=film(3)),
        ],
        next_page_token="more",
        total_size=60,
        attribution=NOTICE,
    )
    assert world.movies.script.asked == [
        movie_pb2.SearchMoviesRequest(
            query="film", year=1999, page_size=5, page_token="t", locale=HERE_AS_LOCALE
        )
    ]
    assert len(world.backlogs.script.asked) == 1


async def test_nothing_found_asks_for_no_entries(world: World, me: Metadata) -> None:
    answer = await world.library.SearchMovies(library_pb2.SearchMoviesRequest(query="nothing"), metadata=me)
    assert not answer.movies
    assert world.backlogs.script.asked == []


async def test_trending_films_come_with_the_callers_entries(world: World, me: Metadata) -> None:
    world.backlogs.entries = {8: entry(8)}
    answer = await world.library.ListTrendingMovies(
        library_pb2.ListTrendingMoviesRequest(page_size=500, page_token="t"), metadata=me
    )
    assert [(one.movie.id, one.HasField("entry")) for one in answer.movies] == [(7, False), (8, True)]
    assert (answer.next_page_token, answer.total_size, answer.attribution) == ("more", 40, NOTICE)
    assert world.movies.script.asked == [
        movie_pb2.ListTrendingRequest(page_size=20, page_token="t", locale=HERE_AS_LOCALE)
    ]


# ---- the backlog ----


async def test_a_page_of_the_backlog_is_one_request_to_each(world: World, somebody: Subject) -> None:
    signed_in = await world.sign_in(somebody())
    world.backlogs.entries = {movie_id: entry(movie_id) for movie_id in (3, 1, 50, 1000)}
    answer = await world.library.ListBacklog(
        library_pb2.ListBacklogRequest(
            status=backlog_pb2.ENTRY_STATUS_WATCHED,
            order_by=backlog_pb2.ENTRY_ORDER_RATING_DESC,
            tag="noir",
            page_size=4,
            page_token="t",
        ),
        metadata=as_caller(signed_in, *HERE),
    )
    assert answer == library_pb2.ListBacklogResponse(
        items=[
            library_pb2.BacklogItem(entry=entry(3), movie=film(3)),
            library_pb2.BacklogItem(entry=entry(1), movie=film(1)),
            library_pb2.BacklogItem(entry=entry(50), movie_missing=movie_pb2.MissingMovie.CAUSE_UNAVAILABLE),
            library_pb2.BacklogItem(entry=entry(1000), movie_missing=movie_pb2.MissingMovie.CAUSE_NOT_FOUND),
        ],
        next_page_token="more",
        total_size=4,
        attribution=NOTICE,
        undecided_size=3,
    )
    assert world.backlogs.script.asked == [
        backlog_pb2.ListEntriesRequest(
            user_id=signed_in.account.user_id,
            filter=backlog_pb2.EntryFilter(status=backlog_pb2.ENTRY_STATUS_WATCHED, tag="noir"),
            order=backlog_pb2.ENTRY_ORDER_RATING_DESC,
            page_size=4,
            page_token="t",
        )
    ]
    assert world.movies.script.asked == [
        movie_pb2.BatchGetMoviesRequest(movie_ids=[3, 1, 50, 1000], locale=HERE_AS_LOCALE)
    ]


async def test_what_a_list_asks_about_films_goes_to_who_keeps_it(world: World, me: Metadata) -> None:
    await world.library.ListBacklog(
        library_pb2.ListBacklogRequest(
            genre_ids=[18, 35], max_runtime_minutes=100, decade=1990, provider_ids=[8], text=" Noir "
        ),
        metadata=me,
    )
    [asked] = world.backlogs.script.asked
    assert isinstance(asked, backlog_pb2.ListEntriesRequest)
    assert asked.filter == backlog_pb2.EntryFilter(
        genre_ids=[18, 35],
        max_runtime_minutes=100,
        decade=1990,
        provider_ids=[8],
        region="AT",
        text="Noir",
    )
    assert asked.languages == ["de-AT", "en"]


@pytest.mark.parametrize(
    ("request_", "reader_counts"),
    [
        (library_pb2.ListBacklogRequest(order_by=backlog_pb2.ENTRY_ORDER_TITLE_ASC), True),
        (library_pb2.ListBacklogRequest(order_by=backlog_pb2.ENTRY_ORDER_TITLE_DESC), True),
        (library_pb2.ListBacklogRequest(text="x"), True),
        (library_pb2.ListBacklogRequest(provider_ids=[8]), True),
        (library_pb2.ListBacklogRequest(order_by=backlog_pb2.ENTRY_ORDER_RUNTIME_ASC, decade=1990), False),
        (library_pb2.ListBacklogRequest(), False),
    ],
)
async def test_who_reads_is_said_where_it_makes_a_difference(
    world: World, me: Metadata, request_: library_pb2.ListBacklogRequest, reader_counts: bool
) -> None:
    await world.library.ListBacklog(request_, metadata=me)
    [asked] = world.backlogs.script.asked
    assert isinstance(asked, backlog_pb2.ListEntriesRequest)
    assert list(asked.languages) == (["de-AT", "en"] if reader_counts else [])
    assert asked.filter.region == ("AT" if reader_counts else "")


async def test_who_says_nothing_of_a_region_is_taken_to_be_where_films_are_shown_for(
    world: World, somebody: Subject
) -> None:
    who = as_caller(await world.sign_in(somebody()))
    await world.library.ListBacklog(library_pb2.ListBacklogRequest(provider_ids=[8]), metadata=who)
    [asked] = world.backlogs.script.asked
    assert isinstance(asked, backlog_pb2.ListEntriesRequest)
    assert asked.filter.region == "US"


async def test_an_entry_is_changed_as_the_mask_says_and_comes_with_its_film(
    world: World, somebody: Subject
) -> None:
    signed_in = await world.sign_in(somebody())
    request = library_pb2.UpdateBacklogEntryRequest(
        movie_id=7, entry=backlog_pb2.EntryDraft(movie_id=8, note="n", rating=2), etag="e"
    )
    request.update_mask.paths.append("note")
    answer = await world.library.UpdateBacklogEntry(request, metadata=as_caller(signed_in, *HERE))
    assert answer.item == library_pb2.BacklogItem(entry=entry(7, "n"), movie=film(7))
    [asked] = world.backlogs.script.asked
    assert asked == backlog_pb2.UpdateEntryRequest(
        user_id=signed_in.account.user_id,
        entry=backlog_pb2.EntryDraft(movie_id=7, note="n", rating=2),
        update_mask=request.update_mask,
        etag="e",
    )


@pytest.mark.parametrize(
    ("movie_id", "failure", "cause"),
    [
        (7, Refused("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE"), movie_pb2.MissingMovie.CAUSE_UNAVAILABLE),
        (1000, None, movie_pb2.MissingMovie.CAUSE_NOT_FOUND),
    ],
)
async def test_an_entry_is_changed_though_its_film_cannot_be_had(
    world: World,
    me: Metadata,
    movie_id: int,
    failure: Exception | None,
    cause: movie_pb2.MissingMovie.Cause.ValueType,
) -> None:
    world.movies.script.failure = failure
    answer = await world.library.UpdateBacklogEntry(
        library_pb2.UpdateBacklogEntryRequest(movie_id=movie_id), metadata=me
    )
    assert answer.item == library_pb2.BacklogItem(entry=entry(movie_id), movie_missing=cause)


async def test_why_an_entry_cannot_be_changed_is_told_as_it_comes(world: World, me: Metadata) -> None:
    for status, reason in (("ABORTED", "ENTRY_CHANGED"), ("NOT_FOUND", "ENTRY_NOT_FOUND")):
        world.backlogs.script.failure = Refused(status, reason)
        request = library_pb2.UpdateBacklogEntryRequest(movie_id=7, etag="e")
        seen = await refusal(world.library.UpdateBacklogEntry(request, metadata=me))
        assert (seen.code, seen.reason) == (status, reason)
    assert world.movies.script.asked == []


async def test_an_empty_backlog_asks_for_no_films(world: World, me: Metadata) -> None:
    answer = await world.library.ListBacklog(library_pb2.ListBacklogRequest(), metadata=me)
    assert not answer.items
    assert world.movies.script.asked == []


@pytest.mark.parametrize("status", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL"])
async def test_the_backlog_is_listed_while_films_cannot_be_had(
    world: World, me: Metadata, status: str
) -> None:
    world.backlogs.entries = {1: entry(1), 2: entry(2)}
    world.movies.script.failure = Refused(status, "DEPENDENCY_UNAVAILABLE")
    answer = await world.library.ListBacklog(library_pb2.ListBacklogRequest(), metadata=me)
    assert [one.entry.movie_id for one in answer.items] == [1, 2]
    assert {one.movie_missing for one in answer.items} == {movie_pb2.MissingMovie.CAUSE_UNAVAILABLE}
    assert not any(one.HasField("movie") for one in answer.items)
    assert answer.total_size == 2


@pytest.mark.parametrize("patience", [10.0, 1.0])
async def test_films_that_hang_do_not_use_up_the_callers_patience(
    world: World, me: Metadata, patience: float
) -> None:
    world.backlogs.entries = {1: entry(1)}
    world.movies.script.hanging = True
    started = time.monotonic()
    answer = await world.library.ListBacklog(library_pb2.ListBacklogRequest(), metadata=me, timeout=patience)
    assert answer.items[0].movie_missing == movie_pb2.MissingMovie.CAUSE_UNAVAILABLE
    assert time.monotonic() - started < min(patience, 2.9)


async def test_an_entry_is_put_with_everything_that_was_said(world: World, somebody: Subject) -> None:
    signed_in = await world.sign_in(somebody())
    who = as_caller(signed_in, *HERE)
    request = library_pb2.PutBacklogEntryRequest(
        movie_id=7,
        note="first line\r\nsecond ",
        rating=4.5,
        status=backlog_pb2.ENTRY_STATUS_WATCHED,
        tags=[" noir", "with Bob"],
    )
    answer = await world.library.PutBacklogEntry(request, metadata=who)
    assert answer == library_pb2.PutBacklogEntryResponse(
        item=library_pb2.BacklogItem(entry=entry(7, "first line\nsecond"), movie=film(7)), added=True
    )
    assert world.backlogs.script.asked == [
        backlog_pb2.PutEntryRequest(
            user_id=signed_in.account.user_id,
            entry=backlog_pb2.EntryDraft(
                movie_id=7,
                note="first line\nsecond",
                rating=4.5,
                status=backlog_pb2.ENTRY_STATUS_WATCHED,
                tags=["noir", "with Bob"],
                source=backlog_pb2.ENTRY_SOURCE_BY_HAND,
            ),
        )
    ]
    again = await world.library.PutBacklogEntry(library_pb2.PutBacklogEntryRequest(movie_id=7), metadata=who)
    assert not again.added
    last: Any = world.backlogs.script.asked[-1]
    assert last.entry.status == backlog_pb2.ENTRY_STATUS_WANT_TO_WATCH
    assert not last.entry.HasField("rating")


@pytest.mark.parametrize(
    ("movie_id", "failure", "code"),
    [
        (1000, None, "NOT_FOUND"),
        (7, Refused("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE"), "UNAVAILABLE"),
    ],
)
async def test_nothing_is_written_for_a_film_that_is_not_known_to_exist(
    world: World, me: Metadata, movie_id: int, failure: Exception | None, code: str
) -> None:
    world.movies.script.failure = failure
    request = library_pb2.PutBacklogEntryRequest(movie_id=movie_id)
    assert (await refusal(world.library.PutBacklogEntry(request, metadata=me))).code == code
    assert world.backlogs.script.asked == []


async def test_removing_says_whether_there_was_something(world: World, me: Metadata) -> None:
    world.backlogs.entries = {1000: entry(1000)}
    request = library_pb2.RemoveBacklogEntryRequest(movie_id=1000)
    assert (await world.library.RemoveBacklogEntry(request, metadata=me)).removed
    assert not (await world.library.RemoveBacklogEntry(request, metadata=me)).removed
    assert world.movies.script.asked == []


# ---- bad input ----

Put, Listing = library_pb2.PutBacklogEntryRequest, library_pb2.ListBacklogRequest
Search, Trending = library_pb2.SearchMoviesRequest, library_pb2.ListTrendingMoviesRequest

BAD: list[tuple[str, Message, set[str]]] = [
    ("GetMovie", library_pb2.GetMovieRequest(), {"movie_id"}),
    ("GetMovie", library_pb2.GetMovieRequest(movie_id=-1), {"movie_id"}),
    ("RemoveBacklogEntry", library_pb2.RemoveBacklogEntryRequest(), {"movie_id"}),
    ("UpdateBacklogEntry", library_pb2.UpdateBacklogEntryRequest(movie_id=-1), {"movie_id"}),
    ("SearchMovies", Search(), {"query"}),
    ("SearchMovies", Search(query=" \n "), {"query"}),
    ("SearchMovies", Search(query="x" * 201), {"query"}),
    ("SearchMovies", Search(query="a\x00b"), {"query"}),
    ("SearchMovies", Search(query="x", year=1869), {"year"}),
    ("SearchMovies", Search(query="x", year=2201), {"year"}),
    ("SearchMovies", Search(query="x", year=-1), {"year"}),
    ("SearchMovies", Search(query="x", page_size=-1), {"page_size"}),
    ("SearchMovies", Search(query="x", page_token="x" * 1025), {"page_token"}),
    (
        "SearchMovies",
        Search(year=1, page_size=-1, page_token="\x00"),
        {"query", "year", "page_size", "page_token"},
    ),
    ("ListTrendingMovies", Trending(page_size=-1, page_token="\x01"), {"page_size", "page_token"}),
    ("ListBacklog", Listing(status=99), {"status"}),  # type: ignore[arg-type]  # what a client may send
    ("ListBacklog", Listing(order_by=99), {"order_by"}),  # type: ignore[arg-type]  # what a client may send
    ("ListBacklog", Listing(tag="x" * 41), {"tag"}),
    ("ListBacklog", Listing(genre_ids=range(1, 12)), {"genre_ids"}),
    ("ListBacklog", Listing(genre_ids=[0]), {"genre_ids"}),
    ("ListBacklog", Listing(max_runtime_minutes=-1), {"max_runtime_minutes"}),
    ("ListBacklog", Listing(decade=1995), {"decade"}),
    ("ListBacklog", Listing(decade=-10), {"decade"}),
    ("ListBacklog", Listing(provider_ids=range(1, 22)), {"provider_ids"}),
    ("ListBacklog", Listing(provider_ids=[-3]), {"provider_ids"}),
    ("ListBacklog", Listing(text="x" * 101), {"text"}),
    ("ListBacklog", Listing(page_size=-1, page_token="x" * 1025), {"page_size", "page_token"}),
    ("PutBacklogEntry", Put(), {"movie_id"}),
    ("PutBacklogEntry", Put(movie_id=1, note="x" * 1025), {"note"}),
    ("PutBacklogEntry", Put(movie_id=1, note="a\x00b"), {"note"}),
    ("PutBacklogEntry", Put(movie_id=1, rating=0), {"rating"}),
    ("PutBacklogEntry", Put(movie_id=1, rating=5.5), {"rating"}),
    ("PutBacklogEntry", Put(movie_id=1, rating=3.3), {"rating"}),
    ("PutBacklogEntry", Put(movie_id=1, rating=float("nan")), {"rating"}),
    ("PutBacklogEntry", Put(movie_id=1, rating=float("inf")), {"rating"}),
    ("PutBacklogEntry", Put(movie_id=1, status=99), {"status"}),  # type: ignore[arg-type]  # a client may
    ("PutBacklogEntry", Put(movie_id=1, tags=["x"] * 21), {"tags"}),
    ("PutBacklogEntry", Put(movie_id=1, tags=["ok", "", "x" * 41]), {"tags[1]", "tags[2]"}),
    ("PutBacklogEntry", Put(movie_id=1, tags=["a\nb"]), {"tags[0]"}),
    (
        "PutBacklogEntry",
        Put(movie_id=-5, note="\x00", rating=9, status=99, tags=[""]),  # type: ignore[arg-type]  # a client may
        {"movie_id", "note", "rating", "status", "tags[0]"},
    ),
]


@pytest.mark.parametrize(("method", "request_", "fields"), BAD)
async def test_bad_input_names_every_field_and_asks_nobody(
    world: World, me: Metadata, method: str, request_: Message, fields: set[str]
) -> None:
    call: Callable[..., Awaitable[object]] = getattr(world.library, method)
    seen = await refusal(call(request_, metadata=me))
    assert (seen.code, seen.reason) == ("INVALID_ARGUMENT", "INVALID_INPUT")
    assert seen.fields == fields
    assert world.movies.script.asked == []
    assert world.backlogs.script.asked == []


async def test_what_looks_odd_but_is_fine_is_taken(world: World, me: Metadata) -> None:
    for put in (
        Put(movie_id=99, note="\U0001f37f" * 1024, rating=0.5, tags=["x" * 40] * 20),
        Put(movie_id=99, note="tabs\tand\nlines", rating=5),
    ):
        await world.library.PutBacklogEntry(put, metadata=me)
    for search in (Search(query="x" * 200, year=1870), Search(query="%_'\"", year=2200, page_size=10_000)):
        await world.library.SearchMovies(search, metadata=me)


# ---- who may ----


def all_methods() -> list[str]:
    return [method.name for method in library_pb2.DESCRIPTOR.services_by_name["LibraryService"].methods]


async def called(library: Any, method: str, *, metadata: Metadata = ()) -> object:
    """Call a method of any kind with an empty request."""
    described = library_pb2.DESCRIPTOR.services_by_name["LibraryService"].methods_by_name[method]
    request = iter([request_of(method)]) if described.client_streaming else request_of(method)
    call = getattr(library, method)(request, metadata=metadata)
    return [message async for message in call] if described.server_streaming else await call


def request_of(method: str) -> Message:
    service = library_pb2.DESCRIPTOR.services_by_name["LibraryService"]
    request: Message = getattr(library_pb2, service.methods_by_name[method].input_type.name)()
    return request


@pytest.mark.parametrize("method", all_methods())
async def test_nobody_gets_in_without_an_identity(world: World, method: str) -> None:
    seen = await refusal(called(world.library, method))
    assert (seen.code, seen.reason) == ("UNAUTHENTICATED", "MISSING_IDENTITY")


async def test_everybody_is_asked_about_as_themselves(world: World, somebody: Subject) -> None:
    calls: list[tuple[str, Message]] = [
        ("GetMovie", library_pb2.GetMovieRequest(movie_id=1)),
        ("SearchMovies", Search(query="x")),
        ("ListTrendingMovies", Trending()),
        ("ListBacklog", Listing()),
        ("PutBacklogEntry", Put(movie_id=1)),
        ("UpdateBacklogEntry", library_pb2.UpdateBacklogEntryRequest(movie_id=1)),
        ("RemoveBacklogEntry", library_pb2.RemoveBacklogEntryRequest(movie_id=1)),
        ("GetBacklogStats", library_pb2.GetBacklogStatsRequest()),
        ("GetBacklogStatsChart", library_pb2.GetBacklogStatsChartRequest()),
        ("ListMovieNights", library_pb2.ListMovieNightsRequest()),
        ("MarkMovieNightWatched", library_pb2.MarkMovieNightWatchedRequest(game_id="g", movie_id=1)),
    ]
    world.backlogs.matches = [backlog_pb2.Match(game_id="g", movie_id=1)]
    for _ in range(2):
        signed_in = await world.sign_in(somebody())
        world.backlogs.script.asked.clear()
        for method, request in calls:
            await getattr(world.library, method)(request, metadata=as_caller(signed_in, *HERE))
        assert len(world.backlogs.script.asked) == len(calls)
        assert {user_id_of(asked) for asked in world.backlogs.script.asked} == {signed_in.account.user_id}


# ---- when a whole service is gone ----


@asynccontextmanager
async def another_gateway(world: World, *, movies: str, database: Database) -> AsyncIterator[Any]:
    """A gateway in the same world, with another movie_svc or database."""
    async with (
        open_channel(movies, services=[]) as films,
        open_channel(world.behind, services=[]) as behind,
        httpx.AsyncClient(trust_env=False) as client,
        Server(
            services(
                world.settings,
                keys=world.signing_keys,
                database=database,
                backlogs=behind,
                movies=films,
                games=behind,
                deletions=build_deletions(world.settings, database=database, backlogs=behind, games=behind),
                providers=client,
            ),
            listen="127.0.0.1:0",
            revocations=world.revocations,
            options=QUICK,
        ) as gateway,
        grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as door,
    ):
        yield library_pb2_grpc.LibraryServiceStub(door)


@pytest.fixture
async def without_films(world: World) -> AsyncIterator[Any]:
    """A gateway whose movie_svc is not there at all."""
    nowhere = f"127.0.0.1:{free_port()}"
    async with another_gateway(world, movies=nowhere, database=world.database) as library:
        yield library


async def test_without_movie_svc_the_backlog_is_still_listed(
    world: World, me: Metadata, without_films: Any
) -> None:
    world.backlogs.entries = {1: entry(1)}
    answer = await without_films.ListBacklog(Listing(), metadata=me)
    assert answer.items[0].movie_missing == movie_pb2.MissingMovie.CAUSE_UNAVAILABLE


async def test_without_movie_svc_films_are_unavailable_in_time(
    world: World, me: Metadata, without_films: Any
) -> None:
    for method, request in (
        ("GetMovie", library_pb2.GetMovieRequest(movie_id=1)),
        ("SearchMovies", Search(query="x")),
        ("PutBacklogEntry", Put(movie_id=1)),
    ):
        started = time.monotonic()
        seen = await refusal(getattr(without_films, method)(request, metadata=me))
        assert (seen.code, seen.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
        assert time.monotonic() - started < 3.5
    assert not any(isinstance(asked, backlog_pb2.PutEntryRequest) for asked in world.backlogs.script.asked)


async def test_without_postgresql_who_says_where_they_are_still_sees_films(
    world: World, me: Metadata
) -> None:
    nothing = Database(f"postgresql://nobody:x@127.0.0.1:{free_port()}/nothing", application="tests")
    await nothing.start()
    world.backlogs.entries = {7: entry(7)}
    async with another_gateway(world, movies=world.behind, database=nothing) as library:
        one_film: Any = library_pb2.GetMovieRequest(movie_id=7)
        answer = await library.GetMovie(one_film, metadata=me)
        assert (answer.movie.id, answer.entry.movie_id) == (7, 7)
        silent = tuple(pair for pair in me if pair not in HERE)
        for method, request in (
            ("GetMovie", one_film),
            ("ListBacklog", Listing()),
            ("SearchMovies", Search(query="x")),
        ):
            seen = await refusal(getattr(library, method)(request, metadata=silent))
            assert (seen.code, seen.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
            assert seen.metadata == {"dependency": "postgresql"}
    await nothing.close()


async def test_a_guest_has_no_library(world: World, somebody: Subject) -> None:
    token = (await world.sign_in(somebody())).tokens.access_token
    claims = jwt.decode(token, options={"verify_signature": False}) | {"guest": True}
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    for method in all_methods():
        seen = await refusal(called(world.library, method, metadata=(("x-popcorn-identity", payload),)))
        assert (seen.code, seen.reason) == ("PERMISSION_DENIED", "GUEST_NOT_ALLOWED")
