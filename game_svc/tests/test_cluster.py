"""The rooms on a Redis Cluster: three servers, each with a third of the slots."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.crc import key_slot

from dev.processes import free_port
from dev.valkey import ValkeyCluster
from game_svc.redis_link import RedisLink
from game_svc.tests.friends import (
    Friend,
    Replica,
    replica,
    scripted_backlogs,
    scripted_movies,
)
from game_svc.tests.test_outages import swipe_until_taken
from mesh.errors import Unavailable
from popcorn.game.v1 import game_pb2

ROOMS = 6
MOVIES = range(1, 41)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    servers = ValkeyCluster(tmp_path_factory.mktemp("cluster"))
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def replicas(cluster: ValkeyCluster) -> AsyncIterator[tuple[Replica, Replica]]:
    async with (
        scripted_movies() as (_, target),
        replica(cluster.url, target) as first,
        replica(cluster.url, target) as second,
    ):
        yield first, second


async def match_over_two_replicas(replicas: tuple[Replica, Replica]) -> str:
    """Two friends on two replicas find a film. Returns the room's code."""
    ada, grace = Friend("ada", replicas[0].stub), Friend("grace", replicas[1].stub)
    code = (await ada.create()).code
    await grace.join(code)
    await ada.pick(code, 11, 12)
    await ada.start(code)
    watching, playing = ada.watch(code), await grace.play(code)
    await watching.first()
    await playing.first()
    await playing.ack(await playing.swipe(11))
    await ada.swipe(code, 11)
    for stream in (watching, playing):
        assert (await stream.until_event("match")).match.movie_id == 11
        stream.close()
    assert watching.events == playing.events
    return code


async def test_rooms_lie_on_all_servers_and_replicas_hear_of_each_others_swipes(
    cluster: ValkeyCluster, replicas: tuple[Replica, Replica]
) -> None:
    async with asyncio.timeout(30):
        codes = [await match_over_two_replicas(replicas) for _ in range(ROOMS)]
    link = RedisLink(cluster.url)
    try:
        await link.ping()
        homes = set()
        for code in codes:
            kept = {
                link.home_of(f"room:{{{code}}}{part}")
                for part in ("", ":log", ":head", ":state", ":fence", ":presence")
            }
            assert len(kept) == 1, "all of a room lies together"
            homes |= kept
    finally:
        await link.close()
    assert len(homes) > 1, f"{ROOMS} rooms on one of three servers: that is one chance in 243"


async def like_everything_while(
    replicas: tuple[Replica, Replica], happens: Callable[[str], Awaitable[None]]
) -> None:
    """Two friends like the same films while something happens to their room's server: nothing is lost.

    Args:
        replicas: Where each of them is.
        happens: Called with the room's code in the middle of it.
    """
    ada, grace = Friend("ada", replicas[0].stub), Friend("grace", replicas[1].stub)
    code = (await ada.create()).code
    await grace.join(code)
    await ada.pick(code, *MOVIES)
    await ada.start(code)
    watching = grace.watch(code)
    await watching.first()
    taken: dict[tuple[str, int], int] = {}
    in_the_middle = asyncio.Event()

    async def like_all(friend: Friend) -> None:
        for movie_id in MOVIES:
            taken[friend.name, movie_id] = await swipe_until_taken(friend, code, movie_id)
            if len(taken) == len(MOVIES) // 2:
                in_the_middle.set()

    async def disturb() -> None:
        await in_the_middle.wait()
        await happens(code)

    async with asyncio.timeout(60):
        await asyncio.gather(like_all(ada), like_all(grace), disturb())
        await watching.until_seq((await ada.game(code)).seq)
    kinds = [event.WhichOneof("kind") for event in watching.events]
    assert {event.seq for event in watching.events if event.HasField("swiped")} == set(taken.values())
    assert kinds.count("swiped") == 2 * len(MOVIES)
    assert kinds.count("match") == len(MOVIES)
    assert (await ada.game(code)).state == game_pb2.GAME_STATE_PLAYING
    watching.close()


