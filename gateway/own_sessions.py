"""The use cases of somebody's own sessions: see them, end one, end them all."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from gateway.audit import audit
from gateway.sessions import OpenSession, SessionNotFound
from mesh.clock import Clock


class Store(Protocol):
    """Keeps sessions."""

    async def open_sessions(
        self, user_id: UUID, *, now: datetime, after: tuple[datetime, UUID] | None, limit: int
    ) -> tuple[Sequence[OpenSession], int]:
        """Return sessions that go on, the latest used first, and how many there are in all."""
        ...

    async def end_one(self, user_id: UUID, session_id: UUID, *, now: datetime, reason: str) -> bool | None:
        """End a session of a user; say whether this call did, None when it is not theirs."""
        ...

    async def end_all(self, user_id: UUID, *, now: datetime, reason: str) -> Sequence[UUID]:
        """End all sessions of a user; return the ids of those that this call ended."""
        ...


class OwnSessions:
    """What people do with their own sessions. What they name of other people's is not there."""

    def __init__(self, store: Store, *, clock: Clock) -> None:
        """Take what keeps sessions, and the present."""
        self._store = store
        self._clock = clock

    async def page(
        self, user_id: UUID, *, after: tuple[datetime, UUID] | None, limit: int
    ) -> tuple[Sequence[OpenSession], int]:
        """Return open sessions, the latest used first, and how many there are in all."""
        return await self._store.open_sessions(user_id, now=self._clock(), after=after, limit=limit)

    async def revoke(self, user_id: UUID, session_id: UUID) -> None:
        """End one session. Ending it again changes nothing.

        Raises:
            SessionNotFound: The user has none with this id.
        """
        ended = await self._store.end_one(user_id, session_id, now=self._clock(), reason="revoked")
        if ended is None:
            raise SessionNotFound
        if ended:
            audit("session.ended", user_id=user_id, session_id=session_id, reason="revoked")

    async def sign_out(self, user_id: UUID, session_id: UUID) -> int:
        """End the session of this call; return how many have ended: 1, or 0 when it had already."""
        ended = await self._store.end_one(user_id, session_id, now=self._clock(), reason="sign_out")
        if ended:
            audit("session.ended", user_id=user_id, session_id=session_id, reason="sign_out")
        return int(bool(ended))

    async def sign_out_everywhere(self, user_id: UUID) -> int:
        """End all sessions; return how many have ended."""
        ended = await self._store.end_all(user_id, now=self._clock(), reason="sign_out_everywhere")
        for session_id in ended:
            audit("session.ended", user_id=user_id, session_id=session_id, reason="sign_out_everywhere")
        return len(ended)
