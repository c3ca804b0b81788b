import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from mesh.migrations import BehindError, MigrationError, latest, migrate, read, revision, schema_probe

FILMS = "CREATE TABLE films (id integer PRIMARY KEY); INSERT INTO films VALUES (603);"
TITLES = "ALTER TABLE films ADD COLUMN title text NOT NULL DEFAULT '';"


@pytest.fixture
def url(new_database: Callable[[], str]) -> str:
    return new_database()


@pytest.fixture
async def conn(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "0001_films.sql", FILMS)
    return tmp_path


def write(folder: Path, name: str, sql: str) -> None:
    (folder / name).write_text(sql, encoding="utf-8")


async def test_migrations_are_applied_in_order_and_once(url: str, conn: Any, folder: Path) -> None:
    assert await revision(conn, "popcorn") == 0
    assert await migrate(url, schema="popcorn", folder=folder) == 1
    write(folder, "0002_titles.sql", TITLES)
    assert await migrate(url, schema="popcorn", folder=folder) == 2
    assert await migrate(url, schema="popcorn", folder=folder) == 2
    assert await revision(conn, "popcorn") == 2
    assert [tuple(row) for row in await conn.fetch("SELECT id, title FROM popcorn.films")] == [(603, "")]
    rows = await conn.fetch(
        "SELECT revision, name, length(sha256) AS hash FROM popcorn.migrations ORDER BY 1"
    )
    assert [tuple(row) for row in rows] == [(1, "films", 64), (2, "titles", 64)]


async def test_two_schemas_of_one_database_do_not_meet(url: str, conn: Any, folder: Path) -> None:
    await migrate(url, schema="gateway", folder=folder)
    assert await revision(conn, "backlog") == 0
    await migrate(url, schema="backlog", folder=folder)
    assert await conn.fetchval("SELECT count(*) FROM backlog.films") == 1


async def test_many_replicas_may_migrate_at_once(url: str, conn: Any, folder: Path) -> None:
    write(folder, "0002_slow.sql", "SELECT pg_sleep(0.2); INSERT INTO films VALUES (604);")
    at = await asyncio.gather(*(migrate(url, schema="popcorn", folder=folder) for _ in range(5)))
    assert at == [2] * 5
    assert await conn.fetchval("SELECT count(*) FROM popcorn.films") == 2


async def test_nobody_waits_for_ever_for_another_who_migrates(url: str, folder: Path) -> None:
    write(folder, "0002_slow.sql", "SELECT pg_sleep(1);")
    slow = asyncio.create_task(migrate(url, schema="popcorn", folder=folder))
    await asyncio.sleep(0.3)
    with pytest.raises(MigrationError, match="not waiting longer"):
        await migrate(url, schema="popcorn", folder=folder, wait_seconds=0.1)
    assert await slow == 2


async def test_a_failed_migration_leaves_nothing_of_itself(url: str, conn: Any, folder: Path) -> None:
    write(folder, "0002_half.sql", "INSERT INTO films VALUES (604); INSERT INTO films VALUES (603);")
    with pytest.raises(MigrationError, match="0002_half of popcorn failed and left nothing behind"):
        await migrate(url, schema="popcorn", folder=folder)
    assert await revision(conn, "popcorn") == 1
    assert await conn.fetchval("SELECT count(*) FROM popcorn.films") == 1
    write(folder, "0002_half.sql", "INSERT INTO films VALUES (604);")
    assert await migrate(url, schema="popcorn", folder=folder) == 2


@pytest.mark.parametrize("sql", ["COMMIT; CREATE TABLE popcorn.more ();", "ROLLBACK;"])
async def test_a_migration_may_not_end_its_transaction(url: str, conn: Any, folder: Path, sql: str) -> None:
    write(folder, "0002_sneaky.sql", sql)
    with pytest.raises(MigrationError, match="leave BEGIN and COMMIT out"):
        await migrate(url, schema="popcorn", folder=folder)
    assert await revision(conn, "popcorn") == 1


