"""Sessions that have ended before their tokens ran out.

An access token is good until it runs out, and no service asks anybody about it. So each replica keeps the
short list of sessions that have ended in the meantime, asks once a second what is new, and looks into its own
memory at every call.

While the list cannot be refreshed a session may have ended unnoticed:

    age of the list     what happens
    up to 5 s           everything goes on
    up to 60 s          reads (`idempotency_level = NO_SIDE_EFFECTS`) go on, everything else is refused
    above               whatever needs to know its caller is refused
    never loaded        the same, and the service says NOT_SERVING

A refusal for that is UNAVAILABLE, DEPENDENCY_UNAVAILABLE, dependency "revocations". The age counts from the
start of the last poll that succeeded.
"""

import asyncio
import heapq
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Final, Protocol, Self

import grpc
import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from mesh.clock import Clock, utc_now
from mesh.errors import Unauthenticated, Unavailable
from popcorn.gateway.v1 import revocations_pb2, revocations_pb2_grpc

DEPENDENCY: Final = "revocations"
"""What the list is called in refusals and in health."""

POLL: Final = timedelta(seconds=1)
"""The pause between two polls."""

WRITES_FOR: Final = timedelta(seconds=5)
"""How old the list may be for calls that change something."""

READS_FOR: Final = timedelta(seconds=60)
"""How old the list may be for calls that only read."""

_PAGE_SECONDS: Final = 2.0
_PAGE: Final = 10_000
_RETRY_AFTER: Final = timedelta(seconds=1)

_log = structlog.get_logger("mesh.revocations")


@dataclass(frozen=True, slots=True)
class Revocation:
    """A session whose tokens are refused."""

    session_id: str
    """`sid` of its tokens."""
    forget_time: datetime
    """When the last of them has run out by itself."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What is new since an earlier moment."""

    revocations: Sequence[Revocation]
    """The sessions; some may be known already."""
    as_of: datetime
    """What to ask for next time."""


Source = Callable[[datetime | None], Awaitable[Changes]]
"""Answers what is new since `as_of` of the answer before; since None, everything. Has deadlines of its own,
and raises when it cannot answer.
"""

Listener = Callable[[frozenset[str]], None]
"""Is told which sessions have just been learned to have ended."""


class SessionRevoked(Unauthenticated):
    """The session has ended before its time."""

    def __init__(self) -> None:
        super().__init__("SESSION_REVOKED", "This session has ended. Please sign in again.")


class Sessions(Protocol):
    """Tells which sessions go on."""

    def check(self, session_id: str, *, reads: bool) -> None:
        """Let a call of a session go on, or not.

        Args:
            session_id: `sid` of the caller's token.
            reads: Whether the call only reads.

        Raises:
            SessionRevoked: It has ended.
            mesh.errors.Unavailable: Nobody can tell, and this call should not go on without.
        """
        ...

    async def probe(self) -> None:
        """Pass while calls that read can be let in. See `mesh.health.Probe`."""
        ...


