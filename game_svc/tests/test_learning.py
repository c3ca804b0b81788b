"""What one evening teaches the next: through a real server and a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from google.protobuf import json_format
from redis.asyncio import Redis

from game_svc.tests.friends import Friend, Replica, replica, scripted_movies
from popcorn.game.v1 import game_pb2, people_pb2

LOVED, PASSED, NEW = 450, 250, 350
"""Films that are rated alike: the scripted movie_svc goes by the last two digits."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def game_svc(redis_url: str) -> AsyncIterator[Replica]:
    async with scripted_movies() as (_, target), replica(redis_url, target) as one:
        yield one


async def taste_of(where: Replica, somebody: Friend) -> list[dict[str, Any]]:
    answer = await where.people.ExportUser(people_pb2.ExportUserRequest(user_id=somebody.user_id))
    taste: list[dict[str, Any]] = json_format.MessageToDict(answer.data)["taste"]
    return taste


async def room_of(*friends: Friend, picks: tuple[int, ...]) -> str:
    host, *others = friends
    code = (await host.create()).code
    for other in others:
        await other.join(code)
    await host.pick(code, *picks)
    await host.start(code)
    return code


async def cards_of(somebody: Friend, code: str) -> list[int]:
    request = game_pb2.GetDeckRequest(code=code, page_size=10)
    deck = await somebody.stub.GetDeck(request, metadata=somebody.metadata)
    return [card.movie_id for card in deck.cards]


async def test_what_was_liked_on_one_evening_comes_early_on_the_next_and_is_forgotten_with_the_person(
    game_svc: Replica, redis_url: str
) -> None:
    ada, grace = Friend("Ada", game_svc.stub), Friend("Grace", game_svc.stub)
    code = await room_of(ada, grace, picks=(PASSED, LOVED))
    assert await cards_of(ada, code) == [PASSED, LOVED], "rated alike, and picked in this order"
    for friend in (ada, grace):
        await friend.swipe(code, PASSED, game_pb2.VERDICT_PASS)
        await friend.swipe(code, LOVED, game_pb2.VERDICT_LIKE)
    assert await taste_of(game_svc, ada) == [], "an evening counts once it is over"
    for friend in (ada, grace):
        await friend.leave(code)
    async with asyncio.timeout(30):
        while not await taste_of(game_svc, ada):  # noqa: ASYNC110 - the archive tells nobody when it is done
            await asyncio.sleep(0.05)
    assert await taste_of(game_svc, ada) == [{"genreId": 0, "swipes": 2, "likes": 1}]

    linus = Friend("Linus", game_svc.stub)
    code = await room_of(linus, ada, picks=(PASSED, NEW, LOVED))
    assert await cards_of(linus, code) == [LOVED, NEW, PASSED]

    await game_svc.people.EraseUser(people_pb2.EraseUserRequest(user_id=ada.user_id))
    assert await taste_of(game_svc, ada) == []
    assert await taste_of(game_svc, grace) != []
    async with Redis.from_url(redis_url) as redis:
        assert not [key async for key in redis.scan_iter(f"*{ada.user_id}*")]


async def test_a_film_that_several_have_picked_comes_before_one_that_is_rated_better(
    game_svc: Replica,
) -> None:
    ada, grace = Friend("Ada", game_svc.stub), Friend("Grace", game_svc.stub)
    code = (await ada.create()).code
    await grace.join(code)
    await ada.pick(code, 562, 565)
    await grace.pick(code, 562)
    await ada.start(code)
    assert await cards_of(ada, code) == [562, 565]
