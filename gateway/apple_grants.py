"""Apple's refresh tokens in PostgreSQL, encrypted: those that stand, and those on their way back to Apple."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from gateway.identity_tokens import SealedGrant
from mesh.postgres import Database

KEEP_GRANT: Final = """
    INSERT INTO gateway.apple_grants AS mine (user_id, client_id, key_id, sealed, create_time)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (user_id, client_id) DO UPDATE
       SET key_id = EXCLUDED.key_id, sealed = EXCLUDED.sealed, create_time = EXCLUDED.create_time
"""

RELEASE_GRANTS: Final = """
    WITH released AS (
        DELETE FROM gateway.apple_grants WHERE user_id = $1 RETURNING client_id, key_id, sealed
    )
    INSERT INTO gateway.apple_revocations (client_id, key_id, sealed, create_time, next_attempt_time)
    SELECT client_id, key_id, sealed, $2, $2 FROM released
"""
"""Puts the grants of a person ($1) down to be given back from now ($2) on. For transactions of others."""


@dataclass(frozen=True, slots=True)
class DueRevocation:
    """A grant that it is time to give back."""

    revocation_id: int
    """Its id in the outbox."""
    grant: SealedGrant
    """What to give back."""
    create_time: datetime
    """Since when it has been waiting."""


async def keep_grant(connection: Any, user_id: UUID, grant: SealedGrant, *, now: datetime) -> None:
    """Keep a person's grant in place of the one before, inside somebody's transaction."""
    await connection.execute(KEEP_GRANT, user_id, grant.client_id, grant.key_id, grant.sealed, now)


class AppleGrantStore:
    """Grants and the outbox. Every method raises `mesh.errors.Unavailable` while PostgreSQL is away."""

    def __init__(self, database: Database) -> None:
        """Take the database; whoever made it starts and closes it."""
        self._database = database

    # Whoever takes a row has it for as long as the pause: another replica finds it only if this one died.
    _TAKE: Final = """
        WITH due AS (
            SELECT revocation_id
              FROM gateway.apple_revocations
             WHERE next_attempt_time <= $1
             ORDER BY next_attempt_time
             LIMIT $2
               FOR UPDATE SKIP LOCKED
        )
        UPDATE gateway.apple_revocations AS taken
           SET attempts = attempts + 1,
               next_attempt_time = $1 + LEAST($3::interval * power(2, LEAST(attempts, 20)), $4::interval)
          FROM due
         WHERE taken.revocation_id = due.revocation_id
        RETURNING taken.revocation_id, taken.client_id, taken.key_id, taken.sealed, taken.create_time
    """

    async def take_due(
        self, *, now: datetime, most: int, first_pause: timedelta, longest_pause: timedelta
    ) -> list[DueRevocation]:
        """Take grants whose turn it is; each has its next turn after a pause that doubles.

        Args:
            now: The present.
            most: How many at most.
            first_pause: The pause after the first attempt.
            longest_pause: The pause that doubling ends at.
        """
        rows = await self._database.fetch(self._TAKE, now, most, first_pause, longest_pause)
        return [DueRevocation(row["revocation_id"], _grant(row), row["create_time"]) for row in rows]

    _DONE: Final = "DELETE FROM gateway.apple_revocations WHERE revocation_id = $1"

    async def done(self, revocation_id: int) -> None:
        """Take one out of the outbox."""
        await self._database.execute(self._DONE, revocation_id)

    _OUTDATED: Final = """
        SELECT user_id, client_id, key_id, sealed
          FROM gateway.apple_grants WHERE key_id <> $1 ORDER BY user_id LIMIT $2
    """
    # Only what was read: a newer sign-in may have replaced it meanwhile.
    _RESEAL: Final = """
        UPDATE gateway.apple_grants SET key_id = $4, sealed = $5
         WHERE user_id = $1 AND client_id = $2 AND sealed = $3
    """

    async def outdated(self, key_id: str, *, most: int) -> list[tuple[UUID, SealedGrant]]:
        """Return grants, with their owners, that another key than this one encrypted."""
        rows = await self._database.fetch(self._OUTDATED, key_id, most)
        return [(row["user_id"], _grant(row)) for row in rows]

    async def replace(self, user_id: UUID, old: SealedGrant, *, new: SealedGrant) -> None:
        """Put the same grant, encrypted anew, in its old place, unless it was replaced meanwhile."""
        await self._database.execute(self._RESEAL, user_id, old.client_id, old.sealed, new.key_id, new.sealed)


def _grant(row: Any) -> SealedGrant:
    return SealedGrant(client_id=row["client_id"], key_id=row["key_id"], sealed=row["sealed"])
