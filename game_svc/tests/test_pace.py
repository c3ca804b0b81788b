"""A busy replica gathers what can wait, and tells at once what cannot."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from game_svc.rooms import Pace
from game_svc.tests.friends import Friend, Playing, Replica, replica, scripted_movies
from popcorn.game.v1 import game_pb2

AN_HOUR = 3600.0
FILMS = range(801, 813)


@pytest.fixture
def busy_for_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits in here waits for longer than any test does."""
    monkeypatch.setattr(Pace, "busy", True)
    monkeypatch.setattr(Pace, "BEAT", AN_HOUR)


@pytest_asyncio.fixture(loop_scope="session")
async def here(redis_url: str, busy_for_an_hour: None) -> AsyncIterator[Replica]:
    async with scripted_movies() as (_, target), replica(redis_url, target) as here:
        yield here


async def at_the_table(here: Replica) -> tuple[Friend, Friend, str, Playing, Playing]:
    """Two who have been dealt their first cards."""
    ada, grace = Friend("Ada", here.stub), Friend("Grace", here.stub)
    code = (await ada.create()).code
    await grace.join(code)
    await ada.pick(code, *FILMS)
    await ada.start(code)
    streams = await ada.play(code), await grace.play(code)
    for stream in streams:
        await stream.cards()
    return ada, grace, code, *streams


async def until_swiped(friend: Friend, code: str, number: int) -> None:
    """Wait until the log has so many swipes; who asks for the game hurries what has waited into it."""
    async with asyncio.timeout(10):
        while sum(player.swipes for player in (await friend.game(code)).players) < number:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_match_is_told_at_once_and_with_it_all_that_has_waited(here: Replica) -> None:
    friend, _, code, ada, grace = await at_the_table(here)
    passed, liked, *_ = (card.movie_id for card in ada.dealt)
    first = await ada.swipe(passed, game_pb2.VERDICT_PASS)
    await until_swiped(friend, code, 1)
    await ada.swipe(liked)
    await grace.swipe(liked)
    for stream in (ada, grace):
        assert (await stream.until_event("match")).match.movie_id == liked
        numbers = [event.seq for event in stream.events]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert sum(event.HasField("swiped") for event in stream.events) == 3
        assert sum(bool(message.events) for message in stream.messages) == 1, "it came with the match"
    assert (await ada.ack(first)).seq


async def test_that_the_log_is_lost_is_told_at_once(here: Replica, redis_url: str) -> None:
    friend, _, code, ada, grace = await at_the_table(here)
    await ada.swipe(ada.dealt[0].movie_id, game_pb2.VERDICT_PASS)
    await until_swiped(friend, code, 1)
    async with Redis.from_url(redis_url) as operator:
        await operator.delete(f"room:{{{code}}}:log", f"room:{{{code}}}:head", f"room:{{{code}}}:state")
    with pytest.raises(grpc.aio.AioRpcError):
        await friend.game(code)
    for stream in (ada, grace):
        await stream.until(lambda stream=stream: stream.messages[-1].HasField("reconnect"))  # type: ignore[misc]
        assert stream.messages[-1].reconnect.cause == game_pb2.Reconnect.CAUSE_LOG_LOST
        assert not any(message.HasField("heartbeat") for message in stream.messages), "it waited for one"


async def test_who_has_swiped_all_their_cards_is_answered_and_dealt_more(here: Replica) -> None:
    _, _, _, ada, _ = await at_the_table(here)
    hand = [card.movie_id for card in ada.dealt]
    swipes = [await ada.swipe(movie_id, game_pb2.VERDICT_PASS) for movie_id in hand]
    for swipe_id in swipes:
        assert (await ada.ack(swipe_id)).seq
    await ada.until(lambda: not set(hand) & {card.movie_id for card in ada.dealt})


async def test_who_waits_for_an_answer_gets_it(here: Replica) -> None:
    ada, grace, code, stream, _ = await at_the_table(here)
    waiting, other, *_ = (card.movie_id for card in stream.dealt)
    await stream.swipe(waiting, game_pb2.VERDICT_PASS)
    answer = await grace.swipe(code, other, game_pb2.VERDICT_PASS)
    assert answer.seq <= (await ada.game(code)).seq
    swipes = {player.display_name: player.swipes for player in (await ada.game(code)).players}
    assert swipes["Grace"] == 1


async def test_a_replica_is_busy_while_what_is_ready_waits_for_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = itertools.count(1_000.0, 0.001)
    monkeypatch.setattr(Pace, "now", lambda _: next(seconds))
    pace = Pace()
    for _ in range(100):
        pace.waited(Pace.BUSY / 5)
    assert pace.beat == 0
    for _ in range(100):
        pace.waited(Pace.BUSY * 5)
    assert pace.beat == Pace.BEAT
    seconds = itertools.count(2_000.0)
    pace.waited(0.0)
    assert pace.beat == 0, "how it was a second ago says nothing"
