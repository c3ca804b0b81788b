"""Snapshots keep out of the way."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from game_svc import keeping
from game_svc.keeping import Keeping
from game_svc.log import RoomLogs
from game_svc.state import State
from mesh.errors import Unavailable


class Logs:
    """A store that takes a snapshot when it is told to."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        self.answers: asyncio.Queue[Exception | None] = asyncio.Queue()
        self.under_way = 0

    async def keep_snapshot(self, code: str, state: State) -> None:
        self.under_way += 1
        assert self.under_way == 1, "one at a time"
        self.asked.put_nowait((code, state.seq))
        try:
            answer = await self.answers.get()
        finally:
            self.under_way -= 1
        if answer is not None:
            raise answer


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Logs:
    monkeypatch.setattr(keeping, "LONGEST_REST_SECONDS", 0.0)
    return Logs()


async def test_rooms_that_come_due_together_are_kept_one_by_one_each_as_it_was_last(logs: Logs) -> None:
    kept = Keeping(cast(RoomLogs, logs))
    async with asyncio.timeout(10):
        for code, seq in [("A", 250), ("B", 250), ("C", 250)]:
            kept.keep(code, State(seq=seq))
        assert await logs.asked.get() == ("A", 250)
        kept.keep("C", State(seq=500))
        kept.keep("A", State(seq=500))
        for expected in [("B", 250), ("C", 500), ("A", 500)]:
            logs.answers.put_nowait(None)
            assert await logs.asked.get() == expected
    await kept.stop()
    assert not logs.under_way


async def test_a_store_that_is_away_costs_that_snapshot_and_no_other(logs: Logs) -> None:
    kept = Keeping(cast(RoomLogs, logs))
    async with asyncio.timeout(10):
        kept.keep("A", State(seq=250))
        kept.keep("B", State(seq=250))
        for answer in (Unavailable("redis"), None):
            logs.answers.put_nowait(answer)
        assert [await logs.asked.get(), await logs.asked.get()] == [("A", 250), ("B", 250)]
    await kept.stop()


async def test_no_more_wait_than_may(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "MOST_DUE", 2)
    kept = Keeping(cast(RoomLogs, logs))
    async with asyncio.timeout(10):
        kept.keep("A", State(seq=250))
        assert await logs.asked.get() == ("A", 250)
        for code in "BCD":
            kept.keep(code, State(seq=250))
        for expected in [("C", 250), ("D", 250)]:
            logs.answers.put_nowait(None)
            assert await logs.asked.get() == expected
    await kept.stop()
