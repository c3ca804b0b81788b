"""From the ids and titles of other sites to TMDB's."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from mesh.errors import status_of
from movie_svc.external_ids import SURE, ExternalFilm, Resolved, decide, likeness, rank
from movie_svc.films import ListPage, Summary
from movie_svc.folding import foldings
from movie_svc.parsing import NoFilm, found_of
from movie_svc.tests.conftest import Running
from movie_svc.tests.upstream import Asked, Reply, film
from popcorn.movie.v1 import movie_pb2

External, Resolve = movie_pb2.ExternalMovie, movie_pb2.ResolveExternalIdsRequest


def row(
    movie_id: int, title: str, day: str, *, popularity: float = 10.0, original: str = ""
) -> dict[str, Any]:
    return {
        **{"id": movie_id, "title": title, "original_title": original or title, "original_language": "en"},
        **{"release_date": day, "popularity": popularity, "overview": "", "genre_ids": [18]},
    }


class Library:
    """A TMDB that finds what the words of a query are in, in a year if it is asked for one."""

    def __init__(self, running: Running, *rows: dict[str, Any]) -> None:
        self.rows = rows
        running.upstream.answers["/search/movie"] = self.search

    def search(self, asked: Asked) -> Reply:
        year = asked.query.get("primary_release_year", "")
        found = [
            one
            for one in self.rows
            if asked.query["query"] in f"{one['title']} {one['original_title']}".lower()
            and one["release_date"].startswith(year)
        ]
        return Reply.of({"results": found, "total_results": len(found)})


async def resolved(running: Running, *movies: movie_pb2.ExternalMovie) -> list[movie_pb2.ResolvedMovie]:
    return list((await running.stub.ResolveExternalIds(Resolve(movies=movies))).movies)


def searches(running: Running) -> list[dict[str, str]]:
    return [asked.query for asked in running.upstream.asked if asked.path == "/3/search/movie"]


async def test_an_imdb_id_that_tmdb_knows_is_certain(running: Running) -> None:
    running.upstream.answers["/find/tt0133093"] = lambda _: Reply.of(
        {"movie_results": [row(603, "The Matrix", "1999-03-30")], "tv_results": [{"id": 1}]}
    )
    [one] = await resolved(running, External(imdb_id="tt0133093", title="Something else", year=1950))
    assert (one.movie_id, one.confidence, list(one.candidates)) == (603, 1, [])
    [asked] = [asked for asked in running.upstream.asked if asked.path.startswith("/3/find/")]
    assert asked.query["external_source"] == "imdb_id"
    await resolved(running, External(imdb_id="tt0133093"))
    assert running.upstream.asked_for("/3/find/tt0133093") == 1


async def test_an_imdb_id_that_tmdb_does_not_know_gives_candidates_and_never_a_film(running: Running) -> None:
    running.upstream.answers["/find/tt0000001"] = lambda _: Reply.of({"movie_results": []})
    Library(running, row(603, "The Matrix", "1999-03-30"))
    known, unknown = await resolved(
        running, External(imdb_id="tt0000001", title="The Matrix", year=1999), External(imdb_id="tt0000001")
    )
    assert (known.movie_id, [movie.id for movie in known.candidates]) == (0, [603])
    assert (unknown.movie_id, unknown.confidence, list(unknown.candidates)) == (0, 0, [])


async def test_title_and_year_are_sure_and_the_order_stays(running: Running) -> None:
    Library(running, row(603, "The Matrix", "1999-03-30"), row(194, "Amélie", "2001-04-25"))
    films = await resolved(
        running,
        External(title="AMÉLIE", year=2001),
        External(title="Nowhere"),
        External(title="The Matrix", year=1999),
    )
    assert [one.movie_id for one in films] == [194, 0, 603]
    assert [one.confidence for one in films] == [1, 0, 1]


async def test_a_year_off_by_one_is_the_same_film(running: Running) -> None:
    Library(running, row(1, "Crash", "2005-05-06"))
    for year, confidence in ((2004, 0.9), (2006, 0.9), (2005, 1.0)):
        [one] = await resolved(running, External(title="Crash", year=year))
        assert one.movie_id == 1
        assert one.confidence == pytest.approx(confidence)
    [far] = await resolved(running, External(title="Crash", year=1996))
    assert far.movie_id == 0
    assert [movie.id for movie in far.candidates] == [1]


async def test_namesakes_leave_it_to_somebody_unless_one_is_far_better_known(running: Running) -> None:
    Library(
        running,
        row(1, "Twins", "1988-12-09", popularity=20),
        row(2, "Twins", "1988-01-01", popularity=15),
        row(3, "Drops", "2000-01-01", popularity=50),
        row(4, "Drops", "2000-06-01", popularity=0.5),
    )
    twins, drops = await resolved(
        running, External(title="Twins", year=1988), External(title="Drops", year=2000)
    )
    assert (twins.movie_id, [movie.id for movie in twins.candidates]) == (0, [1, 2])
    assert twins.candidates[0].title == "Twins"
    assert 0.5 < twins.confidence < SURE
    assert drops.movie_id == 3


async def test_a_title_that_the_cache_knows_in_another_language_counts(running: Running) -> None:
    running.upstream.answers["/movie/194"] = lambda _: Reply.of(film(194))
    await running.stub.GetMovie(movie_pb2.GetMovieRequest(movie_id=194))
    found = row(194, "Amélie", "2001-04-25", original="Le Fabuleux Destin d'Amélie Poulain")
    running.upstream.answers["/search/movie"] = lambda _: Reply.of({"results": [found], "total_results": 1})
    [one] = await resolved(running, External(title="Die fabelhafte Welt der Amelie", year=2001))
    assert (one.movie_id, one.confidence) == (194, 1)


async def test_one_film_costs_one_search_when_it_is_found_and_few_when_it_is_not(running: Running) -> None:
    Library(running, row(603, "The Matrix", "1999-03-30"))
    await resolved(running, External(title="The Matrix", year=1999))
    assert [search["primary_release_year"] for search in searches(running)] == ["1999"]
    await resolved(running, External(title="Nothing like it", year=1999))
    years = [search.get("primary_release_year") for search in searches(running)[1:]]
    assert years == ["1999", None, "1998", "2000"]


async def test_a_hundred_films_are_looked_for_few_at_a_time(running: Running) -> None:
    running.upstream.always = Reply(Reply.of({"results": [], "total_results": 0}).body, delay=0.01)
    films = await resolved(running, *(External(title=f"Film {number}") for number in range(100)))
    assert len(films) == 100
    assert 1 < running.upstream.most_in_the_air <= 16


async def test_when_tmdb_is_away_it_says_so_and_not_that_nothing_fits(running: Running) -> None:
    running.upstream.always = Reply(status=503)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await resolved(running, External(title="The Matrix"))
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_one_answer_that_cannot_be_read_costs_one_film(running: Running) -> None:
    Library(running, row(603, "The Matrix", "1999-03-30"))
    running.upstream.answers["/find/tt0000002"] = lambda _: Reply.of({"results": "none"})
    broken, fine = await resolved(
        running, External(imdb_id="tt0000002"), External(title="The Matrix", year=1999)
    )
    assert (broken.movie_id, fine.movie_id) == (0, 603)


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (Resolve(), {"movies"}),
        (Resolve(movies=[External(title="x")] * 101), {"movies"}),
        (Resolve(movies=[External()]), {"movies[0].title"}),
        (Resolve(movies=[External(title="x"), External(title=" ")]), {"movies[1].title"}),
        (Resolve(movies=[External(title="x" * 201)]), {"movies[0].title"}),
        (Resolve(movies=[External(title="a\x00b")]), {"movies[0].title"}),
        (Resolve(movies=[External(imdb_id="133093")]), {"movies[0].imdb_id"}),
        (Resolve(movies=[External(imdb_id="tt1/../x")]), {"movies[0].imdb_id"}),
        (Resolve(movies=[External(imdb_id="nm0000206")]), {"movies[0].imdb_id"}),
        (Resolve(movies=[External(title="x", year=1869)]), {"movies[0].year"}),
        (Resolve(movies=[External(title="x", year=-1)]), {"movies[0].year"}),
        (
            Resolve(
                movies=[External(imdb_id="?", title="\x01", year=1)], locale=movie_pb2.Locale(region="Mars")
            ),
            {"movies[0].imdb_id", "movies[0].title", "movies[0].year", "locale.region"},
        ),
    ],
)
async def test_bad_input_names_every_field_and_asks_nobody(
    running: Running, request_: movie_pb2.ResolveExternalIdsRequest, fields: set[str]
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await running.stub.ResolveExternalIds(request_)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    status, bad = status_of(raised.value), error_details_pb2.BadRequest()
    assert status is not None
    assert any(detail.Unpack(bad) for detail in status.details)
    assert {violation.field for violation in bad.field_violations} == fields
    assert running.upstream.asked == []


# The formula


def summary(movie_id: int, title: str, year: int | None, popularity: float = 1.0) -> Summary:
    day = None if year is None else date(year, 7, 1)
    return Summary(movie_id, title, title, "en", "", day, (), None, 0, popularity, "", "")


def fitting(film: ExternalFilm, *rows: Summary) -> Resolved:
    return decide(rank(film, [(row, foldings(row.title)) for row in rows]))


@pytest.mark.parametrize(
    ("year", "released", "confidence"),
    [
        (1999, 1999, 1.0),
        (1999, 2000, 0.9),
        (1999, 1997, 0.5),
        (1999, 2010, 0.2),
        (0, 1999, 0.8),
        (1999, None, 0.8),
    ],
)
def test_confidence_by_year(year: int, released: int | None, confidence: float) -> None:
    found = fitting(ExternalFilm("", "The Matrix", year), summary(1, "The Matrix", released))
    assert found.confidence == pytest.approx(confidence)
    assert (found.movie_id == 1) is (confidence >= SURE)


def test_likeness_is_of_letters_without_accents_and_case() -> None:
    assert likeness(foldings("AMELIE"), foldings("Amélie")) == 1
    assert likeness(foldings("Spiderman"), foldings("Spider-Man")) == 1
    assert 0.8 < likeness(foldings("The Lord of the Rings"), foldings("Lord of the Rings")) < 1
    assert likeness(foldings("Heat"), foldings("Up")) == 0
    assert likeness(foldings("!"), foldings("?")) < 1


def test_recorded_answers_of_find_are_read(shared_recordings: Path) -> None:
    page: ListPage = found_of(json.loads((shared_recordings / "find_tt10919380.json").read_bytes()))
    assert [row.id for row in page.rows if row] == [551804]
    assert page.total == 1


@pytest.mark.parametrize("answer", [None, [], {}, {"movie_results": None}, {"movie_results": {}}])
def test_what_is_no_answer_of_find_is_refused(answer: object) -> None:
    with pytest.raises(NoFilm):
        found_of(answer)


def test_series_and_people_are_no_films() -> None:
    assert found_of({"movie_results": [], "tv_results": [{"id": 1}], "person_results": [{}]}).rows == ()
