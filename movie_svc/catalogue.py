"""The use cases: films by id, by search and by what is trending, each for a reader."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, Generic, TypeVar
from unicodedata import combining, normalize

from movie_svc.allowance import Allowance
from movie_svc.films import (
    LAST_PAGE,
    ROWS_A_PAGE,
    Film,
    FilmsUnavailable,
    Filter,
    Genre,
    ListPage,
    MovieNotFound,
    Provider,
    Summary,
)
from movie_svc.keys import (
    DiscoverKey,
    FilmKey,
    GenresKey,
    ListKey,
    ProvidersKey,
    SearchKey,
    TrendingKey,
)
from movie_svc.languages import FALLBACK_LANGUAGE, Reader, with_country
from movie_svc.shelf import Policy, Shelf

S = TypeVar("S")

FILM_POLICY: Final = Policy(fresh=timedelta(days=7), kept=timedelta(days=180), missing=timedelta(hours=6))
PAGE_POLICY: Final = Policy(fresh=timedelta(hours=1), kept=timedelta(days=1), missing=timedelta(minutes=1))
GENRES_POLICY: Final = Policy(fresh=timedelta(days=1), kept=timedelta(days=30), missing=timedelta(minutes=1))

PROVIDERS_POLICY: Final = GENRES_POLICY

Genres = tuple[Genre, ...]
Providers = tuple[Provider, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a list."""

    rows: tuple[Summary, ...]
    genres: dict[int, str]
    """Names by TMDB's id, in the reader's language; empty when they cannot be had."""
    overviews: dict[int, str]
    """In English, by film, for rows that have none in the reader's language."""
    next_offset: int | None
    """Where the list goes on; None at its end."""
    total: int


