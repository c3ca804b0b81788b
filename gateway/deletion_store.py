"""Tombstones and the steps that are left, in PostgreSQL."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

from gateway.apple_grants import RELEASE_GRANTS
from gateway.deletion import Step, TakenStep, Tombstone
from gateway.identity_tokens import Provider
from mesh.postgres import Database


class DeletionStore:
    """Deletions under way. Every method raises `mesh.errors.Unavailable` while PostgreSQL is away."""

    def __init__(self, database: Database) -> None:
        """Take the database; whoever made it starts and closes it."""
        self._database = database

    # The account first: whoever links an identity takes the same lock. A sign-in does not: it holds its
    # identity, so that taking the identity away waits for it; what it brought along is looked at after that.
    _BURY: Final = """
        UPDATE gateway.accounts SET delete_time = $2, display_name = '', language = '', region = ''
         WHERE user_id = $1 AND delete_time IS NULL
        RETURNING user_id
    """
    _UNLINK_ALL: Final = "DELETE FROM gateway.identities WHERE user_id = $1 RETURNING provider"
    _END_ALL: Final = """
        UPDATE gateway.sessions SET end_time = $2, end_reason = 'account_deleted'
         WHERE user_id = $1 AND end_time IS NULL
        RETURNING session_id
    """
    _FORGET_DEVICES: Final = "UPDATE gateway.sessions SET device = '' WHERE user_id = $1 AND device <> ''"
    _WRITE_DOWN: Final = """
        INSERT INTO gateway.deletion_steps (user_id, step, waits_for, due_time) VALUES ($1, $2, $3, $4)
    """

    async def start(
        self, user_id: UUID, *, plan: Mapping[Step, tuple[Step, ...]], now: datetime, due_time: datetime
    ) -> Tombstone | None:
        """Turn an account into a tombstone and write down what is left to do, all or nothing.

        Apple's refresh tokens go to the list of those to be given back, which names nobody.

        Args:
            user_id: Whose account.
            plan: Every step, and those that it waits for.
            now: The present.
            due_time: When the steps may begin.

        Returns:
            What was ended, or None where there is no account that lives.
        """
        async with self._database.transaction() as connection:
            if await connection.fetchval(self._BURY, user_id, now) is None:
                return None
            identities = await connection.fetch(self._UNLINK_ALL, user_id)
            await connection.execute(RELEASE_GRANTS, user_id, now)
            sessions = await connection.fetch(self._END_ALL, user_id, now)
            await connection.execute(self._FORGET_DEVICES, user_id)
            for step, waits_for in plan.items():
                await connection.execute(self._WRITE_DOWN, user_id, step, waits_for, due_time)
        return Tombstone(
            sessions=tuple(row["session_id"] for row in sessions),
            providers=tuple(Provider(row["provider"]) for row in identities),
        )

    _TAKE: Final = """
        WITH due AS (
            SELECT user_id, step
              FROM gateway.deletion_steps AS mine
             WHERE due_time <= $1
               AND NOT EXISTS (
                   SELECT FROM gateway.deletion_steps AS earlier
                    WHERE earlier.user_id = mine.user_id AND earlier.step = ANY (mine.waits_for)
               )
             ORDER BY due_time
             LIMIT $3
               FOR UPDATE SKIP LOCKED
        )
        UPDATE gateway.deletion_steps AS taken
           SET due_time = $2, attempts = attempts + 1
          FROM due
         WHERE taken.user_id = due.user_id AND taken.step = due.step
        RETURNING taken.user_id, taken.step, taken.attempts
    """

    async def take(self, *, now: datetime, lease_until: datetime, most: int) -> list[TakenStep]:
        """Take at most `most` steps that are due and wait for nothing; nobody else gets them before then."""
        rows = await self._database.fetch(self._TAKE, now, lease_until, most)
        return [TakenStep(row["user_id"], Step(row["step"]), row["attempts"]) for row in rows]

    # Only while it is ours: after the lease somebody else may have taken it.
    _PUT_OFF: Final = """
        UPDATE gateway.deletion_steps SET due_time = $4 WHERE user_id = $1 AND step = $2 AND attempts = $3
    """

    async def put_off(self, taken: TakenStep, *, due_time: datetime) -> None:
        """Let a step be taken again at `due_time`, unless somebody else has it by now."""
        await self._database.execute(self._PUT_OFF, taken.user_id, taken.step, taken.attempts, due_time)

    _DONE: Final = "DELETE FROM gateway.deletion_steps WHERE user_id = $1 AND step = $2"

    async def done(self, taken: TakenStep) -> None:
        """Take a step off the list, whoever has it: it is done."""
        await self._database.execute(self._DONE, taken.user_id, taken.step)

    # Whatever names a person refers to the account and goes with it: identities, sessions with their refresh
    # tokens, grants, and the steps.
    _ERASE: Final = "DELETE FROM gateway.accounts WHERE user_id = $1 AND delete_time IS NOT NULL"

    async def erase(self, user_id: UUID) -> None:
        """Erase all rows of a tombstone, and it."""
        await self._database.execute(self._ERASE, user_id)
