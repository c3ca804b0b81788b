"""What the database holds, to see that something has written nothing."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from mesh.postgres import Database


async def contents(database: Database) -> dict[str, str]:
    """A digest of every row, table by table; but for how often an address has tried, which does change."""
    tables = await database.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'gateway' AND tablename <> 'limits'"
    )
    digest = "SELECT md5(coalesce(string_agg(t::text, ',' ORDER BY t::text), '')) FROM gateway.{} AS t"
    return {row["tablename"]: await database.fetchval(digest.format(row["tablename"])) for row in tables}


async def quiet(database: Database) -> None:
    """See that deletions of other tests write nothing in the background: wait, and drop what is put off."""
    unfinished = "SELECT count(*) FROM gateway.deletion_steps"
    with suppress(TimeoutError):
        async with asyncio.timeout(3):
            while await database.fetchval(unfinished):  # noqa: ASYNC110 - a database tells nobody
                await asyncio.sleep(0.02)
    await database.execute("DELETE FROM gateway.deletion_steps")
