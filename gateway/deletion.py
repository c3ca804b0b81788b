"""The end of an account: nobody can use it from the first moment on, and soon nothing of it is left anywhere.

`Deletions.start` is one transaction: the name is emptied, every session is ended, every way to sign in is
taken away, and what is still to be done is written down. The rest happens step by step in whichever replica
comes first, so that a crash at any point only makes it later:

    game_svc ──> backlog_svc ──> gateway

Rooms come before backlogs, as a game writes to backlogs what was matched. The gateway's own rows, the list of
steps among them, come last. Nothing is erased before every service has heard that the sessions ended
(`settle`): a request that came through until then may still write something down.

A step is taken for the length of a lease, and is the same done twice.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol
from uuid import UUID

import structlog

from gateway.audit import audit
from gateway.identity_tokens import Provider
from mesh.errors import Unavailable


class Cause(StrEnum):
    """Why an account ends."""

    REQUEST = "request"
    """Its owner asked for it."""
    APPLE = "apple"
    """Its owner deleted their account at Apple, and Apple said so."""


class Step(StrEnum):
    """A part of the erasure, named for the service that does it."""

    GAME = "game_svc"
    BACKLOG = "backlog_svc"
    GATEWAY = "gateway"


PLAN: Final[Mapping[Step, tuple[Step, ...]]] = {
    Step.GAME: (),
    Step.BACKLOG: (Step.GAME,),
    Step.GATEWAY: (Step.GAME, Step.BACKLOG),
}
"""Every step, and the steps that it waits for."""

LEASE: Final = timedelta(seconds=6)
"""How long a step belongs to the replica that took it; longer than an attempt can last."""

_ATTEMPT_SECONDS: Final = 4.0
_FIRST_PAUSE: Final = timedelta(seconds=1)
_LONGEST_PAUSE: Final = timedelta(seconds=15)
_MOST_AT_ONCE: Final = 16
_LOOK_EVERY_SECONDS: Final = 1.0

_log = structlog.get_logger("gateway.deletion")


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What the beginning of a deletion has ended."""

    sessions: tuple[UUID, ...]
    """The sessions that were open."""
    providers: tuple[Provider, ...]
    """Who vouched for the person until now."""


@dataclass(frozen=True, slots=True)
class TakenStep:
    """A step that this replica has, for the length of a lease."""

    user_id: UUID
    """Whom to erase."""
    step: Step
    """What to do."""
    attempts: int
    """How often it was taken, this time included."""


class DeletionStore(Protocol):
    """Keeps tombstones and steps."""

    async def start(
        self, user_id: UUID, *, plan: Mapping[Step, tuple[Step, ...]], now: datetime, due_time: datetime
    ) -> Tombstone | None:
        """Make the tombstone and write the steps down, all or nothing. None: no account, or a tombstone."""
        ...

    async def take(self, *, now: datetime, lease_until: datetime, most: int) -> list[TakenStep]:
        """Take steps that are due and wait for nothing. No other replica gets them until the lease ends."""
        ...

    async def put_off(self, taken: TakenStep, *, due_time: datetime) -> None:
        """Let a step be taken again later."""
        ...

    async def done(self, taken: TakenStep) -> None:
        """Take a step off the list."""
        ...

    async def erase(self, user_id: UUID) -> None:
        """Erase everything of a tombstone, the tombstone and its steps included. Doing it twice is fine."""
        ...


Eraser = Callable[[UUID], Awaitable[object]]
"""Erases a person from another service. Doing it twice is fine; raises when it cannot be done now."""


class Deletions:
    """Begins deletions, and brings those to an end that any replica has begun."""

    def __init__(
        self,
        store: DeletionStore,
        *,
        erasers: Mapping[Step, Eraser],
        settle: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        """Take the parts.

        Args:
            store: What keeps tombstones and steps.
            erasers: How to do every step but the gateway's own.
            settle: How long after its beginning the first thing is erased.
            clock: The present, with its zone.
        """
        self._store = store
        self._erasers: Mapping[Step, Eraser] = {**erasers, Step.GATEWAY: store.erase}
        self._settle = settle
        self._clock = clock
        self._news = asyncio.Event()

    async def start(self, user_id: UUID, *, cause: Cause) -> None:
        """Delete an account. When this returns it cannot be used, and all else happens by itself.

        Deleting twice is deleting once; an account that is not there (any more) is deleted.

        Args:
            user_id: Whose account.
            cause: Why, for the audit log.

        Raises:
            mesh.errors.Unavailable: The store cannot be reached. It may have happened nevertheless.
        """
        now = self._clock()
        ended = await self._store.start(user_id, plan=PLAN, now=now, due_time=now + self._settle)
        if ended is None:
            return
        audit("account.deletion_started", user_id=user_id, reason=cause)
        for provider in ended.providers:
            audit("identity.unlinked", user_id=user_id, provider=provider, reason="account_deleted")
        for session_id in ended.sessions:
            audit("session.ended", user_id=user_id, session_id=session_id, reason="account_deleted")
        self._news.set()

    async def run(self) -> None:
        """Do whatever is due, for ever; cancel it to end it. What it is about then, another replica does."""
        while True:
            self._news.clear()
            try:
                while await self._round():
                    pass
            except Unavailable:
                pass  # PostgreSQL is away, which the log says already; the list is there when it is back
            except Exception as error:  # a mistake of ours may cost this round, and not all that come after
                _log.error("deletion.round_failed", exc_info=error)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY_SECONDS):
                    await self._news.wait()

    async def _round(self) -> bool:
        now = self._clock()
        steps = await self._store.take(now=now, lease_until=now + LEASE, most=_MOST_AT_ONCE)
        outcomes = await asyncio.gather(*map(self._attempt, steps), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):  # a call that was cancelled is taken again after its lease
                raise outcome
        return bool(steps)

    async def _attempt(self, taken: TakenStep) -> None:
        who = {"user_id": str(taken.user_id), "step": taken.step.value, "attempt": taken.attempts}
        try:
            async with asyncio.timeout(_ATTEMPT_SECONDS):
                await self._erasers[taken.step](taken.user_id)
        except Exception as error:  # whatever it was, it must not stop this deletion, or those of others
            pause = pause_after(taken.attempts)
            _log.warning("deletion.put_off", **who, seconds=pause.total_seconds(), exc_info=error)
            await self._store.put_off(taken, due_time=self._clock() + pause)
            return
        if taken.step is Step.GATEWAY:
            audit("account.deleted", user_id=taken.user_id)
        else:
            await self._store.done(taken)
        _log.info("deletion.step_done", **who)


def pause_after(attempts: int) -> timedelta:
    """Return how long to wait after so many attempts that failed: 1 s, doubling, 15 s at most."""
    return min(_FIRST_PAUSE * (1 << min(attempts - 1, 10)), _LONGEST_PAUSE)
