"""Suggestions over the service: what was seen is suggested, here, elsewhere, and after a restart."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pymongo
import pytest
from google.rpc import error_details_pb2
from motor.motor_asyncio import AsyncIOMotorClient

from mesh.errors import status_of
from movie_svc import suggestions
from movie_svc.store import Store
from movie_svc.suggestions import PARTS, KnownFilm, Seen
from movie_svc.tests.conftest import Running, TurnedClock, running_service, until
from movie_svc.tests.upstream import NOT_FOUND, Reply, Upstream, film
from popcorn.movie.v1 import movie_pb2


def named(movie_id: int, title: str, popularity: float, **translated: str) -> dict[str, Any]:
    """A film with an English title, and others by language."""
    translations = [
        {
            "iso_639_1": language,
            "iso_3166_1": country,
            "data": {"title": name, "overview": "x", "tagline": ""},
        }
        for language_country, name in translated.items()
        for language, country in [language_country.split("_")]
    ]
    return film(
        movie_id,
        title=title,
        original_title=title,
        original_language="en",
        popularity=popularity,
        translations={"translations": translations},
    )


async def seen(running: Running, *films: dict[str, Any]) -> None:
    for one in films:
        running.upstream.faults.append(Reply.of(one))
        await running.stub.GetMovie(movie_pb2.GetMovieRequest(movie_id=one["id"]))


async def suggested(
    running: Running, prefix: str, *languages: str, page_size: int = 0
) -> list[tuple[int, str, str]]:
    answer = await running.stub.SuggestMovies(
        movie_pb2.SuggestMoviesRequest(
            prefix=prefix, page_size=page_size, locale=movie_pb2.Locale(languages=languages)
        )
    )
    return [(movie.id, movie.title, movie.language) for movie in answer.movies]


MATRIX = named(603, "The Matrix", 80.5, de_DE="Matrix", fr_FR="Matrix", pt_BR="Matrix", ru_RU="Матрица")
MATILDA = named(10830, "Matilda", 30, de_DE="Matilda", ja_JP="マチルダ", fr_FR="Matilda et les autres")
MATADOR = named(42, "Matador", 50)


async def test_what_was_seen_is_suggested_at_once_the_popular_first(running: Running) -> None:
    await seen(running, MATILDA, MATRIX, MATADOR)
    assert [movie_id for movie_id, _, _ in await suggested(running, "mat")] == [603, 42, 10830]
    assert [movie_id for movie_id, _, _ in await suggested(running, "MAT", page_size=2)] == [603, 42]
    assert [movie_id for movie_id, _, _ in await suggested(running, "мат")] == [603]
    assert await suggested(running, "matx") == []


async def test_titles_are_shown_in_the_reader_s_language_whichever_was_typed(running: Running) -> None:
    await seen(running, MATRIX, MATILDA)
    assert await suggested(running, "the mat", "ru") == [(603, "Матрица", "ru")]
    assert await suggested(running, "матр", "pt-BR") == [(603, "Matrix", "pt-BR")]
    assert await suggested(running, "matr", "it") == [(603, "The Matrix", "en")]
    assert await suggested(running, "マチ", "xx", "fr-CA") == [(10830, "Matilda et les autres", "fr")]


async def test_a_suggestion_is_what_a_row_of_a_list_shows(running: Running) -> None:
    await seen(running, MATRIX)
    await running.stub.ListGenres(movie_pb2.ListGenresRequest())
    answer = await running.stub.SuggestMovies(movie_pb2.SuggestMoviesRequest(prefix="matr"))
    [movie] = answer.movies
    assert movie.original_title == "The Matrix"
    assert movie.poster.small_url == "https://pictures.example/t/p/w154/tall.jpg"
    assert (movie.release_date.year, movie.popularity) == (2001, 80.5)
    assert [genre.id for genre in movie.genres] == [35]
    assert not movie.cast
    assert answer.attribution.tmdb.startswith("This product uses the TMDB API")
    assert answer.attribution.justwatch == ""


async def test_titles_of_lists_are_suggested_too_and_added_to_those_known(running: Running) -> None:
    await seen(running, MATRIX)
    assert await suggested(running, "matr", "zh") == [(603, "The Matrix", "en")]
    row = {"id": 603, "title": "黑客帝国", "original_title": "The Matrix"}
    other = {"id": 604, "title": "黑客", "original_title": "Reloaded"}
    for film_row in (row, other):
        film_row |= {"original_language": "en", "overview": "概述"}
    page = {"results": [row, other], "total_results": 2}
    running.upstream.answers["/trending/movie/week"] = lambda _: Reply.of(page)
    await running.stub.ListTrending(movie_pb2.ListTrendingRequest(locale=movie_pb2.Locale(languages=["zh"])))
    assert await suggested(running, "黑", "zh") == [(603, "黑客帝国", "zh"), (604, "黑客", "zh")]
    assert await suggested(running, "reload", "de") == [(604, "Reloaded", "en")]
    assert await suggested(running, "матр", "de") == [(603, "Matrix", "de")]


async def test_a_film_that_tmdb_has_no_more_is_not_suggested(running: Running) -> None:
    await seen(running, MATRIX)
    running.clock.turn(days=8)
    running.upstream.answers["/movie/603"] = lambda _: NOT_FOUND
    await running.stub.GetMovie(movie_pb2.GetMovieRequest(movie_id=603))
    await running.settled()
    assert await suggested(running, "matr") == []


async def test_after_a_restart_everything_is_there_again(
    upstream: Upstream, clock: TurnedClock, new_mongo_url: Callable[[], str]
) -> None:
    url = new_mongo_url()
    async with running_service(upstream, clock, url) as before:
        await seen(before, MATRIX, MATILDA)
    asked = len(upstream.asked)
    async with running_service(upstream, clock, url) as after:
        assert await suggested(after, "mat", "de") == [(603, "Matrix", "de"), (10830, "Matilda", "de")]
        assert await suggested(after, "матр", "ru") == [(603, "Матрица", "ru")]
    assert [
        one.path for one in upstream.asked[asked:] if "/movie/" in one.path and "genre" not in one.path
    ] == []


async def test_other_replicas_follow(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suggestions, "_FOLLOW_EVERY_SECONDS", 0.05)
    async with running_service(running.upstream, running.clock, running.mongo_url) as replica:
        assert await suggested(replica, "mat") == []
        await seen(running, MATRIX)

        async def has_followed() -> bool:
            return bool(await suggested(replica, "mat"))

        await until(has_followed, seconds=10)
        assert await suggested(replica, "матр", "ru") == [(603, "Матрица", "ru")]


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (movie_pb2.SuggestMoviesRequest(), {"prefix"}),
        (movie_pb2.SuggestMoviesRequest(prefix=" "), {"prefix"}),
        (movie_pb2.SuggestMoviesRequest(prefix="x" * 101), {"prefix"}),
        (
            movie_pb2.SuggestMoviesRequest(
                prefix="\x00", page_size=-1, locale=movie_pb2.Locale(languages=["?"], region="?")
            ),
            {"prefix", "page_size", "locale.languages[0]", "locale.region"},
        ),
    ],
)
async def test_bad_input_names_every_field(
    running: Running, request_: movie_pb2.SuggestMoviesRequest, fields: set[str]
) -> None:
    assert await bad_fields(running.stub.SuggestMovies(request_)) == fields


async def bad_fields(call: Awaitable[Any]) -> set[str]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    status = status_of(raised.value)
    assert status is not None
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in status.details)
    return {violation.field for violation in bad.field_violations}


# The store, on either driver

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(
    params=[
        pytest.param(AsyncIOMotorClient, id="motor"),
        pytest.param(pymongo.AsyncMongoClient, id="pymongo"),
    ]
)
async def store(request: pytest.FixtureRequest, new_mongo_url: Callable[[], str]) -> Any:
    made = Store(request.param, new_mongo_url())
    yield made
    await made.close()


def of(movie_id: int, *, seen_at: datetime = NOW, **titles: str) -> KnownFilm:
    return KnownFilm(
        id=movie_id,
        original_title="Ours",
        original_language="en",
        titles=titles,
        popularity=2.5,
        release_date=NOW.date(),
        genre_ids=(18,),
        rating=None,
        vote_count=0,
        poster_path="/p.jpg",
        backdrop_path="",
        seen_at=seen_at,
    )


async def test_what_was_written_is_read_the_same_and_more_titles_are_added(store: Store) -> None:
    await store.titles.write([Seen(of(1, en="Ours", de="Unser"), True), Seen(of(2, fr="Le"), False)])
    assert await store.titles.read([1, 2, 3]) == {1: of(1, en="Ours", de="Unser"), 2: of(2, fr="Le")}
    await store.titles.write([Seen(of(1, fr="Le"), False), Seen(of(2, en="All"), True)])
    assert await store.titles.read([1, 2]) == {1: of(1, en="Ours", de="Unser", fr="Le"), 2: of(2, en="All")}
    await store.titles.remove(1)
    assert list(await store.titles.read([1, 2])) == [2]


async def test_all_are_read_in_parts_and_changes_in_their_order(store: Store) -> None:
    films = [of(number, seen_at=NOW + timedelta(seconds=9 - number), en="x") for number in range(1, 6)]
    await store.titles.write([Seen(one, True) for one in films])
    await store.titles.write([Seen(of(5 + PARTS, seen_at=NOW, en="x"), True)])
    assert await store.titles.part(4) == [films[3]]
    assert [film.id for film in await store.titles.part(5)] == [5, 5 + PARTS]
    assert await store.titles.part(6) == []
    assert await store.titles.changed(NOW + timedelta(seconds=6), 10) == [films[2], films[1], films[0]]


async def test_the_server_deletes_titles_after_six_months(store: Store) -> None:
    await store.probe()
    await store.titles.write([Seen(of(1, en="x"), True)])
    collection = store._database["titles"]
    indexes = (await collection.index_information()).values()
    [index] = [index for index in indexes if "expireAfterSeconds" in index]
    assert (index["key"], index["expireAfterSeconds"]) == ([("expires_at", 1)], 0)
    assert (await collection.find_one({"_id": 1}))["expires_at"] == NOW + timedelta(days=180)


async def test_a_document_that_cannot_be_read_is_as_if_it_were_not_there(store: Store) -> None:
    await store._database["titles"].insert_many(
        [{"_id": 1, "version": 1}, {"_id": 2, "version": 99, "film": {}, "titles": {}}]
    )
    await store.titles.write([Seen(of(3, en="x"), True)])
    assert list(await store.titles.read([1, 2, 3])) == [3]
