"""Who is connected, over two replicas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import grpc
import pytest
import pytest_asyncio

from game_svc import presence
from game_svc.log import RoomLogs
from game_svc.redis_link import RedisLink
from game_svc.tests.friends import Friend, Playing, Replica, Watching, replica, scripted_movies
from game_svc.tests.test_game_service import reason
from popcorn.game.v1 import game_pb2

GRACE = timedelta(seconds=0.4)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for real people's patience here."""
    monkeypatch.setattr(presence, "GRACE", GRACE)
    monkeypatch.setattr(presence, "RENEW", timedelta(seconds=0.2))


@pytest_asyncio.fixture(loop_scope="session")
async def replicas(redis_url: str, quick: None) -> AsyncIterator[tuple[Replica, Replica]]:
    async with (
        scripted_movies() as (_, target),
        replica(redis_url, target) as first,
        replica(redis_url, target) as second,
    ):
        yield first, second


async def lobby(replicas: tuple[Replica, Replica]) -> tuple[Friend, Friend, str]:
    """A room where Ada is on one replica and Grace on the other, neither with a stream."""
    ada, grace = Friend("Ada", replicas[0].stub), Friend("Grace", replicas[1].stub)
    code = (await ada.create()).code
    await grace.join(code)
    return ada, grace, code


def connected(game: game_pb2.Game) -> list[str]:
    return [player.player_id for player in game.players if player.connected]


def shown(stream: Playing | Watching) -> list[str]:
    """Who is connected, as a client that has read all this shows it."""
    shown: list[str] = []
    for message in stream.messages:
        if message.HasField("snapshot"):
            shown = connected(message.snapshot.game)
        if message.HasField("presence"):
            shown = list(message.presence.connected_player_ids)
    return shown


async def test_everybody_sees_who_comes_and_goes_on_either_replica(replicas: tuple[Replica, Replica]) -> None:
    ada, grace, code = await lobby(replicas)
    assert connected(await ada.game(code)) == []
    watching = ada.watch(code)
    await watching.until(lambda: shown(watching) == ["p1"])
    playing = await grace.play(code)
    await watching.until(lambda: shown(watching) == ["p1", "p2"])
    await playing.until(lambda: shown(playing) == ["p1", "p2"])
    assert connected(await ada.game(code)) == ["p1", "p2"]
    seq = (await ada.game(code)).seq
    playing.close()
    await watching.until(lambda: shown(watching) == ["p1"])
    assert (await ada.game(code)).seq == seq, "none of this is an event"
    watching.close()


async def test_changing_from_one_replica_to_another_is_not_noticed(replicas: tuple[Replica, Replica]) -> None:
    ada, grace, code = await lobby(replicas)
    watching, playing = ada.watch(code), await grace.play(code)
    await watching.until(lambda: shown(watching) == ["p1", "p2"])
    told = len(watching.messages)
    for where in (replicas[0], replicas[1], replicas[0]):
        before, playing = playing, await grace.on(where).play(code)
        await playing.first()
        before.close()
    await asyncio.sleep(2 * GRACE.total_seconds())
    await grace.leave(code)
    await watching.until_event("left")
    assert not any(message.HasField("presence") for message in watching.messages[told:-1])
    watching.close()


async def test_two_devices_of_one_person_count_as_one(replicas: tuple[Replica, Replica]) -> None:
    ada, grace, code = await lobby(replicas)
    watching, phone, tablet = ada.watch(code), await grace.play(code), grace.on(replicas[0]).watch(code)
    await watching.until(lambda: shown(watching) == ["p1", "p2"])
    await phone.first()
    await tablet.first()
    phone.close()
    await asyncio.sleep(2 * GRACE.total_seconds())
    assert connected(await ada.game(code)) == ["p1", "p2"]
    tablet.close()
    await watching.until(lambda: shown(watching) == ["p1"])
    watching.close()


async def test_who_was_on_a_replica_that_died_is_away_before_long(
    replicas: tuple[Replica, Replica], redis_url: str
) -> None:
    ada, _, code = await lobby(replicas)
    watching = ada.watch(code)
    await watching.first()
    link = RedisLink(redis_url)
    await RoomLogs(link).presence(code, {"p2|dead": timedelta(seconds=0.5)}, tell_as="dead")
    await link.close()
    await watching.until(lambda: shown(watching) == ["p1", "p2"])
    await watching.until(lambda: shown(watching) == ["p1"])
    watching.close()


async def test_a_room_whose_host_has_gone_for_long_may_have_another(
    replicas: tuple[Replica, Replica], redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, grace, code = await lobby(replicas)
    request = game_pb2.TransferHostRequest(code=code, player_id="p2")

    async def refused() -> str | None:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await grace.stub.TransferHost(request, metadata=grace.metadata)
        return reason(refusal.value)[1]

    monkeypatch.setattr(presence, "AWAY", timedelta(0))
    assert await refused() == "NOT_HOST", "a host without a stream may well be there"
    watching, playing = ada.watch(code), await grace.play(code)
    await playing.until(lambda: shown(playing) == ["p1", "p2"])
    assert await refused() == "NOT_HOST"
    watching.close()
    await playing.until(lambda: shown(playing) == ["p2"])
    monkeypatch.setattr(presence, "AWAY", timedelta(minutes=2))
    assert await refused() == "NOT_HOST", "nobody is turned out for a tunnel"
    monkeypatch.setattr(presence, "AWAY", timedelta(0))
    game = (await grace.stub.TransferHost(request, metadata=grace.metadata)).game
    assert [player.host for player in game.players] == [False, True]
    assert [player.player_id for player in game.players if player.connected] == ["p2"]
    playing.close()
