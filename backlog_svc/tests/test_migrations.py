"""The schema: made once however often and by however many at a time, and waited for."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from backlog_svc.entries import Draft
from backlog_svc.migrate import FOLDER, SCHEMA
from backlog_svc.store import EntryStore
from backlog_svc.tests.test_store import FULL, NOW
from mesh.errors import Unavailable
from mesh.migrations import BehindError, latest, migrate
from mesh.postgres import Database


async def test_migrating_twice_is_migrating_once(new_database: Callable[[], str]) -> None:
    url = new_database()
    assert await migrate(url, schema=SCHEMA, folder=FOLDER) == latest(FOLDER)
    database = Database(url, application="tests")
    await database.start()
    put, _ = await EntryStore(database).put("ada", FULL, now=NOW)
    assert await migrate(url, schema=SCHEMA, folder=FOLDER) == latest(FOLDER)
    assert await EntryStore(database).of_movies("ada", [FULL.movie_id]) == (put,)
    await database.close()


async def test_replicas_that_migrate_at_once_do_it_once(new_database: Callable[[], str]) -> None:
    url = new_database()
    revisions = await asyncio.gather(*(migrate(url, schema=SCHEMA, folder=FOLDER) for _ in range(5)))
    assert set(revisions) == {latest(FOLDER)}
    connection = await asyncpg.connect(url)
    assert await connection.fetchval("SELECT count(*) FROM backlog.migrations") == latest(FOLDER)
    await connection.close()


async def test_without_its_schema_the_service_is_unavailable_and_not_ready(
    new_database: Callable[[], str],
) -> None:
    url = new_database()
    database = Database(url, application="tests")
    await database.start()
    probe = database.probe(schema=SCHEMA, folder=FOLDER)
    with pytest.raises(BehindError):
        await probe()
    with pytest.raises(Unavailable):
        await EntryStore(database).put("ada", Draft(movie_id=1), now=NOW)
    await migrate(url, schema=SCHEMA, folder=FOLDER)
    await probe()
    await EntryStore(database).put("ada", Draft(movie_id=1), now=NOW)
    await database.close()


async def test_the_command_migrates_and_checks(new_database: Callable[[], str], repository: Path) -> None:
    async def command(*arguments: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "backlog_svc.migrate", *arguments),
            env={**os.environ, "DATABASE_URL": url, "PYTHONPATH": os.pathsep.join([".", "gen"])},
            cwd=repository,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), 30)
        return process.returncode, output.decode()

    url = new_database()
    assert (await command("--check"))[0] == 1
    code, output = await command()
    assert (code, output.splitlines()[-1]) == (0, f"Schema backlog is at revision {latest(FOLDER)}.")
    assert (await command("--check"))[0] == 0
