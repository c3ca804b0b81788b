"""TMDB's ids for films that another site knows: by IMDb's id, or by title and year.

An IMDb id that TMDB knows is certain. Titles and years are not: sites spell differently, and a year off by
one is common. So every film that a search finds gets a confidence:

    likeness     1 for the same title; otherwise the Sørensen-Dice coefficient of the letters' pairs of both
                 titles (twice the pairs in common, by the pairs in all). Titles are compared folded, against
                 every title of the film that is known: shown, original, and in other languages
    year         times 1 for the same year, 0.9 for its neighbours, 0.5 for two years off, 0.2 beyond;
                 times 0.8 when one of the years is unknown
    namesakes    when the next likeliest comes within 0.05, times 0.5 + 0.5 * p1 / (p1 + p2), the popularities
                 of the two: of a famous film and an obscure one of the same name and year it is the famous
                 one, of two equally known ones it may be either

From 0.8 on it is sure. Below, the likeliest are given as candidates.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from movie_svc.films import AnswerUnusable, ListPage, Summary
from movie_svc.folding import foldings
from movie_svc.keys import FindKey, SearchKey
from movie_svc.languages import Reader
from movie_svc.shelf import PATIENCE_SECONDS, Shelf

SURE: Final = 0.8
"""From this confidence on a film is taken for the one that was meant."""
MOST_CANDIDATES: Final = 5

_LEAST_LIKELY: Final = 0.2
_NAMESAKES_WITHIN: Final = 0.05
_YEARS_APART: Final = (1.0, 0.9, 0.5)
_FAR_APART: Final = 0.2
_YEAR_UNKNOWN: Final = 0.8
_MOST_AT_ONCE: Final = 16
# Lists from elsewhere mostly have the English titles, whatever language their owner reads.
_LANGUAGE_OF_LISTS: Final = "en-US"


@dataclass(frozen=True, slots=True)
class ExternalFilm:
    """A film as another site knows it."""

    imdb_id: str
    """Decides, when it is there."""
    title: str
    """Empty when unknown."""
    year: int
    """0 when unknown."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What became of one."""

    movie_id: int
    """0 when none is sure."""
    confidence: float
    """0 to 1, of the likeliest."""
    candidates: tuple[Summary, ...]
    """The likeliest first; empty when one is sure."""


_NOTHING: Final = Resolved(0, 0.0, ())


