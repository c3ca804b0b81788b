"""The films that the stand-in knows, read from the data files beside this module.

Nothing here speaks HTTP. `Catalogue` answers the questions behind TMDB's lists (search, discover, trending,
recommendations) with `Film` values; `answers` turns those into TMDB's JSON.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

DATA: Final = Path(__file__).parent
KINDS: Final = ("flatrate", "free", "ads", "rent", "buy")
TOP_RATED_VOTES: Final = 300


@dataclass(frozen=True, slots=True)
class Text:
    """What a film is called and how it is told in one language; each part is empty where there is none."""

    title: str = ""
    overview: str = ""
    tagline: str = ""


@dataclass(frozen=True, slots=True)
class Role:
    """A member of the cast and the character played."""

    name: str
    character: str


@dataclass(frozen=True, slots=True)
class Film:
    """One film of the catalogue.

    Attributes:
        released: ISO date, or empty when TMDB knows none.
        runtime: minutes; 0 when unknown.
        certifications: age rating by region.
        texts: by language code, always with `en`.
        availability: provider ids by region, then by kind (one of `KINDS`).
        collection: TMDB's id and English name of the series it belongs to.
    """

    id: int
    imdb_id: str | None
    original_title: str
    original_language: str
    released: str
    runtime: int
    genres: tuple[int, ...]
    countries: tuple[str, ...]
    spoken: tuple[str, ...]
    vote_average: float
    vote_count: int
    popularity: float
    directors: tuple[str, ...]
    cast: tuple[Role, ...]
    keywords: tuple[str, ...]
    certifications: Mapping[str, str]
    texts: Mapping[str, Text]
    collection: tuple[int, str] | None
    trailer: str | None
    poster: bool
    backdrop: bool
    availability: Mapping[str, Mapping[str, tuple[int, ...]]] = field(default_factory=dict)

    @property
    def year(self) -> int | None:
        """The year of the first release."""
        return int(self.released[:4]) if self.released else None

    @property
    def title(self) -> str:
        """The English title."""
        return self.texts["en"].title

    def told(self, language: str) -> Text:
        """The film in `language` (a two-letter code): the English title where there is no other, no text."""
        text = self.texts.get(language, Text())
        if text.title:
            return text
        title = self.original_title if language == self.original_language else self.title
        return Text(title, text.overview, text.tagline)

    def titles(self) -> set[str]:
        """Every title the film goes by."""
        return {self.original_title, *(text.title for text in self.texts.values() if text.title)}

    def providers(self, region: str, kinds: Iterable[str] = KINDS) -> set[int]:
        """The providers that have the film in `region` in one of `kinds`."""
        offers = self.availability.get(region, {})
        return {provider for kind in kinds for provider in offers.get(kind, ())}


@dataclass(frozen=True, slots=True)
class Provider:
    """A streaming service, with its place in the order of each region that has it."""

    id: int
    name: str
    priority: int
    priorities: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Choice:
    """A `with_*` list of TMDB: with commas all of `values` are wanted, with pipes any of them."""

    values: frozenset[str]
    all_wanted: bool

    @classmethod
    def parse(cls, text: str) -> "Choice | None":
        """Reads `1,2` or `1|2`; None when it names nothing, which filters nothing."""
        # A pipe anywhere makes it OR, as TMDB does when both are mixed.
        all_wanted = "|" not in text
        values = frozenset(part.strip() for part in re.split(r"[,|]", text) if part.strip())
        return cls(values, all_wanted) if values else None

    def holds(self, present: Iterable[object]) -> bool:
        """Whether a film that has `present` is wanted."""
        found = {str(value) for value in present}
        return self.values <= found if self.all_wanted else not self.values.isdisjoint(found)


def fold(text: str) -> str:
    """`text` without case and accents, its words separated by one space."""
    plain = text.casefold().translate(_LIGATURES)
    letters = "".join(c for c in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(c))
    return " ".join(
        re.findall(r"\w+", letters.replace("'", "").replace("\N{RIGHT SINGLE QUOTATION MARK}", ""))
    )


_LIGATURES = str.maketrans({"ø": "o", "ł": "l", "æ": "ae", "œ": "oe", "đ": "d", "·": ""})

_Order = Callable[["Film"], Any]

ORDERS: Final[Mapping[str, _Order]] = {
    "popularity": lambda film: film.popularity,
    "primary_release_date": lambda film: film.released,
    "release_date": lambda film: film.released,
    "title": lambda film: fold(film.title),
    "original_title": lambda film: fold(film.original_title),
    "vote_average": lambda film: film.vote_average,
    "vote_count": lambda film: film.vote_count,
    # No revenue is kept: what most people have seen stands for it.
    "revenue": lambda film: film.vote_count,
}


class Catalogue:
    """All films, and the orders and filters that TMDB's lists are made of."""

    def __init__(self, films: Sequence[Film], providers: Sequence[Provider]) -> None:
        """Indexes `films` by id and by their folded titles."""
        self.films: Final = tuple(films)
        self.providers: Final = {provider.id: provider for provider in providers}
        self._by_id: Final = {film.id: film for film in films}
        self._by_imdb_id: Final = {film.imdb_id: film for film in films if film.imdb_id}
        self._folded: Final = {
            film.id: sorted({fold(title) for title in film.titles()} - {""}) for film in films
        }

    def get(self, film_id: int) -> Film | None:
        """The film with TMDB's id `film_id`."""
        return self._by_id.get(film_id)

    def by_imdb_id(self, imdb_id: str) -> Film | None:
        """The film with IMDb's id (`tt` and digits)."""
        return self._by_imdb_id.get(imdb_id)

    def regions(self) -> list[str]:
        """The regions that some provider serves, in alphabetical order."""
        return sorted({region for provider in self.providers.values() for region in provider.priorities})

    def search(self, query: str, *, year: int | None = None) -> list[Film]:
        """Films one of whose titles has every word of `query`, the closest and best known first."""
        wanted = fold(query)
        if not wanted:
            return []
        ranked = [
            (rank, -film.popularity, film.id, film)
            for film in self.films
            if (year is None or film.year == year) and (rank := self._rank(film, wanted)) is not None
        ]
        return [film for _, _, _, film in sorted(ranked, key=lambda entry: entry[:3])]

    def _rank(self, film: Film, wanted: str) -> int | None:
        """0 for the very title, 1 for its beginning, 2 for its words, None when it does not match."""
        best: int | None = None
        words = wanted.split()
        for title in self._folded[film.id]:
            if title == wanted:
                return 0
            if title.startswith(wanted):
                best = 1
            elif best is None and all(_has_word(title, word) for word in words):
                best = 2
        return best

    def ordered(self, order: str, films: Iterable[Film] | None = None) -> list[Film]:
        """`films` (by default all) in TMDB's `sort_by`; an unknown one means `popularity.desc`."""
        name, _, direction = order.partition(".")
        if name not in ORDERS or direction not in {"asc", "desc"}:
            name, direction = "popularity", "desc"
        by_id = sorted(self.films if films is None else films, key=lambda film: film.id)
        return sorted(by_id, key=ORDERS[name], reverse=direction == "desc")

    def top_rated(self) -> list[Film]:
        """Films with enough votes, the best first."""
        return self.ordered("vote_average.desc", (f for f in self.films if f.vote_count >= TOP_RATED_VOTES))

    def trending(self, window: str) -> list[Film]:
        """What is talked about this `week`, or this `day`, when newer films count for more."""
        if window == "week":
            return self.ordered("popularity.desc")
        newest = max(film.year or 0 for film in self.films)
        return sorted(
            self.films,
            key=lambda film: (-film.popularity / (1 + 0.1 * (newest - (film.year or 0))), film.id),
        )

    @lru_cache(maxsize=1024)  # noqa: B019 - one catalogue lives as long as its process
    def related(self, film_id: int, most: int = 40) -> tuple[Film, ...]:
        """Films alike to one: shared genres, keywords, people, language and time."""
        film = self._by_id[film_id]
        people = {*film.directors, *(role.name for role in film.cast)}

        def likeness(other: Film) -> float:
            others = {*other.directors, *(role.name for role in other.cast)}
            genres = len({*film.genres} & {*other.genres}) / (len({*film.genres, *other.genres}) or 1)
            years = abs((film.year or 0) - (other.year or 0))
            return (
                4 * genres
                + 2 * len(people & others)
                + 1.5 * len({*film.keywords} & {*other.keywords})
                + (film.original_language == other.original_language)
                + (film.collection is not None and film.collection == other.collection) * 5
                - years / 25
            )

        others = [other for other in self.films if other.id != film_id and other.genres]
        return tuple(sorted(others, key=lambda other: (-likeness(other), other.id))[:most])


