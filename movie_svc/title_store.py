"""The titles of all films that were seen, in MongoDB: what suggestions are made of.

One collection, `titles`, a document a film:

    {_id: id, version, part, film: {original_title, ...}, titles: {language: title}, seen_at, expires_at}

A list of TMDB's tells one title of a film, its details tell all of them: the first is added to what is there,
the second takes its place. MongoDB deletes a document at its `expires_at`.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import date, datetime, timedelta
from typing import Any, Final, Protocol

import structlog

from movie_svc.indexes import keep_index
from movie_svc.suggestions import PARTS, KnownFilm, Seen

VERSION: Final = 1
"""Goes up with every change that cannot read what was written before it."""

_log = structlog.get_logger("movie_svc.title_store")


class Line(Protocol):
    """What every call to the store goes through."""

    def call(self, *, always: bool = False) -> AbstractAsyncContextManager[None]:
        """Run the driver's calls inside; raises `StoreUnavailable`."""
        ...


class TitleStore:
    """The films that were seen, with their titles. Every method raises `StoreUnavailable`."""

    def __init__(
        self, collection: Any, line: Line, *, update_one: Callable[..., Any], kept: timedelta
    ) -> None:
        """Put the parts together.

        Args:
            collection: The driver's.
            line: What every call goes through.
            update_one: The driver's, for an update among several.
            kept: For how long a film is kept after it was last seen.
        """
        self._collection = collection
        self._line = line
        self._update_one = update_one
        self._kept = kept
        self._making_indexes = asyncio.Lock()

    async def make_indexes(self) -> None:
        """Tell the server what it has to delete, and how `changed` reads. Part of the store's probe."""
        async with self._making_indexes:
            await keep_index(self._collection, "expires_at", expireAfterSeconds=0)
            await keep_index(self._collection, "seen_at")
            await keep_index(self._collection, "part")

    async def prepare(self) -> None:
        """Make the indexes before anything is written."""
        async with self._line.call():
            await self.make_indexes()

    async def write(self, seen: Sequence[Seen]) -> None:
        """Keep what was seen of several films, in one request."""
        updates = [self._update(one) for one in seen]
        async with self._line.call():
            await self._collection.bulk_write(updates, ordered=False)

    async def remove(self, movie_id: int) -> None:
        """Forget a film that TMDB has no more."""
        async with self._line.call():
            await self._collection.delete_one({"_id": movie_id})

    async def read(self, movie_ids: Sequence[int]) -> dict[int, KnownFilm]:
        """Return those that are there, by id, in one query."""
        async with self._line.call():
            found = await self._collection.find(
                {"_id": {"$in": list(movie_ids)}, "version": VERSION}
            ).to_list(len(movie_ids))
        return {film.id: film for film in _known(found)}

    async def part(self, number: int) -> list[KnownFilm]:
        """Return all films of one part of `PARTS`; all parts together are everything.

        Not pages by id: SecantusDB reads a whole collection for each range of `_id`.
        """
        async with self._line.call():
            found = await self._collection.find({"part": number}).to_list(None)
        return _known(found)

    async def changed(self, since: datetime, most: int) -> list[KnownFilm]:
        """Return the films that were seen at `since` or later, in that order."""
        async with self._line.call():
            later = self._collection.find({"seen_at": {"$gte": since}})
            found = await later.sort("seen_at", 1).limit(most).to_list(most)
        return _known(found)

    def _update(self, seen: Seen) -> Any:
        film = seen.film
        fields = fields_of(film, kept=self._kept)
        if seen.has_all_titles:
            fields["titles"] = film.titles
        else:
            fields |= {f"titles.{language}": title for language, title in film.titles.items()}
        return self._update_one({"_id": film.id}, {"$set": fields}, upsert=True)


def fields_of(film: KnownFilm, *, kept: timedelta) -> dict[str, Any]:
    """Return a film's document, without its id and its titles."""
    return {
        "version": VERSION,
        "part": film.id % PARTS,
        "film": _film_document(film),
        "seen_at": film.seen_at,
        "expires_at": film.seen_at + kept,
    }


_PLAIN: Final = (
    *("original_title", "original_language", "popularity", "rating", "vote_count", "poster_path"),
    "backdrop_path",
)


def _film_document(film: KnownFilm) -> dict[str, Any]:
    day = film.release_date
    return {
        **{name: getattr(film, name) for name in _PLAIN},
        "release_date": None if day is None else day.isoformat(),
        "genre_ids": list(film.genre_ids),
    }


def _known(documents: Sequence[dict[str, Any]]) -> list[KnownFilm]:
    """Return what can be read; the rest is as if it were not there."""
    films: list[KnownFilm] = []
    for document in documents:
        try:
            if document["version"] == VERSION:
                films.append(_film(document))
        except (KeyError, TypeError, ValueError) as error:
            _log.warning("store.document_unreadable", name=document["_id"], problem=type(error).__name__)
    return films


def _film(document: dict[str, Any]) -> KnownFilm:
    film = document["film"]
    day = film["release_date"]
    return KnownFilm(
        id=document["_id"],
        titles=dict(document["titles"]),
        release_date=None if day is None else date.fromisoformat(day),
        genre_ids=tuple(film["genre_ids"]),
        seen_at=document["seen_at"],
        **{name: film[name] for name in _PLAIN},
    )
