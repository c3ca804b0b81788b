"""Migrations: plain SQL files, applied in order, each in one transaction.

A folder holds `0001_name.sql`, `0002_name.sql`, ...; the table `<schema>.migrations` remembers what was
applied, with a hash of each file. Numbers have no gaps and applied files never change: both are refused. An
advisory lock makes two replicas that migrate at once safe, and a migration that fails leaves nothing of
itself.

Replicas of the last release run on while a new one is rolled out, so a migration must suit both: add first,
remove a release later.
"""

import argparse
import asyncio
import hashlib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import structlog

from mesh import logs, settings
from mesh.health import Probe

_FILE = re.compile(r"([0-9]{4})_([a-z0-9_]+)\.sql")
_SCHEMA = re.compile(r"[a-z][a-z0-9_]{0,62}")
_CONNECT_SECONDS: Final = 10.0
_WAIT_FOR_OTHERS_SECONDS: Final = 60.0

_log = structlog.get_logger("mesh.migrations")


class MigrationError(Exception):
    """The folder, the database and each other do not fit; the text says how."""


class BehindError(Exception):
    """The database is older than the code."""

    def __init__(self, schema: str, found: int, wanted: int) -> None:
        super().__init__(
            f"Schema {schema} is at revision {found}; the code needs {wanted}. Run the migrations."
        )
        self.found = found
        self.wanted = wanted


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    revision: int
    """Its number, from 1."""
    name: str
    """What it does, from the file's name."""
    sql: str
    """Its statements."""

    @property
    def sha256(self) -> str:
        """The hash of its statements, in hexadecimal."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def read(folder: Path) -> tuple[Migration, ...]:
    """Read a folder's migrations in order.

    Raises:
        MigrationError: When a file is not named like one, a number is missing or twice, or there is none.
    """
    migrations: list[Migration] = []
    for path in sorted(folder.glob("*.sql")):
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path.name} is not named like a migration: 0001_what_it_does.sql.")
        migrations.append(Migration(int(match[1]), match[2], path.read_text(encoding="utf-8")))
    for expected, migration in enumerate(migrations, start=1):
        if migration.revision != expected:
            raise MigrationError(f"Migration {expected:04d} is expected, and {migration.revision:04d} comes.")
    if not migrations:
        raise MigrationError(f"There are no migrations in {folder}.")
    return tuple(migrations)


def latest(folder: Path) -> int:
    """Return the number of a folder's last migration: the revision that the code needs."""
    return read(folder)[-1].revision


_REVISION: Final = "SELECT coalesce(max(revision), 0) FROM {schema}.migrations"


async def revision(conn: Any, schema: str) -> int:
    """Return the number of the last migration that a database has seen, 0 when there was none.

    Args:
        conn: An asyncpg connection or pool.
        schema: The service's schema.
    """
    try:
        return int(await conn.fetchval(_REVISION.format(schema=_checked(schema))))
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return 0


def schema_probe(pool: Any, *, schema: str, folder: Path) -> Probe:
    """Return a probe that raises `BehindError` while the database is older than the code.

    A newer one passes: during a roll-out the old replicas go on serving while the new schema is already
    there.
    """
    wanted = latest(folder)

    async def probe() -> None:
        found = await revision(pool, schema)
        if found < wanted:
            raise BehindError(schema, found, wanted)

    return probe


