"""Rooms that nobody uses are forgotten, and nobody can tell."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from unittest.mock import AsyncMock
from uuid import uuid4

import pytest
import pytest_asyncio

from game_svc import rooms as rooms_module
from game_svc.events import Film, Settings
from game_svc.log import RoomLogs
from game_svc.outbox import Outbox
from game_svc.redis_link import RedisLink
from game_svc.refusals import GameRefusal
from game_svc.rooms import UNUSED, Rooms
from game_svc.rules import AddPick, Join, Open
from game_svc.state import State

LATER = UNUSED + timedelta(seconds=1)


class Here:
    """A replica, and its clock."""

    def __init__(self, link: RedisLink) -> None:
        self.now = datetime(2026, 11, 20, 20, 15, tzinfo=UTC)
        self.rooms = Rooms(RoomLogs(link), Outbox(link), clock=lambda: self.now)
        self.rooms._wakeups = AsyncMock()  # there is no other replica to hear of

    async def open(self) -> State:
        code = uuid4().hex
        await self.rooms.room(code).submit(Open("game-" + code, code, "ada", "Ada", "Friday", Settings()))
        return (await self.rooms.room(code).submit(Join("grace", "Grace"))).state

    def remembers(self, state: State) -> bool:
        return state.code in self.rooms._rooms

    async def wait(self, time: timedelta) -> None:
        """Let time pass, and somebody use another room."""
        await asyncio.sleep(0)  # the workers go home
        self.now += time
        self.rooms.room("another")


@pytest_asyncio.fixture(loop_scope="session")
async def here(redis_url: str) -> AsyncIterator[Here]:
    link = RedisLink(redis_url)
    replica = Here(link)
    gc.disable()  # what is forgotten goes without the collector's help
    yield replica
    await replica.rooms.stop()
    gc.enable()
    await link.close()


async def test_a_room_that_nobody_uses_is_forgotten_and_opens_again_as_it_was(here: Here) -> None:
    state, other = await here.open(), await here.open()
    await here.wait(UNUSED / 2)
    assert await here.rooms.room(other.code).refresh() == other
    await here.wait(UNUSED / 2)
    assert not here.remembers(state)
    assert here.remembers(other), "it was used since"
    room = here.rooms.room(state.code)
    assert room.events_after(0) is None, "it has not been read yet"
    assert await room.refresh() == state
    assert [event.seq for event in room.events_after(0) or ()] == list(range(1, state.seq + 1))


async def test_a_room_that_somebody_listens_to_is_not_forgotten(here: Here) -> None:
    state = await here.open()
    woken: asyncio.Queue[int] = asyncio.Queue()
    async with here.rooms.listening(here.rooms.room(state.code), lambda: woken.put_nowait(1)):
        for _ in range(3):
            await here.wait(LATER)
        assert here.remembers(state)
        await here.rooms.room(state.code).submit(AddPick("ada", Film(1, 7.0)))
        await asyncio.wait_for(woken.get(), 5)
        await here.wait(LATER)
    assert here.remembers(state), "they may be back in a moment"
    await here.wait(LATER)
    assert not here.remembers(state)


async def test_a_room_that_was_forgotten_as_somebody_began_to_listen_is_the_same_for_everybody(
    here: Here,
) -> None:
    room, _ = await here.rooms.visit((await here.open()).code, "ada")
    await here.wait(LATER)
    async with here.rooms.listening(room, lambda: None):
        assert here.rooms.room(room.code) is room


async def test_a_room_with_work_in_hand_is_not_forgotten(here: Here) -> None:
    state = await here.open()
    await asyncio.sleep(0)
    answer = here.rooms.room(state.code).submit(AddPick("ada", Film(1, 7.0)))
    here.now += LATER
    here.rooms.room("another")
    assert here.remembers(state)
    assert (await answer).state.seq == state.seq + 1
    await here.wait(LATER)
    assert not here.remembers(state)


async def test_a_command_that_was_refused_does_not_keep_its_room(here: Here) -> None:
    state = await here.open()
    with pytest.raises(GameRefusal):
        await here.rooms.room(state.code).submit(AddPick("mallory", Film(1, 7.0)))
    await here.wait(LATER)
    remembered = here.remembers(state)
    assert not remembered


async def test_no_more_rooms_are_remembered_than_there_is_memory_for(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms_module, "MOST_ROOMS", 3)
    first, second, third = [await here.open() for _ in range(3)]
    await here.rooms.room(first.code).refresh()
    async with here.rooms.listening(here.rooms.room(second.code), lambda: None):
        await asyncio.sleep(0)
        fourth = await here.open()
        assert [here.remembers(one) for one in (first, second, third, fourth)] == [True, True, False, True]
        for _ in range(10):
            await asyncio.sleep(0)
            await here.open()
            assert len(here.rooms._rooms) <= 4, "the most, and the one in use"
        assert here.remembers(second), "somebody listens"
