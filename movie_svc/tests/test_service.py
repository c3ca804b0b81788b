"""The service behind a real gRPC server, over a real store and a TMDB that does as it is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from dev.mongo import Mongo
from mesh.errors import reason_of, status_of
from movie_svc.shelf import PATIENCE_SECONDS
from movie_svc.tests.conftest import Running, TurnedClock, running_service, until
from movie_svc.tests.upstream import NOT_FOUND, Asked, Reply, Upstream, film, page
from popcorn.movie.v1 import movie_pb2

Missing = movie_pb2.MissingMovie
DOWN = Reply(status=503)
GERMAN = movie_pb2.Locale(languages=["de-DE"], region="DE")


def get(movie_id: int, *languages: str, region: str = "") -> movie_pb2.GetMovieRequest:
    return movie_pb2.GetMovieRequest(
        movie_id=movie_id, locale=movie_pb2.Locale(languages=languages, region=region)
    )


async def refused(call: Awaitable[Any]) -> tuple[str, str | None]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    status = status_of(raised.value)
    assert status is not None
    return raised.value.code().name, reason_of(status)


@asynccontextmanager
async def another_replica(running: Running) -> AsyncIterator[Running]:
    """A second process, as far as the cache is concerned: same store, same TMDB, nothing in memory."""
    async with running_service(running.upstream, running.clock, running.mongo_url) as replica:
        yield replica


# One film


async def test_a_film_comes_whole(running: Running) -> None:
    answer = await running.stub.GetMovie(get(194, "de-DE", region="DE"))
    movie = answer.movie
    assert (movie.id, movie.title, movie.language) == (194, "Die fabelhafte Welt der Amélie", "de-DE")
    assert movie.original_title == "Le Fabuleux Destin d'Amélie Poulain"
    assert (movie.original_language, movie.tagline) == ("fr", "Sie verändert dein Leben.")
    assert (movie.release_date.year, movie.release_date.month, movie.release_date.day) == (2001, 4, 25)
    assert movie.poster.small_url == "https://pictures.example/t/p/w154/tall.jpg"
    assert movie.poster.medium_url == "https://pictures.example/t/p/w342/tall.jpg"
    assert movie.backdrop.large_url == "https://pictures.example/t/p/w1280/wide.jpg"
    assert movie.backdrop.original_url == "https://pictures.example/t/p/original/wide.jpg"
    assert [genre.name for genre in movie.genres] == ["Komödie", "Liebesfilm"]
    assert [member.name for member in movie.cast] == ["Audrey Tautou", "Mathieu Kassovitz", "Rufus"]
    assert list(movie.directors) == ["Jean-Pierre Jeunet"]
    assert (movie.certification, movie.runtime_minutes, movie.imdb_id) == ("6", 122, "tt0211915")
    assert movie.trailer.youtube_key == "trailerDe01"
    assert (movie.collection.id, movie.collection.name) == (77, "Die Sammlung")
    assert [provider.name for provider in movie.watch.subscription] == ["Netflix", "Amazon Prime Video"]
    assert movie.watch.rent[0].logo_url == ""
    assert movie.watch.subscription[0].logo_url == "https://pictures.example/t/p/w92/logo.jpg"
    assert answer.attribution.tmdb == (
        "This product uses the TMDB API but is not endorsed or certified by TMDB."
    )
    assert "JustWatch" in answer.attribution.justwatch


async def test_what_nobody_knows_is_absent_and_not_zero(running: Running) -> None:
    running.upstream.always = Reply.of(
        film(194, runtime=0, vote_count=0, release_date="", poster_path=None, belongs_to_collection=None)
    )
    answer = await running.stub.GetMovie(get(194, "de-DE", region="FI"))
    for name in ("runtime_minutes", "rating", "release_date", "poster", "collection", "watch"):
        assert not answer.movie.HasField(name), name
    assert answer.movie.certification == ""
    assert answer.attribution.justwatch == ""


async def test_without_a_locale_it_is_english_and_the_united_states(running: Running) -> None:
    answer = await running.stub.GetMovie(get(194))
    assert (answer.movie.title, answer.movie.language) == ("Amélie", "en")
    assert (answer.movie.watch.region, answer.movie.certification) == ("US", "R")


async def test_a_film_that_does_not_exist_is_not_found_and_that_is_remembered(running: Running) -> None:
    running.upstream.always = NOT_FOUND
    for _ in range(3):
        assert await refused(running.stub.GetMovie(get(194))) == ("NOT_FOUND", "MOVIE_NOT_FOUND")
    assert len(running.upstream.asked) == 1
    running.upstream.always = None
    running.clock.turn(hours=7)
    assert (await running.stub.GetMovie(get(194))).movie.id == 194


# Fresh, stale, gone


async def test_a_hundred_first_requests_make_one_request_to_tmdb(running: Running) -> None:
    running.upstream.always = Reply(Reply.of(film(194)).body, delay=0.2)
    answers = await asyncio.gather(*(running.stub.GetMovie(get(194, "de")) for _ in range(100)))
    assert {answer.movie.title for answer in answers} == {"Die fabelhafte Welt der Amélie"}
    assert len(running.upstream.asked) == 1


async def test_a_thousand_first_requests_to_two_replicas_make_one_request_to_tmdb(running: Running) -> None:
    running.upstream.always = Reply(Reply.of(film(194)).body, delay=0.4)
    async with another_replica(running) as replica:
        stubs = (running.stub, replica.stub)
        answers = await asyncio.gather(*(stubs[turn % 2].GetMovie(get(194, "de")) for turn in range(1000)))
    assert {answer.movie.title for answer in answers} == {"Die fabelhafte Welt der Amélie"}
    assert 1 <= len(running.upstream.asked) <= 2  # the second only if the first takes longer than its lease


async def test_a_fresh_film_costs_tmdb_nothing_for_seven_days(running: Running) -> None:
    await running.stub.GetMovie(get(194))
    running.clock.turn(days=6, hours=23)
    await running.stub.GetMovie(get(194))
    await running.settled()
    assert len(running.upstream.asked) == 1


async def test_a_stale_film_is_served_at_once_and_renewed_once_behind_the_reader_s_back(
    running: Running,
) -> None:
    await running.stub.GetMovie(get(194))
    running.clock.turn(days=8)
    running.upstream.always = Reply(Reply.of(film(194, runtime=123)).body, delay=0.3)
    answers = await asyncio.gather(*(running.stub.GetMovie(get(194)) for _ in range(50)))
    assert {answer.movie.runtime_minutes for answer in answers} == {122}, "nobody waited for the new one"
    await running.settled()
    assert (await running.stub.GetMovie(get(194))).movie.runtime_minutes == 123
    assert len(running.upstream.asked) == 2


async def test_a_stale_film_is_served_while_tmdb_is_down_and_gone_after_six_months(running: Running) -> None:
    await running.stub.GetMovie(get(194))
    running.upstream.always = DOWN
    running.clock.turn(days=170)
    assert (await running.stub.GetMovie(get(194))).movie.id == 194
    await running.settled()
    running.clock.turn(days=11)
    assert await refused(running.stub.GetMovie(get(194))) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
    async with another_replica(running) as replica:
        assert await refused(replica.stub.GetMovie(get(194))) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")


async def test_a_failing_renewal_is_not_tried_with_every_request(running: Running) -> None:
    await running.stub.GetMovie(get(194))
    running.upstream.always = DOWN
    running.clock.turn(days=8)
    for _ in range(10):
        await running.stub.GetMovie(get(194))
        await running.settled()
    assert len(running.upstream.asked) == 3  # the first, and one renewal with its one retry


async def test_another_replica_finds_it_in_the_store(running: Running) -> None:
    first = await running.stub.GetMovie(get(194, "pt-BR", "de", region="BR"))
    await running.settled()
    async with another_replica(running) as replica:
        assert await replica.stub.GetMovie(get(194, "pt-BR", "de", region="BR")) == first
    assert len(running.upstream.asked) == 1


async def test_what_another_replica_has_renewed_is_taken_over(running: Running) -> None:
    await running.stub.GetMovie(get(194))
    await running.settled()
    running.clock.turn(days=8)
    running.upstream.always = Reply.of(film(194, runtime=123))
    async with another_replica(running) as replica:
        await replica.stub.GetMovie(get(194))
        await replica.settled()
    running.upstream.always = DOWN
    await running.stub.GetMovie(get(194))
    await running.settled()
    assert (await running.stub.GetMovie(get(194))).movie.runtime_minutes == 123


async def test_readers_with_the_same_best_language_share_what_was_fetched(running: Running) -> None:
    for languages in (["fi"], ["fi", "de"], ["fi", "pt-PT"], ["fi-FI"]):
        await running.stub.GetMovie(get(194, *languages, region="DE"))
    await running.settled()
    assert len(running.upstream.asked) == 1
    titles = [
        (await running.stub.GetMovie(get(194, *languages, region="DE"))).movie.language
        for languages in (["fi"], ["fi", "de"], ["fi", "pt-PT"])
    ]
    assert titles == ["fr", "de", "pt-PT"]


# TMDB misbehaves


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Reply(delay=10), id="10 s of silence"),
        pytest.param(Reply.of({"status_code": 25}, 429), id="429"),
        pytest.param(Reply.of({"status_code": 25}, 429, retry_after="20"), id="429 with Retry-After"),
        pytest.param(Reply(status=500), id="500"),
        pytest.param(Reply(ending="reset"), id="reset"),
        pytest.param(Reply(b"{" * 500), id="truncated"),
        pytest.param(Reply(b"<html></html>"), id="HTML"),
        pytest.param(Reply.of([]), id="no object"),
    ],
)
async def test_what_is_cached_is_served_and_what_is_not_is_unavailable_within_three_seconds(
    running: Running, fault: Reply
) -> None:
    await running.stub.GetMovie(get(194))
    running.upstream.asked.clear()
    running.upstream.always = fault
    began = time.monotonic()
    assert await refused(running.stub.GetMovie(get(195))) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
    assert time.monotonic() - began < 3
    assert running.upstream.asked_for("/3/movie/195") <= 2
    assert (await running.stub.GetMovie(get(194))).movie.id == 194


async def test_nothing_wrong_is_ever_cached(running: Running) -> None:
    for fault in (Reply(b"<html>", 404), Reply.of({"status_code": 34}), Reply.of(film(5))):
        running.upstream.always = fault
        assert await refused(running.stub.GetMovie(get(194))) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
    await running.settled()
    running.upstream.always = None
    assert (await running.stub.GetMovie(get(194))).movie.id == 194
    async with another_replica(running) as replica:
        await running.settled()
        assert (await replica.stub.GetMovie(get(194))).movie.id == 194


async def test_the_caller_s_deadline_is_heeded(running: Running) -> None:
    running.upstream.always = Reply(delay=10)
    # An answer of ours, in time: what came too late would be the client's own DEADLINE_EXCEEDED.
    code, reason = await refused(running.stub.GetMovie(get(194), timeout=1.5))
    assert (code, reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")


# Many films


async def test_a_batch_names_what_it_cannot_give(running: Running) -> None:
    await running.stub.GetMovie(get(3))
    running.upstream.answers = {
        "/movie/2": lambda _: NOT_FOUND,
        "/movie/4": lambda _: Reply(status=500),
        "/movie/6": lambda _: Reply(b"<html>"),
    }
    answer = await running.stub.BatchGetMovies(
        movie_pb2.BatchGetMoviesRequest(movie_ids=[6, 5, 4, 3, 2, 1, 5])
    )
    assert [movie.id for movie in answer.movies] == [5, 3, 1]
    assert [(missing.movie_id, missing.cause) for missing in answer.missing] == [
        (6, Missing.CAUSE_UNAVAILABLE),
        (4, Missing.CAUSE_UNAVAILABLE),
        (2, Missing.CAUSE_NOT_FOUND),
    ]
    assert answer.attribution.tmdb
    assert answer.attribution.justwatch


async def test_a_batch_comes_from_the_store_and_asks_for_few_at_a_time(running: Running) -> None:
    ids = list(range(1, 61))
    answer = await running.stub.BatchGetMovies(movie_pb2.BatchGetMoviesRequest(movie_ids=ids, locale=GERMAN))
    assert [movie.id for movie in answer.movies] == ids
    assert len(running.upstream.asked) == 60
    assert running.upstream.most_in_the_air <= 16
    await running.settled()
    running.upstream.always = DOWN
    async with another_replica(running) as replica:
        again = await replica.stub.BatchGetMovies(
            movie_pb2.BatchGetMoviesRequest(movie_ids=ids, locale=GERMAN)
        )
    assert again == answer
    assert len(running.upstream.asked) == 60


async def test_a_batch_soon_stops_asking_a_tmdb_that_is_down(running: Running) -> None:
    running.upstream.always = DOWN
    began = time.monotonic()
    answer = await running.stub.BatchGetMovies(movie_pb2.BatchGetMoviesRequest(movie_ids=range(1, 501)))
    assert time.monotonic() - began < 3
    assert [missing.movie_id for missing in answer.missing] == list(range(1, 501))
    assert {missing.cause for missing in answer.missing} == {Missing.CAUSE_UNAVAILABLE}
    assert len(running.upstream.asked) <= 40


async def test_a_batch_gives_what_has_come_when_its_time_is_over(running: Running) -> None:
    running.upstream.answers = {"/movie/2": lambda _: Reply(delay=10)}
    began = time.monotonic()
    answer = await running.stub.BatchGetMovies(movie_pb2.BatchGetMoviesRequest(movie_ids=[1, 2, 3]))
    assert time.monotonic() - began < 3
    assert [movie.id for movie in answer.movies] == [1, 3]
    assert [missing.cause for missing in answer.missing] == [Missing.CAUSE_UNAVAILABLE]


# Lists


@pytest.mark.parametrize("size", [1, 7, 20, 100, 0])
async def test_a_search_pages_through_every_film_once_in_order(running: Running, size: int) -> None:
    found: list[int] = []
    token, pages = "", 0
    while pages == 0 or token:
        answer = await running.stub.SearchMovies(
            movie_pb2.SearchMoviesRequest(query=" The  MATRIX", page_size=size, page_token=token)
        )
        assert answer.total_size == 45
        found += [movie.id for movie in answer.movies]
        token, pages = answer.next_page_token, pages + 1
    assert found == list(range(1, 46))
    assert pages == -(-45 // min(size or 20, 20))
    assert {asked.query.get("query") for asked in running.upstream.asked} == {"the matrix", None}
    assert running.upstream.asked_for("/3/search/movie") == 3


async def test_a_page_of_tmdb_s_that_comes_short_shifts_no_row(running: Running) -> None:
    def short_first_page(asked: Asked) -> Reply:
        answer = page(int(asked.query["page"]))
        if answer["page"] == 1:
            answer["results"] = [row for row in answer["results"] if row["id"] <= 18]
        return Reply.of(answer)

    running.upstream.answers = {"/search/movie": short_first_page}
    found: list[int] = []
    token = ""
    for _ in range(7):
        answer = await running.stub.SearchMovies(
            movie_pb2.SearchMoviesRequest(query="a", page_size=7, page_token=token)
        )
        found += [movie.id for movie in answer.movies]
        token = answer.next_page_token
    assert found == [*range(1, 19), *range(21, 46)]
    assert token == ""


async def test_a_trending_list_pages_likewise(running: Running) -> None:
    found: list[int] = []
    token = ""
    for _ in range(3):
        answer = await running.stub.ListTrending(
            movie_pb2.ListTrendingRequest(page_size=19, page_token=token, locale=GERMAN)
        )
        found += [movie.id for movie in answer.movies]
        token = answer.next_page_token
    assert found == list(range(1, 46))
    assert token == ""


async def test_a_row_has_the_names_of_its_genres_and_no_details(running: Running) -> None:
    answer = await running.stub.ListTrending(movie_pb2.ListTrendingRequest(page_size=1, locale=GERMAN))
    [movie] = answer.movies
    assert [(genre.id, genre.name) for genre in movie.genres] == [(18, "Drama"), (35, "Komödie")]
    assert movie.poster.large_url == "https://pictures.example/t/p/w780/1.jpg"
    assert not movie.HasField("backdrop")
    assert not movie.HasField("rating")
    assert (answer.attribution.tmdb != "", answer.attribution.justwatch) == (True, "")


async def test_a_list_without_the_names_of_genres_is_still_a_list(running: Running) -> None:
    running.upstream.answers = {"/genre/movie/list": lambda _: Reply(status=500)}
    answer = await running.stub.SearchMovies(movie_pb2.SearchMoviesRequest(query="film"))
    assert len(answer.movies) == 20
    assert list(answer.movies[0].genres) == []


async def test_a_row_without_an_overview_has_the_english_one(running: Running) -> None:
    def untold_in_german(asked: Asked) -> Reply:
        answer = page(1, total=3)
        for row in answer["results"]:
            row["title"] = row["original_title"] = f"Film {row['id']}"
            row["original_language"] = "fr"
            row["overview"] = "" if asked.query["language"] == "de-DE" else f"Film {row['id']} in English."
        return Reply.of(answer)

    running.upstream.answers |= {"/trending/movie/week": untold_in_german}
    request = movie_pb2.ListTrendingRequest(locale=GERMAN)
    await running.stub.ListGenres(movie_pb2.ListGenresRequest(locale=GERMAN))
    answer = await running.stub.ListTrending(request)
    assert [movie.overview for movie in answer.movies] == [f"Film {n} in English." for n in (1, 2, 3)]
    assert {movie.language for movie in answer.movies} == {"fr"}, "the title is the original one"
    assert running.upstream.asked_for("/3/trending/movie/week") == 2


async def test_a_page_that_cannot_be_had_whole_ends_early(running: Running) -> None:
    def first_page_only(asked: Asked) -> Reply:
        return Reply.of(page(1)) if asked.query["page"] == "1" else DOWN

    running.upstream.answers |= {"/search/movie": first_page_only}
    request = movie_pb2.SearchMoviesRequest(query="a", page_size=15)
    request.page_token = (await running.stub.SearchMovies(request)).next_page_token
    short = await running.stub.SearchMovies(request)
    assert [movie.id for movie in short.movies] == list(range(16, 21))
    running.upstream.answers |= {"/search/movie": lambda asked: Reply.of(page(int(asked.query["page"])))}
    request.page_token = short.next_page_token
    assert [movie.id for movie in (await running.stub.SearchMovies(request)).movies] == list(range(21, 36))


async def test_a_search_that_finds_nothing_is_an_empty_page(running: Running) -> None:
    running.upstream.answers = {"/search/movie": lambda _: Reply.of(page(1, total=0))}
    answer = await running.stub.SearchMovies(movie_pb2.SearchMoviesRequest(query="zzz", year=1999))
    assert (list(answer.movies), answer.next_page_token, answer.total_size) == ([], "", 0)


async def test_tmdb_s_last_page_is_the_end(running: Running) -> None:
    running.upstream.answers = {
        "/search/movie": lambda asked: Reply.of(page(int(asked.query["page"]), total=1_000_000))
    }
    answer = await running.stub.SearchMovies(movie_pb2.SearchMoviesRequest(query="a"))
    assert answer.total_size == 10_000


async def test_a_stale_list_is_served_while_tmdb_is_down(running: Running) -> None:
    request = movie_pb2.ListTrendingRequest()
    first = await running.stub.ListTrending(request)
    running.upstream.always = DOWN
    running.clock.turn(hours=20)
    assert await running.stub.ListTrending(request) == first
    await running.settled()
    running.clock.turn(hours=5)
    assert await refused(running.stub.ListTrending(request)) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")


async def test_a_page_token_is_good_for_its_own_list_only(running: Running) -> None:
    search = movie_pb2.SearchMoviesRequest(query="a", locale=GERMAN)
    token = (await running.stub.SearchMovies(search)).next_page_token
    assert token
    for request in (
        movie_pb2.SearchMoviesRequest(query="b", locale=GERMAN, page_token=token),
        movie_pb2.SearchMoviesRequest(query="a", year=1999, locale=GERMAN, page_token=token),
        movie_pb2.SearchMoviesRequest(query="a", page_token=token),
        movie_pb2.SearchMoviesRequest(query="a", locale=GERMAN, page_token=token[:-1]),
    ):
        assert await bad_fields(running.stub.SearchMovies(request)) == ["page_token"]
    trending = movie_pb2.ListTrendingRequest(locale=GERMAN, page_token=token)
    assert await bad_fields(running.stub.ListTrending(trending)) == ["page_token"]


# Discover, genres, providers

EVERYTHING = movie_pb2.MovieFilter(
    genre_ids=[35, 18, 35],
    year_from=1990,
    year_to=1999,
    max_runtime_minutes=100,
    min_rating=7.5,
    provider_ids=[9, 8],
    original_language="ZH",
)


async def test_a_filter_reaches_tmdb_in_its_own_words(running: Running) -> None:
    await running.stub.DiscoverMovies(movie_pb2.DiscoverMoviesRequest(filter=EVERYTHING, locale=GERMAN))
    asked = running.upstream.asked[0]
    assert asked.path == "/3/discover/movie"
    assert {name: value for name, value in asked.query.items() if name != "api_key"} == {
        "with_genres": "18,35",
        "primary_release_date.gte": "1990-01-01",
        "primary_release_date.lte": "1999-12-31",
        "with_runtime.gte": "1",
        "with_runtime.lte": "100",
        "vote_average.gte": "7.5",
        "vote_count.gte": "50",
        "with_watch_providers": "8|9",
        "watch_region": "DE",
        "with_original_language": "zh|cn",
        "sort_by": "popularity.desc",
        "include_adult": "false",
        "include_video": "false",
        "language": "de-DE",
        "page": "1",
    }


async def test_without_a_filter_it_is_what_is_popular_everywhere(running: Running) -> None:
    for region in ("DE", "FR"):
        locale = movie_pb2.Locale(languages=["de-DE"], region=region)
        answer = await running.stub.DiscoverMovies(movie_pb2.DiscoverMoviesRequest(locale=locale))
        assert len(answer.movies) == 20
    assert running.upstream.asked_for("/3/discover/movie") == 1
    assert not {name for name in running.upstream.asked[0].query if name.startswith(("with_", "watch_"))}


async def test_discovered_films_page_likewise_and_are_cached(running: Running) -> None:
    for _ in range(2):
        found: list[int] = []
        token, pages = "", 0
        while pages == 0 or token:
            answer = await running.stub.DiscoverMovies(
                movie_pb2.DiscoverMoviesRequest(filter=EVERYTHING, page_size=7, page_token=token)
            )
            assert answer.total_size == 45
            found += [movie.id for movie in answer.movies]
            token, pages = answer.next_page_token, pages + 1
        assert found == list(range(1, 46))
    assert running.upstream.asked_for("/3/discover/movie") == 3


async def test_a_page_of_one_filter_is_none_of_another(running: Running) -> None:
    first = movie_pb2.MovieFilter(genre_ids=[35, 18], provider_ids=[9, 8], original_language="de")
    same = movie_pb2.MovieFilter(genre_ids=[18, 35, 35], provider_ids=[8, 9], original_language="DE")
    other = movie_pb2.MovieFilter(genre_ids=[18], provider_ids=[8, 9], original_language="de")
    request = movie_pb2.DiscoverMoviesRequest(filter=first, locale=GERMAN)
    token = (await running.stub.DiscoverMovies(request)).next_page_token
    going_on = movie_pb2.DiscoverMoviesRequest(filter=same, locale=GERMAN, page_token=token)
    assert (await running.stub.DiscoverMovies(going_on)).movies[0].id == 21
    astray = movie_pb2.DiscoverMoviesRequest(filter=other, locale=GERMAN, page_token=token)
    assert await bad_fields(running.stub.DiscoverMovies(astray)) == ["page_token"]


async def test_genres_stand_by_name_in_the_reader_s_language(running: Running) -> None:
    running.upstream.answers = {
        "/genre/movie/list": lambda _: Reply.of(
            {"genres": [{"id": 3, "name": "Zz"}, {"id": 2, "name": "Épouvante"}, {"id": 1, "name": "film"}]}
        )
    }
    request = movie_pb2.ListGenresRequest(locale=GERMAN)
    answer = await running.stub.ListGenres(request)
    assert await running.stub.ListGenres(request) == answer
    assert [genre.name for genre in answer.genres] == ["Épouvante", "film", "Zz"]
    assert (answer.attribution.tmdb != "", answer.attribution.justwatch) == (True, "")
    assert len(running.upstream.asked) == 1


async def test_genres_that_have_no_names_in_a_language_come_in_the_next_and_at_last_in_english(
    running: Running,
) -> None:
    def named_in_german_and_english(asked: Asked) -> Reply:
        names = {"de-DE": "Komödie", "en-US": "Comedy"}
        return Reply.of({"genres": [{"id": 35, "name": names.get(asked.query["language"])}]})

    running.upstream.answers = {"/genre/movie/list": named_in_german_and_english}
    for languages, name in ((["gsw", "de"], "Komödie"), (["gsw"], "Comedy")):
        locale = movie_pb2.Locale(languages=languages)
        for _ in range(2):
            answer = await running.stub.ListGenres(movie_pb2.ListGenresRequest(locale=locale))
            assert [genre.name for genre in answer.genres] == [name]
    assert len(running.upstream.asked) == 3


async def test_providers_stand_in_the_region_s_order_with_justwatch_s_credit(running: Running) -> None:
    request = movie_pb2.ListWatchProvidersRequest(locale=GERMAN)
    answer = await running.stub.ListWatchProviders(request)
    assert await running.stub.ListWatchProviders(request) == answer
    assert [provider.id for provider in answer.providers] == [2, 8, 9]
    assert answer.providers[0].name == "Provider 2"
    assert answer.providers[0].logo_url == "https://pictures.example/t/p/w92/2.jpg"
    assert "JustWatch" in answer.attribution.justwatch
    assert [asked.query["watch_region"] for asked in running.upstream.asked] == ["DE"]
    elsewhere = await running.stub.ListWatchProviders(movie_pb2.ListWatchProvidersRequest())
    assert [provider.id for provider in elsewhere.providers] == [9, 8, 2]


async def test_a_region_without_providers_has_an_empty_list(running: Running) -> None:
    running.upstream.answers = {"/watch/providers/movie": lambda _: Reply.of({"results": []})}
    answer = await running.stub.ListWatchProviders(movie_pb2.ListWatchProvidersRequest())
    assert (list(answer.providers), answer.attribution.justwatch) == ([], "")


# Bad input


async def bad_fields(call: Awaitable[Any]) -> list[str]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    status = status_of(raised.value)
    assert status is not None
    assert reason_of(status) == "INVALID_INPUT"
    bad_request = error_details_pb2.BadRequest()
    [detail] = [detail for detail in status.details if detail.Is(bad_request.DESCRIPTOR)]
    detail.Unpack(bad_request)
    return [violation.field for violation in bad_request.field_violations]


BAD_LOCALE = movie_pb2.Locale(languages=["de", "d", "not a tag"], region="Germany")
BAD_LOCALE_FIELDS = ["locale.languages[1]", "locale.languages[2]", "locale.region"]


@pytest.mark.parametrize(
    ("method", "request_", "fields"),
    [
        ("GetMovie", movie_pb2.GetMovieRequest(), ["movie_id"]),
        ("GetMovie", get(-1), ["movie_id"]),
        ("GetMovie", movie_pb2.GetMovieRequest(locale=BAD_LOCALE), ["movie_id", *BAD_LOCALE_FIELDS]),
        ("GetMovie", get(1, *["de"] * 11), ["locale.languages"]),
        ("GetMovie", get(1, "de\n"), ["locale.languages[0]"]),
        ("GetMovie", get(1, region="D1"), ["locale.region"]),
        ("BatchGetMovies", movie_pb2.BatchGetMoviesRequest(), ["movie_ids"]),
        ("BatchGetMovies", movie_pb2.BatchGetMoviesRequest(movie_ids=range(1, 502)), ["movie_ids"]),
        (
            "BatchGetMovies",
            movie_pb2.BatchGetMoviesRequest(movie_ids=[1, 0, -5], locale=BAD_LOCALE),
            ["movie_ids[1]", "movie_ids[2]", *BAD_LOCALE_FIELDS],
        ),
        (
            "SearchMovies",
            movie_pb2.SearchMoviesRequest(year=1869, page_size=-1, page_token="?", locale=BAD_LOCALE),
            ["query", "year", "page_size", *BAD_LOCALE_FIELDS, "page_token"],
        ),
        ("SearchMovies", movie_pb2.SearchMoviesRequest(query="  "), ["query"]),
        ("SearchMovies", movie_pb2.SearchMoviesRequest(query="a" * 201), ["query"]),
        ("SearchMovies", movie_pb2.SearchMoviesRequest(query="a\x00b"), ["query"]),
        ("SearchMovies", movie_pb2.SearchMoviesRequest(query="a\nb"), ["query"]),
        ("SearchMovies", movie_pb2.SearchMoviesRequest(query="a", year=2201), ["year"]),
        (
            "ListTrending",
            movie_pb2.ListTrendingRequest(page_size=-1, page_token="forged", locale=BAD_LOCALE),
            ["page_size", *BAD_LOCALE_FIELDS, "page_token"],
        ),
        (
            "DiscoverMovies",
            movie_pb2.DiscoverMoviesRequest(
                filter=movie_pb2.MovieFilter(
                    genre_ids=[18, 0, -1],
                    year_from=1869,
                    year_to=2201,
                    max_runtime_minutes=-1,
                    min_rating=float("nan"),
                    provider_ids=[-8],
                    original_language="german",
                ),
                page_size=-1,
                page_token="?",
                locale=BAD_LOCALE,
            ),
            [
                *("filter.year_from", "filter.year_to", "filter.max_runtime_minutes", "filter.min_rating"),
                *("filter.original_language", "filter.genre_ids[1]", "filter.genre_ids[2]"),
                *("filter.provider_ids[0]", "page_size", *BAD_LOCALE_FIELDS, "page_token"),
            ],
        ),
        (
            "DiscoverMovies",
            movie_pb2.DiscoverMoviesRequest(
                filter=movie_pb2.MovieFilter(
                    genre_ids=range(1, 12),
                    year_from=2000,
                    year_to=1999,
                    min_rating=10.1,
                    provider_ids=range(1, 22),
                )
            ),
            ["filter.year_to", "filter.min_rating", "filter.genre_ids", "filter.provider_ids"],
        ),
        ("ListGenres", movie_pb2.ListGenresRequest(locale=BAD_LOCALE), BAD_LOCALE_FIELDS),
        ("ListWatchProviders", movie_pb2.ListWatchProvidersRequest(locale=BAD_LOCALE), BAD_LOCALE_FIELDS),
    ],
)
async def test_every_bad_field_is_named_at_once_and_costs_nothing(
    running: Running, method: str, request_: Any, fields: list[str]
) -> None:
    assert await bad_fields(getattr(running.stub, method)(request_)) == fields
    assert running.upstream.asked == []


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("GetMovie", get(2**31 - 1, "DE-de", region="de")),
        ("SearchMovies", movie_pb2.SearchMoviesRequest(query="é" * 200, year=1870, page_size=2**31 - 1)),
        ("SearchMovies", movie_pb2.SearchMoviesRequest(query="a", year=2200)),
        ("BatchGetMovies", movie_pb2.BatchGetMoviesRequest(movie_ids=[1] * 500)),
        (
            "DiscoverMovies",
            movie_pb2.DiscoverMoviesRequest(
                filter=movie_pb2.MovieFilter(
                    genre_ids=range(1, 11),
                    year_from=1870,
                    year_to=1870,
                    max_runtime_minutes=2**31 - 1,
                    min_rating=10,
                    provider_ids=range(1, 21),
                )
            ),
        ),
    ],
)
async def test_what_is_just_allowed_is_allowed(running: Running, method: str, request_: Any) -> None:
    assert await getattr(running.stub, method)(request_)


# MongoDB goes away


async def test_without_a_store_films_come_from_memory_and_from_tmdb_and_it_recovers(
    upstream: Upstream, clock: TurnedClock, tmp_path: Path
) -> None:
    server = Mongo(tmp_path / "mongo")
    server.start()
    try:
        async with running_service(upstream, clock, server.url) as running:
            await running.stub.GetMovie(get(1))
            server.kill()
            upstream.always = DOWN
            assert (await running.stub.GetMovie(get(1))).movie.id == 1
            upstream.always = None
            began = time.monotonic()
            assert (await running.stub.GetMovie(get(2))).movie.id == 2
            assert time.monotonic() - began < 2
            began = time.monotonic()
            for movie_id in range(3, 13):
                assert (await running.stub.GetMovie(get(movie_id))).movie.id == movie_id
            assert time.monotonic() - began < 2
            upstream.always = DOWN
            assert await refused(running.stub.GetMovie(get(99))) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
            upstream.always = None

            server.start()
            async with another_replica(running) as replica:
                ids = iter(range(100, 1000))

                async def shared_again() -> bool:
                    movie_id = next(ids)
                    await running.stub.GetMovie(get(movie_id))
                    await running.settled()
                    before = len(upstream.asked)
                    await replica.stub.GetMovie(get(movie_id))
                    return len(upstream.asked) == before

                await until(shared_again)
    finally:
        server.stop()


async def test_patience_ends_before_the_contract_s_three_seconds() -> None:
    assert PATIENCE_SECONDS < 3