class Catalogue(Generic[S]):
    """Films and lists, each from its shelf. S is what the films' shelf presents a film as."""

    def __init__(
        self,
        *,
        films: Shelf[FilmKey, Film, S],
        searches: Shelf[SearchKey, ListPage, ListPage],
        trending: Shelf[TrendingKey, ListPage, ListPage],
        discoveries: Shelf[DiscoverKey, ListPage, ListPage],
        genres: Shelf[GenresKey, Genres, dict[int, str]],
        providers: Shelf[ProvidersKey, Providers, Providers],
    ) -> None:
        """Take the shelves."""
        self._films = films
        self._searches = searches
        self._trending = trending
        self._discoveries = discoveries
        self._genres = genres
        self._providers = providers

    async def film(self, movie_id: int, reader: Reader, *, patience: float) -> S:
        """Return a film.

        Raises:
            MovieNotFound: TMDB has none with this id.
            FilmsUnavailable: It is not cached, and TMDB does not give it within `patience` seconds.
        """
        film = await self._films.get(FilmKey(movie_id, reader), patience=patience)
        if film is None:
            raise MovieNotFound(movie_id)
        return film

    async def films(
        self, movie_ids: Sequence[int], reader: Reader, *, patience: float
    ) -> dict[int, S | MovieNotFound | FilmsUnavailable]:
        """Return films by id, in the order asked for; in the place of those that cannot be had stands why."""
        keys = [FilmKey(movie_id, reader) for movie_id in dict.fromkeys(movie_ids)]
        found = await self._films.get_many(keys, patience=patience)
        films: dict[int, S | MovieNotFound | FilmsUnavailable] = {}
        for key in keys:
            film = found[key]
            films[key.movie_id] = MovieNotFound(key.movie_id) if film is None else film
        return films

    async def search(
        self, words: str, year: int, reader: Reader, *, offset: int, size: int, patience: float
    ) -> Rows:
        """Return films whose title matches, TMDB's order.

        Args:
            words: Words of the title.
            year: Of the first release; 0 for any.
            reader: Who reads.
            offset: How many rows of the list to pass over.
            size: How many rows to give, at most 20.
            patience: How many seconds the reader has.

        Raises:
            FilmsUnavailable: They are not cached, and TMDB does not give them in time.
        """
        asked = " ".join(words.lower().split())

        def key(page: int) -> SearchKey:
            return SearchKey(asked, year, reader.language, reader.region, page)

        pages = [key(page) for page in _pages(offset, size)]
        return await self._rows(self._searches, pages, reader, offset=offset, size=size, patience=patience)

    async def trending(self, reader: Reader, *, offset: int, size: int, patience: float) -> Rows:
        """Return what is looked at this week; arguments and errors as in `search`."""
        pages = [TrendingKey(reader.language, page) for page in _pages(offset, size)]
        return await self._rows(self._trending, pages, reader, offset=offset, size=size, patience=patience)

    async def discover(
        self, wanted: Filter, reader: Reader, *, offset: int, size: int, patience: float
    ) -> Rows:
        """Return films that pass a filter, the popular first; arguments and errors as in `search`."""
        pages = [DiscoverKey.of(wanted, reader, page) for page in _pages(offset, size)]
        return await self._rows(self._discoveries, pages, reader, offset=offset, size=size, patience=patience)

    async def genres(self, reader: Reader, *, patience: float) -> Genres:
        """Return all genres by name, in the best liked language that TMDB has names in, or else in English.

        Raises:
            FilmsUnavailable: They are not cached, and TMDB does not give them in time.
        """
        named = await self._named_genres(reader, patience=patience, allowance=Allowance())
        genres = (Genre(genre_id, name) for genre_id, name in named.items())
        return tuple(sorted(genres, key=lambda genre: _in_order(genre.name)))

    async def genre_names(
        self, reader: Reader, *, patience: float, allowance: Allowance | None = None
    ) -> dict[int, str]:
        """Return genres by id, which TMDB's lists leave out; a list without their names is still a list."""
        try:
            return await self._named_genres(reader, patience=patience, allowance=allowance or Allowance())
        except FilmsUnavailable:
            return {}

    async def _named_genres(self, reader: Reader, *, patience: float, allowance: Allowance) -> dict[int, str]:
        give_up_at = asyncio.get_running_loop().time() + patience
        for language in dict.fromkeys(map(with_country, (*reader.languages, FALLBACK_LANGUAGE))):
            with suppress(FilmsUnavailable):  # names in another language may be at hand
                named = await self._genres.get(
                    GenresKey(language), patience=_left(give_up_at), allowance=allowance
                )
                if named:
                    return named
        raise FilmsUnavailable

    async def providers(self, reader: Reader, *, patience: float) -> Providers:
        """Return all services one can watch films on in the reader's region, in JustWatch's order.

        Raises:
            FilmsUnavailable: They are not cached, and TMDB does not give them in time.
        """
        return await self._providers.get(ProvidersKey(reader.region), patience=patience) or ()

    async def settle(self) -> None:
        """Wait until nothing is being fetched or written any more."""
        await self._films.settle()
        await self._searches.settle()
        await self._trending.settle()
        await self._discoveries.settle()
        await self._genres.settle()
        await self._providers.settle()

    async def _rows(
        self,
        shelf: "Shelf[_L, ListPage, ListPage]",
        keys: Sequence["_L"],
        reader: Reader,
        *,
        offset: int,
        size: int,
        patience: float,
    ) -> Rows:
        give_up_at = asyncio.get_running_loop().time() + patience
        allowance = Allowance()
        pages: list[ListPage] = []
        for key in keys:
            try:
                pages.append(await self._page(shelf, key, give_up_at, allowance))
            except FilmsUnavailable:
                if not pages:
                    raise
                break  # what there is of this page is more than nothing: the next one begins where it ends
            if key.page * ROWS_A_PAGE >= pages[-1].total:
                break
        first = (keys[0].page - 1) * ROWS_A_PAGE
        end = min(offset + size, first + len(pages) * ROWS_A_PAGE)
        # A page that came short leaves its places empty: the next one's rows are where they belong.
        places = [row for page in pages for row in page.rows + (None,) * (ROWS_A_PAGE - len(page.rows))]
        wanted = tuple(row for row in places[offset - first : end - first] if row is not None)
        return Rows(
            rows=wanted,
            genres=await self.genre_names(reader, patience=_left(give_up_at), allowance=allowance)
            if wanted
            else {},
            overviews=await self._english_overviews(shelf, keys[: len(pages)], wanted, give_up_at, allowance),
            next_offset=end if end < pages[-1].total else None,
            total=pages[-1].total,
        )

    async def _page(
        self,
        shelf: "Shelf[_L, ListPage, ListPage]",
        key: "_L",
        give_up_at: float,
        allowance: Allowance,
    ) -> ListPage:
        page = await shelf.get(key, patience=_left(give_up_at), allowance=allowance)
        if page is None:
            raise FilmsUnavailable
        return page

    async def _english_overviews(
        self,
        shelf: "Shelf[_L, ListPage, ListPage]",
        keys: Sequence["_L"],
        rows: Sequence[Summary],
        give_up_at: float,
        allowance: Allowance,
    ) -> dict[int, str]:
        """Return overviews for rows without one, from the same pages in English, as far as they are there."""
        overviews: dict[int, str] = {}
        english = with_country(FALLBACK_LANGUAGE)
        lacking = {row.id for row in rows if not row.overview}
        for key in keys:
            if not lacking or key.language == english:
                break
            with suppress(FilmsUnavailable):
                page = await self._page(shelf, replace(key, language=english), give_up_at, allowance)
                overviews |= {row.id: row.overview for row in page.rows if row and row.id in lacking}
        return overviews


_L = TypeVar("_L", bound=ListKey)


def _pages(offset: int, size: int) -> list[int]:
    """Return TMDB's pages, from 1, that the rows from `offset` on stand on."""
    first, last = offset // ROWS_A_PAGE + 1, (offset + size - 1) // ROWS_A_PAGE + 1
    return list(range(first, min(last, LAST_PAGE) + 1))


def _in_order(name: str) -> str:
    """Return what a name is sorted by: without accents and case, so that "Épouvante" stands at E."""
    return "".join(char for char in normalize("NFKD", name) if not combining(char)).casefold()


def _left(give_up_at: float) -> float:
    return max(0.0, give_up_at - asyncio.get_running_loop().time())
