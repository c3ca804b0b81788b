"""Films to choose from: suggestions, discover, genres, providers, as movie_svc gives them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from google.protobuf.message import Message

from gateway.tests.conftest import NOTICE, Refused, World, as_caller, entry, film
from gateway.tests.refusals import refusal
from popcorn.gateway.v1 import library_pb2
from popcorn.movie.v1 import movie_pb2

Metadata = tuple[tuple[str, str], ...]
Suggest, Discover = library_pb2.SuggestMoviesRequest, library_pb2.DiscoverMoviesRequest

HERE = movie_pb2.Locale(languages=["de-AT", "en"], region="AT")


@pytest.fixture
async def me(world: World, somebody: Callable[[], str]) -> Metadata:
    headers = (("accept-language", "de-at, en;q=0.5"), ("x-region", "at"))
    return as_caller(await world.sign_in(somebody()), *headers)


async def test_suggestions_come_as_they_are_and_ask_for_no_entries(world: World, me: Metadata) -> None:
    answer = await world.library.SuggestMovies(Suggest(prefix=" fi ", page_size=50), metadata=me)
    assert answer == library_pb2.SuggestMoviesResponse(movies=[film(4), film(5)], attribution=NOTICE)
    assert world.movies.script.asked == [
        movie_pb2.SuggestMoviesRequest(prefix="fi", page_size=20, locale=HERE)
    ]
    assert world.backlogs.script.asked == []


async def test_without_a_size_there_are_eight_suggestions(world: World, me: Metadata) -> None:
    await world.library.SuggestMovies(Suggest(prefix="x"), metadata=me)
    assert world.movies.script.asked == [movie_pb2.SuggestMoviesRequest(prefix="x", page_size=8, locale=HERE)]


async def test_discovered_films_pass_the_whole_filter_and_come_with_the_callers_entries(
    world: World, me: Metadata
) -> None:
    world.backlogs.entries = {6: entry(6), 99: entry(99)}
    answer = await world.library.DiscoverMovies(
        Discover(
            genre_ids=[18, 35],
            year_from=1990,
            year_to=1999,
            max_runtime_minutes=100,
            min_rating=7.5,
            provider_ids=[8, 9],
            original_language="FR",
            page_size=5,
            page_token="t",
        ),
        metadata=me,
    )
    assert answer == library_pb2.DiscoverMoviesResponse(
        movies=[
            library_pb2.LibraryMovie(movie=film(6), entry=entry(6)),
            library_pb2.LibraryMovie(movie=film(7)),
        ],
        next_page_token="more",
        total_size=30,
        attribution=NOTICE,
    )
    assert world.movies.script.asked == [
        movie_pb2.DiscoverMoviesRequest(
            filter=movie_pb2.MovieFilter(
                genre_ids=[18, 35],
                year_from=1990,
                year_to=1999,
                max_runtime_minutes=100,
                min_rating=7.5,
                provider_ids=[8, 9],
                original_language="fr",
            ),
            page_size=5,
            page_token="t",
            locale=HERE,
        )
    ]
    assert len(world.backlogs.script.asked) == 1


async def test_genres_and_providers_are_the_reader_s(world: World, me: Metadata) -> None:
    genres = await world.library.ListGenres(library_pb2.ListGenresRequest(), metadata=me)
    assert genres == library_pb2.ListGenresResponse(
        genres=[movie_pb2.Genre(id=18, name="Drama")], attribution=NOTICE
    )
    providers = await world.library.ListWatchProviders(library_pb2.ListWatchProvidersRequest(), metadata=me)
    assert providers == library_pb2.ListWatchProvidersResponse(
        providers=[movie_pb2.WatchProvider(id=8, name="Netflix")], attribution=NOTICE
    )
    assert world.movies.script.asked == [
        movie_pb2.ListGenresRequest(locale=HERE),
        movie_pb2.ListWatchProvidersRequest(locale=HERE),
    ]


ALL: list[tuple[str, Message]] = [
    ("SuggestMovies", Suggest(prefix="x")),
    ("DiscoverMovies", Discover()),
    ("ListGenres", library_pb2.ListGenresRequest()),
    ("ListWatchProviders", library_pb2.ListWatchProvidersRequest()),
]


@pytest.mark.parametrize(("method", "request_"), ALL)
async def test_when_films_are_away_the_caller_hears_what_they_said(
    world: World, me: Metadata, method: str, request_: Message
) -> None:
    world.movies.script.failure = Refused("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
    call: Callable[..., Awaitable[object]] = getattr(world.library, method)
    seen = await refusal(call(request_, metadata=me))
    assert (seen.code, seen.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")


BAD: list[tuple[str, Message, set[str]]] = [
    ("SuggestMovies", Suggest(), {"prefix"}),
    ("SuggestMovies", Suggest(prefix="  "), {"prefix"}),
    ("SuggestMovies", Suggest(prefix="x" * 101), {"prefix"}),
    ("SuggestMovies", Suggest(prefix="a\x00", page_size=-1), {"prefix", "page_size"}),
    ("DiscoverMovies", Discover(genre_ids=range(1, 12)), {"genre_ids"}),
    ("DiscoverMovies", Discover(genre_ids=[18, 0]), {"genre_ids"}),
    ("DiscoverMovies", Discover(provider_ids=range(1, 22)), {"provider_ids"}),
    ("DiscoverMovies", Discover(provider_ids=[-8]), {"provider_ids"}),
    ("DiscoverMovies", Discover(year_from=1869), {"year_from"}),
    ("DiscoverMovies", Discover(year_to=2201), {"year_to"}),
    ("DiscoverMovies", Discover(year_from=2001, year_to=2000), {"year_to"}),
    ("DiscoverMovies", Discover(max_runtime_minutes=-1), {"max_runtime_minutes"}),
    ("DiscoverMovies", Discover(min_rating=-0.1), {"min_rating"}),
    ("DiscoverMovies", Discover(min_rating=10.1), {"min_rating"}),
    ("DiscoverMovies", Discover(min_rating=float("nan")), {"min_rating"}),
    ("DiscoverMovies", Discover(original_language="fra"), {"original_language"}),
    ("DiscoverMovies", Discover(original_language="f1"), {"original_language"}),
    (
        "DiscoverMovies",
        Discover(
            genre_ids=[-1],
            year_from=1,
            year_to=-1,
            max_runtime_minutes=-1,
            min_rating=11,
            provider_ids=[0],
            original_language="?",
            page_size=-1,
            page_token="x" * 1025,
        ),
        {"genre_ids", "year_from", "year_to", "max_runtime_minutes", "min_rating", "provider_ids"}
        | {"original_language", "page_size", "page_token"},
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
