"""Reading through, where the whole service would be too slow or too quick to show it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from movie_svc.films import AnswerUnusable, FilmsUnavailable
from movie_svc.shelf import Kept, Policy, Shelf
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

    async def read(self, names: Sequence[str]) -> Mapping[str, Kept[str]]:
        await self.reads.wait()
        return {name: self.kept[name] for name in names if name in self.kept}

    async def write(self, name: str, kept: Kept[str], *, gone_at: datetime) -> None:
        await self.writes.wait()
        self.kept[name] = kept


class Source:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.unusable: set[str] = set()

    async def fetch(self, key: Word, deadline: float) -> str:
        self.asked.append(key.name)
        await asyncio.sleep(0)
        if key.name in self.unusable:
            raise AnswerUnusable
        return key.name.upper()


def shelf_of(store: SilentStore, source: Source, clock: TurnedClock) -> Shelf[Word, str, str]:
    return Shelf(
        store=store,
        fetch=source.fetch,
        present=lambda _, value: value,
        policy=POLICY,
        clock=clock,
        most_in_memory=100,
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
