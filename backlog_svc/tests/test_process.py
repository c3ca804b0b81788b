"""`python -m backlog_svc`, as it is run."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from backlog_svc.migrate import FOLDER, SCHEMA
from dev.processes import free_port
from mesh.migrations import migrate
from popcorn.backlog.v1 import backlog_pb2 as pb
from popcorn.backlog.v1.backlog_pb2_grpc import BacklogServiceStub

SECONDS = 15.0


def environment(**variables: str) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH") if name in os.environ}
    return {**inherited, "PYTHONPATH": os.pathsep.join([".", "gen"]), **variables}


async def started(repository: Path, variables: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "backlog_svc"),
        env=variables,
        cwd=repository,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def test_it_serves_until_it_is_told_to_stop(repository: Path, new_database: Callable[[], str]) -> None:
    url, port = new_database(), free_port()
    await migrate(url, schema=SCHEMA, folder=FOLDER)
    process = await started(
        repository,
        environment(
            DATABASE_URL=url,
            BACKLOG_LISTEN=f"127.0.0.1:{port}",
            MOVIE_TARGET=f"127.0.0.1:{free_port()}",
            PAGE_TOKEN_KEY="k" * 32,
        ),
    )
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(), timeout=SECONDS, wait_for_ready=True
        )
        async for answer in watch:
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                break
        watch.cancel()
        put = pb.PutEntryRequest(user_id="ada", entry=pb.EntryDraft(movie_id=603, note="secret note"))
        assert (await BacklogServiceStub(channel).PutEntry(put)).added
    process.send_signal(signal.SIGTERM)
    output, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    assert process.returncode == 0, output.decode()
    assert b"secret note" not in output


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", ""),
        ("DATABASE_URL", "mysql://user:hunter2@db/popcorn"),
        ("BACKLOG_LISTEN", ""),
        ("BACKLOG_LISTEN", "9000"),
        ("MOVIE_TARGET", ""),
        ("PAGE_TOKEN_KEY", ""),
        ("PAGE_TOKEN_KEY", "hunter2"),
        ("DATABASE_CONNECTIONS", "0"),
    ],
)
async def test_a_missing_or_bad_variable_stops_it_with_a_sentence(
    repository: Path, variable: str, value: str
) -> None:
    good = environment(
        DATABASE_URL="postgresql://db:5432/popcorn",
        BACKLOG_LISTEN="127.0.0.1:0",
        MOVIE_TARGET="movies:9003",
        PAGE_TOKEN_KEY="k" * 32,
    )
    process = await started(repository, {**good, variable: value})
    output, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    assert process.returncode == 2
    [sentence] = output.decode().splitlines()
    assert variable in sentence
    assert "hunter2" not in sentence
