"""The buckets of the limits in PostgreSQL, table `gateway.limits`. The only module that knows its SQL."""

import hmac
from datetime import timedelta
from typing import Final

from mesh.postgres import Database

_LABEL: Final = b"popcorn limits: whose bucket "


class LimitStore:
    """Buckets that all replicas share. Raises `mesh.errors.Unavailable` while PostgreSQL is away."""

    def __init__(self, database: Database, *, key: bytes) -> None:
        """Take the database, and a secret that makes the names in it unreadable: addresses are few."""
        self._database = database
        self._key = key

    # GCRA, by the database's clock: replicas whose own clocks differ still share one bucket. Of two at once
    # the second waits for the first's row and looks at what that left. EXCLUDED.free_time - $2 is now.
    _TAKE: Final = """
        WITH taken AS (
            INSERT INTO gateway.limits AS bucket (key, free_time) VALUES ($1, clock_timestamp() + $2)
            ON CONFLICT (key) DO UPDATE
               SET free_time = GREATEST(bucket.free_time, EXCLUDED.free_time - $2) + $2
             WHERE GREATEST(bucket.free_time, EXCLUDED.free_time - $2) + $2 <= EXCLUDED.free_time - $2 + $3
            RETURNING key
        )
        SELECT EXISTS (SELECT FROM taken) AS taken,
               (SELECT free_time + $2 - $3 - clock_timestamp() FROM gateway.limits WHERE key = $1) AS wait
    """

    async def take(self, name: str, *, drip: timedelta, size: timedelta) -> timedelta | None:
        """Take one call out of a bucket; return how long to wait when it is empty. See `limits.Buckets`."""
        key = hmac.digest(self._key, _LABEL + name.encode(), "sha256")
        row = await self._database.fetchrow(self._TAKE, key, drip, size)
        if row["taken"]:
            return None
        # Read as it was before this statement: where the bucket was new just now it is missing.
        wait: timedelta | None = row["wait"]
        return max(wait, timedelta()) if wait is not None else drip

    _SWEEP: Final = "DELETE FROM gateway.limits WHERE free_time < clock_timestamp()"

    async def sweep(self) -> None:
        """Remove the buckets that are full again."""
        await self._database.execute(self._SWEEP)
