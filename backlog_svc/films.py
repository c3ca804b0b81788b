"""What lists need to know of films, and how old it may get. Plain values and rules."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

FRESH: Final = timedelta(days=7)
"""Facts older than this are asked for again, and go on being used meanwhile."""
MISSING_FRESH: Final = timedelta(days=30)
"""The same for a film that TMDB does not have."""
KEPT: Final = timedelta(days=60)
"""Titles and providers that nobody has asked about for so long are given up."""
MOST_LANGUAGES: Final = 3
"""How many of a reader's languages make a difference to titles here."""

_FIRST_PAUSE: Final = timedelta(seconds=1)
_LONGEST_PAUSE: Final = timedelta(seconds=60)
_ENGLISH: Final = "en"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmFacts:
    """One film, as movie_svc told of it to one reader."""

    movie_id: int
    title: str = ""
    """In the reader's language, as far as there is one; empty when TMDB has no such film."""
    original_title: str = ""
    release_date: date | None = None
    runtime_minutes: int | None = None
    genre_ids: tuple[int, ...] = ()
    popularity: float | None = None
    provider_ids: tuple[int, ...] = ()
    """Who has it by subscription in the reader's region."""
    missing: bool = False
    """TMDB has no film with this id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What movie_svc said about several films."""

    facts: tuple[FilmFacts, ...]
    """Films that are known now, those that TMDB does not have included."""
    unavailable: tuple[int, ...]
    """Films that cannot be had just now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What of a film depends on who looks: the languages of its title, the region it can be watched in."""

    languages: tuple[str, ...] = ()
    """BCP 47 tags, the best liked first; empty for English, which every film has anyway."""
    region: str = ""
    """ISO 3166-1 alpha-2; empty when providers do not matter."""

    @property
    def language_key(self) -> str:
        """The languages as one text."""
        return ",".join(self.languages)

    @classmethod
    def of(cls, languages: Sequence[str], region: str) -> "View":
        """Return the view of somebody who reads these languages: as many as make a difference."""
        english_first = not languages or languages[0].partition("-")[0] == _ENGLISH
        return cls(languages=() if english_first else tuple(languages[:MOST_LANGUAGES]), region=region)


def due_again(facts: FilmFacts, now: datetime) -> datetime:
    """Return when to ask for a film again: spread over a day, as films are often added together."""
    fresh = MISSING_FRESH if facts.missing else FRESH
    return now + fresh - timedelta(minutes=facts.movie_id % 1440)


def pause_after(attempts: int) -> timedelta:
    """Return how long to wait after so many attempts that failed: 1 s, doubling, a minute at most."""
    return min(_FIRST_PAUSE * (1 << min(max(attempts - 1, 0), 10)), _LONGEST_PAUSE)
