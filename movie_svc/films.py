"""Films as we understand them: no JSON of TMDB's, no message of ours, no document of the store's."""

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import ClassVar, Final

_ASK_AGAIN_AFTER: Final = timedelta(seconds=5)


class MovieNotFound(Exception):
    """TMDB has no film with this id."""

    status: ClassVar[str] = "NOT_FOUND"
    reason: ClassVar[str] = "MOVIE_NOT_FOUND"

    def __init__(self, movie_id: int) -> None:
        super().__init__(f"There is no film with the id {movie_id}.")
        self.metadata: Mapping[str, str] = {"movie_id": str(movie_id)}


class FilmsUnavailable(Exception):
    """It is not cached, and TMDB does not give it just now."""

    status: ClassVar[str] = "UNAVAILABLE"
    reason: ClassVar[str] = "DEPENDENCY_UNAVAILABLE"

    def __init__(self, *, retry_after: timedelta = _ASK_AGAIN_AFTER) -> None:
        """Say when asking again makes sense."""
        super().__init__("The film database does not answer right now. Please try again in a moment.")
        self.metadata: Mapping[str, str] = {"dependency": "tmdb"}
        self.retry_after = retry_after


class AnswerUnusable(FilmsUnavailable):
    """TMDB answered, but with something that no film or list can be read from.

    It says nothing about other films, so asking for those goes on.
    """


@dataclass(frozen=True, slots=True)
class Text:
    """What is written about a film in one language. Each part may be empty."""

    language: str
    """BCP 47, with TMDB's country where it has one: "pt-BR"."""
    title: str
    """Empty also when the title is the same as in the original."""
    overview: str
    tagline: str


@dataclass(frozen=True, slots=True)
class Translations:
    """The texts in all languages, packed: most readers never need them, and a popular film has fifty.

    Packed, those of a film take about 10 KB.
    """

    packed: bytes
    """zlib-compressed JSON: a list of [language, title, overview, tagline]."""

    @classmethod
    def pack(cls, texts: Iterable[Text]) -> "Translations":
        """Return `texts` in packed form, in their order."""
        rows = [[text.language, text.title, text.overview, text.tagline] for text in texts]
        return cls(
            zlib.compress(json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode(), level=1)
        )

    def unpack(self) -> tuple[Text, ...]:
        """Return the texts.

        Raises:
            ValueError: When `packed` is not what `pack` makes.
        """
        try:
            rows = json.loads(zlib.decompress(self.packed))
        except zlib.error as error:
            raise ValueError("these are not packed translations") from error
        return tuple(Text(*row) for row in rows)


@dataclass(frozen=True, slots=True)
class Genre:
    """A kind of film, named in the language that was asked for."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class CastMember:
    """Somebody who plays in a film."""

    name: str
    character: str


@dataclass(frozen=True, slots=True)
class Trailer:
    """A trailer on YouTube."""

    youtube_key: str
    name: str


@dataclass(frozen=True, slots=True)
class Collection:
    """A series of films."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Provider:
    """A service one can watch films on."""

    id: int
    name: str
    logo_path: str
    """TMDB's path of the logo, with its slash; empty without one."""


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """Where to watch a film in one region, by what one pays, each in JustWatch's order."""

    region: str
    link: str
    subscription: tuple[Provider, ...]
    free: tuple[Provider, ...]
    ads: tuple[Provider, ...]
    rent: tuple[Provider, ...]
    buy: tuple[Provider, ...]


@dataclass(frozen=True, slots=True)
class Film:
    """A film with all its details, as asked for in one language and region."""

    id: int
    original_title: str
    """Never empty."""
    original_language: str
    """ISO 639-1; empty when nobody knows or nobody speaks."""
    texts: tuple[Text, ...]
    """In the language it was asked for (every country's), in its own language, and in English."""
    translations: Translations
    """In all languages."""
    release_date: date | None
    genres: tuple[Genre, ...]
    rating: float | None
    """0 to 10; None without votes."""
    vote_count: int
    popularity: float
    poster_path: str
    """TMDB's path, with its slash; empty without a poster."""
    backdrop_path: str
    runtime_minutes: int | None
    certification: str
    cast: tuple[CastMember, ...]
    directors: tuple[str, ...]
    trailer: Trailer | None
    countries: tuple[str, ...]
    """ISO 3166-1 alpha-2."""
    collection: Collection | None
    watch: WatchOptions | None
    imdb_id: str


@dataclass(frozen=True, slots=True)
class Summary:
    """A film as a row of a list has it: title and overview are in the language asked for, or the original."""

    id: int
    title: str
    """Never empty."""
    original_title: str
    original_language: str
    overview: str
    release_date: date | None
    genre_ids: tuple[int, ...]
    rating: float | None
    vote_count: int
    popularity: float
    poster_path: str
    backdrop_path: str


@dataclass(frozen=True, slots=True)
class ChangePage:
    """A page of TMDB's list of films that have changed."""

    movie_ids: tuple[int, ...]
    pages: int
    """How many pages the list has."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which films to discover: all that is set must hold. Equal filters find the same films."""

    genre_ids: tuple[int, ...] = ()
    """All of them; ascending, none twice."""
    year_from: int = 0
    """0 for any, here and below."""
    year_to: int = 0
    max_runtime_minutes: int = 0
    min_rating: float = 0.0
    """0 to 10; above 0 it takes `VOTES_TO_BE_RATED` votes too."""
    provider_ids: tuple[int, ...] = ()
    """One of them, in the reader's region; ascending, none twice."""
    original_language: str = ""
    """ISO 639-1."""


VOTES_TO_BE_RATED: Final = 50
"""A mean of fewer votes says nothing."""

ROWS_A_PAGE: Final = 20
"""How many rows a page of TMDB's lists has."""
LAST_PAGE: Final = 500
"""TMDB shows no page after this one."""


@dataclass(frozen=True, slots=True)
class ListPage:
    """One of TMDB's pages."""

    rows: tuple[Summary | None, ...]
    """At most `ROWS_A_PAGE`. None keeps the place of a row that could not be read."""
    total: int
    """How many rows there are over all pages, as far as TMDB shows them."""
