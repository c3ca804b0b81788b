"""Identities of accounts in PostgreSQL, and what Apple's notifications do to them.

Whoever changes which identities an account has locks the account's row first: FOR NO KEY UPDATE, which lets
the foreign keys of a sign-in through, so that nobody waits in a circle. A sign-in locks the identity alone.
So identities are locked or taken away before sessions are ended: that waits for sign-ins on their way, and
ends theirs too.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from gateway.accounts import AccountGone
from gateway.apple_grants import RELEASE_GRANTS, keep_grant
from gateway.apple_notifications import Effect, Event, Notification, is_outdated
from gateway.identities import IdentityTaken, LastIdentity, ProviderAlreadyLinked
from gateway.identity_tokens import ProvenIdentity, Provider, fit_for_a_newcomer
from mesh.postgres import Database


class _DeletionIsDueError(Exception):
    """Takes what was found out of a transaction that is to leave nothing behind."""

    def __init__(self, user_id: UUID) -> None:
        super().__init__()
        self.user_id = user_id


class IdentityStore:
    """Identities. Every method raises `mesh.errors.Unavailable` while PostgreSQL is away."""

    def __init__(self, database: Database) -> None:
        """Take the database; whoever made it starts and closes it."""
        self._database = database

    _LOCK_ACCOUNT: Final = """
        SELECT user_id FROM gateway.accounts
         WHERE user_id = $1 AND delete_time IS NULL
           FOR NO KEY UPDATE
    """
    _SUBJECTS: Final = "SELECT provider, subject FROM gateway.identities WHERE user_id = $1"
    _SEEN_AGAIN: Final = """
        UPDATE gateway.identities AS identity
           SET email = CASE WHEN $3 = '' THEN identity.email ELSE $3 END,
               private_email = CASE WHEN $3 = '' THEN identity.private_email ELSE $4 END,
               last_proof_time = $5
         WHERE provider = $1 AND subject = $2
    """
    # Of two accounts that link the same identity at once the second waits here for the first.
    _LINK: Final = """
        INSERT INTO gateway.identities
               (provider, subject, user_id, email, private_email, link_time, last_proof_time)
        VALUES ($1, $2, $6, $3, $4, $5, $5)
        ON CONFLICT (provider, subject) DO NOTHING
        RETURNING user_id
    """
    _NO_GUEST: Final = "UPDATE gateway.accounts SET guest = false WHERE user_id = $1 AND guest"

    async def link(self, user_id: UUID, identity: ProvenIdentity, *, now: datetime) -> bool:
        """Add an identity to an account, which is a guest's no more. All or nothing.

        Args:
            user_id: Whose account.
            identity: What to add. One that is there already is brought up to date.
            now: The present.

        Returns:
            Whether it is new there.

        Raises:
            AccountGone: There is no such account.
            IdentityTaken: It belongs to another account.
            ProviderAlreadyLinked: The account has another identity of that provider.
            InvalidIdentityToken: It is too little to begin with.
        """
        told = (
            *(identity.provider.value, identity.subject),
            *(identity.email, identity.private_email, now),
        )
        async with self._database.transaction() as connection:
            subjects = await self._locked_subjects(connection, user_id)
            mine = subjects.get(identity.provider)
            if mine == identity.subject:
                await connection.execute(self._SEEN_AGAIN, *told)
            elif mine is not None:
                raise ProviderAlreadyLinked(identity.provider)
            else:
                fit_for_a_newcomer(identity)
                if await connection.fetchval(self._LINK, *told, user_id) is None:
                    raise IdentityTaken(identity.provider)
                await connection.execute(self._NO_GUEST, user_id)
            if identity.grant is not None:
                await keep_grant(connection, user_id, identity.grant, now=now)
        return mine is None

    _UNLINK: Final = "DELETE FROM gateway.identities WHERE user_id = $1 AND provider = $2"

    async def unlink(self, user_id: UUID, provider: Provider, *, now: datetime) -> bool:
        """Take an identity away, and put Apple's grants down to be given back.

        Returns:
            Whether it was there.

        Raises:
            AccountGone: There is no such account.
            LastIdentity: The account has no other.
        """
        async with self._database.transaction() as connection:
            subjects = await self._locked_subjects(connection, user_id)
            if provider not in subjects:
                return False
            if len(subjects) == 1:
                raise LastIdentity
            await connection.execute(self._UNLINK, user_id, provider.value)
            if provider is Provider.APPLE:
                await connection.execute(RELEASE_GRANTS, user_id, now)
        return True

    async def _locked_subjects(self, connection: Any, user_id: UUID) -> dict[Provider, str]:
        if await connection.fetchval(self._LOCK_ACCOUNT, user_id) is None:
            raise AccountGone
        rows = await connection.fetch(self._SUBJECTS, user_id)
        return {Provider(row["provider"]): row["subject"] for row in rows}

    _FIRST_TIME: Final = """
        INSERT INTO gateway.apple_notifications (jti, event, receive_time)
        VALUES ($1, $2, $3)
        ON CONFLICT (jti) DO NOTHING
        RETURNING jti
    """

    async def apply(self, notification: Notification, *, now: datetime) -> tuple[Effect, UUID | None]:
        """Do what a notification of Apple's asks for, and remember its id: both or neither.

        Returns:
            What followed, and to whose account where it was anybody's. DELETION_DUE means that nothing has
            been written yet.
        """
        try:
            async with self._database.transaction() as connection:
                key = (notification.jti, notification.kind, now)
                if await connection.fetchval(self._FIRST_TIME, *key) is None:
                    return Effect.REPEATED, None
                match notification.event:
                    case None:
                        return Effect.UNKNOWN_EVENT, None
                    case Event.EMAIL_ENABLED | Event.EMAIL_DISABLED:
                        return await self._switch_email(connection, notification)
                    case Event.CONSENT_REVOKED | Event.ACCOUNT_DELETED:
                        return await self._leave(connection, notification, now=now)
        except _DeletionIsDueError as due:
            return Effect.DELETION_DUE, due.user_id

    async def remember(self, notification: Notification, *, now: datetime) -> None:
        """Note that a notification has been dealt with."""
        await self._database.execute(self._FIRST_TIME, notification.jti, notification.kind, now)

    _SWITCH_EMAIL: Final = """
        UPDATE gateway.identities
           SET email_disabled = $2, email_event_time = $3
         WHERE provider = 'apple' AND subject = $1
           AND (email_event_time IS NULL OR email_event_time <= $3)
        RETURNING user_id
    """

    async def _switch_email(self, connection: Any, notification: Notification) -> tuple[Effect, UUID | None]:
        user_id = await connection.fetchval(
            self._SWITCH_EMAIL,
            notification.subject,
            notification.event is Event.EMAIL_DISABLED,
            notification.event_time,
        )
        if user_id is not None:
            return Effect.EMAIL_SWITCHED, user_id
        owner = await connection.fetchval(self._OWNER, notification.subject)
        return (Effect.UNKNOWN_PERSON if owner is None else Effect.OUTDATED), None

    _OWNER: Final = "SELECT user_id FROM gateway.identities WHERE provider = 'apple' AND subject = $1"
    # Waits for a sign-in that is on its way: its session is seen by what comes after, and its time here.
    _LAST_PROOF: Final = """
        SELECT COALESCE(last_proof_time, link_time) AS last_proof_time
          FROM gateway.identities
         WHERE provider = 'apple' AND subject = $1 AND user_id = $2
           FOR UPDATE
    """
    _END_SESSIONS: Final = """
        UPDATE gateway.sessions SET end_time = $2, end_reason = $3 WHERE user_id = $1 AND end_time IS NULL
    """
    # Apple has taken them back itself.
    _FORGET_GRANTS: Final = "DELETE FROM gateway.apple_grants WHERE user_id = $1"

    async def _leave(
        self, connection: Any, notification: Notification, *, now: datetime
    ) -> tuple[Effect, UUID | None]:
        user_id = await connection.fetchval(self._OWNER, notification.subject)
        if user_id is None or await connection.fetchval(self._LOCK_ACCOUNT, user_id) is None:
            return Effect.UNKNOWN_PERSON, None
        last_proof_time = await connection.fetchval(self._LAST_PROOF, notification.subject, user_id)
        if last_proof_time is None:  # unlinked since we looked
            return Effect.UNKNOWN_PERSON, None
        is_final = notification.event is Event.ACCOUNT_DELETED
        if not is_final and is_outdated(notification, last_proof_time=last_proof_time):
            return Effect.OUTDATED, user_id
        others = len(await connection.fetch(self._SUBJECTS, user_id)) > 1
        if is_final and not others:
            raise _DeletionIsDueError(user_id)
        await connection.execute(self._FORGET_GRANTS, user_id)
        if others:
            await connection.execute(self._UNLINK, user_id, Provider.APPLE.value)
        reason = "apple_account_deleted" if is_final else "apple_consent_revoked"
        await connection.execute(self._END_SESSIONS, user_id, now, reason)
        return (Effect.UNLINKED if others else Effect.SESSIONS_ENDED), user_id
