"""What several test modules need: a TMDB of our own, a clock to turn, the service behind a real gRPC server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from pydantic import SecretStr

from mesh.server import Server, ServerOptions
from movie_svc.__main__ import service
from movie_svc.settings import MovieSettings
from movie_svc.tests.upstream import Upstream, running_upstream
from popcorn.movie.v1 import movie_pb2_grpc

KEY = "key-of-the-tests-0123456789"


class TurnedClock:
    """A clock that goes on only when it is turned."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 20, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def turn(self, **ahead: float) -> None:
        self.now += timedelta(**ahead)


@dataclass(frozen=True, slots=True)
class Running:
    """The service, over its own port."""

    stub: movie_pb2_grpc.MovieServiceAsyncStub
    upstream: Upstream
    clock: TurnedClock
    mongo_url: str


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
    async for one in run_service(upstream, clock, new_mongo_url()):
        yield one


async def run_service(upstream: Upstream, clock: TurnedClock, mongo_url: str) -> AsyncIterator[Running]:
    options = ServerOptions(shutdown_grace_seconds=0.2, probe_interval_seconds=0.2)
    async with (
        service(settings_for(upstream, mongo_url), clock=clock) as films,
        Server([films], listen="127.0.0.1:0", options=options) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield Running(movie_pb2_grpc.MovieServiceStub(channel), upstream, clock, mongo_url)
