"""What a process remembers, and asking once."""

import asyncio

import pytest

from movie_svc.cache import Background, Lru, SingleFlight


def test_the_least_recently_used_entry_goes_first() -> None:
    lru: Lru[str, int] = Lru(2)
    lru.put("a", 1)
    lru.put("b", 2)
    assert lru.get("a") == 1
    lru.put("c", 3)
    assert (lru.get("a"), lru.get("b"), lru.get("c"), len(lru)) == (1, None, 3, 2)
    lru.drop("a")
    lru.drop("a")
    assert lru.get("a") is None


async def test_everybody_who_asks_meanwhile_gets_the_one_result() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    runs = 0

    async def work() -> int:
        nonlocal runs
        runs += 1
        await asyncio.sleep(0)
        return runs

    assert await asyncio.gather(*(flights.run("film", work) for _ in range(100))) == [1] * 100
    assert await flights.run("film", work) == 2


async def test_everybody_who_asks_meanwhile_gets_the_one_failure_and_the_next_tries_again() -> None:
    flights: SingleFlight[str, int] = SingleFlight()

    async def fail() -> int:
        await asyncio.sleep(0)
        raise ValueError("no")

    async def work() -> int:
        return 7

    failures = await asyncio.gather(*(flights.run("film", fail) for _ in range(3)), return_exceptions=True)
    assert [type(failure) for failure in failures] == [ValueError] * 3
    assert await flights.run("film", work) == 7


async def test_the_work_goes_on_when_the_one_who_began_it_goes_away() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    released = asyncio.Event()

    async def work() -> int:
        await released.wait()
        return 7

    first = asyncio.create_task(flights.run("film", work))
    second = asyncio.create_task(flights.run("film", work))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    released.set()
    assert await second == 7
    await flights.land()


async def test_background_work_is_bounded_and_not_done_twice_at_a_time() -> None:
    background = Background(2)
    released = asyncio.Event()
    done: list[str] = []

    async def work(name: str) -> None:
        await released.wait()
        done.append(name)

    assert background.start("a", lambda: work("a"))
    assert not background.start("a", lambda: work("a again"))
    assert background.start("b", lambda: work("b"))
    assert not background.start("c", lambda: work("c"))
    released.set()
    await background.finish()
    assert done == ["a", "b"]
    assert background.start("c", lambda: work("c"))
    await background.finish()
