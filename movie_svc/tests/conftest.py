"""For several test modules: a TMDB of our own, a clock to turn, the service behind a real gRPC server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from pydantic import SecretStr

from mesh.server import Server, ServerOptions
from movie_svc.__main__ import parts
from movie_svc.changes import ChangeFollower
from movie_svc.counters import Counters
from movie_svc.settings import MovieSettings
from movie_svc.shelf import StoreUnavailable
from movie_svc.store import Store
from movie_svc.tests.upstream import Upstream, running_upstream
from popcorn.movie.v1 import movie_pb2_grpc

KEY = "key-of-the-tests-0123456789"


class TurnedClock:
    """A clock that goes on only when it is turned."""

    def __init__(self) -> None:
        # Whole milliseconds, as MongoDB keeps them; not in the past, where it would delete what we write.
        self.now = datetime.now(UTC).replace(microsecond=0)

    def __call__(self) -> datetime:
        return self.now

    def turn(self, **ahead: float) -> None:
        self.now += timedelta(**ahead)


class TurnedSeconds:
    """The same, as seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True, slots=True)
class Running:
    """The service, over its own port."""

    stub: movie_pb2_grpc.MovieServiceAsyncStub
    upstream: Upstream
    clock: TurnedClock
    mongo_url: str
    settled: Callable[[], Awaitable[None]]
    """Waits until nothing goes on behind the reader's back."""
    changes: ChangeFollower
    counters: Counters
    seconds: TurnedSeconds
    """The circuit breaker's clock."""


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with running_upstream() as running:
        yield running


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def shared_recordings(repository: Path) -> Path:
    folder = repository.parent / "shared" / "tmdb"
    if not folder.is_dir():
        pytest.skip("TMDB's recorded answers are not beside this repository")
    return folder


def settings_for(upstream: Upstream, mongo_url: str) -> MovieSettings:
    return MovieSettings(
        mongo_url=SecretStr(mongo_url),
        movie_listen="127.0.0.1:0",
        page_token_key=SecretStr("k" * 32),
        tmdb_api_key=SecretStr(KEY),
        tmdb_url=upstream.url,
        tmdb_image_url="https://pictures.example/t/p",
        tmdb_requests_per_second=200,
    )


@pytest.fixture
async def running(
    upstream: Upstream, clock: TurnedClock, new_mongo_url: Callable[[], str]
) -> AsyncIterator[Running]:
    async with running_service(upstream, clock, new_mongo_url()) as one:
        yield one


@asynccontextmanager
async def running_service(upstream: Upstream, clock: TurnedClock, mongo_url: str) -> AsyncIterator[Running]:
    options = ServerOptions(shutdown_grace_seconds=0.2, probe_interval_seconds=0.2)
    seconds = TurnedSeconds()
    async with (
        parts(settings_for(upstream, mongo_url), clock=clock, seconds=seconds) as built,
        prepared(built.store),
        Server([built.service], listen="127.0.0.1:0", options=options) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub = movie_pb2_grpc.MovieServiceStub(channel)
        yield Running(
            stub,
            upstream,
            clock,
            mongo_url,
            built.catalogue.settle,
            changes=built.changes,
            counters=built.counters,
            seconds=seconds,
        )


@asynccontextmanager
async def prepared(store: Store) -> AsyncIterator[None]:
    """Indexes are there before anybody writes: replicas of a test start at the same moment, others do not."""
    with suppress(StoreUnavailable):
        await store.probe()
    yield


async def until(holds: Callable[[], Awaitable[bool]], *, seconds: float = 5) -> None:
    """Waits for something in another process, which can set no event of ours."""
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.05)
