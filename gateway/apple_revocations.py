"""Gives grants back to Apple, from a durable outbox: whoever unlinks or leaves never waits for Apple.

Every replica runs one. A grant is taken with a lease (`AppleGrantStore.take_due`), so two replicas never
work on the same one, and one whose replica died has its next turn like one that failed. Apple being away
makes the pauses longer, from a minute up to an hour; after 30 days a grant is let go, with an error in the
log.

By the way it encrypts grants again that are kept under an older key, so that the key can go.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from gateway.apple_grants import AppleGrantStore, DueRevocation
from gateway.apple_refresh_tokens import AppleRefreshTokens
from gateway.sealing import CannotOpen
from mesh.errors import Unavailable

_AT_ONCE: Final = 20
_FIRST_PAUSE: Final = timedelta(minutes=1)
_LONGEST_PAUSE: Final = timedelta(hours=1)
_LONGEST_WAIT: Final = timedelta(days=30)
_ROUND_SECONDS: Final = 15.0

_log = structlog.get_logger("gateway.apple_revocations")


class AppleRevocations:
    """The outbox at work."""

    def __init__(
        self, store: AppleGrantStore, apple: AppleRefreshTokens, *, clock: Callable[[], datetime]
    ) -> None:
        """Take what keeps the grants, what reaches Apple, and the clock."""
        self._store = store
        self._apple = apple
        self._clock = clock

    async def run(self) -> None:
        """Work until cancelled: a round every 15 seconds."""
        while True:
            try:
                await self.round()
            except Unavailable:
                pass  # PostgreSQL is away, which the log says already
            except Exception:  # this task is the only one: whatever went wrong, the next round has to come
                _log.exception("apple_revocations.failed")
            await asyncio.sleep(_ROUND_SECONDS)

    async def round(self) -> None:
        """Give back whatever is due, and encrypt again what an older key has encrypted.

        Raises:
            Unavailable: PostgreSQL is away.
        """
        due = await self._store.take_due(
            now=self._clock(), most=_AT_ONCE, first_pause=_FIRST_PAUSE, longest_pause=_LONGEST_PAUSE
        )
        for revocation in due:
            if await self._is_settled(revocation):
                await self._store.done(revocation.revocation_id)
        for user_id, grant in await self._store.outdated(self._apple.key_id, most=_AT_ONCE):
            try:
                await self._store.replace(user_id, grant, new=self._apple.reseal(grant))
            except CannotOpen as error:
                _log.error("apple_revocations.unreadable", key_id=grant.key_id, why=str(error))

    async def _is_settled(self, revocation: DueRevocation) -> bool:
        """Try to give one back; return whether there is nothing more to be done about it."""
        try:
            await self._apple.revoke(revocation.grant)
        except (Unavailable, CannotOpen) as error:
            # A key that is missing now may be put back: that is for whoever runs this to see, in time.
            if self._clock() - revocation.create_time < _LONGEST_WAIT:
                _log.warning("apple_revocations.waits", why=type(error).__name__)
                return False
            _log.error("apple_revocations.given_up", why=type(error).__name__)
            return True
        _log.info("apple_revocations.revoked", client_id=revocation.grant.client_id)
        return True