def _has_word(title: str, word: str) -> bool:
    """Whether `word` begins a word of `title`, or is anywhere in one written without spaces."""
    return f" {word}" in f" {title}" or (not word.isascii() and word in title)


def load(folder: Path = DATA) -> Catalogue:
    """Reads `films.jsonl`, `availability.jsonl` and `providers.jsonl` in `folder`."""
    availability = {row.pop("id"): row for row in _rows(folder / "availability.jsonl")}
    films = [_film(row, availability.get(row["id"], {})) for row in _rows(folder / "films.jsonl")]
    providers = [
        Provider(row["id"], row["name"], row["priority"], row["priorities"])
        for row in _rows(folder / "providers.jsonl")
    ]
    return Catalogue(films, providers)


def _rows(file: Path) -> list[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def _film(row: Mapping[str, Any], offers: Mapping[str, Mapping[str, Sequence[int]]]) -> Film:
    return Film(
        id=row["id"],
        imdb_id=row["imdb"],
        original_title=row["original"],
        original_language=row["language"],
        released=row["released"],
        runtime=row["runtime"],
        genres=tuple(row["genres"]),
        countries=tuple(row["countries"]),
        spoken=tuple(row.get("spoken", [row["language"]])),
        vote_average=row["votes"][0],
        vote_count=row["votes"][1],
        popularity=row["popularity"],
        directors=tuple(row["directors"]),
        cast=tuple(Role(name, character) for name, character in row["cast"]),
        keywords=tuple(row["keywords"]),
        certifications=row["certifications"],
        texts={language: Text(**text) for language, text in row["texts"].items()},
        collection=(row["collection"][0], row["collection"][1]) if row.get("collection") else None,
        trailer=row.get("trailer"),
        poster=row.get("poster", True),
        backdrop=row.get("backdrop", True),
        availability={
            region: {kind: tuple(ids) for kind, ids in kinds.items()} for region, kinds in offers.items()
        },
    )
