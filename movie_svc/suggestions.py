"""Suggestions as one types: from the films and titles that the cache has seen, in every language.

Whatever TMDB tells of a film passes by here. It goes into an index in this process at once, and behind the
reader's back into the store, from which every replica builds its index when it starts, and which it follows
from then on. What is shown of a film, about 0.3 KB, is in the index, too: nobody who types waits for the
store.

Why not ask the store: an indexed array of folded words serves a range, but the popular ones among all that
begin with a letter or two are found only by reading all. Over 4,000 films SecantusDB took 70 ms for one
letter and 26 ms for three. An index of beginnings, each beside the popularity, would spare that, but has
dozens of entries a film: SecantusDB took in fewer than 50 films a second. `bench/` has what the index in
memory takes over 100,000 films.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Final, Protocol, TypeVar

import structlog

from movie_svc.allowance import Allowance
from movie_svc.films import Film, ListPage, Summary, Text, Translations
from movie_svc.folding import foldings
from movie_svc.keys import FilmKey
from movie_svc.languages import Reader, language_of_row
from movie_svc.shelf import StoreUnavailable
from movie_svc.title_index import Entry, TitleIndex

T = TypeVar("T")
K = TypeVar("K", contravariant=True)
V = TypeVar("V", covariant=True)

PARTS: Final = 256
"""In so many parts the store is read: together they are everything, and none is too large for one answer."""

_MOST_PENDING: Final = 5_000
_MOST_WRITTEN_AT_ONCE: Final = 200
_READ_AT_ONCE: Final = 500
_FOLLOW_EVERY_SECONDS: Final = 5.0
_TIDY_EVERY_SECONDS: Final = 6 * 3600.0
# Other replicas' clocks may be behind ours by so much, and what they wrote may be on its way for so long.
_OVERLAP: Final = timedelta(seconds=15)
_PAUSE_AFTER_FAILURE_SECONDS: Final = 1.0
_LEAST_BATCH: Final = 2_000
_NO_MORE: Final = Translations.pack(())

_log = structlog.get_logger("movie_svc.suggestions")


class Fetch(Protocol[K, V]):
    """Asks TMDB, until a deadline on the event loop's clock; None says that there is none."""

    async def __call__(self, key: K, deadline: float, allowance: Allowance, /) -> V | None:
        """Return what there is under a key."""
        ...


class InLanguage(Protocol):
    """A key of a list."""

    @property
    def language(self) -> str:
        """The language that titles are asked for in."""
        ...


L = TypeVar("L", bound=InLanguage)


@dataclass(frozen=True, slots=True)
class KnownFilm:
    """A film with its titles: what suggestions show."""

    id: int
    original_title: str
    """Never empty."""
    original_language: str
    titles: Mapping[str, str]
    """By language, "pt-BR"; none is empty."""
    popularity: float
    release_date: date | None
    genre_ids: tuple[int, ...]
    rating: float | None
    vote_count: int
    poster_path: str
    backdrop_path: str
    seen_at: datetime

    @classmethod
    def of_film(cls, film: Film, seen_at: datetime) -> "KnownFilm":
        """Return what is to be known of a film with all its details."""
        return cls(
            id=film.id,
            original_title=film.original_title,
            original_language=film.original_language,
            # An empty title beside an overview is TMDB's way to say that it is the original one.
            titles={
                text.language: text.title or film.original_title
                for text in (*film.translations.unpack(), *film.texts)
            },
            popularity=film.popularity,
            release_date=film.release_date,
            genre_ids=tuple(genre.id for genre in film.genres),
            rating=film.rating,
            vote_count=film.vote_count,
            poster_path=film.poster_path,
            backdrop_path=film.backdrop_path,
            seen_at=seen_at,
        )

    @classmethod
    def of_row(cls, row: Summary, language: str, seen_at: datetime) -> "KnownFilm":
        """Return what a row of a list, asked for in a language, tells of a film."""
        shown_in = language_of_row(row, Reader((language,)))
        return cls(
            id=row.id,
            original_title=row.original_title,
            original_language=row.original_language,
            titles={shown_in: row.title},
            popularity=row.popularity,
            release_date=row.release_date,
            genre_ids=row.genre_ids,
            rating=row.rating,
            vote_count=row.vote_count,
            poster_path=row.poster_path,
            backdrop_path=row.backdrop_path,
            seen_at=seen_at,
        )

    @property
    def texts(self) -> tuple[Text, ...]:
        """The titles as `languages.show` reads them."""
        return tuple(Text(language, title, "", "") for language, title in self.titles.items())

    @property
    def translations(self) -> Translations:
        """None but those in `texts`."""
        return _NO_MORE


