"""Entries of a backlog: what one is, what putting and changing one does, and how they are listed.

Plain values and rules; nothing here knows of gRPC or of PostgreSQL.
"""

import hashlib
from collections.abc import Set
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

LONGEST_NOTE: Final = 1024
"""Code points."""
MOST_TAGS: Final = 20
LONGEST_TAG: Final = 40
"""Code points."""
MOST_HALF_STARS: Final = 10
CLOCK_SKEW: Final = timedelta(minutes=1)
"""A time this little ahead of our clock is taken for now: phones' clocks are not ours."""


class Status(StrEnum):
    """Where somebody stands with a film."""

    WANT_TO_WATCH = "want_to_watch"
    WATCHING = "watching"
    WATCHED = "watched"
    DROPPED = "dropped"


class Source(StrEnum):
    """How an entry came to be."""

    BY_HAND = "by_hand"
    IMPORT = "import"
    MOVIE_NIGHT = "movie_night"


class Order(StrEnum):
    """How a list is ordered. Entries that compare equal go by film id, the lowest first."""

    ADDED_DESC = "added_desc"
    ADDED_ASC = "added_asc"
    UPDATED_DESC = "updated_desc"
    UPDATED_ASC = "updated_asc"
    RATING_DESC = "rating_desc"
    """Without a rating: at the end."""
    RATING_ASC = "rating_asc"
    """Without a rating: at the end here, too. So it is with every fact that is missing."""
    RELEASE_DATE_DESC = "release_date_desc"
    RELEASE_DATE_ASC = "release_date_asc"
    RUNTIME_DESC = "runtime_desc"
    RUNTIME_ASC = "runtime_asc"
    TITLE_DESC = "title_desc"
    """By the folded title in the reader's language."""
    TITLE_ASC = "title_asc"
    POPULARITY_DESC = "popularity_desc"
    POPULARITY_ASC = "popularity_asc"


class Field(StrEnum):
    """What of an entry can be changed by itself."""

    STATUS = "status"
    NOTE = "note"
    RATING = "rating"
    TAGS = "tags"
    WATCH_TIME = "watch_time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What an entry shall say. It is the whole entry: what is left out is emptied."""

    movie_id: int
    """TMDB's id, at least 1."""
    status: Status = Status.WANT_TO_WATCH
    note: str = ""
    half_stars: int | None = None
    """The rating in half stars, 1 to 10."""
    tags: tuple[str, ...] = ()
    """Each once, in the order given."""
    watch_time: datetime | None = None
    source: Source = Source.BY_HAND
    """Counts only for an entry that is new: how an entry came to be does not change later."""

    @property
    def keeps_watch_time(self) -> bool:
        """Whether an entry that knows its watch time keeps it: watched, and nothing said about when."""
        return self.status is Status.WATCHED and self.watch_time is None

    def new_watch_time(self, now: datetime) -> datetime | None:
        """The watch time to write where none is kept: the given one; else now, if watched."""
        if self.watch_time is not None:
            return min(self.watch_time, now)
        return now if self.status is Status.WATCHED else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One film in somebody's backlog. Times are aware, in microseconds."""

    movie_id: int
    status: Status
    note: str
    half_stars: int | None
    tags: tuple[str, ...]
    add_time: datetime
    update_time: datetime
    watch_time: datetime | None
    source: Source

    @property
    def etag(self) -> str:
        """A short text that changes whenever anything about the entry does."""
        content = repr(
            (
                self.movie_id,
                self.status.value,
                self.note,
                self.half_stars,
                self.tags,
                self.add_time.isoformat(),
                self.update_time.isoformat(),
                self.watch_time and self.watch_time.isoformat(),
                self.source.value,
            )
        )
        return hashlib.sha256(content.encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which entries: all that is set must hold."""

    status: Status | None = None
    tag: str | None = None
    """Spelled exactly so."""
    genre_ids: tuple[int, ...] = ()
    """Films that have all of these."""
    max_runtime_minutes: int | None = None
    decade: int | None = None
    """Its first year."""
    provider_ids: tuple[int, ...] = ()
    """Films that one of these has by subscription in `region`."""
    region: str = ""
    text: str = ""
    """In the title, the note or a tag; case and accents apart."""

    @property
    def asks_about_films(self) -> bool:
        """Whether facts about the films decide."""
        return bool(
            self.genre_ids
            or self.max_runtime_minutes is not None
            or self.decade is not None
            or self.provider_ids
            or self.text
        )


@dataclass(frozen=True, slots=True)
class Position:
    """A place in an ordered list: right after the entry with this sort key and film."""

    key: datetime | float | str
    """What the order compares; never empty, see `list_store`."""
    movie_id: int


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of an ordered list."""

    entries: tuple[Entry, ...]
    next: Position | None
    """Where the list goes on; None at its end."""
    total_size: int
    """How many entries pass the filter, over all pages, at the same moment as the page."""
    undecided_size: int = 0
    """How many more might pass: what decides about them is not known yet."""
    lacking_size: int = 0
    """How many entries lack a fact that the filter or the order asks about, or have an old one."""


def changed(entry: Entry, draft: Draft, fields: Set[Field], *, now: datetime) -> Entry:
    """Return the entry with these fields of the draft; the same one when there are none.

    A watched film has a watch time: the given one, or what was known, or now.
    """
    if not fields:
        return entry
    status = draft.status if Field.STATUS in fields else entry.status
    given = draft.watch_time and min(draft.watch_time, now)
    watch_time = given if Field.WATCH_TIME in fields else entry.watch_time
    if watch_time is None and status is Status.WATCHED:
        watch_time = entry.watch_time or now
    return replace(
        entry,
        status=status,
        note=draft.note if Field.NOTE in fields else entry.note,
        half_stars=draft.half_stars if Field.RATING in fields else entry.half_stars,
        tags=draft.tags if Field.TAGS in fields else entry.tags,
        watch_time=watch_time,
        update_time=now,
    )


def half_stars(stars: float) -> int | None:
    """Stars as half stars, 1 to 10; None when it is not 0.5 to 5 in steps of a half."""
    doubled = stars * 2
    # In this order NaN and the infinities fail before anything converts them.
    return int(doubled) if 1 <= doubled <= MOST_HALF_STARS and doubled == int(doubled) else None


def stars(half_stars: int) -> float:
    """Half stars as stars."""
    return half_stars / 2
