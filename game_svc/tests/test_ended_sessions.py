"""Whoever has signed out leaves the rooms' streams, and the others stay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import grpc
import pytest

from game_svc.tests.friends import Friend, Replica, replica, scripted_movies
from mesh.clock import utc_now
from mesh.errors import Unavailable, reason_of, status_of
from mesh.revocations import Changes, Revocations
from popcorn.game.v1 import game_pb2


def reason(error: grpc.aio.AioRpcError) -> str | None:
    status = status_of(error)
    return None if status is None else reason_of(status)


async def ending(stream: Any) -> grpc.aio.AioRpcError:
    """Read a stream to its end, which has to be an error."""
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await asyncio.wait_for(to_the_end(stream), timeout=10)
    return ended.value


async def to_the_end(stream: Any) -> None:
    while await stream.call.read() is not grpc.aio.EOF:
        pass


@asynccontextmanager
async def playing(redis_url: str, **arguments: Any) -> AsyncIterator[tuple[Replica, Friend, Friend, str]]:
    """Ada and Grace in a room where they swipe."""
    async with scripted_movies() as (_, movies), replica(redis_url, movies, **arguments) as served:
        ada, grace = Friend("Ada", served.stub), Friend("Grace", served.stub)
        code = (await ada.create()).code
        await grace.join(code)
        await ada.pick(code, *range(1, 21))
        await ada.start(code)
        yield served, ada, grace, code


async def test_streams_of_an_ended_session_end_and_no_others(redis_url: str) -> None:
    # The next heartbeat is far away: it is the news that ends them.
    async with (
        asyncio.timeout(20),
        playing(redis_url, heartbeat_seconds=60) as (served, ada, grace, code),
    ):
        adas_play, adas_watch = await ada.play(code), ada.watch(code)
        graces_play = await grace.play(code)
        for stream in (adas_play, adas_watch, graces_play):
            await stream.first()
        served.gateway.ended.append(ada.session_id)
        last = (await adas_watch.until_field("error")).error
        assert reason_of(last) == "SESSION_REVOKED"
        for stream in (adas_play, adas_watch):
            error = await ending(stream)
            assert (error.code().name, reason(error)) == ("UNAUTHENTICATED", "SESSION_REVOKED")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ada.game(code)
        assert reason(refused.value) == "SESSION_REVOKED"
        assert (await graces_play.ack(await graces_play.swipe(1))).seq
        graces_play.close()


class Truth:
    """A list that can be taken away, and a clock that is moved by hand."""

    def __init__(self) -> None:
        self.away = False
        self.passed = 0.0
        self.revocations = Revocations(self.changes, seconds=lambda: self.passed)

    async def changes(self, since: datetime | None) -> Changes:
        if self.away:
            raise Unavailable("postgresql")
        return Changes((), utc_now())

    async def be_away_for(self, seconds: float) -> None:
        self.away = True
        with pytest.raises(Unavailable):
            await self.revocations.poll()
        self.passed += seconds


async def test_while_nobody_can_tell_people_watch_and_do_not_swipe(redis_url: str) -> None:
    truth = Truth()
    async with playing(redis_url, revocations=truth.revocations, heartbeat_seconds=0.1) as (
        _, ada, grace, code,
    ):  # fmt: skip
        play, watch = await ada.play(code), grace.watch(code)
        await play.first()
        await watch.first()
        await truth.be_away_for(6)
        refusal = (await play.ack(await play.swipe(1))).refusal
        assert reason_of(refusal) == "DEPENDENCY_UNAVAILABLE"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await grace.swipe(code, 1)
        assert reason(refused.value) == "DEPENDENCY_UNAVAILABLE"
        assert (await grace.game(code)).state == game_pb2.GAME_STATE_PLAYING
        watch.messages.clear()
        await watch.until_field("heartbeat")
        truth.away = False
        await truth.revocations.poll()
        assert (await play.ack(await play.swipe(2))).seq
        await truth.be_away_for(61)
        for stream in (play, watch):
            error = await ending(stream)
            assert (error.code().name, reason(error)) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
