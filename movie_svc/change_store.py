"""MongoDB: what TMDB's list of changes made outdated, and how far the list was read.

Marks are a field of the documents in `films`; see `store`. The collection `bookmarks` has one document:

    {_id: "changes", at, movie_ids: [...]}
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Final, Protocol

from movie_svc.changes import Bookmark, Outdated
from movie_svc.indexes import keep_index

_NAME: Final = "changes"
_MOST_VARIANTS: Final = 10_000


class Line(Protocol):
    """How the store is called: with a deadline, and not at all while it is away."""

    def call(self, *, always: bool = False) -> AbstractAsyncContextManager[None]:
        """Run the driver's calls inside; raises `StoreUnavailable`."""
        ...


class Leases(Protocol):
    """Who does what, for a while."""

    async def take(self, name: str, *, now: datetime, until: datetime) -> bool:
        """Return whether this replica holds it from now on."""
        ...

    async def give_back(self, name: str) -> None:
        """End a lease of this replica's."""
        ...


class ChangeStore:
    """The marks and the bookmark. Every method raises `StoreUnavailable`."""

    def __init__(self, films: Any, bookmarks: Any, line: Line, *, leases: Leases) -> None:
        """Take the driver's collections."""
        self._films = films
        self._bookmarks = bookmarks
        self._line = line
        self._leases = leases

    async def make_indexes(self) -> None:
        """Let films be found by id, in whatever language and region they are kept."""
        await keep_index(self._films, "value.id")

    async def begin(self, *, now: datetime, until: datetime) -> bool:
        """Return whether it is for this replica to read the list; for no other until then."""
        return await self._leases.take(_NAME, now=now, until=until)

    async def give_up(self) -> None:
        """Let another replica try."""
        await self._leases.give_back(_NAME)

    async def bookmark(self) -> Bookmark | None:
        """Return how far the list was read; None when it never was."""
        async with self._line.call():
            found = await self._bookmarks.find_one({"_id": _NAME})
        return None if found is None else Bookmark(found["at"], frozenset(found["movie_ids"]))

    async def put_bookmark(self, bookmark: Bookmark) -> None:
        """Remember how far the list was read."""
        document = {"at": bookmark.at, "movie_ids": sorted(bookmark.movie_ids)}
        async with self._line.call():
            await self._bookmarks.replace_one({"_id": _NAME}, document, upsert=True)

    async def outdate(self, movie_ids: Sequence[int], *, fetched_before: datetime) -> list[Outdated]:
        """Mark films, in every language and region, that were fetched before then, and return them."""
        wanted = {"value.id": {"$in": list(movie_ids)}, "fetched_at": {"$lt": fetched_before}}
        async with self._line.call():
            found = await self._films.find(wanted, {"value.popularity": 1, "fetched_at": 1}).to_list(
                _MOST_VARIANTS
            )
            if found:
                names = {"_id": {"$in": [document["_id"] for document in found]}}
                # The day once more: what has been fetched in between is new.
                await self._films.update_many(
                    {**names, "fetched_at": {"$lt": fetched_before}}, {"$set": {"outdated": True}}
                )
        return [Outdated(document["_id"], document["value"]["popularity"]) for document in found]
