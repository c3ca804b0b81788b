"""Reading through, where the whole service would be too slow or too quick to show it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from movie_svc.allowance import Allowance
from movie_svc.counters import Counters
from movie_svc.films import AnswerUnusable, FilmsUnavailable
from movie_svc.shelf import Kept, Policy, Shelf, StoreUnavailable
from movie_svc.tests.conftest import TurnedClock

POLICY = Policy(fresh=timedelta(days=7), kept=timedelta(days=180), missing=timedelta(hours=6))


@dataclass(frozen=True, slots=True)
class Word:
    name: str
    reader: str = ""


class SilentStore:
    """Takes calls and never answers them, unless released."""

    def __init__(self) -> None:
        self.reads = asyncio.Event()
        self.writes = asyncio.Event()
        self.kept: dict[str, Kept[str]] = {}
        self.leased: dict[str, datetime] = {}

    async def read(self, names: Sequence[str]) -> Mapping[str, Kept[str]]:
        await self.reads.wait()
        return {name: self.kept[name] for name in names if name in self.kept}

    async def write(self, name: str, kept: Kept[str], *, gone_at: datetime) -> None:
        await self.writes.wait()
        self.kept[name] = kept

    async def lease(self, name: str, *, now: datetime, until: datetime) -> bool:
        if self.leased.get(name, now) > now:
            return False
        self.leased[name] = until
        return True

    async def release(self, name: str) -> None:
        del self.leased[name]


class Source:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.unusable: set[str] = set()
        self.answers = asyncio.Event()
        self.answers.set()

    async def fetch(self, key: Word, deadline: float, allowance: Allowance) -> str:
        self.asked.append(key.name)
        await self.answers.wait()
        await asyncio.sleep(0)
        if key.name in self.unusable:
            raise AnswerUnusable
        return key.name.upper()


def shelf_of(
    store: SilentStore, source: Source, clock: TurnedClock, *, counters: Counters | None = None
) -> Shelf[Word, str, str]:
    return Shelf(
        store=store,
        fetch=source.fetch,
        present=lambda _, value: value,
        policy=POLICY,
        clock=clock,
        most_in_memory=100,
        about="words",
        counters=counters,
    )


async def test_a_silent_store_does_not_hold_back_what_is_in_memory_from_a_hurried_batch(
    clock: TurnedClock,
) -> None:
    store, source = SilentStore(), Source()
    shelf = shelf_of(store, source, clock)
    store.reads.set()
    store.writes.set()
    assert await shelf.get(Word("a")) == "A"
    store.reads.clear()
    found = await shelf.get_many([Word("a"), Word("b")], patience=0.05)
    assert found[Word("a")] == "A"
    assert isinstance(found[Word("b")], FilmsUnavailable)


async def test_what_is_on_its_way_to_the_store_is_found_by_other_readers(clock: TurnedClock) -> None:
    store, source = SilentStore(), Source()
    shelf = shelf_of(store, source, clock)
    store.reads.set()
    for reader in ("one", "another"):
        assert await shelf.get(Word("a", reader)) == "A"
    assert await shelf.get_many([Word("a", "a third")]) == {Word("a", "a third"): "A"}
    assert source.asked == ["a"]
    store.writes.set()
    await shelf.settle()
    assert store.kept["a"].value == "A"


async def test_one_unusable_answer_does_not_stop_a_batch(clock: TurnedClock) -> None:
    store, source = SilentStore(), Source()
    store.reads.set()
    store.writes.set()
    words = [Word(f"word {number}") for number in range(50)]
    source.unusable = {word.name for word in words[:20]}
    found = await shelf_of(store, source, clock).get_many(words)
    assert [word for word in words if isinstance(found[word], AnswerUnusable)] == words[:20]
    assert [found[word] for word in words[20:]] == [word.name.upper() for word in words[20:]]


# Two replicas


def open_store() -> SilentStore:
    store = SilentStore()
    store.reads.set()
    store.writes.set()
    return store


async def test_what_one_replica_fetches_the_other_waits_for(clock: TurnedClock) -> None:
    store, source = open_store(), Source()
    one, another = shelf_of(store, source, clock), shelf_of(store, source, clock)
    source.answers.clear()
    reads = [asyncio.create_task(shelf.get(Word("a"))) for shelf in (one, another) for _ in range(10)]
    await asyncio.sleep(0.05)
    source.answers.set()
    assert set(await asyncio.gather(*reads)) == {"A"}
    assert source.asked == ["a"]


async def test_after_a_failure_it_is_the_other_replica_s_turn_at_once(clock: TurnedClock) -> None:
    store, source = open_store(), Source()
    one, another = shelf_of(store, source, clock), shelf_of(store, source, clock)
    source.unusable = {"a"}
    source.answers.clear()
    first = asyncio.create_task(one.get(Word("a")))
    second = asyncio.create_task(another.get(Word("a")))
    await asyncio.sleep(0.05)
    source.answers.set()
    with pytest.raises(AnswerUnusable):
        await first
    with pytest.raises(AnswerUnusable):
        await second
    assert source.asked == ["a", "a"]
    await one.settle()
    await another.settle()
    assert store.leased == {}


async def test_the_lease_of_a_replica_that_died_runs_out(clock: TurnedClock) -> None:
    store, source = open_store(), Source()
    store.leased["a"] = clock() + timedelta(seconds=1)
    read = asyncio.create_task(shelf_of(store, source, clock).get(Word("a")))
    await asyncio.sleep(0.05)
    assert source.asked == []
    clock.turn(seconds=1)
    assert await read == "A"


async def test_nobody_waits_longer_for_another_replica_than_leaves_time_to_ask(clock: TurnedClock) -> None:
    store, source = open_store(), Source()
    store.leased["a"] = clock() + timedelta(days=1)
    assert await shelf_of(store, source, clock).get(Word("a")) == "A"


async def test_a_store_without_an_answer_means_no_lease(clock: TurnedClock) -> None:
    class Dead(SilentStore):
        async def read(self, names: Sequence[str]) -> Mapping[str, Kept[str]]:
            raise StoreUnavailable

        async def write(self, name: str, kept: Kept[str], *, gone_at: datetime) -> None:
            raise StoreUnavailable

        async def lease(self, name: str, *, now: datetime, until: datetime) -> bool:
            raise StoreUnavailable

    counters, source = Counters(), Source()
    shelf = shelf_of(Dead(), source, clock, counters=counters)
    assert await shelf.get(Word("a")) == "A"
    assert await shelf.get(Word("a")) == "A"
    await shelf.settle()
    assert source.asked == ["a"]
    assert {name: count for name, count in counters.values().items() if count} == {
        'movie_cache_reads_total{outcome="fetched",shelf="words"}': 1,
        'movie_cache_reads_total{outcome="memory",shelf="words"}': 1,
        'movie_fetch_leases_total{outcome="without",shelf="words"}': 1,
        'movie_store_failures_total{shelf="words"}': 2,
    }


async def test_what_is_outdated_is_served_and_renewed(clock: TurnedClock) -> None:
    store, source = open_store(), Source()
    store.kept["a"] = Kept("old", clock() - timedelta(days=1), outdated=True)
    shelf = shelf_of(store, source, clock)
    assert await shelf.get(Word("a")) == "old"
    await shelf.settle()
    assert await shelf.get(Word("a")) == "A"
    assert source.asked == ["a"]