async def test_a_changed_file_is_refused(url: str, folder: Path) -> None:
    await migrate(url, schema="popcorn", folder=folder)
    write(folder, "0001_films.sql", FILMS + " -- a little change")
    write(folder, "0002_titles.sql", TITLES)
    with pytest.raises(MigrationError, match="0001_films was changed after it was applied"):
        await migrate(url, schema="popcorn", folder=folder)


async def test_a_database_that_is_newer_is_left_alone(url: str, conn: Any, folder: Path) -> None:
    write(folder, "0002_titles.sql", TITLES)
    await migrate(url, schema="popcorn", folder=folder)
    (folder / "0002_titles.sql").unlink()
    with pytest.raises(MigrationError, match="newer than this code's 1"):
        await migrate(url, schema="popcorn", folder=folder)
    assert await revision(conn, "popcorn") == 2


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ([], "There are no migrations"),
        (["0002_later.sql"], "Migration 0001 is expected, and 0002 comes"),
        (["0001_a.sql", "0003_c.sql"], "Migration 0002 is expected, and 0003 comes"),
        (["0001_a.sql", "0001_b.sql"], "Migration 0002 is expected, and 0001 comes"),
        (["0001_a.sql", "0002-b.sql"], "0002-b.sql is not named like a migration"),
        (["0001_a.sql", "fix.sql"], "fix.sql is not named like a migration"),
    ],
)
def test_a_folder_that_is_not_in_order_is_refused(tmp_path: Path, names: list[str], why: str) -> None:
    for name in names:
        write(tmp_path, name, "SELECT 1")
    with pytest.raises(MigrationError, match=why):
        read(tmp_path)


async def test_the_probe_fails_while_the_database_is_behind(url: str, conn: Any, folder: Path) -> None:
    probe = schema_probe(conn, schema="popcorn", folder=folder)
    with pytest.raises(BehindError, match="at revision 0; the code needs 1"):
        await probe()
    await migrate(url, schema="popcorn", folder=folder)
    await probe()
    write(folder, "0002_titles.sql", TITLES)
    await migrate(url, schema="popcorn", folder=folder)
    await probe()  # newer than this replica's code: it goes on serving while the rest is rolled out
    assert latest(folder) == 2


@pytest.mark.parametrize("schema", ["", "Popcorn", "a.b", 'a"; DROP SCHEMA b', "1a", "x" * 64])
async def test_a_schema_s_name_is_a_plain_one(url: str, folder: Path, schema: str) -> None:
    with pytest.raises(ValueError, match="lower case letters"):
        await migrate(url, schema=schema, folder=folder)


COMMAND = """
import sys
from pathlib import Path
from mesh.migrations import command
command(schema="popcorn", folder=Path(sys.argv.pop(1)))
"""


async def test_the_command_migrates_checks_and_says_what_is_wrong(
    repository: Path, url: str, folder: Path
) -> None:
    def command(*arguments: str, database_url: str | None = url) -> tuple[int, str]:
        environment = os.environ | {"PYTHONPATH": f"{repository}{os.pathsep}{repository / 'gen'}"}
        environment.pop("DATABASE_URL", None)
        if database_url is not None:
            environment["DATABASE_URL"] = database_url
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, str(folder), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout.splitlines()[-1] if done.returncode == 0 else done.stderr.strip()

    async def run(*arguments: str, **changes: Any) -> tuple[int, str]:
        return await asyncio.to_thread(command, *arguments, **changes)

    behind = "Schema popcorn is at revision 0; the code needs 1. Run the migrations."
    assert await run("--check") == (1, behind)
    assert await run() == (0, "Schema popcorn is at revision 1.")
    assert await run("--check") == (0, "Schema popcorn is at revision 1.")
    write(folder, "0002_bad.sql", "SELECT nothing FROM nowhere")
    code, sentence = await run()
    assert code == 1
    assert sentence.startswith("Migration 0002_bad of popcorn failed and left nothing behind: ")
    code, sentence = await run(database_url=None)
    assert code == 2
    assert sentence.startswith("DATABASE_URL is not set: ")
    code, sentence = await run(database_url="postgresql://u:hunter2@127.0.0.1:9/x")
    assert code == 1
    assert sentence.startswith("DATABASE_URL cannot be reached: ")
    code, sentence = await run(database_url="hunter2")
    assert code == 2
    assert "hunter2" not in sentence
