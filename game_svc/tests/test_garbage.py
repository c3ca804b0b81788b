"""Garbage is looked for while nobody waits."""

from __future__ import annotations

import asyncio
import gc
import itertools
import weakref

import pytest

from game_svc import garbage
from game_svc.garbage import ALL_SECONDS, CALM_LOOKS, MOST, SOME, collect_when_calm, due
from mesh.background import running_in_background


class Circle:
    """Refers to itself: only the collector finds it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.mark.parametrize(
    ("young", "busy", "all_due", "generation"),
    [
        (SOME - 1, False, False, None),
        (SOME, False, False, 1),
        (0, False, True, 2),
        (MOST - 1, True, False, None),
        (MOST - 1, True, True, None),
        (MOST, True, True, 0),
    ],
)
def test_a_busy_replica_looks_only_when_it_has_to(
    young: int, busy: bool, all_due: bool, generation: int | None
) -> None:
    assert due(young, busy=busy, all_due=all_due) == generation


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "LOOK_SECONDS", 0.001)


async def test_circles_are_found_in_a_calm_moment_and_not_before() -> None:
    asked: asyncio.Queue[None] = asyncio.Queue()
    busy = True

    def is_busy() -> bool:
        asked.put_nowait(None)
        return busy

    async with running_in_background(collect_when_calm(is_busy), name="garbage"), asyncio.timeout(10):
        await asked.get()
        lost = weakref.ref(Circle())
        kept: list[list[int]] = [[] for _ in range(2 * SOME)]
        for _ in range(asked.qsize() + 5):
            await asked.get()
        assert lost() is not None
        busy = False
        while lost() is not None:
            await asked.get()
        assert len(kept) == 2 * SOME
    assert gc.isenabled()
    assert not gc.get_freeze_count()


async def test_a_quiet_moment_of_a_busy_evening_is_no_calm_one() -> None:
    asked = itertools.count(1)
    enough = asyncio.Event()

    def is_busy() -> bool:
        look = next(asked)
        if look > 5 * CALM_LOOKS:
            enough.set()
        return look % CALM_LOOKS == 0

    async with running_in_background(collect_when_calm(is_busy), name="garbage"), asyncio.timeout(10):
        await asyncio.sleep(0)  # it begins with a look at everything
        lost = weakref.ref(Circle())
        kept: list[list[int]] = [[] for _ in range(2 * SOME)]
        await enough.wait()
        assert lost() is not None
        assert len(kept) == 2 * SOME


async def test_all_is_looked_through_every_hour() -> None:
    hours = itertools.count()
    looked = asyncio.Event()

    def notice(phase: str, info: dict[str, int]) -> None:
        if phase == "stop" and info["generation"] == 2 and next(hours) > 2:
            looked.set()

    gc.callbacks.append(notice)
    try:
        collecting = collect_when_calm(lambda: False, now=lambda: next(hours) * ALL_SECONDS)
        async with running_in_background(collecting, name="garbage"), asyncio.timeout(10):
            await looked.wait()
    finally:
        gc.callbacks.remove(notice)
