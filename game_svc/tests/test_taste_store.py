"""What is remembered of finished games, in a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest_asyncio
from redis.asyncio import Redis

from game_svc.redis_link import RedisLink
from game_svc.state import EVERY_GENRE, Tally
from game_svc.taste import Lessons
from game_svc.taste_store import LEARNT_LIFE, LIFE, TasteStore

HORROR = 27


@pytest_asyncio.fixture(loop_scope="session")
async def store(redis_url: str) -> AsyncIterator[TasteStore]:
    async with Redis.from_url(redis_url) as redis:
        async for key in redis.scan_iter("taste:*"):
            await redis.delete(key)
    link = RedisLink(redis_url)
    yield TasteStore(link)
    await link.close()


def evening(user_id: str, film: int = 7) -> Lessons:
    own = {EVERY_GENRE: Tally(3, 2), HORROR: Tally(1, 1)}
    return Lessons(films={film: Tally(3, 2)}, genres=own, people={user_id: own})


async def test_nothing_is_known_on_the_first_evening(store: TasteStore) -> None:
    known = await store.known([7, 8], ["ada", "grace"])
    assert (known.films, known.genres, known.people) == ({}, {}, [{}, {}])


async def test_what_games_teach_adds_up_for_everybody_and_for_each(store: TasteStore) -> None:
    assert await store.learn("one", evening("ada"))
    assert await store.learn("two", evening("grace"))
    known = await store.known([7, 8], ["ada", "linus"])
    assert known.films == {7: Tally(6, 4)}
    assert known.genres == {EVERY_GENRE: Tally(6, 4), HORROR: Tally(2, 2)}
    assert known.people == [{EVERY_GENRE: Tally(3, 2), HORROR: Tally(1, 1)}, {}]


async def test_a_game_is_counted_once_however_often_it_is_told(store: TasteStore) -> None:
    game = uuid4().hex
    assert await store.learn(game, evening("ada"))
    assert not await store.learn(game, evening("ada"))
    assert (await store.known([7], [])).films == {7: Tally(3, 2)}


async def test_a_person_is_forgotten_and_what_everybody_likes_is_not(
    store: TasteStore, redis_url: str
) -> None:
    await store.learn("one", evening("ada"))
    await store.forget("ada")
    assert await store.of_person("ada") == {}
    assert (await store.known([7], [])).films == {7: Tally(3, 2)}
    async with Redis.from_url(redis_url) as redis:
        assert not [key async for key in redis.scan_iter("*{ada}*")]


async def test_nothing_is_kept_for_ever(store: TasteStore, redis_url: str) -> None:
    await store.learn("one", evening("ada"))
    async with Redis.from_url(redis_url) as redis:
        lives = {key: await redis.ttl(key) async for key in redis.scan_iter("taste:*")}
    assert len(lives) == 4
    longest = max(LIFE, LEARNT_LIFE).total_seconds()
    assert all(0 < life <= longest for life in lives.values())