class ExternalIds:
    """Asks TMDB, through the cache."""

    def __init__(
        self,
        *,
        finds: Shelf[FindKey, ListPage, ListPage],
        searches: Shelf[SearchKey, ListPage, ListPage],
        titles_of: Callable[[int], frozenset[str]],
    ) -> None:
        """Take the shelves, and what knows the titles of films that were seen before, folded."""
        self._finds = finds
        self._searches = searches
        self._titles_of = titles_of

    async def resolve(
        self, films: Sequence[ExternalFilm], reader: Reader, *, patience: float
    ) -> list[Resolved]:
        """Return what became of each, in their order; at most 16 are looked for at a time.

        Raises:
            FilmsUnavailable: TMDB does not answer for all of them in time. What it has answered is cached, so
                asking for the same again gets further.
        """
        give_up_at = asyncio.get_running_loop().time() + min(patience, PATIENCE_SECONDS)
        resolved: dict[int, Resolved] = {}
        waiting = iter(enumerate(films))

        async def work() -> None:
            for place, film in waiting:
                resolved[place] = await self._one(film, reader, give_up_at)

        workers = [asyncio.create_task(work()) for _ in range(min(_MOST_AT_ONCE, len(films)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
        return [resolved[place] for place in range(len(films))]

    async def settle(self) -> None:
        """Wait until nothing is being fetched or written any more."""
        await self._finds.settle()

    async def _one(self, film: ExternalFilm, reader: Reader, give_up_at: float) -> Resolved:
        try:
            if film.imdb_id:
                page = await self._finds.get(
                    FindKey(film.imdb_id, reader.language), patience=_left(give_up_at)
                )
                if found := _rows(page):
                    return Resolved(found[0].id, 1.0, ())
            if not film.title:
                return _NOTHING
            ranked = await self._by_title(film, reader, give_up_at)
        except AnswerUnusable:
            return _NOTHING  # of this film alone; it would not get better by asking again for all
        # An id that TMDB does not know was meant to decide, so a film of that title is only a guess.
        return decide(ranked, sure_from=SURE if not film.imdb_id else math.inf)

    async def _by_title(
        self, film: ExternalFilm, reader: Reader, give_up_at: float
    ) -> list[tuple[float, Summary]]:
        """Search for the year, then for any, then for its neighbours, until a film fits well."""
        rows: dict[int, Summary] = {}
        titles: dict[int, set[str]] = {}
        words = " ".join(film.title.lower().split())
        ranked: list[tuple[float, Summary]] = []
        for language, year in _searches(film.year, reader):
            key = SearchKey(words, year, language, reader.region, 1)
            for row in _rows(await self._searches.get(key, patience=_left(give_up_at))):
                rows.setdefault(row.id, row)  # the reader's own language comes first
                titles.setdefault(row.id, set(self._titles_of(row.id))).update(
                    foldings(row.title), foldings(row.original_title)
                )
            ranked = rank(film, [(row, titles[row.id]) for row in rows.values()])
            if ranked and ranked[0][0] >= SURE:
                break
        return ranked


def rank(film: ExternalFilm, found: Iterable[tuple[Summary, Iterable[str]]]) -> list[tuple[float, Summary]]:
    """Return films with how well they fit, the best first; those that hardly do are left out.

    Args:
        film: What is looked for.
        found: Films, each with its folded titles.
    """
    wanted = foldings(film.title)
    fitting = [(likeness(wanted, titles) * _year_factor(film.year, row), row) for row, titles in found]
    fitting.sort(key=lambda fit: (-fit[0], -fit[1].popularity, fit[1].id))
    return [fit for fit in fitting if fit[0] >= _LEAST_LIKELY]


def decide(ranked: Sequence[tuple[float, Summary]], *, sure_from: float = SURE) -> Resolved:
    """Return the best when it is sure, and otherwise the candidates."""
    if not ranked:
        return _NOTHING
    confidence, best = ranked[0]
    if len(ranked) > 1 and confidence - ranked[1][0] <= _NAMESAKES_WITHIN:
        known = best.popularity + ranked[1][1].popularity
        confidence *= 0.5 + 0.5 * (best.popularity / known if known else 0.5)
    if confidence >= sure_from:
        return Resolved(best.id, confidence, ())
    return Resolved(0, confidence, tuple(row for _, row in ranked[:MOST_CANDIDATES]))


def likeness(wanted: Iterable[str], titles: Iterable[str]) -> float:
    """Return how like the best of some folded titles is to the best of others, 0 to 1."""
    known = set(titles)
    return max(
        (1.0 if one in known else max((_dice(one, other) for other in known), default=0.0) for one in wanted),
        default=0.0,
    )


def _dice(one: str, other: str) -> float:
    pairs, others = Counter(pairwise(f" {one} ")), Counter(pairwise(f" {other} "))
    return 2 * (pairs & others).total() / (pairs.total() + others.total())


def _year_factor(year: int, row: Summary) -> float:
    if not year or row.release_date is None:
        return _YEAR_UNKNOWN
    apart = abs(year - row.release_date.year)
    return _YEARS_APART[apart] if apart < len(_YEARS_APART) else _FAR_APART


def _searches(year: int, reader: Reader) -> Iterator[tuple[str, int]]:
    """Yield the language and year (0 for any) of each search that is worth a try."""
    languages = dict.fromkeys((reader.language, _LANGUAGE_OF_LISTS))
    for asked in dict.fromkeys((year, 0)):
        for language in languages:
            yield language, asked
    if year:
        yield _LANGUAGE_OF_LISTS, year - 1
        yield _LANGUAGE_OF_LISTS, year + 1


def _rows(page: ListPage | None) -> list[Summary]:
    return [] if page is None else [row for row in page.rows if row is not None]


def _left(give_up_at: float) -> float:
    return max(0.0, give_up_at - asyncio.get_running_loop().time())
