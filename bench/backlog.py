"""A page of 20 of a backlog of 5,000: over REST, beside an empty handler and the query alone.

Every figure is taken twice: with this backlog alone in the table, and with a million entries of others.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import asyncpg

from backlog_svc.entries import Filter, Order
from backlog_svc.list_store import ListStore
from bench import load
from bench.library import measured, rest
from bench.report import Row
from bench.world import PAGE, Person, World, say
from mesh.postgres import Database

ENTRIES: Final = 5_000
"""How many entries a person has."""
ALL_ENTRIES: Final = 1_000_000
"""How many there are in the table at last."""

# What is paged through, by what the list costs: an index, or all entries of the person and their films.
_LISTS: Final = {
    "added last first": ("", Filter(), Order.ADDED_DESC),
    "newest film first": ("&orderBy=ENTRY_ORDER_RELEASE_DATE_DESC", Filter(), Order.RELEASE_DATE_DESC),
    "of one decade and genre": (
        "&decade=1990&genreIds=18",
        Filter(decade=1990, genre_ids=(18,)),
        Order.ADDED_DESC,
    ),
}

_FIRST_MADE_UP: Final = 100_000_000

# Older than any real film, so that real ones are on the first page, and known for a week.
_FILMS: Final = """
    INSERT INTO backlog.films (
        movie_id, title, original_title, release_date, runtime_minutes, genre_ids, popularity,
        refresh_time, due_time
    )
    SELECT
        $1 + film, 'The ' || md5(film::text), 'Le ' || md5(film::text), DATE '1880-01-01' + film % 7000,
        60 + film % 120, ARRAY[film % 19, 20 + film % 7], film % 1000 / 10.0, now(), now() + interval '7 days'
    FROM generate_series(0, 49999) AS film
"""
_ENTRIES: Final = """
    INSERT INTO backlog.entries
    SELECT
        $1, $2 + ($3 * 7 + number * 9) % 50000,
        (ARRAY['want_to_watch', 'watched', 'dropped'])[number % 3 + 1],
        CASE WHEN number % 3 = 0 THEN 'for some evening' ELSE '' END, nullif(number % 11, 0), '{}',
        $4::timestamptz - number * interval '1 minute', $4::timestamptz - number * interval '1 minute',
        $4, 'import'
    FROM generate_series(1, $5) AS number
"""


async def measure(world: World, seconds: float) -> list[Row]:
    """Measure every list in both tables."""
    url = world.mesh.environment["DATABASE_URL"]
    user_id = _user_id(world.person)
    connection = await asyncpg.connect(url)
    database = Database(url, application="bench")
    await database.start()
    try:
        await connection.execute(_FILMS, _FIRST_MADE_UP)
        there = await connection.fetchval("SELECT count(*) FROM backlog.entries")
        await _add(connection, user_id, 0, ENTRIES - there)
        rows = await _measured(world, seconds, database, user_id, f"{ENTRIES:,} entries in the table")
        say(f"  adding {ALL_ENTRIES - ENTRIES:,} entries of others ...")
        for reader in range(1, ALL_ENTRIES // ENTRIES):
            await _add(connection, f"somebody-{reader}", reader, ENTRIES)
        rows += await _measured(world, seconds, database, user_id, f"{ALL_ENTRIES:,} entries in the table")
    finally:
        await database.close()
        await connection.close()
    return rows


async def _add(connection: asyncpg.Connection, user_id: str, reader: int, number: int) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=30)
    await connection.execute(_ENTRIES, user_id, _FIRST_MADE_UP, reader, long_ago, number)


async def _measured(world: World, seconds: float, database: Database, user_id: str, table: str) -> list[Row]:
    # What autovacuum would have done by and by.
    await database.execute("ANALYZE backlog.entries, backlog.films")
    lists = ListStore(database)
    rows = []
    for name, (query, chosen, order) in _LISTS.items():
        group = f"page of {PAGE}, {name}, {table}"
        rows += await rest(world, seconds, group, f"/v1/backlog?pageSize={PAGE}{query}")
        alone: Callable[[], Awaitable[object]] = partial(
            lists.page, user_id, chosen, order, after=None, size=PAGE, fresh_since=datetime.now(UTC)
        )
        rows.append(
            await measured(
                group,
                "the query alone",
                [alone] * load.CALLERS,
                seconds,
                lambda: {"postgres": world.pids()["postgres"]},
                is_limit=False,
            )
        )
    return rows


def _user_id(person: Person) -> str:
    payload = person.token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(payload + "=="))["sub"])
