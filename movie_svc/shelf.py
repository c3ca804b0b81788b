"""Reading through: the process's memory, then the store, then TMDB.

fresh                    served
stale                    served, and renewed behind the reader's back
gone, or never seen      fetched, once for all who ask for it meanwhile, and by one replica: it holds a short
                         lease in the store, and the others look there for what it brings
store does not answer    as if it held nothing; without leases
TMDB does not answer     stale is served; what is not held is `FilmsUnavailable`
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Generic, Protocol, TypeVar

from movie_svc import counters as names
from movie_svc.allowance import Allowance
from movie_svc.cache import Background, Lru, SingleFlight
from movie_svc.counters import Counters
from movie_svc.films import AnswerUnusable, FilmsUnavailable

PATIENCE_SECONDS: Final = 2.5
"""How long a reader waits at most: the contract promises an answer within 3 s, way back included."""

_LOOK_AGAIN_AFTER: Final = timedelta(hours=1)
_LOOK_AGAIN_AFTER_FAILURE: Final = timedelta(minutes=1)
# TMDB mostly answers within it. Whoever waits for another replica has as long again to ask for themselves.
_LEASE_SECONDS: Final = 1.25
_FIRST_LOOK_SECONDS: Final = 0.03
_LOOKS_GROW_BY: Final = 1.5
_LONGEST_LOOK_SECONDS: Final = 0.15
_MOST_RENEWED_AT_ONCE: Final = 32
_MOST_WRITTEN_AT_ONCE: Final = 256
_MOST_FETCHED_A_BATCH: Final = 16
# So many films of a batch that TMDB fails to give in a row say that it is down: the rest is not asked for.
_FAILURES_A_BATCH: Final = 3


class StoreUnavailable(Exception):
    """The store does not answer. It is only a cache: whoever reads through it goes on without."""

    def __init__(self) -> None:
        super().__init__("the store of films does not answer")


class Key(Hashable, Protocol):
    """What a shelf is asked for."""

    @property
    def name(self) -> str:
        """The key in the store; keys that differ only in how the value is presented share one."""
        ...


K = TypeVar("K", bound=Key)
V = TypeVar("V")
M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Kept(Generic[V]):
    """What the store holds under a name."""

    value: V | None
    """None when TMDB said that there is no such thing."""
    fetched_at: datetime
    """When TMDB said so."""
    outdated: bool = False
    """Whether TMDB has changed it since."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How long things keep."""

    fresh: timedelta
    """For so long nobody asks again."""
    kept: timedelta
    """For so long, in all, it is served stale while it is renewed."""
    missing: timedelta
    """For so long it is remembered that there is none."""

    def stale_at(self, kept: Kept[V]) -> datetime:
        """Return when it has to be renewed."""
        if kept.outdated:
            return kept.fetched_at
        return kept.fetched_at + (self.missing if kept.value is None else self.fresh)

    def gone_at(self, kept: Kept[V]) -> datetime:
        """Return when it may not be served any more."""
        return kept.fetched_at + (self.missing if kept.value is None else self.kept)