@dataclass(frozen=True, slots=True)
class Suggested:
    """A film that is suggested, packed as the index holds it."""

    movie_id: int
    packed: bytes
    """All that is shown of it: other bytes once anything has changed."""

    @property
    def film(self) -> KnownFilm:
        """The film."""
        return _unpacked(self.movie_id, self.packed)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a film just now."""

    film: KnownFilm
    has_all_titles: bool
    """Otherwise there may be more than these."""

    def before(self, later: "Seen") -> "Seen":
        """Return both as one."""
        if later.has_all_titles:
            return later
        both = replace(later.film, titles={**self.film.titles, **later.film.titles})
        return Seen(both, self.has_all_titles)


class Titles(Protocol):
    """The part of the store that suggestions stand on. Every method raises `StoreUnavailable`."""

    async def prepare(self) -> None:
        """Make ready for all that follows."""
        ...

    async def write(self, seen: Sequence[Seen]) -> None:
        """Keep what was seen of several films."""
        ...

    async def remove(self, movie_id: int) -> None:
        """Forget a film."""
        ...

    async def part(self, number: int) -> list[KnownFilm]:
        """Return all films of one part, 0 to `PARTS` - 1."""
        ...

    async def changed(self, since: datetime, most: int) -> list[KnownFilm]:
        """Return the films that were seen at `since` or later, in that order."""
        ...


class Suggestions:
    """Knows titles, and finds them by how their words begin. Use as `async with`."""

    def __init__(
        self, titles: Titles, *, kept: timedelta, most_films: int, clock: Callable[[], datetime]
    ) -> None:
        """Put the parts together.

        Args:
            titles: The store that all replicas share.
            kept: For how long a film may be served after it was seen.
            most_films: How many films the index holds; the least popular beyond that are left out.
            clock: The present.
        """
        self._titles = titles
        self._kept = kept
        self._clock = clock
        self._index = TitleIndex(most_films)
        self._pending: dict[int, Seen] = {}
        self._gone: set[int] = set()
        self._has_pending = asyncio.Event()
        self._prepared = asyncio.Event()
        self._loaded = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Suggestions":
        """Begin to build the index, and to follow the store."""
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._write_behind())]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Write what is still to be written, if the store takes it, and stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.settle()

    def noting_films(self, fetch: Fetch[FilmKey, Film]) -> Fetch[FilmKey, Film]:
        """Return the same way to fetch films, with what comes taken note of."""

        async def fetch_and_note(key: FilmKey, deadline: float, allowance: Allowance) -> Film | None:
            film = await fetch(key, deadline, allowance)
            self.saw_film(key.movie_id, film)
            return film

        return fetch_and_note

    def noting_pages(self, fetch: Fetch[L, ListPage]) -> Fetch[L, ListPage]:
        """Return the same way to fetch pages of a list, with what comes taken note of."""

        async def fetch_and_note(key: L, deadline: float, allowance: Allowance) -> ListPage | None:
            page = await fetch(key, deadline, allowance)
            self.saw_page(key.language, page)
            return page

        return fetch_and_note

    def titles_of(self, movie_id: int) -> frozenset[str]:
        """Return all titles of a film that are known here, folded."""
        entry = self._index.entry(movie_id)
        return frozenset() if entry is None else entry.titles

    def saw_film(self, movie_id: int, film: Film | None) -> None:
        """Take note of a film as TMDB has just told it; None when it has no such film."""
        if film is not None:
            self._saw(Seen(KnownFilm.of_film(film, self._clock()), has_all_titles=True))
        elif self._index.entry(movie_id) is not None:
            self._index.drop(movie_id)
            self._pending.pop(movie_id, None)
            self._gone.add(movie_id)
            self._has_pending.set()

    def saw_page(self, language: str, page: ListPage | None) -> None:
        """Take note of a page of a list that TMDB was asked for in a language."""
        now = self._clock()
        for row in page.rows if page is not None else ():
            if row is not None:
                self._saw(Seen(KnownFilm.of_row(row, language, now), has_all_titles=False))

    async def suggest(self, prefix: str, *, most: int, patience: float) -> list[Suggested]:
        """Return films with a title of which some word begins so, the popular first, each once.

        The store is not asked: what is suggested is in memory.

        Args:
            prefix: What was typed; accents, case and punctuation do not matter.
            most: How many films at most.
            patience: How many seconds to wait for a process that has just started to read the store. After
                that the answer is what it has read so far.
        """
        if not self._loaded.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, patience)):
                    await self._loaded.wait()
        movie_ids = self._index.find(foldings(prefix), most)
        return [
            Suggested(movie_id, packed)
            for movie_id in movie_ids
            if (packed := self._index.shown(movie_id)) is not None
        ]

    async def settle(self) -> None:
        """Wait until what was seen is in the store, or the store has failed to take it."""
        if self._prepared.is_set():
            with suppress(StoreUnavailable):
                await self._write()

    def _known(self, movie_id: int) -> KnownFilm | None:
        shown = self._index.shown(movie_id)
        return None if shown is None else _unpacked(movie_id, shown)

    def _saw(self, seen: Seen) -> None:
        film = seen.film
        earlier = self._pending.get(film.id)
        if earlier is None and len(self._pending) >= _MOST_PENDING:
            return  # the store does not keep up: whoever looks at the film next brings it again
        self._pending[film.id] = seen if earlier is None else earlier.before(seen)
        self._gone.discard(film.id)
        self._has_pending.set()
        if not seen.has_all_titles and (known := self._known(film.id)) is not None:
            film = replace(film, titles={**known.titles, **film.titles})
        self._index.put(self._entry(film))

    def _entry(self, film: KnownFilm) -> Entry:
        titles = dict.fromkeys((film.original_title, *film.titles.values()))
        return Entry(
            movie_id=film.id,
            popularity=film.popularity,
            titles=frozenset(folded for title in titles for folded in foldings(title)),
            gone_at=(film.seen_at + self._kept).timestamp(),
            shown=_packed(film),
        )

    async def _write_behind(self) -> None:
        await self._prepared.wait()
        while True:
            await self._has_pending.wait()
            try:
                await self._write()
            except StoreUnavailable:
                await asyncio.sleep(_PAUSE_AFTER_FAILURE_SECONDS)

    async def _write(self) -> None:
        for movie_id in list(self._gone):
            await self._titles.remove(movie_id)
            self._gone.discard(movie_id)
        while self._pending:
            batch = dict(list(self._pending.items())[:_MOST_WRITTEN_AT_ONCE])
            await self._titles.write(list(batch.values()))
            for movie_id, seen in batch.items():
                if self._pending.get(movie_id) is seen:  # otherwise more was seen meanwhile
                    del self._pending[movie_id]
        self._has_pending.clear()

    async def _follow(self) -> None:
        """Read the whole store, then again and again what has changed in it."""
        since = self._clock() - _OVERLAP
        await self._insist(self._titles.prepare)
        self._prepared.set()
        await self._load()
        self._loaded.set()
        _log.info("suggestions.loaded", films=len(self._index))
        loop = asyncio.get_running_loop()
        tidy_at = loop.time() + _TIDY_EVERY_SECONDS
        while True:
            if self._index.wants_compacting or loop.time() >= tidy_at:
                await self._compact(())  # which also leaves out what may not be served any more
                tidy_at = loop.time() + _TIDY_EVERY_SECONDS
            await asyncio.sleep(_FOLLOW_EVERY_SECONDS)
            with suppress(StoreUnavailable):
                since = await self._take_changes(since)

    async def _load(self) -> None:
        batch: list[Entry] = []
        for number in range(PARTS):
            batch += map(self._entry, await self._insist(partial(self._titles.part, number)))
            # Each time as many as there are already, so that building costs about twice its end alone.
            if len(batch) >= max(_LEAST_BATCH, len(self._index)):
                await self._compact(batch)
                batch = []
        await self._compact(batch)

    async def _take_changes(self, since: datetime) -> datetime:
        while True:
            films = await self._titles.changed(since, _READ_AT_ONCE)
            for film in films:
                if film.id not in self._pending and film.id not in self._gone:
                    self._index.put(self._entry(film))
            if len(films) < _READ_AT_ONCE:
                return max(since, self._clock() - _OVERLAP)
            since = max(films[-1].seen_at, since + timedelta(milliseconds=1))

    async def _compact(self, more: Sequence[Entry]) -> None:
        snapshot, now = self._index.snapshot(), self._clock().timestamp()
        tiers = await asyncio.to_thread(snapshot.compacted, more, now=now)
        self._index.adopt(tiers, snapshot)

    async def _insist(self, work: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await work()
            except StoreUnavailable:
                await asyncio.sleep(_PAUSE_AFTER_FAILURE_SECONDS)


def _packed(film: KnownFilm) -> bytes:
    """Return what is shown of a film; of when it was seen only the day, lest each time were news."""
    day = film.release_date
    parts = (
        *(film.original_title, film.original_language, film.titles, film.popularity),
        *(None if day is None else day.isoformat(), film.genre_ids, film.rating, film.vote_count),
        *(film.poster_path, film.backdrop_path, film.seen_at.date().isoformat()),
    )
    return json.dumps(parts, ensure_ascii=False, separators=(",", ":")).encode()


def _unpacked(movie_id: int, packed: bytes) -> KnownFilm:
    original_title, language, titles, popularity, day, genres, *rest, seen_at = json.loads(packed)
    rating, vote_count, poster_path, backdrop_path = rest
    return KnownFilm(
        id=movie_id,
        original_title=original_title,
        original_language=language,
        titles=titles,
        popularity=popularity,
        release_date=None if day is None else date.fromisoformat(day),
        genre_ids=tuple(genres),
        rating=rating,
        vote_count=vote_count,
        poster_path=poster_path,
        backdrop_path=backdrop_path,
        seen_at=datetime.fromisoformat(seen_at).replace(tzinfo=UTC),
    )
