"""Facts about films: there soon after their first entry, fresh ever after, and asked for once."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from backlog_svc.entries import Draft
from backlog_svc.film_store import FilmStore
from backlog_svc.films import FRESH, KEPT, MISSING_FRESH, FilmFacts, View, pause_after
from backlog_svc.migrate import FOLDER, SCHEMA
from backlog_svc.movies import Movies
from backlog_svc.refreshing import BATCH, LEASE, Refreshing
from backlog_svc.store import EntryStore
from backlog_svc.tests.conftest import SetClock
from backlog_svc.tests.movie_service import ScriptedMovies, scripted_movies, serving
from mesh.background import running_in_background
from mesh.migrations import migrate
from mesh.postgres import Database
from popcorn.movie.v1 import movie_pb2

NOW = datetime(2026, 11, 21, 20, 15, tzinfo=UTC)
ADA = "ada"
ALIEN = movie_pb2.Movie(
    id=348,
    title="Alien",
    original_title="Älien",
    genres=[movie_pb2.Genre(id=27), movie_pb2.Genre(id=878)],
    popularity=80.5,
    runtime_minutes=117,
)
ALIEN.release_date.year, ALIEN.release_date.month, ALIEN.release_date.day = 1979, 5, 25


@pytest.fixture
async def database(new_database: Callable[[], str]) -> AsyncIterator[Database]:
    """A database of the test's own: what is due is due for everybody."""
    url = new_database()
    await migrate(url, schema=SCHEMA, folder=FOLDER)
    database = Database(url, application="tests")
    await database.start()
    yield database
    await database.close()


@pytest.fixture
def scripted() -> ScriptedMovies:
    return scripted_movies({348: ALIEN})


@pytest.fixture
async def movies(scripted: ScriptedMovies) -> AsyncIterator[Movies]:
    async with serving(scripted) as movies:
        yield movies


@pytest.fixture
def clock() -> SetClock:
    return SetClock(NOW)


@pytest.fixture
def refreshing(database: Database, movies: Movies, clock: SetClock) -> Refreshing:
    return Refreshing(FilmStore(database), movies, clock=clock)


async def add(database: Database, *movie_ids: int) -> None:
    for movie_id in movie_ids:
        await EntryStore(database).put(ADA, Draft(movie_id=movie_id), now=NOW)


async def row(database: Database, movie_id: int) -> Any:
    return await database.fetchrow("SELECT * FROM backlog.films WHERE movie_id = $1", movie_id)


async def test_a_new_entrys_film_gets_its_facts(
    database: Database, scripted: ScriptedMovies, refreshing: Refreshing
) -> None:
    await add(database, 348)
    await refreshing.round()
    alien = await row(database, 348)
    assert (alien["title"], alien["original_title"]) == ("Alien", "Älien")
    assert (alien["release_date"], alien["runtime_minutes"]) == (date(1979, 5, 25), 117)
    assert (alien["genre_ids"], alien["popularity"], alien["missing"]) == ([27, 878], 80.5, False)
    assert alien["refresh_time"] == NOW
    assert (alien["folded_titles"], alien["sort_title"]) == ("alien\nalien", "alien")
    assert scripted.asked == [movie_pb2.BatchGetMoviesRequest(movie_ids=[348], locale=movie_pb2.Locale())]


async def test_a_film_with_strange_facts_does_not_keep_others_from_theirs(
    database: Database, scripted: ScriptedMovies, refreshing: Refreshing
) -> None:
    strange = movie_pb2.Movie(
        id=11, title="a\x00b", original_title="\x00", popularity=math.nan, runtime_minutes=-5
    )
    strange.release_date.year, strange.release_date.month = 1999, 13
    scripted.films[11] = strange
    await add(database, 11, 348)
    await refreshing.round()
    kept = await row(database, 11)
    assert (kept["title"], kept["original_title"], kept["popularity"]) == ("ab", "", None)
    assert (kept["release_date"], kept["runtime_minutes"]) == (None, None)
    assert (await row(database, 348))["title"] == "Alien"


