"""The real service on a free port, upon a real PostgreSQL, with a clock that the test sets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import grpc
import pytest

from backlog_svc.__main__ import service
from backlog_svc.film_store import FilmStore
from backlog_svc.list_store import ListStore
from backlog_svc.migrate import FOLDER, SCHEMA
from backlog_svc.movies import Movies
from backlog_svc.store import EntryStore
from backlog_svc.tests.movie_service import ScriptedMovies, scripted_movies, serving
from mesh.migrations import migrate
from mesh.postgres import Database
from mesh.server import Server
from popcorn.backlog.v1 import backlog_pb2_grpc

if TYPE_CHECKING:
    from popcorn.backlog.v1.backlog_pb2_grpc import BacklogServiceAsyncStub

KEY = b"a key for page tokens, in tests only"


@dataclass
class SetClock:
    """A clock that shows what it was set to."""

    now: datetime = datetime(2026, 11, 21, 20, 15, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **duration: float) -> datetime:
        self.now += timedelta(**duration)
        return self.now


@pytest.fixture(scope="session")
def clock() -> SetClock:
    return SetClock()


@pytest.fixture(scope="session")
def somebody() -> Callable[[], str]:
    """Names a person that no other test knows: all tests share one table, as people do."""
    numbers = iter(range(1, 1_000_000))
    return lambda: f"user-{next(numbers):06}"


@pytest.fixture(scope="session")
async def database(new_database: Callable[[], str]) -> AsyncIterator[Database]:
    url = new_database()
    await migrate(url, schema=SCHEMA, folder=FOLDER)
    database = Database(url, application="tests")
    await database.start()
    yield database
    await database.close()


@pytest.fixture(scope="session")
def store(database: Database) -> EntryStore:
    return EntryStore(database)


@pytest.fixture(scope="session")
def lists(database: Database) -> ListStore:
    return ListStore(database)


@pytest.fixture(scope="session")
def film_store(database: Database) -> FilmStore:
    return FilmStore(database)


@pytest.fixture(scope="session")
def scripted() -> ScriptedMovies:
    """What movie_svc says; a test that changes it puts it back."""
    return scripted_movies()


@pytest.fixture(scope="session")
async def movies(scripted: ScriptedMovies) -> AsyncIterator[Movies]:
    async with serving(scripted) as movies:
        yield movies


@pytest.fixture(scope="session")
async def channel(database: Database, movies: Movies, clock: SetClock) -> AsyncIterator[grpc.aio.Channel]:
    async with (
        Server([service(database, movies, page_token_key=KEY, clock=clock)], listen="127.0.0.1:0") as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield channel


@pytest.fixture(scope="session")
def backlog(channel: grpc.aio.Channel) -> BacklogServiceAsyncStub:
    return backlog_pb2_grpc.BacklogServiceStub(channel)
