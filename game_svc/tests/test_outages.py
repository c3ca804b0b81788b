"""Redis dies in the middle of a game, and nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from dev.valkey import Valkey
from game_svc.tests.friends import Friend, Replica, replica, scripted_movies
from mesh.errors import reason_of, status_of
from popcorn.game.v1 import game_pb2

KILLS = 3
MOVIES = range(1, 101)


@pytest.fixture
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("mortal-valkey"))
    server.start()
    yield server
    server.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def replicas(redis: Valkey) -> AsyncIterator[tuple[Replica, Replica]]:
    async with (
        scripted_movies() as (_, target),
        replica(redis.url, target) as first,
        replica(redis.url, target) as second,
    ):
        yield first, second


async def swipe_until_taken(friend: Friend, code: str, movie_id: int) -> int:
    """Swipe as a phone with bad Wi-Fi does: again and again with one id. Returns the event's number."""
    while True:
        try:
            return (await friend.swipe(code, movie_id, swipe_id=f"{friend.name}-{movie_id}")).seq
        except grpc.aio.AioRpcError as error:
            status = status_of(error)
            if status is None or reason_of(status) != "DEPENDENCY_UNAVAILABLE":
                raise
            await asyncio.sleep(0.05)


async def test_no_acknowledged_swipe_is_lost_and_none_counts_twice_when_redis_is_killed(
    redis: Valkey, replicas: tuple[Replica, Replica]
) -> None:
    ada, grace = Friend("ada", replicas[0].stub), Friend("grace", replicas[1].stub)
    code = (await ada.create()).code
    await grace.join(code)
    await ada.pick(code, *MOVIES)
    await ada.start(code)
    watching = grace.watch(code)
    await watching.first()
    taken: dict[tuple[str, int], int] = {}
    killings = asyncio.Semaphore(0)

    async def swipe_all(friend: Friend) -> None:
        for movie_id in MOVIES:
            taken[friend.name, movie_id] = await swipe_until_taken(friend, code, movie_id)
            if friend is ada and movie_id % (len(MOVIES) // (KILLS + 1)) == 0:
                killings.release()

    async def kill_now_and_then() -> None:
        for _ in range(KILLS):
            await killings.acquire()
            await asyncio.to_thread(redis.kill)
            await asyncio.to_thread(redis.start)

    async with asyncio.timeout(60):
        await asyncio.gather(swipe_all(ada), swipe_all(grace), kill_now_and_then())
        game = await ada.game(code)
        await watching.until_seq(game.seq)

    swiped = [event for event in watching.events if event.WhichOneof("kind") == "swiped"]
    assert len(swiped) == 2 * len(MOVIES), "each swipe there once"
    assert {event.seq for event in swiped} == set(taken.values()), "with the number that was acknowledged"
    assert [event.seq for event in watching.events] == list(
        range(watching.events[0].seq, watching.events[0].seq + len(watching.events))
    )
    matched = [event.match.movie_id for event in watching.events if event.WhichOneof("kind") == "match"]
    assert sorted(matched) == list(MOVIES), "every film matched, once"
    assert [player.swipes for player in game.players] == [len(MOVIES)] * 2
    watching.close()


async def test_streams_are_told_to_start_over_when_the_log_is_gone(
    redis: Valkey, replicas: tuple[Replica, Replica]
) -> None:
    ada = Friend("ada", replicas[0].stub)
    game = await ada.create()
    watching, playing = ada.watch(game.code), await ada.play(game.code)
    await watching.first()
    await playing.first()
    async with Redis.from_url(redis.url) as operator:
        await operator.flushall()
    with pytest.raises(grpc.aio.AioRpcError) as gone:
        await ada.game(game.code)
    assert gone.value.code() is grpc.StatusCode.NOT_FOUND
    for stream in (watching, playing):
        reconnect = (await stream.until_field("reconnect")).reconnect
        assert reconnect.cause == game_pb2.Reconnect.CAUSE_LOG_LOST
