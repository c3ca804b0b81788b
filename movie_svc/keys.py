"""What the shelves are asked for, and under which name the store keeps it."""

from dataclasses import dataclass
from datetime import date
from typing import Literal

from movie_svc.films import Filter
from movie_svc.languages import Reader


@dataclass(frozen=True, slots=True)
class FilmKey:
    """A film for a reader. Readers who agree in best liked language and region share what the store keeps."""

    movie_id: int
    reader: Reader

    @property
    def name(self) -> str:
        """`id/language/region`."""
        return f"{self.movie_id}/{self.reader.language}/{self.reader.region}"

    @classmethod
    def named(cls, name: str) -> "FilmKey":
        """Return a key that has this name."""
        movie_id, language, region = name.split("/")
        return cls(int(movie_id), Reader((language,), region))


@dataclass(frozen=True, slots=True)
class ChangesKey:
    """One of TMDB's pages of the films that have changed."""

    since: date | None
    """From this day on (UTC); None for the last 24 hours."""
    page: int


@dataclass(frozen=True, slots=True)
class SearchKey:
    """One of TMDB's pages of a search."""

    words: str
    """As TMDB is asked: lower case, single spaces."""
    year: int
    """0 for any."""
    language: str
    region: str
    page: int

    @property
    def name(self) -> str:
        """Begins with `search/`; the words come last, for they may hold anything."""
        return f"search/{self.language}/{self.region}/{self.year}/{self.page}/{self.words}"


@dataclass(frozen=True, slots=True)
class TrendingKey:
    """One of TMDB's pages of what is looked at this week."""

    language: str
    page: int

    @property
    def name(self) -> str:
        """Begins with `trending/`."""
        return f"trending/{self.language}/{self.page}"


@dataclass(frozen=True, slots=True)
class DiscoverKey:
    """One of TMDB's pages of the films that pass a filter."""

    filter: Filter
    language: str
    region: str
    """Empty unless the filter asks for it."""
    page: int

    @classmethod
    def of(cls, wanted: Filter, reader: Reader, page: int) -> "DiscoverKey":
        """Return the key for a reader; those in other regions share it where the region decides nothing."""
        region = reader.region if wanted.provider_ids else ""
        return cls(wanted, reader.language, region, page)

    @property
    def name(self) -> str:
        """Begins with `discover/`."""
        wanted = self.filter
        genres = ",".join(map(str, wanted.genre_ids))
        providers = "|".join(map(str, wanted.provider_ids))
        years = f"{wanted.year_from}-{wanted.year_to}"
        rest = f"{wanted.max_runtime_minutes}/{wanted.min_rating}/{providers}/{wanted.original_language}"
        return f"discover/{self.language}/{self.region}/{self.page}/{genres}/{years}/{rest}"


@dataclass(frozen=True, slots=True)
class ProvidersKey:
    """All services one can watch films on in a region."""

    region: str

    @property
    def name(self) -> str:
        """Begins with `providers/`."""
        return f"providers/{self.region}"


@dataclass(frozen=True, slots=True)
class GenresKey:
    """All genres, named in a language."""

    language: str

    @property
    def name(self) -> str:
        """Begins with `genres/`."""
        return f"genres/{self.language}"


@dataclass(frozen=True, slots=True)
class FindKey:
    """The film, if any, that IMDb knows by an id."""

    imdb_id: str
    language: str

    @property
    def name(self) -> str:
        """Begins with `find/`."""
        return f"find/{self.language}/{self.imdb_id}"


@dataclass(frozen=True, slots=True)
class RankingKey:
    """One of TMDB's pages of the popular, or of the best rated films."""

    ranking: Literal["popular", "top_rated"]
    language: str
    page: int

    @property
    def name(self) -> str:
        """Begins with the ranking."""
        return f"{self.ranking}/{self.language}/{self.page}"


ListKey = SearchKey | TrendingKey | DiscoverKey