async def test_running_it_fetches_what_comes_in(
    database: Database, scripted: ScriptedMovies, refreshing: Refreshing
) -> None:
    async with running_in_background(refreshing.run(), name="refreshing"):
        await add(database, *range(1, 61))
        async with asyncio.timeout(20):
            while await database.fetchval("SELECT count(*) FROM backlog.films WHERE title IS NULL"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    assert sorted(scripted.asked_for) == list(range(1, 61))
    assert max(len(request.movie_ids) for request in scripted.asked) <= BATCH


async def test_facts_are_asked_for_again_when_they_are_old_and_not_before(
    database: Database, scripted: ScriptedMovies, refreshing: Refreshing, clock: SetClock
) -> None:
    await add(database, 348, 900_001)
    await refreshing.round()
    assert (await row(database, 900_001))["missing"]
    clock.now = NOW + FRESH - timedelta(days=1, seconds=1)
    await refreshing.round()
    assert scripted.asked_for == [348, 900_001] or scripted.asked_for == [900_001, 348]
    scripted.films[348] = movie_pb2.Movie(id=348, title="Alien", popularity=99)
    clock.now = NOW + FRESH
    await refreshing.round()
    assert scripted.asked_for[2:] == [348]
    alien = await row(database, 348)
    assert (alien["popularity"], alien["runtime_minutes"], alien["release_date"]) == (99, None, None)
    clock.now = NOW + MISSING_FRESH
    await refreshing.round()
    assert sorted(scripted.asked_for[3:]) == [348, 900_001]


async def test_what_movie_svc_cannot_give_is_tried_again_less_and_less_often(
    database: Database, scripted: ScriptedMovies, refreshing: Refreshing, clock: SetClock
) -> None:
    await add(database, 348, 11)
    scripted.unavailable = {11}
    for attempt in range(1, 9):
        await refreshing.round()
        clock.now += pause_after(attempt) - timedelta(seconds=0.5)
        await refreshing.round()
        assert scripted.asked_for.count(11) == attempt
        clock.now += timedelta(seconds=0.5)
    scripted.unavailable = set()
    await refreshing.round()
    eleven = await row(database, 11)
    assert (eleven["title"], eleven["attempts"]) == ("Film 11", 0)
    assert scripted.asked_for.count(348) == 1


async def test_without_movie_svc_nothing_is_lost(
    database: Database, scripted: ScriptedMovies, refreshing: Refreshing, clock: SetClock
) -> None:
    await add(database, 348)
    scripted.away = True
    assert not await refreshing.round()
    assert (await row(database, 348))["title"] is None
    scripted.away = False
    clock.advance(seconds=1)
    await refreshing.round()
    assert (await row(database, 348))["title"] == "Alien"


async def test_replicas_share_the_work_and_do_none_of_it_twice(
    database: Database, scripted: ScriptedMovies, movies: Movies, clock: SetClock
) -> None:
    await add(database, *range(1, 201))
    scripted.seconds = 0.02
    replicas = [Refreshing(FilmStore(database), movies, clock=clock) for _ in range(4)]

    async def work(replica: Refreshing) -> None:
        while await replica.round():
            pass

    await asyncio.gather(*map(work, replicas))
    for replica in replicas:
        await work(replica)
    assert sorted(scripted.asked_for) == list(range(1, 201))


async def test_what_a_crash_leaves_is_taken_again_when_its_lease_ends(database: Database) -> None:
    store = FilmStore(database)
    await add(database, 348)
    assert await store.take(now=NOW, lease_until=NOW + LEASE, most=10) == {348: 1}
    assert await store.take(now=NOW + LEASE / 2, lease_until=NOW + LEASE * 2, most=10) == {}
    assert await store.take(now=NOW + LEASE, lease_until=NOW + LEASE * 2, most=10) == {348: 2}


async def test_titles_and_providers_nobody_asks_about_are_given_up(database: Database) -> None:
    store = FilmStore(database)
    view = View(languages=("de",), region="DE")
    await store.write_view([FilmFacts(movie_id=1, title="Eins", provider_ids=(8,))], view, now=NOW)
    await store.write_view([FilmFacts(movie_id=2, title="Zwei")], view, now=NOW + timedelta(days=1))
    await store.sweep(now=NOW + KEPT + timedelta(seconds=1))
    for table in ("film_titles", "film_providers"):
        left = await database.fetch(f"SELECT movie_id FROM backlog.{table}")
        assert [one["movie_id"] for one in left] == [2], table


async def test_an_entry_written_by_any_statement_makes_its_film_known(database: Database) -> None:
    await database.execute("""
        INSERT INTO backlog.entries
        SELECT 'user-' || reader, film, 'dropped', '', NULL, '{}', now(), now(), NULL, 'import'
        FROM generate_series(1, 3) AS reader, generate_series(1, 20) AS film
    """)
    found = await database.fetch("SELECT movie_id FROM backlog.films ORDER BY movie_id")
    assert [one["movie_id"] for one in found] == list(range(1, 21))


@pytest.mark.parametrize(
    ("words", "folded"),
    [
        ("Amélie", "amelie"),
        ("STRASSE Straße ẞ", "strasse strasse ss"),
        ("Łódź Ødegård Æon Œuvre", "lodz odegard aeon oeuvre"),
        ("İstanbul \u0131s\u0131", "istanbul isi"),
        ("Σίσυφος", "σισυφοσ"),
        ("ﬁn Ⅷ", "fin viii"),
        ("Ёлки", "елки"),
        ("千と千尋 が", "千と千尋 か\u3099"),
        ("100%_\\", "100%_\\"),
        ("", ""),
    ],
)
async def test_texts_are_folded_as_people_compare_them(database: Database, words: str, folded: str) -> None:
    assert await database.fetchval("SELECT backlog.fold($1)", words) == folded