_LOCK: Final = "SELECT pg_advisory_lock(hashtextextended($1, 0))"
_UNLOCK: Final = "SELECT pg_advisory_unlock(hashtextextended($1, 0))"
_CREATE: Final = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE IF NOT EXISTS {schema}.migrations (
    revision   integer     PRIMARY KEY CHECK (revision > 0),
    name       text        NOT NULL,
    sha256     text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""
_APPLIED: Final = "SELECT revision, name, sha256 FROM {schema}.migrations ORDER BY revision"
_RECORD: Final = "INSERT INTO {schema}.migrations (revision, name, sha256) VALUES ($1, $2, $3)"


async def migrate(
    database_url: str, *, schema: str, folder: Path, wait_seconds: float = _WAIT_FOR_OTHERS_SECONDS
) -> int:
    """Bring a schema to the code's revision; the statements run with `schema` first in the search path.

    Args:
        database_url: `postgresql://...`, of a role that may create the schema.
        schema: The service's schema, made when it is not there.
        folder: The migrations.
        wait_seconds: How long another process that migrates the same schema may take.

    Returns:
        The revision that the database is at afterwards.

    Raises:
        MigrationError: When the folder is not in order, an applied file has changed, the database is newer
            than the folder, another process migrates for too long, or a statement fails.
    """
    migrations = read(folder)
    schema = _checked(schema)
    conn = await asyncpg.connect(database_url, timeout=_CONNECT_SECONDS)
    try:
        key = f"mesh.migrations.{schema}"
        try:
            await conn.execute(_LOCK, key, timeout=wait_seconds)
        except TimeoutError as error:
            raise MigrationError(
                f"Another process has been migrating {schema} for {wait_seconds:g} s; not waiting longer."
            ) from error
        try:
            await _create(conn, schema)
            applied = await conn.fetch(_APPLIED.format(schema=schema))
            _compare(schema, migrations, applied)
            for migration in migrations[len(applied) :]:
                await _apply(conn, schema, migration)
        finally:
            if not conn.is_closed():
                await conn.execute(_UNLOCK, key)
    finally:
        await conn.close(timeout=_CONNECT_SECONDS)
    return migrations[-1].revision


async def _create(conn: Any, schema: str) -> None:
    # Asked first: a role that may migrate the schema need not be one that may create schemas.
    if await conn.fetchval("SELECT to_regclass($1)", f"{schema}.migrations") is None:
        async with conn.transaction():
            await conn.execute(_CREATE.format(schema=schema))


def _compare(schema: str, migrations: Sequence[Migration], applied: Sequence[Any]) -> None:
    if len(applied) > len(migrations):
        raise MigrationError(
            f"Schema {schema} is at revision {len(applied)}, newer than this code's {len(migrations)}."
        )
    for migration, row in zip(migrations, applied, strict=False):
        if (row["revision"], row["sha256"]) != (migration.revision, migration.sha256):
            raise MigrationError(
                f"Migration {migration.revision:04d}_{migration.name} was changed after it was applied: "
                "put it back, and write a new one."
            )


async def _apply(conn: Any, schema: str, migration: Migration) -> None:
    label = f"{migration.revision:04d}_{migration.name}"
    transaction = conn.transaction()
    await transaction.start()
    try:
        # Waiting long for a table's lock would stop everybody who comes after; failing can simply be tried
        # again.
        await conn.execute(f"SET LOCAL lock_timeout = '10s'; SET LOCAL search_path TO {schema}, public")
        await conn.execute(migration.sql)
        if not conn.is_in_transaction():
            raise MigrationError(f"Migration {label} ends its own transaction; leave BEGIN and COMMIT out.")
        await conn.execute(
            _RECORD.format(schema=schema), migration.revision, migration.name, migration.sha256
        )
    except BaseException as error:
        if conn.is_in_transaction():
            await transaction.rollback()
        if isinstance(error, asyncpg.PostgresError):
            raise MigrationError(
                f"Migration {label} of {schema} failed and left nothing behind: {error}"
            ) from error
        raise
    await transaction.commit()
    _log.info("migration.applied", schema=schema, migration=label)


def _checked(schema: str) -> str:
    # It becomes part of SQL, where no parameter can stand.
    if _SCHEMA.fullmatch(schema) is None:
        raise ValueError("a schema's name is lower case letters, digits and underscores")
    return schema


class MigrationSettings(settings.Settings):
    """What the migration command reads."""

    database_url: settings.DatabaseUrl
    """The PostgreSQL database, such as postgresql://user:password@host:5432/popcorn."""


def command(*, schema: str, folder: Path, arguments: Sequence[str] | None = None) -> None:
    """Be a service's migration command: migrate, say the revision, and exit.

    With `--check` nothing is changed, and the status is 1 when the database is behind.

    Args:
        schema: The service's schema.
        folder: Its migrations.
        arguments: The command line, by default the process' own.
    """
    parser = argparse.ArgumentParser(
        description=f"Bring the database schema {schema} to the code's revision."
    )
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 when it is behind")
    check = parser.parse_args(arguments).check
    loaded = settings.load(MigrationSettings)
    logs.configure(f"{schema}.migrations", loaded.log_level, loaded.log_format)
    url = loaded.database_url.get_secret_value()
    try:
        bring_or_check = _check if check else migrate
        at = asyncio.run(bring_or_check(url, schema=schema, folder=folder))
        print(f"Schema {schema} is at revision {at}.")
    except (MigrationError, BehindError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from error
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        print(f"DATABASE_URL cannot be reached: {type(error).__name__}.", file=sys.stderr)
        raise SystemExit(1) from error


async def _check(database_url: str, *, schema: str, folder: Path) -> int:
    conn = await asyncpg.connect(database_url, timeout=_CONNECT_SECONDS)
    try:
        await schema_probe(conn, schema=schema, folder=folder)()
        return await revision(conn, schema)
    finally:
        await conn.close(timeout=_CONNECT_SECONDS)
