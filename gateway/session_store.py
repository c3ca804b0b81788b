"""Open and ended sessions in PostgreSQL: listing them, ending them, and telling the mesh of it.

`gateway.revocations` is written by a trigger, whoever ends a session in whatever way: see migration 0002.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from gateway.accounts import Account, Newcomer
from gateway.sessions import NewSession, OpenSession
from mesh.postgres import Database
from mesh.revocations import Changes, Revocation

END_ALL: Final = """
    UPDATE gateway.sessions SET end_time = $2, end_reason = $3
     WHERE user_id = $1 AND end_time IS NULL AND expire_time > $2
    RETURNING session_id
"""
"""Ends all sessions of a user: user id, now, reason. To be run in any transaction; returns their ids."""

# A session that ends in a transaction which commits later is older than those that were seen meanwhile: no
# transaction here lives longer than a connection is lent, which is seconds.
_LATEST_COMMIT: Final = timedelta(seconds=10)
_PAGE: Final = 10_000


class SessionStore:
    """Sessions. Every method raises `mesh.errors.Unavailable` while PostgreSQL is away."""

    def __init__(self, database: Database) -> None:
        """Take the database; whoever made it starts and closes it."""
        self._database = database

    _LIST: Final = """
        SELECT session_id, device, create_time, last_use_time
          FROM gateway.sessions
         WHERE user_id = $1 AND end_time IS NULL AND expire_time > $2
           AND ($3::timestamptz IS NULL OR (last_use_time, session_id) < ($3, $4))
         ORDER BY last_use_time DESC, session_id DESC
         LIMIT $5
    """
    _COUNT: Final = """
        SELECT count(*) FROM gateway.sessions WHERE user_id = $1 AND end_time IS NULL AND expire_time > $2
    """

    async def open_sessions(
        self, user_id: UUID, *, now: datetime, after: tuple[datetime, UUID] | None, limit: int
    ) -> tuple[Sequence[OpenSession], int]:
        """Return sessions of a user that go on, the latest used first, and how many there are in all.

        Args:
            user_id: Whose.
            now: The present.
            after: Last use and id of the session after which to begin; None for the first page.
            limit: How many at most.
        """
        last_use_time, session_id = after or (None, None)
        async with self._database.acquire() as connection:
            rows = await connection.fetch(self._LIST, user_id, now, last_use_time, session_id, limit)
            total: int = await connection.fetchval(self._COUNT, user_id, now)
        return [OpenSession(**row) for row in rows], total

    _END_ONE: Final = """
        UPDATE gateway.sessions SET end_time = $3, end_reason = $4
         WHERE session_id = $2 AND user_id = $1 AND end_time IS NULL AND expire_time > $3
        RETURNING session_id
    """
    _IS_THEIRS: Final = "SELECT EXISTS (SELECT FROM gateway.sessions WHERE session_id = $2 AND user_id = $1)"

    async def end_one(self, user_id: UUID, session_id: UUID, *, now: datetime, reason: str) -> bool | None:
        """End one session of a user.

        Returns:
            Whether this call ended it; None when the user has none with this id.
        """
        async with self._database.acquire() as connection:
            if await connection.fetchval(self._END_ONE, user_id, session_id, now, reason) is not None:
                return True
            return False if await connection.fetchval(self._IS_THEIRS, user_id, session_id) else None

    async def end_all(self, user_id: UUID, *, now: datetime, reason: str) -> Sequence[UUID]:
        """End all sessions of a user; return the ids of those that this call ended."""
        rows = await self._database.fetch(END_ALL, user_id, now, reason)
        return [row["session_id"] for row in rows]

    _NEW_GUEST: Final = """
        WITH guest AS (
            INSERT INTO gateway.accounts (user_id, display_name, language, region, guest, create_time)
            VALUES ($1, $2, $3, $4, true, $5)
            RETURNING user_id
        ), session AS (
            INSERT INTO gateway.sessions
                   (session_id, user_id, device, generation, create_time, last_use_time, expire_time)
            SELECT $6, user_id, $7, 1, $5, $5, $8 FROM guest
            RETURNING session_id
        )
        INSERT INTO gateway.refresh_tokens (token_hash, session_id, generation, create_time)
        SELECT $9, session_id, 1, $5 FROM session
    """

    async def open_guest_session(self, guest: Newcomer, session: NewSession) -> Account:
        """Make a guest's account and open its session."""
        await self._database.execute(
            self._NEW_GUEST,
            guest.user_id,
            guest.display_name,
            guest.language,
            guest.region,
            session.create_time,
            session.session_id,
            session.device,
            session.expire_time,
            session.token_hash,
        )
        return Account(
            user_id=guest.user_id,
            display_name=guest.display_name,
            language=guest.language,
            region=guest.region,
            guest=True,
            create_time=session.create_time,
            identities=(),
        )

    _OWNER: Final = """
        SELECT session.user_id
          FROM gateway.refresh_tokens AS token JOIN gateway.sessions AS session USING (session_id)
         WHERE token.token_hash = $1
    """

    async def owner_of(self, refresh_token_hash: bytes) -> UUID | None:
        """Return whose a refresh token is or was, None when it is nobody's."""
        user_id: UUID | None = await self._database.fetchval(self._OWNER, refresh_token_hash)
        return user_id

    _REVOCATIONS: Final = """
        SELECT session_id, revoke_time, forget_time
          FROM gateway.revocations
         WHERE forget_time > clock_timestamp()
           AND ($1::timestamptz IS NULL OR revoke_time >= $1)
           AND ($2::timestamptz IS NULL OR (revoke_time, session_id) > ($2, $3))
         ORDER BY revoke_time, session_id
         LIMIT $4
    """

    async def revocations(
        self, *, since: datetime | None, after: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[Any]:
        """Return sessions that have ended at `since` or later, the earliest first.

        Args:
            since: By the database's clock: `present` of earlier; None for all.
            after: Time and id of the one after which to begin; None for the first page.
            limit: How many at most.

        Returns:
            Rows of session_id, revoke_time, forget_time.
        """
        revoke_time, session_id = after or (None, None)
        return await self._database.fetch(self._REVOCATIONS, since, revoke_time, session_id, limit)

    _PRESENT: Final = "SELECT clock_timestamp()"

    async def as_of(self) -> datetime:
        """Return the moment, by the database's clock, until which everything that ended can be seen now."""
        present: datetime = await self._database.fetchval(self._PRESENT)
        return present - _LATEST_COMMIT

    async def changes(self, since: datetime | None) -> Changes:
        """Return all that is new since an earlier answer: the gateway's own `mesh.revocations.Source`."""
        as_of = await self.as_of()
        found: list[Revocation] = []
        after: tuple[datetime, UUID] | None = None
        while True:
            rows = await self.revocations(since=since, after=after, limit=_PAGE)
            found += (Revocation(str(row["session_id"]), row["forget_time"]) for row in rows)
            if len(rows) < _PAGE:
                return Changes(found, as_of)
            after = (rows[-1]["revoke_time"], rows[-1]["session_id"])

    _SWEEP: Final = (
        "DELETE FROM gateway.revocations WHERE forget_time < $1",
        "DELETE FROM gateway.sessions WHERE expire_time < $1",
    )

    async def sweep(self, *, before: datetime) -> None:
        """Remove what ran out before a moment: sessions with their refresh tokens, and their revocations."""
        for statement in self._SWEEP:
            await self._database.execute(statement, before)
