"""What one process remembers, and how it keeps from asking for the same thing twice at a time."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from mesh.running import detached_context

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lru(Generic[K, V]):
    """A mapping with at most so many entries; what was not looked at for longest goes first."""

    def __init__(self, most: int) -> None:
        """Take the number of entries, at least 1."""
        self._most = most
        self._entries: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """Return what is held under `key`, or None."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: K, value: V) -> None:
        """Hold `value` under `key`."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)

    def drop(self, key: K) -> None:
        """Forget what is held under `key`, if anything."""
        self._entries.pop(key, None)


class SingleFlight(Generic[K, V]):
    """Runs at most one piece of work a key; whoever asks meanwhile gets the same result.

    The work belongs to nobody: it goes on when whoever began it goes away, and inherits no caller's deadline.
    It has to bound its own time, which also bounds how many are in the air.
    """

    def __init__(self) -> None:
        self._flights: dict[K, asyncio.Task[V]] = {}

    async def run(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """Return what the work under `key` returns, or raise what it raises; start it unless it runs."""
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.get_running_loop().create_task(work(), context=detached_context())
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(flight)

    async def land(self) -> None:
        """Wait until nothing is in the air."""
        while self._flights:
            await asyncio.wait(set(self._flights.values()))

    def _landed(self, key: K, flight: asyncio.Task[V]) -> None:
        self._flights.pop(key, None)
        # Those who asked have the exception; when all have gone away, asyncio would complain about it.
        if not flight.cancelled():
            flight.exception()


class Background:
    """Work that nobody waits for: at most one piece a key, and so many in all.

    What comes when it is full is not done: all that is handed in here is asked for again by the next reader.
    """

    def __init__(self, most: int) -> None:
        """Take how many may run at a time."""
        self._most = most
        self._running: dict[Hashable, asyncio.Task[None]] = {}

    def start(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Start `work` and return True; or False, when it is already running or there are too many."""
        if key in self._running or len(self._running) >= self._most:
            return False
        task = asyncio.get_running_loop().create_task(work(), context=detached_context())
        self._running[key] = task
        task.add_done_callback(lambda _: self._running.pop(key, None))
        return True

    async def finish(self) -> None:
        """Wait until all of it is done."""
        while self._running:
            await asyncio.wait(set(self._running.values()))
