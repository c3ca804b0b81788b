"""Snapshots: a shortcut that nobody can tell from the way around."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from game_svc import rooms as rooms_module
from game_svc.events import Film, Numbered, Settings, Verdict
from game_svc.log import Head, RoomLogs
from game_svc.outbox import Outbox
from game_svc.redis_link import RedisLink
from game_svc.refusals import GameRefusal
from game_svc.rooms import SNAPSHOT_EVERY, Rooms
from game_svc.rules import AddPick, Erase, GiveVerdict, Join, Leave, Open, Start, StartRunOff, Undo, decide
from game_svc.snapshots import from_snapshot, to_snapshot
from game_svc.state import EMPTY, State, evolve, fold
from mesh.clock import utc_now

NOW = datetime(2026, 11, 20, 20, 15, 0, 123000, tzinfo=UTC)
people = st.sampled_from(["ada", "grace", "linus"])
movies = st.integers(1, 6)
commands = st.one_of(
    st.builds(Join, people, people),
    st.builds(Leave, people),
    st.builds(Erase, people),
    st.builds(AddPick, people, st.builds(Film, movies, st.floats(0, 10))),
    st.builds(Start, people, st.just({})),
    st.builds(GiveVerdict, people, st.uuids().map(str), movies, st.sampled_from(Verdict)),
    st.builds(Undo, people, movie_id=movies),
    st.builds(StartRunOff, people),
)


def played(history: list[object]) -> tuple[State, list[Numbered]]:
    """A room in which what the rules allowed of a history has happened."""
    state, log = EMPTY, []
    for command in (
        Open("game", "CODE", "ada", "Ada", "Friday", Settings()),
        Join("grace", "Grace"),
        *history,
    ):
        try:
            events = decide(state, command)  # type: ignore[arg-type]  # strategies have no types
        except GameRefusal:
            continue
        for event in events:
            log.append(Numbered(state.seq + 1, NOW, event))
            state = evolve(state, log[-1])
    return state, log


@given(st.lists(commands, max_size=40), st.integers(0, 40))
def test_going_on_from_a_snapshot_is_folding_all(history: list[object], place: int) -> None:
    state, log = played(history)
    halfway = from_snapshot(to_snapshot(fold(EMPTY, log[:place])))
    assert halfway == fold(EMPTY, log[:place])
    assert fold(halfway, log[place:]) == state


JSON_OF_NO_STATE = (b"", b"{}", b"[]", b"[[],[]]", b"[[[],[],[],[],[]],[1]]")


@pytest.mark.parametrize("rubbish", [b"", b"{}", *map(zlib.compress, JSON_OF_NO_STATE)])
def test_what_is_no_snapshot_is_said_so(rubbish: bytes) -> None:
    with pytest.raises(ValueError, match="not a snapshot"):
        from_snapshot(rubbish)


@pytest_asyncio.fixture(loop_scope="session")
async def logs(redis_url: str) -> AsyncIterator[RoomLogs]:
    link = RedisLink(redis_url)
    yield RoomLogs(link)
    await link.close()


def rooms_on(logs: RoomLogs) -> Rooms:
    """A replica that knows no room yet."""
    return Rooms(logs, Outbox(logs._redis), clock=utc_now)


async def long_game(logs: RoomLogs, code: str) -> Rooms:
    """A replica on which a room has more events than lie between two snapshots."""
    rooms = rooms_on(logs)
    room = rooms.room(code)
    await room.submit(Open("game-" + code, code, "ada", "Ada Lovelace", "Friday", Settings(max_movies=500)))
    await room.submit(Join("grace", "Grace Hopper"))
    films = tuple(Film(number, 7.0) for number in range(1, 201))
    await asyncio.gather(*(room.submit(AddPick("ada", film)) for film in films[:100]))
    await asyncio.gather(*(room.submit(AddPick("grace", film)) for film in films[100:]))
    await room.submit(Start("ada", {}))
    for film in films:
        await room.submit(GiveVerdict("ada", f"ada-{film.movie_id}", film.movie_id, Verdict.LIKE))
    return rooms


async def kept(redis_url: str, code: str) -> dict[bytes, bytes]:
    async with Redis.from_url(redis_url) as redis:
        for _ in range(200):
            found: Any = await redis.hgetall(f"room:{{{code}}}:state")
            if found:
                return dict(found)
            await asyncio.sleep(0.02)
    return {}


async def test_a_long_game_is_opened_from_its_snapshot_and_the_rest_of_its_log(
    logs: RoomLogs, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = (await long_game(logs, "LONGGAME")).room("LONGGAME")
    assert int((await kept(redis_url, "LONGGAME"))[b"seq"]) >= SNAPSHOT_EVERY
    folded: list[int] = []

    def counting(state: State, events: list[Numbered]) -> State:
        folded.append(len(events))
        return fold(state, events)

    monkeypatch.setattr(rooms_module, "fold", counting)
    opened = rooms_on(logs).room("LONGGAME")
    assert await opened.refresh() == room.state
    assert sum(folded) < SNAPSHOT_EVERY
    assert opened.events_after(3) is None
    await opened.remember(3)
    assert opened.events_after(3) == room.events_after(3), "who was away for long resumes all the same"


async def test_a_snapshot_of_another_version_or_another_game_is_left_aside(
    logs: RoomLogs, redis_url: str
) -> None:
    room = (await long_game(logs, "VERSIONS")).room("VERSIONS")
    await kept(redis_url, "VERSIONS")
    head = Head(room.state.game_id, room.state.seq)
    assert await logs.snapshot("VERSIONS", head) is not None
    assert await logs.snapshot("VERSIONS", Head("another", head.seq)) is None
    assert await logs.snapshot("VERSIONS", Head(head.epoch, 3)) is None, "the log has lost its end"
    async with Redis.from_url(redis_url) as redis:
        await redis.hset("room:{VERSIONS}:state", mapping={"schema": "older", "snapshot": "?"})
    assert await rooms_on(logs).room("VERSIONS").refresh() == room.state


async def test_an_erased_person_is_in_no_snapshot_and_cannot_come_back_into_one(
    logs: RoomLogs, redis_url: str
) -> None:
    room = (await long_game(logs, "ERASURES")).room("ERASURES")
    assert b"Grace Hopper" in zlib.decompress((await kept(redis_url, "ERASURES"))[b"snapshot"])
    before = room.state
    await room.submit(Erase("grace"))
    await logs.scrub("ERASURES", "grace")
    await logs.keep_snapshot("ERASURES", before)  # by a replica that has not heard of it
    async with Redis.from_url(redis_url) as redis:
        assert not await redis.exists("room:{ERASURES}:state")
    await logs.keep_snapshot("ERASURES", room.state)
    assert b"Grace" not in (await kept(redis_url, "ERASURES"))[b"snapshot"]
    assert await rooms_on(logs).room("ERASURES").refresh() == room.state
