"""What the rooms hold about a person: all of it for themselves, none of it once they are gone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from google.protobuf import json_format
from redis.asyncio import Redis

from game_svc.tests.friends import Friend, Replica, replica, scripted_movies
from popcorn.game.v1 import game_pb2, people_pb2


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def replicas(redis_url: str) -> AsyncIterator[tuple[Replica, Replica]]:
    async with (
        scripted_movies() as (_, target),
        replica(redis_url, target) as first,
        replica(redis_url, target) as second,
    ):
        yield first, second


async def everything_in(redis_url: str) -> str:
    """All keys and values of a Redis, as one text."""
    async with Redis.from_url(redis_url) as redis:
        kept: list[object] = []
        async for key in redis.scan_iter():
            match await redis.type(key):
                case b"stream":
                    kept += [key, await redis.xrange(key)]
                case b"hash":
                    kept += [key, await redis.hgetall(key)]
                case b"zset":
                    kept += [key, await redis.zrange(key, 0, -1)]
                case b"set":
                    kept += [key, await redis.smembers(key)]
                case _:
                    kept += [key, await redis.get(key)]
        return repr(kept)


async def exported(where: Replica, user_id: str) -> list[dict[str, object]]:
    answer = await where.people.ExportUser(people_pb2.ExportUserRequest(user_id=user_id))
    rooms: list[dict[str, object]] = json_format.MessageToDict(answer.data)["rooms"]
    return rooms


async def test_an_erased_person_is_in_no_key_and_no_value_and_the_others_play_on(
    replicas: tuple[Replica, Replica], redis_url: str
) -> None:
    first, second = replicas
    ada, grace, linus = (Friend(name, where.stub) for name, where in zip(
        ("Ada Lovelace", "Grace Hopper", "Linus Torvalds"), (first, second, first), strict=True
    ))  # fmt: skip
    old_room = (await linus.create()).code
    await linus.leave(old_room)
    code = (await ada.create()).code
    await grace.join(code)
    await linus.join(code)
    await linus.pick(code, 11, 12)
    game = await ada.start(code)
    await ada.swipe(code, 11)
    await linus.swipe(code, 12)
    watching = grace.watch(code)
    await watching.first()
    assert linus.user_id in await everything_in(redis_url)

    # The other replica does it, twice.
    for rooms in (2, 0):
        answer = await second.people.EraseUser(people_pb2.EraseUserRequest(user_id=linus.user_id))
        assert answer.erased_rooms == rooms
    kept = await everything_in(redis_url)
    assert linus.user_id not in kept
    assert linus.name not in kept
    assert (await watching.until_event("erased")).erased.player_id == "p3"
    assert await exported(first, linus.user_id) == []

    await grace.swipe(code, 11)
    assert (await watching.until_event("match")).match.movie_id == 11
    async with scripted_movies() as (_, target), replica(redis_url, target) as newcomer:
        again = await grace.on(newcomer).game(code)
        assert again == await grace.game(code), "a replica that reads the log anew sees the same room"
        assert [match.movie_id for match in again.matches] == [11]
    assert game.epoch == again.epoch
    with pytest.raises(grpc.aio.AioRpcError) as gone:
        await linus.game(code)
    assert gone.value.code() is grpc.StatusCode.NOT_FOUND
    watching.close()


async def test_an_export_holds_a_persons_own_part_and_nothing_of_the_others(
    replicas: tuple[Replica, Replica],
) -> None:
    first, second = replicas
    ada, grace = Friend("Ada", first.stub), Friend("Grace", second.stub)
    code = (await ada.create()).code
    await grace.join(code)
    await ada.pick(code, 21, 22)
    await grace.pick(code, 23)
    await ada.start(code)
    await ada.swipe(code, 23, game_pb2.VERDICT_SUPERLIKE)
    await grace.swipe(code, 21, game_pb2.VERDICT_PASS)
    (room,) = await exported(second, ada.user_id)
    assert (room["code"], room["playerId"], room["displayName"]) == (code, "p1", "Ada")
    assert room["picks"] == [21, 22]
    assert room["swipes"] == [{"movieId": 23, "verdict": "VERDICT_SUPERLIKE"}]


async def test_erasing_needs_somebody(replicas: tuple[Replica, Replica]) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as nobody:
        await replicas[0].people.EraseUser(people_pb2.EraseUserRequest(user_id=""))
    assert nobody.value.code() is grpc.StatusCode.INVALID_ARGUMENT