async def test_a_server_that_is_killed_takes_its_rooms_along_until_it_is_back_and_no_swipe(
    cluster: ValkeyCluster, replicas: tuple[Replica, Replica]
) -> None:
    link = RedisLink(cluster.url)
    await link.ping()

    async def kill_once(code: str) -> None:
        home = link.home_of(f"room:{{{code}}}")
        server = next(one for one in cluster.servers if home.endswith(f":{one.port}"))
        await asyncio.to_thread(server.kill)
        await link.ping()  # the others serve their rooms
        await asyncio.to_thread(server.start)

    try:
        await like_everything_while(replicas, kill_once)
    finally:
        await link.close()


async def order(node: Redis, *words: str | int | bytes) -> Any:
    return await node.execute_command(*words)  # type: ignore[no-untyped-call]


async def move(cluster: ValkeyCluster, slot: int, *, pause: float) -> None:
    """Give a slot to another server, key by key, as a cluster that grows or shrinks does."""
    nodes = [Redis(port=server.port) for server in cluster.servers]
    ids = [(await order(node, "CLUSTER", "MYID")).decode() for node in nodes]
    kept = [await order(node, "CLUSTER", "COUNTKEYSINSLOT", slot) for node in nodes]
    here = kept.index(max(kept))
    there = (here + 1) % len(nodes)
    await order(nodes[there], "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[here])
    await order(nodes[here], "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[there])
    while keys := await order(nodes[here], "CLUSTER", "GETKEYSINSLOT", slot, 1):
        port = cluster.servers[there].port
        await order(nodes[here], "MIGRATE", "127.0.0.1", port, "", 0, 5000, "KEYS", *keys)
        await asyncio.sleep(pause)
    for node in (nodes[there], *nodes):
        await order(node, "CLUSTER", "SETSLOT", slot, "NODE", ids[there])
    for node in nodes:
        await node.aclose()


async def test_a_room_that_moves_to_another_server_loses_no_swipe_and_no_match(
    cluster: ValkeyCluster, replicas: tuple[Replica, Replica]
) -> None:
    async def move_once(code: str) -> None:
        await move(cluster, key_slot(f"room:{{{code}}}".encode()), pause=0.02)

    await like_everything_while(replicas, move_once)


async def test_a_cluster_that_nobody_serves_is_unavailable() -> None:
    link = RedisLink(f"redis+cluster://127.0.0.1:{free_port()}")
    try:
        for _ in range(2):
            with pytest.raises(Unavailable):
                await link.ask("room", "GET")
            with pytest.raises(Unavailable):
                await link.ping()
            with pytest.raises(Unavailable):
                link.home_of("room")
    finally:
        await link.close()


async def test_a_match_reaches_the_archive_after_all_of_the_cluster_was_away(cluster: ValkeyCluster) -> None:
    async with (
        scripted_movies() as (_, movies),
        scripted_backlogs() as (backlogs, target),
        replica(cluster.url, movies, backlog_target=target) as here,
        asyncio.timeout(60),
    ):
        ada, grace = Friend("ada", here.stub), Friend("grace", here.stub)
        code = (await ada.create()).code
        await grace.join(code)
        await ada.pick(code, 11, 12)
        game = await ada.start(code)
        await asyncio.gather(*(asyncio.to_thread(server.kill) for server in cluster.servers))
        await asyncio.sleep(2.5)  # the archive and the wake-ups look for it, more than once
        await asyncio.gather(*(asyncio.to_thread(server.start) for server in cluster.servers))
        for friend in (ada, grace):
            await swipe_until_taken(friend, code, 11)
        while backlogs.matches_of(game.epoch) != [11]:  # noqa: ASYNC110 - it is in another's mind
            await asyncio.sleep(0.02)
