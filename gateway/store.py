"""Accounts, identities and sessions in PostgreSQL, schema `gateway`. The only module that knows its SQL."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from gateway.accounts import Account, AccountChanges, LinkedIdentity, Newcomer, Preferences
from gateway.apple_grants import keep_grant
from gateway.identity_tokens import ProvenIdentity, Provider, fit_for_a_newcomer
from gateway.sessions import LiveSession, NewSession, SpentToken
from mesh.postgres import Database


class Store:
    """Accounts and their sessions. Every method raises `mesh.errors.Unavailable` while PostgreSQL is away."""

    def __init__(self, database: Database) -> None:
        """Take the database; whoever made it starts and closes it."""
        self._database = database

    _KNOWN_IDENTITY: Final = """
        UPDATE gateway.identities AS identity
           SET email = CASE WHEN $3 = '' THEN identity.email ELSE $3 END,
               private_email = CASE WHEN $3 = '' THEN identity.private_email ELSE $4 END,
               last_proof_time = $5
         WHERE provider = $1 AND subject = $2
        RETURNING user_id
    """
    # One statement makes both rows or none. Whoever comes second with the same subject waits here for the
    # first, makes nothing, and finds the first's rows.
    _NEW_ACCOUNT: Final = """
        WITH identity AS (
            INSERT INTO gateway.identities
                   (provider, subject, user_id, email, private_email, link_time, last_proof_time)
            VALUES ($1, $2, $3, $4, $9, $8, $8)
            ON CONFLICT (provider, subject) DO NOTHING
            RETURNING user_id
        )
        INSERT INTO gateway.accounts (user_id, display_name, language, region, create_time)
        SELECT user_id, $5, $6, $7, $8 FROM identity
        RETURNING user_id
    """
    _NEW_SESSION: Final = """
        WITH session AS (
            INSERT INTO gateway.sessions
                   (session_id, user_id, device, generation, create_time, last_use_time, expire_time)
            VALUES ($1, $2, $6, 1, $4, $4, $5)
        )
        INSERT INTO gateway.refresh_tokens (token_hash, session_id, generation, create_time)
        VALUES ($3, $1, 1, $4)
    """

    async def open_session(
        self, identity: ProvenIdentity, *, newcomer: Newcomer, session: NewSession
    ) -> tuple[Account, bool]:
        """Open a session for an identity; the first one makes its account. All or nothing.

        Args:
            identity: Who signed in. An address it brings replaces the one on file.
            newcomer: The account to make when the identity is new.
            session: The session to open.

        Returns:
            The account, and whether this call made it.

        Raises:
            InvalidIdentityToken: There is no account yet, and the identity may not begin one.
        """
        key = (identity.provider.value, identity.subject)
        told = (identity.email, identity.private_email, session.create_time)
        async with self._database.transaction() as connection:
            user_id = await connection.fetchval(self._KNOWN_IDENTITY, *key, *told)
            new_account = False
            if user_id is None:
                fit_for_a_newcomer(identity)
                user_id = await connection.fetchval(
                    self._NEW_ACCOUNT,
                    *key,
                    newcomer.user_id,
                    identity.email,
                    newcomer.display_name,
                    newcomer.language,
                    newcomer.region,
                    session.create_time,
                    identity.private_email,
                )
                new_account = user_id is not None
            if user_id is None:  # somebody was faster
                user_id = await connection.fetchval(self._KNOWN_IDENTITY, *key, *told)
            await connection.execute(
                self._NEW_SESSION,
                session.session_id,
                user_id,
                session.token_hash,
                session.create_time,
                session.expire_time,
                session.device,
            )
            if identity.grant is not None:
                await keep_grant(connection, user_id, identity.grant, now=session.create_time)
            account = _account(await connection.fetch(self._ACCOUNT, user_id))
        assert account is not None, "the session that was just opened refers to it"
        return account, new_account

    _ACCOUNT: Final = """
        SELECT account.user_id, account.display_name, account.language, account.region, account.guest,
               account.create_time, identity.provider, identity.email, identity.link_time,
               identity.private_email, identity.email_disabled
          FROM gateway.accounts AS account
          LEFT JOIN gateway.identities AS identity USING (user_id)
         WHERE account.user_id = $1 AND account.delete_time IS NULL
         ORDER BY identity.link_time, identity.provider
    """

    async def account(self, user_id: UUID) -> Account | None:
        """Return an account with its identities, or None when there is none."""
        return _account(await self._database.fetch(self._ACCOUNT, user_id))

    _UPDATE: Final = """
        UPDATE gateway.accounts
           SET display_name = coalesce($2, display_name),
               language = coalesce($3, language),
               region = coalesce($4, region)
         WHERE user_id = $1 AND delete_time IS NULL
    """

    async def update_account(self, user_id: UUID, changes: AccountChanges) -> Account | None:
        """Change an account and return it as it is then, or None when there is none."""
        async with self._database.transaction() as connection:
            await connection.execute(
                self._UPDATE, user_id, changes.display_name, changes.language, changes.region
            )
            return _account(await connection.fetch(self._ACCOUNT, user_id))

    _PREFERENCES: Final = """
        SELECT language, region FROM gateway.accounts WHERE user_id = $1 AND delete_time IS NULL
    """

    async def preferences(self, user_id: UUID) -> Preferences | None:
        """Return the language and region of an account, or None when there is none."""
        row = await self._database.fetchrow(self._PREFERENCES, user_id)
        return None if row is None else Preferences(language=row["language"], region=row["region"])

    # Of two that present the same token at once the second waits for the first's row, sees the new
    # generation and updates nothing.
    _TRADE: Final = """
        WITH presented AS (
            SELECT session_id, generation FROM gateway.refresh_tokens WHERE token_hash = $1
        ), session AS (
            UPDATE gateway.sessions AS session
               SET generation = session.generation + 1, last_use_time = $4
              FROM presented, gateway.accounts AS account
             WHERE session.session_id = presented.session_id
               AND session.generation = presented.generation
               AND session.end_time IS NULL
               AND session.expire_time > $4
               AND account.user_id = session.user_id
            RETURNING session.session_id, session.generation, session.expire_time,
                      account.user_id, account.display_name, account.guest
        ), successor AS (
            INSERT INTO gateway.refresh_tokens (token_hash, session_id, generation, sealed, create_time)
            SELECT $2, session_id, generation, $3, $4 FROM session
        )
        SELECT * FROM session
    """

    async def trade_refresh_token(
        self, presented: bytes, *, successor: bytes, sealed_successor: bytes, now: datetime
    ) -> LiveSession | None:
        """Replace the newest refresh token of a living session by its successor, in one atomic statement.

        Args:
            presented: The hash of the token to spend.
            successor: The hash of the one that follows.
            sealed_successor: The successor's secret, sealed.
            now: The present.

        Returns:
            The session, or None when `presented` is not the newest token of a session that lives.
        """
        row = await self._database.fetchrow(self._TRADE, presented, successor, sealed_successor, now)
        return None if row is None else _live_session(row)

    _SPENT: Final = """
        SELECT session.session_id, session.expire_time, session.end_time,
               session.generation AS newest_generation, token.generation,
               account.user_id, account.display_name, account.guest,
               successor.create_time AS spend_time, successor.sealed AS sealed_successor
          FROM gateway.refresh_tokens AS token
          JOIN gateway.sessions AS session USING (session_id)
          JOIN gateway.accounts AS account USING (user_id)
          LEFT JOIN gateway.refresh_tokens AS successor
                 ON successor.session_id = token.session_id AND successor.generation = token.generation + 1
         WHERE token.token_hash = $1
    """

    async def spent_refresh_token(self, presented: bytes) -> SpentToken | None:
        """Return what is known of a refresh token, by its hash; None when nothing is."""
        row = await self._database.fetchrow(self._SPENT, presented)
        if row is None:
            return None
        return SpentToken(
            session=_live_session(row),
            end_time=row["end_time"],
            generation=row["generation"],
            newest_generation=row["newest_generation"],
            spend_time=row["spend_time"],
            sealed_successor=row["sealed_successor"],
        )

    _END: Final = """
        UPDATE gateway.sessions SET end_time = $2, end_reason = $3 WHERE session_id = $1 AND end_time IS NULL
    """

    async def end_session(self, session_id: UUID, *, now: datetime, reason: str) -> None:
        """End a session. One that has ended keeps the time and the reason it has."""
        await self._database.execute(self._END, session_id, now, reason)


def _account(rows: list[Any]) -> Account | None:
    """Return the account in the rows of `_ACCOUNT`: one row an identity, or one without any."""
    if not rows:
        return None
    first = rows[0]
    return Account(
        user_id=first["user_id"],
        display_name=first["display_name"],
        language=first["language"],
        region=first["region"],
        guest=first["guest"],
        create_time=first["create_time"],
        identities=tuple(
            LinkedIdentity(
                Provider(row["provider"]),
                email=row["email"],
                link_time=row["link_time"],
                private_email=row["private_email"],
                email_disabled=row["email_disabled"],
            )
            for row in rows
            if row["provider"] is not None
        ),
    )


def _live_session(row: Any) -> LiveSession:
    return LiveSession(
        session_id=row["session_id"],
        user_id=row["user_id"],
        display_name=row["display_name"],
        guest=row["guest"],
        expire_time=row["expire_time"],
    )