class Backing(Protocol[V]):
    """The part of the store that a shelf stands on."""

    async def read(self, names: Sequence[str]) -> Mapping[str, Kept[V]]:
        """Return those that are there, in one query.

        Raises:
            StoreUnavailable: When it does not answer in its time.
        """
        ...

    async def write(self, name: str, kept: Kept[V], *, gone_at: datetime) -> None:
        """Keep it until `gone_at`, in place of what was there.

        Raises:
            StoreUnavailable: When it does not answer in its time.
        """
        ...

    async def lease(self, name: str, *, now: datetime, until: datetime) -> bool:
        """Return whether this replica is the one to fetch it until then: only one is at a time.

        Raises:
            StoreUnavailable: When it does not answer in its time.
        """
        ...

    async def release(self, name: str) -> None:
        """Let another replica fetch it.

        Raises:
            StoreUnavailable: When it does not answer in its time.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Held(Generic[M]):
    """What the memory holds."""

    shown: M | None
    look_again_at: datetime
    """When the store is asked whether another replica has something newer; no later than `stale_at`."""
    stale_at: datetime
    gone_at: datetime


class Shelf(Generic[K, V, M]):
    """One kind of thing (films, pages of lists), cached.

    K is what is asked for, V what TMDB gives and the store keeps, M what is made of it for the reader: made
    once, and held in memory, so that what is asked for often costs one look-up.
    """

    def __init__(
        self,
        *,
        store: Backing[V],
        fetch: Callable[[K, float, Allowance], Awaitable[V | None]],
        present: Callable[[K, V], M],
        policy: Policy,
        clock: Callable[[], datetime],
        most_in_memory: int,
        about: str = "",
        counters: Counters | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            store: Shared by all replicas.
            fetch: Asks TMDB, until a deadline on the event loop's clock, with so many requests; None says
                that there is none.
            present: What readers get of a value.
            policy: How long things keep.
            clock: The present.
            most_in_memory: How many presented values this process holds.
            about: What it is counted as.
            counters: Where it is counted.
        """
        self._store = store
        self._fetch_upstream = fetch
        self._present = present
        self._policy = policy
        self._clock = clock
        self._memory: Lru[K, _Held[M]] = Lru(most_in_memory)
        self._loads: SingleFlight[str, Kept[V]] = SingleFlight()
        self._fetches: SingleFlight[str, Kept[V]] = SingleFlight()
        self._renewals = Background(_MOST_RENEWED_AT_ONCE)
        self._writes = Background(_MOST_WRITTEN_AT_ONCE)
        counters = counters or Counters()
        reads = partial(counters.of, names.CACHE_READS, shelf=about)
        self._from_memory = reads(outcome="memory")
        self._from_store = reads(outcome="store")
        self._fetched = reads(outcome="fetched")
        self._absent = reads(outcome="absent")
        self._unavailable = reads(outcome="unavailable")
        self._stale = counters.of(names.CACHE_STALE, shelf=about)
        self._store_failures = counters.of(names.STORE_FAILURES, shelf=about)
        self._leases = partial(counters.of, names.LEASES, shelf=about)
        # On its way to the store: who looks there meanwhile finds it here.
        self._written: dict[str, Kept[V]] = {}

    async def get(
        self, key: K, *, patience: float = PATIENCE_SECONDS, allowance: Allowance | None = None
    ) -> M | None:
        """Return what is kept or fetched under `key`, None when TMDB has no such thing.

        Args:
            key: What is asked for.
            patience: How many seconds the reader has.
            allowance: How many requests to TMDB the reader's call may cause; one of its own by default.
                Whoever finds a request in the air waits for that and spends nothing.

        Raises:
            FilmsUnavailable: It is not cached, and TMDB does not give it in time.
        """
        held = self._in_memory(key)
        if held is not None:
            return held.shown
        try:
            async with asyncio.timeout(min(patience, PATIENCE_SECONDS)):
                kept = await self._loads.run(key.name, partial(self._load, key, allowance or Allowance()))
        except TimeoutError:
            self._unavailable.add()
            raise FilmsUnavailable from None
        except FilmsUnavailable:
            self._unavailable.add()
            raise
        return self._hold(key, kept)

    async def get_many(
        self, keys: Sequence[K], *, patience: float = PATIENCE_SECONDS
    ) -> dict[K, M | FilmsUnavailable | None]:
        """Return all of them as `get` does, each failure in its place.

        The store is asked once, TMDB for a few at a time.
        """
        found: dict[K, M | FilmsUnavailable | None] = {}
        absent: list[K] = []
        for key in keys:
            held = self._in_memory(key)
            if held is None:
                absent.append(key)
            else:
                found[key] = held.shown
        if not absent:
            return found
        give_up_at = asyncio.get_running_loop().time() + min(patience, PATIENCE_SECONDS)
        stored: Mapping[str, Kept[V]] = {}
        with suppress(TimeoutError):  # what is in memory is still worth giving
            async with asyncio.timeout_at(give_up_at):
                stored = await self._read([key.name for key in absent])
        unknown: list[K] = []
        for key in absent:
            kept = stored.get(key.name)
            if kept is None:
                unknown.append(key)
                continue
            found[key] = self._hold(key, kept)
            self._given_from_store(key, kept)
        found.update(await self._fetch_many(unknown, give_up_at))
        return found

    async def renew(self, key: K) -> None:
        """Fetch it anew if it is stale and no other replica has done so; if that fails, it stays as it is."""
        await self._renew(key)

    async def settle(self) -> None:
        """Wait until nothing is being fetched or written any more: before the store is closed."""
        await self._loads.land()
        await self._renewals.finish()
        await self._fetches.land()
        await self._writes.finish()

    def _in_memory(self, key: K) -> _Held[M] | None:
        held = self._memory.get(key)
        if held is None:
            return None
        now = self._clock()
        if now >= held.look_again_at:
            if now >= held.gone_at:
                self._memory.drop(key)
                return None
            if now >= held.stale_at:
                self._stale.add()
            self._renew_later(key)
        self._from_memory.add()
        return held

    def _hold(self, key: K, kept: Kept[V]) -> M | None:
        shown = None if kept.value is None else self._present(key, kept.value)
        stale_at = self._policy.stale_at(kept)
        look_again_at = min(stale_at, self._clock() + _LOOK_AGAIN_AFTER)
        self._memory.put(key, _Held(shown, look_again_at, stale_at, self._policy.gone_at(kept)))
        return shown

    async def _load(self, key: K, allowance: Allowance) -> Kept[V]:
        kept = (await self._read([key.name])).get(key.name)
        if kept is None:
            return await self._fetches.run(key.name, partial(self._fetch, key, allowance))
        self._given_from_store(key, kept)
        return kept

    def _given_from_store(self, key: K, kept: Kept[V]) -> None:
        self._from_store.add()
        if self._is_stale(kept):
            self._stale.add()
            self._renew_later(key)

    def _is_stale(self, kept: Kept[V]) -> bool:
        return self._clock() >= self._policy.stale_at(kept)

    async def _read(self, names: Sequence[str]) -> Mapping[str, Kept[V]]:
        """Return what the store has and may still be served."""
        stored = {name: self._written[name] for name in names if name in self._written}
        try:
            if len(stored) < len(names):
                stored |= await self._store.read([name for name in names if name not in stored])
        except StoreUnavailable:
            self._store_failures.add()
            return stored
        now = self._clock()
        # The store's own clean-up comes by now and then; the terms do not wait for it.
        return {name: kept for name, kept in stored.items() if now < self._policy.gone_at(kept)}

    async def _fetch(self, key: K, allowance: Allowance) -> Kept[V]:
        if not allowance.left:
            raise FilmsUnavailable
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_SECONDS
        shared = await self._lease_or_share(key, loop.time() + _LEASE_SECONDS)
        if shared is not None:
            return shared
        try:
            value = await self._fetch_upstream(key, deadline, allowance)
        except FilmsUnavailable:
            # It may be the turn of another. A lease that is over or another's by now is left as it is.
            self._writes.start(("lease", key.name), partial(self._release, key.name))
            raise
        # After a success the lease stays until it runs out: some look before this has come to the store.
        (self._absent if value is None else self._fetched).add()
        kept = Kept(value, self._clock())
        # The reader does not wait for the store. What it misses, the next reader's request brings again.
        if self._writes.start(key.name, partial(self._write, key.name, kept)):
            self._written[key.name] = kept
        return kept

    async def _lease_or_share(self, key: K, until: float) -> Kept[V] | None:
        """Return None when it is for us to fetch it, or else what another replica has fetched.

        Args:
            key: What is to be fetched.
            until: When to wait no longer for the other one, on the event loop's clock.
        """
        loop = asyncio.get_running_loop()
        pause = _FIRST_LOOK_SECONDS
        while True:
            now = self._clock()
            try:
                taken = await self._store.lease(
                    key.name, now=now, until=now + timedelta(seconds=_LEASE_SECONDS)
                )
            except StoreUnavailable:
                self._leases(outcome="without").add()
                return None
            if taken:
                self._leases(outcome="taken").add()
                return None
            if loop.time() + pause > until:
                self._leases(outcome="outwaited").add()
                return None
            await asyncio.sleep(pause)
            pause = min(pause * _LOOKS_GROW_BY, _LONGEST_LOOK_SECONDS)
            kept = (await self._read([key.name])).get(key.name)
            if kept is not None and not self._is_stale(kept):
                self._leases(outcome="shared").add()
                return kept

    async def _release(self, name: str) -> None:
        with suppress(StoreUnavailable):
            await self._store.release(name)

    async def _write(self, name: str, kept: Kept[V]) -> None:
        try:
            await self._store.write(name, kept, gone_at=self._policy.gone_at(kept))
        except StoreUnavailable:
            self._store_failures.add()
            return
        finally:
            self._written.pop(name, None)

    async def _fetch_many(self, keys: Sequence[K], give_up_at: float) -> dict[K, M | FilmsUnavailable | None]:
        found: dict[K, M | FilmsUnavailable | None] = {}
        waiting = list(reversed(keys))
        failures = 0

        async def work() -> None:
            nonlocal failures
            while waiting and failures < _FAILURES_A_BATCH:
                key = waiting.pop()
                try:
                    kept = await self._fetches.run(key.name, partial(self._fetch, key, Allowance()))
                except FilmsUnavailable as error:
                    self._unavailable.add()
                    found[key] = error
                    if not isinstance(error, AnswerUnusable):
                        failures += 1
                else:
                    failures = 0
                    found[key] = self._hold(key, kept)

        workers = [asyncio.create_task(work()) for _ in range(min(_MOST_FETCHED_A_BATCH, len(keys)))]
        try:
            with suppress(TimeoutError):  # what has come so far is the answer
                async with asyncio.timeout_at(give_up_at):
                    await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
        for key in keys:
            if key not in found:
                self._unavailable.add()
                found[key] = FilmsUnavailable()
        return found

    def _renew_later(self, key: K) -> None:
        self._renewals.start(key, partial(self._renew, key))

    async def _renew(self, key: K) -> None:
        """Take what another replica has fetched meanwhile, or fetch it once it is stale."""
        kept = (await self._read([key.name])).get(key.name)
        held = self._memory.get(key)
        if kept is None and held is not None and self._clock() < held.stale_at:
            self._look_again_later(key)  # the store has lost it or is away; what we hold is still good
            return
        if kept is None or self._is_stale(kept):
            try:
                kept = await self._fetches.run(key.name, partial(self._fetch, key, Allowance()))
            except FilmsUnavailable:
                self._look_again_later(key)
                return
        self._hold(key, kept)

    def _look_again_later(self, key: K) -> None:
        held = self._memory.get(key)
        if held is not None:
            self._memory.put(key, replace(held, look_again_at=self._clock() + _LOOK_AGAIN_AFTER_FAILURE))
