"""The schema: made once however often and by however many at a time, and waited for."""

import asyncio
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from backlog_svc.entries import Draft
from backlog_svc.migrate import FOLDER, SCHEMA
from backlog_svc.store import EntryStore
from backlog_svc.tests.test_store import FULL, NOW
from mesh.errors import Unavailable
from mesh.migrations import BehindError, MigrationError, latest, migrate
from mesh.postgres import Database

EARLIER = range(latest(FOLDER))

_SHAPE = """
    SELECT table_name || '.' || column_name || ' ' || data_type || is_nullable || coalesce(column_default, '')
    FROM information_schema.columns WHERE table_schema = 'backlog'
    UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'backlog'
    UNION ALL SELECT tgrelid::regclass || ' ' || tgname FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'backlog'::regnamespace
    UNION ALL SELECT proname || prosrc FROM pg_proc WHERE pronamespace = 'backlog'::regnamespace
    ORDER BY 1
"""
_OLD_ENTRY = """
    INSERT INTO backlog.entries VALUES
    ('ada', 603, 'watched', 'Ümläute', 9, '{sci-fi}', now(), now(), now(), 'import')
    RETURNING *
"""


async def asked(url: str, statement: str) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


def first(revisions: int, folder: Path) -> Path:
    """A folder with so many of the migrations."""
    folder.mkdir()
    for path in sorted(FOLDER.glob("*.sql"))[:revisions]:
        shutil.copy(path, folder)
    return folder


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


@pytest.mark.parametrize("revision", EARLIER)
async def test_every_earlier_revision_comes_up_to_date_with_all_that_it_holds(
    new_database: Callable[[], str], tmp_path: Path, revision: int
) -> None:
    fresh, url = new_database(), new_database()
    await migrate(fresh, schema=SCHEMA, folder=FOLDER)
    held = []
    if revision:
        await migrate(url, schema=SCHEMA, folder=first(revision, tmp_path / "before"))
        held = await asked(url, _OLD_ENTRY)
    # Replicas of the new release come up at the same time.
    await asyncio.gather(*(migrate(url, schema=SCHEMA, folder=FOLDER) for _ in range(2)))
    assert await asked(url, _SHAPE) == await asked(fresh, _SHAPE)
    columns = "user_id, movie_id, status, note, half_stars, tags, add_time, update_time, watch_time, source"
    assert await asked(url, f"SELECT {columns} FROM backlog.entries") == held
    known = await asked(url, "SELECT movie_id FROM backlog.films WHERE due_time <= now()")
    assert known == [(603,) for _ in held], "the films of old entries are looked up as well"


@pytest.mark.parametrize("revision", EARLIER)
async def test_an_earlier_revision_is_not_ready(
    new_database: Callable[[], str], tmp_path: Path, revision: int
) -> None:
    url = new_database()
    if revision:
        await migrate(url, schema=SCHEMA, folder=first(revision, tmp_path / "before"))
    database = Database(url, application="tests")
    await database.start()
    with pytest.raises(BehindError) as raised:
        await database.probe(schema=SCHEMA, folder=FOLDER)()
    assert (raised.value.found, raised.value.wanted) == (revision, latest(FOLDER))
    await database.close()


@pytest.mark.parametrize("broken", range(1, latest(FOLDER) + 1))
async def test_a_migration_that_fails_in_the_middle_leaves_the_revision_before(
    new_database: Callable[[], str], tmp_path: Path, broken: int
) -> None:
    url = new_database()
    folder = first(latest(FOLDER), tmp_path / "broken")
    [file] = folder.glob(f"{broken:04}_*.sql")
    file.write_text(file.read_text() + ";\nSELECT 1 / 0;")
    with pytest.raises(MigrationError, match="left nothing behind"):
        await migrate(url, schema=SCHEMA, folder=folder)
    before = new_database()
    if broken > 1:
        await migrate(before, schema=SCHEMA, folder=first(broken - 1, tmp_path / "before"))
        assert await asked(url, _SHAPE) == await asked(before, _SHAPE)
    assert await migrate(url, schema=SCHEMA, folder=FOLDER) == latest(FOLDER)


async def test_entries_of_the_release_before_run_beside_the_new_schema(
    new_database: Callable[[], str],
) -> None:
    url = new_database()
    await migrate(url, schema=SCHEMA, folder=FOLDER)
    assert await asked(url, _OLD_ENTRY)
    assert await asked(url, "SELECT movie_id FROM backlog.films") == [(603,)]


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