class Revocations:
    """One replica's list. `async with` fills it and goes on asking until the block ends.

    It is bounded by what it forgets: a session's id is dropped when its last token has run out. An id takes
    about 300 bytes.
    """

    def __init__(
        self,
        source: Source,
        *,
        clock: Clock = utc_now,
        seconds: Callable[[], float] = time.monotonic,
        poll: timedelta = POLL,
    ) -> None:
        """Describe it; nothing is asked before `poll` or `async with`.

        Args:
            source: Who knows.
            clock: The present, for forgetting.
            seconds: A clock that never jumps, for the age of the list.
            poll: The pause between two polls.
        """
        self._source = source
        self._clock = clock
        self._seconds = seconds
        self._pause = poll.total_seconds()
        self._ended: set[str] = set()
        self._to_forget: list[tuple[datetime, str]] = []  # a heap, the earliest first
        self._since: datetime | None = None
        self._polled_at: float | None = None
        self._listeners: list[Listener] = []
        self._polling: asyncio.Task[None] | None = None
        self._failing = False

    def __len__(self) -> int:
        """How many sessions are remembered."""
        return len(self._ended)

    @property
    def age_seconds(self) -> float:
        """How old the list is; infinity before the first poll."""
        return self._age()

    def is_revoked(self, session_id: str) -> bool:
        """Return whether a session is known to have ended."""
        return session_id in self._ended

    def on_change(self, listener: Listener) -> None:
        """Have a listener told of every session that is learned to have ended. It must not raise."""
        self._listeners.append(listener)

    def check(self, session_id: str, *, reads: bool) -> None:
        """Let a call of a session go on, or not. See `Sessions.check`."""
        if session_id in self._ended:
            raise SessionRevoked
        if self._age() > (_READS_SECONDS if reads else _WRITES_SECONDS):
            raise Unavailable(DEPENDENCY, _RETRY_AFTER)

    async def probe(self) -> None:
        """Pass while calls that read can be let in; see the module."""
        if self._age() > _READS_SECONDS:
            raise Unavailable(DEPENDENCY, _RETRY_AFTER)

    async def poll(self) -> None:
        """Ask once what is new. Raises whatever the source raises; the list stays as it was then."""
        began = self._seconds()
        changes = await self._source(self._since)
        now = self._clock()
        new: set[str] = set()
        for revocation in changes.revocations:
            session_id = revocation.session_id
            if session_id not in self._ended and revocation.forget_time > now:
                new.add(session_id)
                self._ended.add(session_id)
                heapq.heappush(self._to_forget, (revocation.forget_time, session_id))
        while self._to_forget and self._to_forget[0][0] <= now:
            self._ended.discard(heapq.heappop(self._to_forget)[1])
        self._since, self._polled_at = changes.as_of, began
        if new:
            for listener in self._listeners:
                listener(frozenset(new))

    async def run(self) -> None:
        """Ask for ever."""
        while True:
            try:
                await self.poll()
            except Exception as error:  # whatever a source raises; the age of the list says what follows
                if not self._failing:
                    _log.warning("revocations.stale", error=type(error).__name__)
                self._failing = True
            else:
                if self._failing:
                    _log.info("revocations.fresh", sessions=len(self._ended))
                self._failing = False
            await asyncio.sleep(self._pause)

    def _age(self) -> float:
        return _NEVER if self._polled_at is None else self._seconds() - self._polled_at

    async def __aenter__(self) -> Self:
        """Start to ask; the first answer may come later."""
        self._polling = asyncio.create_task(self.run(), name="revocations")
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Stop asking."""
        if self._polling is not None:
            self._polling.cancel()
            with suppress(asyncio.CancelledError):
                await self._polling


_WRITES_SECONDS: Final = WRITES_FOR.total_seconds()
_READS_SECONDS: Final = READS_FOR.total_seconds()
_NEVER: Final = float("inf")


def over(channel: grpc.aio.Channel) -> Source:
    """Return the source that asks the gateway, over a channel to it."""
    stub = revocations_pb2_grpc.RevocationServiceStub(channel)

    async def changes(since: datetime | None) -> Changes:
        request = revocations_pb2.ListRevocationsRequest(page_size=_PAGE)
        if since is not None:
            request.since.FromDatetime(since)
        found: list[Revocation] = []
        as_of: datetime | None = None
        while True:
            answer = await stub.ListRevocations(request, timeout=_PAGE_SECONDS)
            found += (
                Revocation(revocation.session_id, _moment(revocation.forget_time))
                for revocation in answer.revocations
            )
            # The first page's: what ends while the others are read has to be asked for again.
            as_of = as_of or _moment(answer.as_of)
            if not answer.next_page_token:
                return Changes(found, as_of)
            request.page_token = answer.next_page_token

    return changes


def _moment(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime(tzinfo=UTC)
