"""Films that TMDB says have changed."""

import asyncio

import pytest

from movie_svc.shelf import StoreUnavailable
from movie_svc.tests.conftest import Running
from movie_svc.tests.test_service import another_replica, get
from movie_svc.tests.upstream import Asked, Reply, film

CHANGES = "/3/movie/changes"


@pytest.fixture
def changed(running: Running) -> list[int]:
    """The films on the list, three a page; 6 is the most popular."""
    ids: list[int] = []

    def page(asked: Asked) -> Reply:
        first = (int(asked.query["page"]) - 1) * 3
        rows = [{"id": movie_id, "adult": None} for movie_id in ids[first : first + 3]]
        return Reply.of({"results": [*rows, {"id": None}], "total_pages": -(-len(ids) // 3)})

    running.upstream.answers["/movie/changes"] = page
    running.upstream.answers["/movie/6"] = lambda _: Reply.of(film(6, popularity=1000))
    return ids


def fetched(running: Running) -> list[int]:
    """Which films were asked for since the last time."""
    paths = [asked.path.removeprefix("/3/movie/") for asked in running.upstream.asked]
    running.upstream.asked.clear()
    return [int(path) for path in paths if path.isdigit()]


async def cache(running: Running, *movie_ids: int) -> None:
    for movie_id in movie_ids:
        await running.stub.GetMovie(get(movie_id, "de", region="DE"))
    await running.settled()
    running.upstream.asked.clear()


async def test_changed_films_are_renewed_in_every_variant_and_the_popular_ones_first(
    running: Running, changed: list[int]
) -> None:
    await cache(running, 1, 2, 6)
    await running.stub.GetMovie(get(2, "fr", region="FR"))
    await running.settled()
    running.upstream.asked.clear()
    changed += [7, 8, 9, 6, 2]
    running.clock.turn(hours=1)
    assert await running.changes.look()
    assert running.upstream.asked_for(CHANGES) == 2
    assert fetched(running) == [6, 2, 2]
    await running.settled()
    async with another_replica(running) as replica:
        for movie_id in (1, 2, 6):
            await replica.stub.GetMovie(get(movie_id, "de", region="DE"))
        await replica.settled()
    assert fetched(running) == []


async def test_a_changed_film_that_could_not_be_renewed_is_renewed_by_its_next_reader(
    running: Running, changed: list[int]
) -> None:
    await cache(running, 2)
    changed.append(2)
    running.clock.turn(hours=1)
    running.upstream.answers["/movie/2"] = lambda _: Reply(status=500)
    assert await running.changes.look()
    del running.upstream.answers["/movie/2"]
    running.upstream.asked.clear()
    async with another_replica(running) as replica:
        assert (await replica.stub.GetMovie(get(2, "de", region="DE"))).movie.id == 2
        await replica.settled()
    assert fetched(running) == [2]


async def test_what_stays_on_the_list_for_a_day_is_renewed_once(running: Running, changed: list[int]) -> None:
    await cache(running, 2)
    changed.append(2)
    renewals = 0
    for _ in range(23):
        running.clock.turn(hours=1)
        assert await running.changes.look()
        await running.settled()
        renewals += len(fetched(running))
    assert renewals == 1


async def test_a_second_change_within_a_day_is_not_missed(running: Running, changed: list[int]) -> None:
    changed.append(2)
    running.clock.turn(hours=1)
    assert await running.changes.look()
    await cache(running, 2)  # it changes again right after, so it stays on the list for another day
    renewals = 0
    for _ in range(24):
        running.clock.turn(hours=1)
        assert await running.changes.look()
        await running.settled()
        renewals += len(fetched(running))
    assert renewals == 1


async def test_a_film_fetched_after_the_start_is_not_renewed_for_what_changed_before(
    running: Running, changed: list[int]
) -> None:
    changed.append(2)
    following = asyncio.create_task(running.changes.follow())
    async with asyncio.timeout(10):
        while await running.changes._store.bookmark() is None:  # noqa: ASYNC110 - it has no events
            await asyncio.sleep(0.01)
    await cache(running, 2)
    running.clock.turn(hours=1)
    assert await running.changes.look()
    following.cancel()
    assert fetched(running) == []


async def test_one_replica_reads_the_list_for_all(running: Running, changed: list[int]) -> None:
    changed.append(2)
    async with another_replica(running) as replica:
        looks = await asyncio.gather(running.changes.look(), replica.changes.look())
        assert sorted(looks) == [False, True]
        running.clock.turn(minutes=59)
        assert not await replica.changes.look()
        running.clock.turn(minutes=1)
        assert await replica.changes.look()
    assert running.upstream.asked_for(CHANGES) == 2


async def test_when_tmdb_fails_another_try_is_made_and_nothing_is_missed(
    running: Running, changed: list[int]
) -> None:
    await cache(running, 2)
    changed.append(2)
    running.clock.turn(hours=1)
    running.upstream.always = Reply(status=500)
    assert not await running.changes.look()
    running.upstream.always = None
    async with another_replica(running) as replica:
        assert await replica.changes.look()
    assert fetched(running) == [2]


async def test_after_days_without_a_look_all_of_them_are_asked_for(
    running: Running, changed: list[int]
) -> None:
    changed.append(2)
    assert await running.changes.look()
    before = running.clock.now.date()
    running.clock.turn(days=5)
    assert await running.changes.look()
    running.clock.turn(days=40)
    assert await running.changes.look()
    first, second, third = (asked.query.get("start_date") for asked in running.upstream.asked)
    assert (first, second) == (None, before.isoformat())
    assert third is not None
    assert third > before.isoformat()


async def test_without_a_store_nothing_is_asked(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(**_: object) -> bool:
        raise StoreUnavailable

    monkeypatch.setattr(running.changes._store, "begin", away)
    assert not await running.changes.look()
    assert running.upstream.asked == []
