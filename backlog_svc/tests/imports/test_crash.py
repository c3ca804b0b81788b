"""A crash in the middle of an import, of the service or of PostgreSQL, loses and doubles nothing."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import grpc
import pytest

from backlog_svc.migrate import FOLDER, SCHEMA
from backlog_svc.tests.imports.conftest import chunks, films
from backlog_svc.tests.movie_service import SERVICE, ScriptedMovies, scripted_movies
from dev.postgres import Postgres
from dev.processes import free_port
from mesh.migrations import migrate
from mesh.server import Server, Service
from popcorn.backlog.v1 import backlog_pb2 as pb
from popcorn.backlog.v1.backlog_pb2_grpc import BacklogServiceStub
from popcorn.movie.v1 import movie_pb2_grpc

SECONDS = 60.0
FILMS = 1_500
KILLS = 3
SLOWLY = 0.01
"""Seconds that movie_svc takes for a look-up: an import lasts long enough to be killed in its middle."""


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[Postgres]:
    """A server that only this test knows, and may therefore kill."""
    server = Postgres(tmp_path)
    server.start()
    yield server
    server.kill()


@asynccontextmanager
async def slow_films() -> AsyncIterator[str]:
    """Where movie_svc is."""
    scripted: ScriptedMovies = scripted_movies()
    scripted.seconds = SLOWLY
    service = Service(SERVICE, movie_pb2_grpc.add_MovieServiceServicer_to_server, scripted)
    async with Server([service], listen="127.0.0.1:0") as server:
        yield f"127.0.0.1:{server.port}"


class Replica:
    """`python -m backlog_svc` on a port that it keeps when it is started again."""

    def __init__(self, repository: Path, *, database_url: str, movie_target: str) -> None:
        self.target = f"127.0.0.1:{free_port()}"
        self._repository = repository
        inherited = {
            name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH") if name in os.environ
        }
        self._environment = {
            **inherited,
            "PYTHONPATH": os.pathsep.join([".", "gen"]),
            "DATABASE_URL": database_url,
            "BACKLOG_LISTEN": self.target,
            "MOVIE_TARGET": movie_target,
            "PAGE_TOKEN_KEY": "k" * 32,
        }
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "backlog_svc"),
            env=self._environment,
            cwd=self._repository,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )

    async def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


async def job_of(target: str, import_id: str) -> pb.ImportJob:
    """How far an import is, asked until somebody answers."""
    asked = pb.GetImportRequest(user_id="ada", import_id=import_id)
    async with asyncio.timeout(SECONDS), grpc.aio.insecure_channel(target) as channel:
        while True:
            try:
                answer = await BacklogServiceStub(channel).GetImport(asked, timeout=5, wait_for_ready=True)
            except grpc.aio.AioRpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise
                await asyncio.sleep(0.1)
            else:
                return answer.job


async def handed_in(target: str) -> pb.ImportJob:
    async with grpc.aio.insecure_channel(target) as channel:
        first = pb.StartImportRequest(user_id="ada")
        call = BacklogServiceStub(channel).StartImport(
            chunks(first, films(range(1, FILMS + 1)).encode()), timeout=SECONDS, wait_for_ready=True
        )
        return (await call).job


async def progress_beyond(target: str, import_id: str, done: int) -> pb.ImportJob:
    async with asyncio.timeout(SECONDS):
        while True:
            job = await job_of(target, import_id)
            if job.done > done or job.state == pb.IMPORT_STATE_DONE:
                return job
            await asyncio.sleep(0.05)


async def assert_nothing_lost_or_doubled(target: str, import_id: str) -> None:
    job = await progress_beyond(target, import_id, FILMS)
    assert (job.films, job.done, job.added) == (FILMS, FILMS, FILMS)
    async with grpc.aio.insecure_channel(target) as channel:
        call = BacklogServiceStub(channel).ExportEntries(
            pb.ExportEntriesRequest(user_id="ada", format=pb.EXPORT_FORMAT_LETTERBOXD_CSV)
        )
        text = b"".join([piece.data async for piece in call]).decode()
    assert [int(line.partition(",")[0]) for line in text.splitlines()[1:]] == list(range(1, FILMS + 1))


async def run_out(postgres: Postgres, job: pb.ImportJob) -> None:
    """End the lease of whoever is gone, as ten seconds would."""
    connection = await asyncpg.connect(postgres.url)
    await connection.execute(
        "UPDATE backlog.imports SET due_time = '-infinity' WHERE import_id = $1", job.import_id
    )
    await connection.close()


async def test_a_killed_service_loses_and_doubles_nothing(repository: Path, own_postgres: Postgres) -> None:
    await migrate(own_postgres.url, schema=SCHEMA, folder=FOLDER)
    async with slow_films() as movie_target:
        replicas = [
            Replica(repository, database_url=own_postgres.url, movie_target=movie_target) for _ in range(2)
        ]
        try:
            await replicas[0].start()
            job = await handed_in(replicas[0].target)
            for kill in range(KILLS):
                # The other one is up before the first is gone, as in a rolling update gone wrong.
                working, next_one = replicas[kill % 2], replicas[(kill + 1) % 2]
                await next_one.start()
                before = await progress_beyond(working.target, job.import_id, 100 + 200 * kill)
                assert before.state == pb.IMPORT_STATE_WORKING, "it was over before it was killed"
                await working.kill()
                await run_out(own_postgres, job)
            await assert_nothing_lost_or_doubled(replicas[KILLS % 2].target, job.import_id)
        finally:
            for replica in replicas:
                await replica.kill()


async def test_a_killed_postgresql_loses_and_doubles_nothing(
    repository: Path, own_postgres: Postgres
) -> None:
    await migrate(own_postgres.url, schema=SCHEMA, folder=FOLDER)
    async with slow_films() as movie_target:
        replica = Replica(repository, database_url=own_postgres.url, movie_target=movie_target)
        try:
            await replica.start()
            job = await handed_in(replica.target)
            for kill in range(KILLS):
                before = await progress_beyond(replica.target, job.import_id, 100 + 200 * kill)
                assert before.state == pb.IMPORT_STATE_WORKING, "it was over before it was killed"
                await asyncio.to_thread(own_postgres.kill)
                await asyncio.to_thread(own_postgres.start)
            await assert_nothing_lost_or_doubled(replica.target, job.import_id)
        finally:
            await replica.kill()
