"""All rows of the gateway that are about one person, in PostgreSQL."""

import json
from typing import Final, Protocol
from uuid import UUID

from gateway.accounts import Account
from gateway.exports import KeptSession, OwnRecords
from mesh.postgres import Database


class AccountStore(Protocol):
    """Keeps accounts."""

    async def account(self, user_id: UUID) -> Account | None:
        """Return an account that lives, or None when there is none."""
        ...


class OwnRecordStore:
    """Reads; raises `mesh.errors.Unavailable` while PostgreSQL is away."""

    def __init__(self, database: Database, *, accounts: AccountStore) -> None:
        """Take the database, which whoever made it starts and closes, and what keeps accounts."""
        self._database = database
        self._accounts = accounts

    _SESSIONS: Final = """
        SELECT session_id, device, create_time, last_use_time
          FROM gateway.sessions
         WHERE user_id = $1
         ORDER BY last_use_time DESC, session_id
    """
    # Whole rows: a column that is added one day is exported from that day on. Left out are secrets, which are
    # no news to anybody whom they serve: hashes of tokens, and Apple's tokens as we keep them.
    _ROWS: Final = """
        SELECT json_build_object(
            'account', (SELECT to_json(account) FROM gateway.accounts AS account WHERE user_id = $1),
            'identities', (
                SELECT coalesce(json_agg(identity ORDER BY link_time, provider), '[]')
                  FROM gateway.identities AS identity WHERE user_id = $1
            ),
            'sessions', (
                SELECT coalesce(json_agg(session ORDER BY create_time, session_id), '[]')
                  FROM gateway.sessions AS session WHERE user_id = $1
            ),
            'refreshes', (
                SELECT coalesce(json_agg(json_build_object(
                           'session_id', token.session_id,
                           'generation', token.generation,
                           'create_time', token.create_time
                       ) ORDER BY token.create_time, token.generation), '[]')
                  FROM gateway.refresh_tokens AS token JOIN gateway.sessions USING (session_id)
                 WHERE user_id = $1
            ),
            'apple_grants', (
                SELECT coalesce(json_agg(json_build_object(
                           'client_id', client_id, 'create_time', create_time
                       ) ORDER BY client_id), '[]')
                  FROM gateway.apple_grants WHERE user_id = $1
            )
        )
    """

    async def own_records(self, user_id: UUID) -> OwnRecords | None:
        """Return all that the gateway holds about a person; None when there is no account that lives."""
        account = await self._accounts.account(user_id)
        if account is None:
            return None
        sessions = await self._database.fetch(self._SESSIONS, user_id)
        rows = json.loads(await self._database.fetchval(self._ROWS, user_id))
        return OwnRecords(
            account=account,
            sessions=tuple(
                KeptSession(
                    session_id=row["session_id"],
                    device=row["device"],
                    create_time=row["create_time"],
                    last_use_time=row["last_use_time"],
                )
                for row in sessions
            ),
            rows=rows,
        )
