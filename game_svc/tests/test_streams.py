"""What streams tell, and when they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from game_svc import streams
from game_svc.events import Event, HostChanged, MatchFound, PlayerLeft, PlayerRemoved, RoomChanged, Settings
from game_svc.log import RoomLogs, _entries, _head
from game_svc.redis_link import RedisLink
from game_svc.rooms import Room
from game_svc.streams import Feed
from game_svc.tests.friends import Friend, replica, scripted_movies
from game_svc.tests.test_game_service import reason
from mesh import interceptors
from mesh.clock import utc_now
from mesh.errors import status_of
from popcorn.game.v1 import game_pb2, game_pb2_grpc

BOTH = pytest.mark.parametrize("method", ["watch", "play"])


@asynccontextmanager
async def swiping(redis_url: str) -> AsyncIterator[tuple[Friend, Friend, game_pb2.Game]]:
    """Ada and Grace in a room where they swipe."""
    async with scripted_movies() as (_, movies), replica(redis_url, movies) as served:
        ada, grace = Friend("Ada", served.stub), Friend("Grace", served.stub)
        code = (await ada.create()).code
        await grace.join(code)
        await ada.pick(code, 11, 12, 13)
        yield ada, grace, await ada.start(code)


async def listening(friend: Friend, code: str, method: str) -> Any:
    """A stream that has begun."""
    stream = friend.watch(code) if method == "watch" else await friend.play(code)
    await stream.first()
    return stream


async def to_the_end(stream: Any) -> list[game_pb2.GameEvent]:
    """All that a stream tells from now on."""
    events = []
    async with asyncio.timeout(10):
        while (message := await stream.call.read()) is not grpc.aio.EOF:
            events += message.events
    return events


async def append(redis_url: str, code: str, *events: Event) -> None:
    """Append at once what another replica might."""
    link = RedisLink(redis_url)
    logs = RoomLogs(link)
    head = await logs.head(code)
    appended, _ = await logs.append(code, after=head, epoch=head.epoch, events=events, at=utc_now())
    await link.close()
    assert appended


@BOTH
@pytest.mark.parametrize("leaving", [PlayerLeft, PlayerRemoved])
async def test_who_has_gone_is_not_told_what_is_appended_together_with_that(
    redis_url: str, method: str, leaving: Any
) -> None:
    async with swiping(redis_url) as (ada, grace, game):
        hers, his = await listening(grace, game.code, method), await listening(ada, game.code, method)
        await append(
            redis_url,
            game.code,
            HostChanged("p1"),
            leaving("p2", 3),
            MatchFound(11),
        )
        told = [event.WhichOneof("kind") for event in await to_the_end(hers)]
        await his.until_event("match")
    assert len(told) == 2, told
    assert told[0] == "host_changed"


@BOTH
async def test_who_has_gone_is_not_told_what_happened_while_they_did_not_read(
    redis_url: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with swiping(redis_url) as (_, grace, game):
        stream = await listening(grace, game.code, method)
        reads, reached = asyncio.Event(), asyncio.Event()
        write = Feed.write

        async def blocked(feed: Feed, message: Message | bytes) -> None:
            if feed.user_id == grace.user_id:
                reached.set()
                await reads.wait()
            await write(feed, message)

        monkeypatch.setattr(Feed, "write", blocked)
        await append(redis_url, game.code, HostChanged("p1"))
        await reached.wait()
        await append(redis_url, game.code, PlayerRemoved("p2", 3))
        await append(redis_url, game.code, MatchFound(11))
        await asyncio.sleep(0.2)  # until the replica has heard
        reads.set()
        told = [event.WhichOneof("kind") for event in await to_the_end(stream)]
    assert "match" not in told
    assert len(told) == 2, told


async def test_who_comes_back_hears_what_they_missed(redis_url: str) -> None:
    async with swiping(redis_url) as (_, grace, game):
        before = (await grace.game(game.code)).seq
        await grace.leave(game.code)
        await grace.join(game.code)
        resumed = grace.watch(game.code, after_seq=before, epoch=game.epoch)
        await resumed.until(lambda: len(resumed.events) == 2)
    assert resumed.events[-1].seq == before + 2


@BOTH
async def test_who_does_not_read_is_cut_off_and_the_others_hear_everything(
    redis_url: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "WRITE_SECONDS", 0.3)
    monkeypatch.setattr(interceptors, "ABORT_SECONDS", 0.3)
    calls: dict[str, Any] = {}
    write = Feed.write

    async def noted(feed: Feed, message: Message | bytes) -> None:
        calls[feed.user_id] = asyncio.current_task()
        await write(feed, message)

    monkeypatch.setattr(Feed, "write", noted)
    async with scripted_movies() as (_, movies), replica(redis_url, movies) as served:
        target = f"127.0.0.1:{served.server.port}"
        async with grpc.aio.insecure_channel(target) as channel:
            ada, grace = Friend("Ada", served.stub), Friend("Grace", game_pb2_grpc.GameServiceStub(channel))
            game = await ada.create()
            before = (await grace.join(game.code)).seq
            his, hers = await listening(ada, game.code, method), await listening(grace, game.code, method)
            for turn in range(1, 26):
                await append(redis_url, game.code, RoomChanged("a long name" * 60_000, Settings()))
                await asyncio.wait_for(his.until_seq(before + turn), timeout=10)
            await asyncio.wait({calls[grace.user_id]}, timeout=5)
            assert calls[grace.user_id].done(), "her call goes on"
            assert not calls[ada.user_id].done()
            assert [event.seq for event in his.events] == list(range(before + 1, before + 26))
            told: list[int] = []

            async def read_on() -> None:
                while True:
                    told.extend(event.seq for event in (await hers.call.read()).events)

            with pytest.raises(grpc.aio.AioRpcError) as cut_off:
                # What she would have got, and then why it ended.
                await asyncio.wait_for(read_on(), timeout=10)
    assert reason(cut_off.value) == (grpc.StatusCode.ABORTED, "TOO_SLOW")
    status = status_of(cut_off.value)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.metadata["last_seq"] == str(told[-1]), "to resume after"


@BOTH
async def test_a_log_that_has_lost_its_end_and_grown_past_it_starts_every_stream_over(
    redis_url: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with swiping(redis_url) as (ada, grace, game):
        his = await listening(ada, game.code, method)
        link = RedisLink(redis_url)
        before = {key: await link.ask(key, "DUMP") for key in (_entries(game.code), _head(game.code))}
        await append(redis_url, game.code, MatchFound(11), HostChanged("p2"))
        await his.until_event("host_changed")
        # No stream is woken until the log is longer than it was.
        monkeypatch.setattr(Room, "wake", lambda _: None)
        for key, value in before.items():
            await link.ask(key, "RESTORE", 0, value, "REPLACE")
        await link.close()
        assert (await grace.game(game.code)).seq == game.seq
        monkeypatch.undo()
        await append(redis_url, game.code, MatchFound(12), MatchFound(13), HostChanged("p2"))
        reconnect = (await asyncio.wait_for(his.until_field("reconnect"), timeout=10)).reconnect
        assert reconnect.cause == game_pb2.Reconnect.CAUSE_LOG_LOST
        assert [event.seq for event in his.events] == [game.seq + 1, game.seq + 2]
        resume: dict[str, Any] = {"after_seq": game.seq, "epoch": game.epoch}
        new = grace.watch(game.code, **resume) if method == "watch" else await grace.play(game.code, **resume)
        await new.until_seq(game.seq + 3)
        assert [event.match.movie_id for event in new.events[:2]] == [12, 13]
