"""MongoDB: what all replicas remember of TMDB. Only this module and `*_store` know the driver.

Two collections, `films` and `lists`, each with documents of the same shape:

    {_id: name, version, value: {...} | null, fetched_at, expires_at, outdated?}

and `leases`, with `{_id: name, holder, expires_at}`: which replica is fetching what.

MongoDB deletes a document at its `expires_at`; nothing is kept for longer than `LONGEST_KEPT`, TMDB's terms.

The driver comes in as a class: motor's client, or PyMongo's asynchronous one that follows it. The code below
keeps to what both have, and the tests run it on either.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final, Generic, TypeVar
from uuid import uuid4

import structlog
from bson.errors import BSONError
from pymongo import UpdateOne
from pymongo.errors import ConnectionFailure, DuplicateKeyError, PyMongoError

from mesh import tracing
from movie_svc import documents
from movie_svc.change_store import ChangeStore
from movie_svc.documents import Document
from movie_svc.films import Film, Genre, ListPage, Provider
from movie_svc.indexes import keep_index
from movie_svc.shelf import Kept, StoreUnavailable
from movie_svc.title_store import TitleStore

V = TypeVar("V")

LONGEST_KEPT: Final = timedelta(days=180)
"""TMDB's terms: at most six months."""

_DATABASE: Final = "popcorn"
_CALL_SECONDS: Final = 1.0
_CUT_OFF_SECONDS: Final = 2.0

_log = structlog.get_logger("movie_svc.store")


class Store:
    """The films and lists that were fetched before."""

    def __init__(self, client_class: Callable[..., Any], url: str, *, holder: str | None = None) -> None:
        """Make a client; it connects when it is first used. Belongs to the running event loop.

        Args:
            client_class: `motor.motor_asyncio.AsyncIOMotorClient` or `pymongo.AsyncMongoClient`.
            url: `mongodb://...`; the database it names, or else `popcorn`.
            holder: The name that leases are held under; every replica's own. None makes one.
        """
        milliseconds = int(_CALL_SECONDS * 1000)
        self._client = client_class(
            url,
            tz_aware=True,
            serverSelectionTimeoutMS=milliseconds,
            connectTimeoutMS=milliseconds,
            socketTimeoutMS=milliseconds,
            appname="movie_svc",
        )
        database = self._client.get_default_database(_DATABASE)
        self._database = database
        line = _Line(self._make_indexes)
        self._line = line
        self.leases = leases = Leases(database["leases"], line, holder=holder or uuid4().hex)
        self.films: Shelved[Film] = Shelved(
            database["films"], line, write=documents.film_document, read=documents.film_from, leases=leases
        )
        self.pages: Shelved[ListPage] = Shelved(
            database["lists"], line, write=documents.page_document, read=documents.page_from, leases=leases
        )
        self.genres: Shelved[tuple[Genre, ...]] = Shelved(
            database["lists"],
            line,
            write=documents.genres_document,
            read=documents.genres_from,
            leases=leases,
        )
        self.changes = ChangeStore(database["films"], database["bookmarks"], line, leases=leases)
        self.titles = TitleStore(database["titles"], line, update_one=UpdateOne, kept=LONGEST_KEPT)
        self.providers: Shelved[tuple[Provider, ...]] = Shelved(
            database["lists"],
            line,
            write=documents.providers_document,
            read=documents.providers_from,
            leases=leases,
        )

    async def probe(self) -> None:
        """Return when the store answers and forgets what it has to; a probe of the service's health.

        Raises:
            StoreUnavailable: When it does not answer in its time.
        """
        async with self._line.call(always=True):
            await self._database.command("ping")

    async def _make_indexes(self) -> None:
        for name in ("films", "lists", "leases"):
            await keep_index(self._database[name], "expires_at", expireAfterSeconds=0)
        await self.titles.make_indexes()
        await self.changes.make_indexes()

    async def close(self) -> None:
        """Close the connections."""
        closing = self._client.close()
        if inspect.isawaitable(closing):  # it is with one of the two drivers
            await closing


