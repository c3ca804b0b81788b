"""In step with TMDB: its list of changes says which of the cached films are outdated.

One replica at a time reads it, every so often. The list names all films that changed within the last day,
without the time. So

    new on the list             changed since it was last read: outdated, whenever it was fetched
    on it the last time too     changed at some time of the last day: outdated unless fetched late in it

and no change is missed, while a film that changes once is fetched anew once or twice at most. What is
outdated is still served, and renewed by its next reader; what is popular is renewed at once, few at a time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from typing import Final, Protocol

import structlog

from movie_svc import counters as names
from movie_svc.counters import Counters
from movie_svc.films import LAST_PAGE, ChangePage, FilmsUnavailable
from movie_svc.keys import ChangesKey, FilmKey
from movie_svc.shelf import PATIENCE_SECONDS, StoreUnavailable

_LISTED_FOR: Final = timedelta(days=1)
"""How far TMDB's list goes back by itself."""
_LONGEST_BACK: Final = timedelta(days=13)
"""How far it goes back when asked to: 14 days."""
_LOOK_SECONDS: Final = 60.0
_MARKED_AT_ONCE: Final = 100
_MOST_RENEWED: Final = 500

_log = structlog.get_logger("movie_svc.changes")


@dataclass(frozen=True, slots=True)
class Bookmark:
    """How far the list was read."""

    at: datetime
    movie_ids: frozenset[int]
    """The films that were on it."""


@dataclass(frozen=True, slots=True)
class Outdated:
    """A film in the store that has changed since it was fetched."""

    name: str
    """Its key: `id/language/region`."""
    popularity: float


class Marks(Protocol):
    """The part of the store that is needed. Every method raises `StoreUnavailable`."""

    async def begin(self, *, now: datetime, until: datetime) -> bool:
        """Return whether it is for this replica to read the list; for no other until then."""
        ...

    async def give_up(self) -> None:
        """Let another replica try."""
        ...

    async def bookmark(self) -> Bookmark | None:
        """Return how far the list was read; None when it never was."""
        ...

    async def put_bookmark(self, bookmark: Bookmark) -> None:
        """Remember how far the list was read."""
        ...

    async def outdate(self, movie_ids: Sequence[int], *, fetched_before: datetime) -> list[Outdated]:
        """Mark films that were fetched before then, and return them."""
        ...


class ChangeFollower:
    """Reads the list of changes, every so often."""

    def __init__(
        self,
        *,
        store: Marks,
        fetch: Callable[[ChangesKey, float], Awaitable[ChangePage | None]],
        renew: Callable[[FilmKey], Awaitable[None]],
        every: timedelta,
        renewals_per_second: float,
        clock: Callable[[], datetime],
        counters: Counters,
    ) -> None:
        """Put the parts together.

        Args:
            store: Holds the marks.
            fetch: Asks TMDB for a page of the list, until a deadline on the event loop's clock.
            renew: Fetches an outdated film anew; raises nothing.
            every: How often the list is read, by all replicas together.
            renewals_per_second: How many popular films are renewed a second.
            clock: The present.
            counters: Where outdated films are counted.
        """
        self._store = store
        self._fetch = fetch
        self._renew = renew
        self._every = every
        self._pause_seconds = 1 / renewals_per_second
        self._clock = clock
        self._changed = counters.of(names.FILMS_CHANGED)

    async def follow(self) -> None:
        """Read the list whenever it is time, until cancelled.

        At once, too: whatever is fetched after the first look is outdated only by what is new on the list.
        """
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> bool:
        """Read the list, if it is time and no other replica does; return whether it was read to its end."""
        now = self._clock()
        try:
            last = await self._store.bookmark()
            if last is not None and now < last.at + self._every:
                return False
            if not await self._store.begin(now=now, until=now + self._every):
                return False
            outdated = await self._mark(now)
        except (FilmsUnavailable, StoreUnavailable) as error:
            _log.warning("changes.failed", problem=type(error).__name__)
            await self._give_up()
            return False
        self._changed.add(len(outdated))
        _log.info("changes.read", outdated=len(outdated))
        popular = sorted(outdated, key=lambda film: film.popularity, reverse=True)
        for film in popular[:_MOST_RENEWED]:
            await self._renew(FilmKey.named(film.name))
            await asyncio.sleep(self._pause_seconds)
        return True

    async def _mark(self, now: datetime) -> list[Outdated]:
        last = await self._store.bookmark()
        listed_since, ids = await self._read(now, last)
        known = last.movie_ids if last is not None else frozenset()
        outdated = await self._outdate(ids - known, fetched_before=now)
        if last is not None:
            # What was on the list then too and has changed again by now is caught before it leaves the list.
            late = listed_since + (now - last.at)
            outdated += await self._outdate(ids & known, fetched_before=min(late, now))
        await self._store.put_bookmark(Bookmark(now, ids))
        return outdated

    async def _read(self, now: datetime, last: Bookmark | None) -> tuple[datetime, frozenset[int]]:
        """Return since when the films on the list have changed, and their ids."""
        since: date | None = None
        listed_since = now - _LISTED_FOR
        if last is not None and last.at < listed_since:
            # It has not been read for too long: all days since then are asked for.
            since = max(last.at, now - _LONGEST_BACK).date()
            listed_since = datetime.combine(since, time(), UTC)
        ids: set[int] = set()
        page, pages = 1, 1
        while page <= min(pages, LAST_PAGE):
            deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
            answer = await self._fetch(ChangesKey(since, page), deadline)
            if answer is None:
                raise FilmsUnavailable
            ids.update(answer.movie_ids)
            page, pages = page + 1, answer.pages
        return listed_since, frozenset(ids)

    async def _outdate(self, ids: Iterable[int], *, fetched_before: datetime) -> list[Outdated]:
        outdated: list[Outdated] = []
        rest = iter(sorted(ids))
        while some := list(islice(rest, _MARKED_AT_ONCE)):
            outdated += await self._store.outdate(some, fetched_before=fetched_before)
        return outdated

    async def _give_up(self) -> None:
        try:
            await self._store.give_up()
        except StoreUnavailable:
            return  # it runs out by itself
