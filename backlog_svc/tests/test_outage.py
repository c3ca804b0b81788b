"""PostgreSQL goes away and comes back; the service stays."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from backlog_svc.__main__ import service
from backlog_svc.migrate import FOLDER, SCHEMA
from backlog_svc.movies import Movies
from backlog_svc.tests.conftest import KEY
from dev.postgres import Postgres
from mesh.errors import reason_of, status_of
from mesh.migrations import migrate
from mesh.postgres import Database
from mesh.server import Server
from popcorn.backlog.v1 import backlog_pb2 as pb
from popcorn.backlog.v1.backlog_pb2_grpc import BacklogServiceStub

if TYPE_CHECKING:
    from popcorn.backlog.v1.backlog_pb2_grpc import BacklogServiceAsyncStub

TYPED_ERROR_SECONDS = 2.0
RECOVERY_SECONDS = 5.0
USER = "ada"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[Postgres]:
    """A server that only this test knows, and may therefore kill."""
    server = Postgres(tmp_path)
    server.start()
    yield server
    server.kill()


@asynccontextmanager
async def serving(postgres: Postgres, movies: Movies) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the service upon that server."""
    database = Database(postgres.url, application="tests")
    await database.start()
    async with (
        Server([service(database, movies, page_token_key=KEY)], listen="127.0.0.1:0") as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield channel
    await database.close()


async def health_becomes(channel: grpc.aio.Channel, wanted: int) -> None:
    watch = health_pb2_grpc.HealthStub(channel).Watch(
        health_pb2.HealthCheckRequest(service="popcorn.backlog.v1.BacklogService"), timeout=RECOVERY_SECONDS
    )
    async for answer in watch:
        if answer.status == wanted:
            watch.cancel()
            return


def put(movie_id: int) -> pb.PutEntryRequest:
    return pb.PutEntryRequest(user_id=USER, entry=pb.EntryDraft(movie_id=movie_id))


def put_batch(number: int) -> pb.BatchPutEntriesRequest:
    """Fifty films with one tag, which tells their batch."""
    drafts = [
        pb.EntryDraft(movie_id=1_000_000 + number * 50 + film, tags=[f"batch {number}"]) for film in range(50)
    ]
    return pb.BatchPutEntriesRequest(user_id=USER, entries=drafts)


async def says_unavailable(backlog: BacklogServiceAsyncStub) -> None:
    loop = asyncio.get_running_loop()
    for call in (
        lambda: backlog.PutEntry(put(999_999)),
        lambda: backlog.RemoveEntry(pb.RemoveEntryRequest(user_id=USER, movie_id=999_999)),
        lambda: backlog.UpdateEntry(pb.UpdateEntryRequest(user_id=USER, entry=pb.EntryDraft(movie_id=1))),
        lambda: backlog.BatchPutEntries(put_batch(0)),
        lambda: backlog.ListEntries(pb.ListEntriesRequest(user_id=USER)),
        lambda: backlog.ListEntries(pb.ListEntriesRequest(user_id=USER, order=pb.ENTRY_ORDER_TITLE_ASC)),
        lambda: backlog.BatchGetEntries(pb.BatchGetEntriesRequest(user_id=USER, movie_ids=[1])),
        lambda: backlog.GetStats(pb.GetStatsRequest(user_id=USER)),
        lambda: backlog.ListMatches(pb.ListMatchesRequest(user_id=USER)),
        lambda: backlog.MarkMatchWatched(
            pb.MarkMatchWatchedRequest(user_id=USER, game_id="g", movie_id=999_999)
        ),
        lambda: backlog.WithdrawMatch(pb.WithdrawMatchRequest(game_id="g", movie_id=999_999)),
        lambda: backlog.ListGames(pb.ListGamesRequest(user_id=USER)),
        lambda: backlog.IntersectBacklogs(pb.IntersectBacklogsRequest(user_ids=[USER])),
    ):
        begun = loop.time()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call()
        assert loop.time() - begun < TYPED_ERROR_SECONDS
        assert_unavailable(raised.value)


def assert_unavailable(error: grpc.aio.AioRpcError) -> None:
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    status = status_of(error)
    assert status is not None
    assert reason_of(status) == "DEPENDENCY_UNAVAILABLE"
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert dict(info.metadata) == {"dependency": "postgresql"}


async def test_the_service_starts_without_postgresql_and_serves_as_soon_as_it_is_there(
    own_postgres: Postgres,
    movies: Movies,
) -> None:
    await migrate(own_postgres.url, schema=SCHEMA, folder=FOLDER)
    await asyncio.to_thread(own_postgres.stop)
    async with serving(own_postgres, movies) as channel:
        backlog = BacklogServiceStub(channel)
        await health_becomes(channel, NOT_SERVING)
        await says_unavailable(backlog)
        await asyncio.to_thread(own_postgres.start)
        await health_becomes(channel, SERVING)
        assert (await backlog.PutEntry(put(1))).added


async def test_a_killed_postgresql_costs_typed_errors_and_nothing_that_was_acknowledged(
    own_postgres: Postgres,
    movies: Movies,
) -> None:
    await migrate(own_postgres.url, schema=SCHEMA, folder=FOLDER)
    async with serving(own_postgres, movies) as channel:
        backlog = BacklogServiceStub(channel)
        await health_becomes(channel, SERVING)
        loop = asyncio.get_running_loop()
        acknowledged: set[int] = set()
        acknowledged_batches: set[int] = set()
        slowest = 0.0
        killed, done = asyncio.Event(), asyncio.Event()
        back_at: list[float] = []

        async def write(first: int) -> None:
            """Writes film after film; one that failed is tried again until it is in."""
            nonlocal slowest
            movie_id = first
            while not done.is_set():
                begun = loop.time()
                try:
                    await backlog.PutEntry(put(movie_id))
                except grpc.aio.AioRpcError as error:
                    assert_unavailable(error)
                    # Refused connections fail at once: a client's pause between two tries.
                    await asyncio.sleep(0.05)
                else:
                    acknowledged.add(movie_id)
                    movie_id += 8
                    if killed.is_set():
                        back_at.append(loop.time())
                slowest = max(slowest, loop.time() - begun)

        async def write_batches(first: int) -> None:
            """Writes batch after batch; one that failed is left to lie."""
            nonlocal slowest
            number = first
            while not done.is_set():
                begun = loop.time()
                try:
                    await backlog.BatchPutEntries(put_batch(number))
                except grpc.aio.AioRpcError as error:
                    assert_unavailable(error)
                    await asyncio.sleep(0.05)
                else:
                    acknowledged_batches.add(number)
                number += 2
                slowest = max(slowest, loop.time() - begun)

        writers = [asyncio.create_task(write(first)) for first in range(1, 9)]
        writers += [asyncio.create_task(write_batches(first)) for first in range(2)]
        await until(lambda: len(acknowledged) >= 100)
        await asyncio.to_thread(own_postgres.kill)
        killed.set()
        await health_becomes(channel, NOT_SERVING)
        await says_unavailable(backlog)
        back_at.clear()
        await asyncio.to_thread(own_postgres.start)
        started = loop.time()
        await until(lambda: bool(back_at))
        assert back_at[0] - started < RECOVERY_SECONDS
        await health_becomes(channel, SERVING)
        done.set()
        await asyncio.gather(*writers)
        assert slowest < TYPED_ERROR_SECONDS

        listed: set[int] = set()
        of_batches: Counter[str] = Counter()
        token = ""
        while True:
            page = await backlog.ListEntries(
                pb.ListEntriesRequest(user_id=USER, page_size=100, page_token=token)
            )
            listed |= {entry.movie_id for entry in page.entries}
            of_batches.update(tag for entry in page.entries for tag in entry.tags)
            token = page.next_page_token
            if not token:
                break
        assert acknowledged <= listed
        assert set(of_batches.values()) == {50}, "no batch is there in part"
        assert {f"batch {number}" for number in acknowledged_batches} <= set(of_batches)


async def until(holds: Callable[[], bool], *, seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is waited for is a count, not an event
            await asyncio.sleep(0.01)
