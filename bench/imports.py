"""An import of 5,000 rows through the edge, beside the same rows inserted alone; among few and many."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from uuid import uuid4

import asyncpg
import grpc

from bench import cpu
from bench.load import Load
from bench.report import Row
from bench.world import Person, World, say
from popcorn.backlog.v1 import backlog_pb2
from popcorn.gateway.v1 import library_pb2, library_pb2_grpc

ROWS = 5_000
MANY_ENTRIES = 1_000_000

_PIECE = 256 * 1024
_LOOK_EVERY_SECONDS = 0.05
_GIVE_UP_SECONDS = 120.0

# The films' facts are put there, so that nobody fetches 5,000 films behind the measurement's back.
_KNOW_FILMS = """
    INSERT INTO backlog.films (movie_id, title, original_title, genre_ids, refresh_time, due_time)
    SELECT number, 'Film ' || number, 'Film ' || number, '{18}', now(), now() + interval '1 year'
    FROM generate_series(1, $1::integer) AS number
    ON CONFLICT (movie_id) DO UPDATE SET
        title = excluded.title, original_title = excluded.original_title, genre_ids = excluded.genre_ids,
        refresh_time = excluded.refresh_time, due_time = excluded.due_time
"""
_ALONE = """
    INSERT INTO backlog.entries (
        user_id, movie_id, status, note, half_stars, tags, add_time, update_time, watch_time, source
    ) VALUES ($1, $2, 'watched', $3, 8, '{a}', $4, $4, $4, 'import')
"""
_OTHERS = """
    INSERT INTO backlog.entries (
        user_id, movie_id, status, note, half_stars, tags, add_time, update_time, watch_time, source
    )
    SELECT 'other-' || $1::integer, number, 'watched', 'a note', 8, '{a}', time, time, time, 'by_hand'
    FROM generate_series(1, $2::integer) AS number,
        LATERAL (SELECT now() - number * interval '1 hour' AS time) AS times
"""


async def measure(world: World, seconds: float) -> list[Row]:
    """Measure both, first with little in the table, then with a million entries of other people."""
    connection = await asyncpg.connect(world.mesh.environment["DATABASE_URL"])
    try:
        await connection.execute(_KNOW_FILMS, ROWS)
        rows = await _both(world, connection, seconds, f"import of {ROWS:,} rows, CPU a row")
        say(f"  filling in {MANY_ENTRIES:,} entries ...")
        for number in range(MANY_ENTRIES // ROWS):
            await connection.execute(_OTHERS, number, ROWS)
        await connection.execute("VACUUM ANALYZE backlog.entries")
        return rows + await _both(
            world, connection, seconds, f"import of {ROWS:,} rows, with {MANY_ENTRIES:,} entries there"
        )
    finally:
        await connection.close()


async def _both(
    world: World, connection: asyncpg.Connection[asyncpg.Record], seconds: float, group: str
) -> list[Row]:
    now = datetime.now(UTC)

    async def alone() -> None:
        user = uuid4().hex
        rows = [(user, movie_id, "a note", now) for movie_id in range(1, ROWS + 1)]
        async with connection.transaction():
            await connection.executemany(_ALONE, rows)

    people = iter(await world.people(200))
    file = b"".join(_file())
    async with grpc.aio.insecure_channel(world.mesh.edge_target) as channel:
        stub = library_pb2_grpc.LibraryServiceStub(channel)
        return [
            await _measured(world, seconds, group, "the mesh", lambda: _import(stub, next(people), file)),
            await _measured(world, seconds, group, "the rows alone, one by one", alone),
        ]


async def _measured(
    world: World, seconds: float, group: str, name: str, once: Callable[[], Awaitable[None]]
) -> Row:
    """Do it again and again; a call of the row is a row of the file."""
    say(f"  {group}: {name} ...")
    await once()
    before, busy = cpu.readings(world.pids()), time.process_time()
    started = time.perf_counter()
    took: list[float] = []
    while not took or time.perf_counter() - started < seconds:
        begun = time.perf_counter()
        await once()
        took.append(time.perf_counter() - begun)
    load = Load(
        calls=ROWS * len(took),
        seconds=time.perf_counter() - started,
        latencies=tuple(sorted(took)),
        generator_seconds=time.process_time() - busy,
    )
    used = cpu.used_between(before, cpu.readings(world.pids()))
    return Row(group, name, load, used, is_limit=name != "the mesh")


async def _import(stub: library_pb2_grpc.LibraryServiceAsyncStub, who: Person, file: bytes) -> None:
    answer = await stub.ImportBacklog(_pieces(file), metadata=who.metadata, timeout=_GIVE_UP_SECONDS)
    job = answer.job
    async with asyncio.timeout(_GIVE_UP_SECONDS):
        while job.state != backlog_pb2.IMPORT_STATE_DONE:
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
            asked = library_pb2.GetImportRequest(import_id=job.import_id)
            job = (await stub.GetImport(asked, metadata=who.metadata, timeout=20)).job
    if job.added != ROWS:
        raise RuntimeError(f"{job.added} of {ROWS} rows were added")


def _file() -> Iterator[bytes]:
    yield b"tmdbID,Title,Year,Rating,WatchedDate,Tags,Review\r\n"
    for movie_id in range(1, ROWS + 1):
        yield f"{movie_id},Film {movie_id},1999,4,2024-05-01,a,a note\r\n".encode()


def _pieces(file: bytes) -> Iterator[library_pb2.ImportBacklogRequest]:
    for begin in range(0, len(file), _PIECE):
        request = library_pb2.ImportBacklogRequest()
        request.file.data = file[begin : begin + _PIECE]
        yield request