class Shelved(Generic[V]):
    """One kind of thing in one collection."""

    def __init__(
        self,
        collection: Any,
        line: "_Line",
        *,
        write: Callable[[V], dict[str, Any]],
        read: Callable[[Document], V],
        leases: "Leases",
    ) -> None:
        """Take the driver's collection and the two ways between values and documents."""
        self._collection = collection
        self._leases = leases
        self._line = line
        self._to_document = write
        self._from_document = read

    async def read(self, names: Sequence[str]) -> Mapping[str, Kept[V]]:
        """Return those that are there, in one query.

        Raises:
            StoreUnavailable: When it does not answer in its time.
        """
        async with self._line.call():
            found = await self._collection.find(
                {"_id": {"$in": list(names)}, "version": documents.VERSION}
            ).to_list(len(names))
        kept: dict[str, Kept[V]] = {}
        for document in found:
            try:
                value = document["value"]
                kept[document["_id"]] = Kept(
                    None if value is None else self._from_document(value),
                    document["fetched_at"],
                    outdated=document.get("outdated") is True,
                )
            except (KeyError, TypeError, ValueError) as error:
                # As if it were not there: it is fetched again, and replaced.
                _log.warning("store.document_unreadable", name=document["_id"], problem=type(error).__name__)
        return kept

    async def write(self, name: str, kept: Kept[V], *, gone_at: datetime) -> None:
        """Keep it until `gone_at`, in place of what was there.

        Raises:
            StoreUnavailable: When it does not answer in its time.
        """
        document = {
            "version": documents.VERSION,
            "value": None if kept.value is None else self._to_document(kept.value),
            "fetched_at": kept.fetched_at,
            "expires_at": min(gone_at, kept.fetched_at + LONGEST_KEPT),
        }
        async with self._line.call():
            await self._collection.replace_one({"_id": name}, document, upsert=True)

    async def lease(self, name: str, *, now: datetime, until: datetime) -> bool:
        """Return whether this replica is the one to fetch it until then; raises as `read` does."""
        return await self._leases.take(name, now=now, until=until)

    async def release(self, name: str) -> None:
        """Give a lease of this replica's back, if it has one; raises as `read` does."""
        await self._leases.give_back(name)


class Leases:
    """Who does what, for a while: at most one replica holds a name at a time.

    Replicas' clocks have to agree within what a lease may be off by.
    """

    def __init__(self, collection: Any, line: "_Line", *, holder: str) -> None:
        """Take the driver's collection, and the name of this replica."""
        self._collection = collection
        self._line = line
        self._holder = holder

    async def take(self, name: str, *, now: datetime, until: datetime) -> bool:
        """Return whether this replica holds it from now on: no other does, or its time is over.

        Raises:
            StoreUnavailable: When it does not answer in its time.
        """
        async with self._line.call():
            try:
                # While another has it this matches nothing, and may not insert the name once more.
                done = await self._collection.update_one(
                    {"_id": name, "$or": [{"expires_at": {"$lte": now}}, {"holder": self._holder}]},
                    {"$set": {"holder": self._holder, "expires_at": until}},
                    upsert=True,
                )
            except DuplicateKeyError:
                return False
        return bool(done.matched_count == 1 or done.upserted_id is not None)

    async def give_back(self, name: str) -> None:
        """End a lease of this replica's, if it has one.

        Raises:
            StoreUnavailable: When it does not answer in its time.
        """
        async with self._line.call():
            await self._collection.delete_one({"_id": name, "holder": self._holder})


class _Line:
    """Every call to the store goes through here: with a deadline, and at once refused after one that met it.

    So a dead store costs a reader nothing, instead of its deadline each time. When the cut-off ends, the next
    call tries; the others go on failing at once until that one has come back.
    """

    def __init__(self, prepare: Callable[[], Awaitable[None]]) -> None:
        """Take what has to be done before the first call, and again after every outage.

        What comes back may be another server, or an older state of this one. And nothing may be written
        meanwhile: SecantusDB hangs for ever when a collection is written to for the first time while it gets
        an index.
        """
        self._prepare = prepare
        self._preparing = asyncio.Lock()
        self._prepared = False
        self._cut_off_until = 0.0

    @asynccontextmanager
    async def call(self, *, always: bool = False) -> AsyncIterator[None]:
        """Run the driver's calls inside, at most for their time.

        Args:
            always: Try even while cut off: for the probe, which has to notice when the store is back.

        Raises:
            StoreUnavailable: It is cut off, did not answer in time, or the driver failed.
        """
        loop = asyncio.get_running_loop()
        if self._cut_off_until and not always:
            if loop.time() < self._cut_off_until:
                raise StoreUnavailable
            self._cut_off_until = loop.time() + _CUT_OFF_SECONDS
        try:
            with tracing.span("mongodb", "call"):
                async with asyncio.timeout(_CALL_SECONDS):
                    if not self._prepared:
                        await self._prepare_once()
                    yield
        except (TimeoutError, ConnectionFailure) as error:
            if not self._cut_off_until:
                _log.warning("store.unavailable", problem=type(error).__name__)
            self._prepared = False
            self._cut_off_until = loop.time() + _CUT_OFF_SECONDS
            raise StoreUnavailable from None
        except (PyMongoError, BSONError) as error:
            _log.error("store.failed", problem=type(error).__name__, exc_info=error)
            raise StoreUnavailable from None
        if self._cut_off_until:
            _log.info("store.back")
            self._cut_off_until = 0.0

    async def _prepare_once(self) -> None:
        async with self._preparing:
            if not self._prepared:
                await self._prepare()
                self._prepared = True
