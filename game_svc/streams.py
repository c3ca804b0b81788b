"""Streams into a room: what a `WatchGame` or a `Play` stream has sent, and what is due on it.

A stream keeps no queue of events: it remembers the number of the last one it sent, and takes what came
after from the room. A client that reads slowly costs nothing but that number; one that falls further behind
than the room remembers, or does not take a message for `WRITE_SECONDS`, is cut off with the number to
resume from. Swipes that wait for their acknowledgement are bounded by not reading further ones.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final, TypeAlias

import grpc
import structlog

from game_svc import messages, requests
from game_svc.deck import next_cards, remaining
from game_svc.events import Numbered, SwipingStarted
from game_svc.films import Films
from game_svc.refusals import GameNotFound, HelloExpected, TooSlow
from game_svc.rooms import Committed, Room, Rooms
from game_svc.state import Player, State
from mesh import errors
from mesh.clock import Clock
from mesh.errors import InvalidInput, Unauthenticated
from mesh.identity import Identity
from mesh.locale import Locale
from mesh.revocations import Revocations, SessionRevoked
from popcorn.game.v1 import game_pb2

WRITE_SECONDS: Final = 10.0
"""How long a client may take to accept a message, with gRPC's own buffers full."""

HELLO_SECONDS: Final = 10.0
"""How long a `Play` stream may take to say hello."""

CARDS_AHEAD: Final = 5
"""How many cards a `Play` stream has at a time."""

MOST_UNANSWERED: Final = 64
"""How many swipes of a stream may wait for their acknowledgement before the next is read."""

PlayContext: TypeAlias = grpc.aio.ServicerContext[game_pb2.PlayRequest, game_pb2.PlayResponse]
WatchContext: TypeAlias = grpc.aio.ServicerContext[game_pb2.WatchGameRequest, game_pb2.WatchGameResponse]

_log = structlog.get_logger("game_svc.streams")


class Feed:
    """One stream's place in a room's log."""

    def __init__(
        self,
        room: Room,
        caller: Identity,
        sessions: Revocations,
        *,
        clock: Clock,
        heartbeat: timedelta,
    ) -> None:
        self._room = room
        self._caller = caller
        self._sessions = sessions
        self._clock = clock
        self._heartbeat = heartbeat
        self._woken = asyncio.Event()
        self._epoch = room.state.game_id
        self._stopping = False
        self.last_seq = 0
        """The number of the last event sent."""

    @property
    def state(self) -> State:
        """The room's newest state."""
        return self._room.state

    @property
    def player(self) -> Player:
        """Who listens.

        Raises:
            GameNotFound: They are not in the room any more.
        """
        member = self.state.member(self._caller.user_id)
        if member is None:
            raise GameNotFound(code=self._room.code)
        return member

    @property
    def code(self) -> str:
        """The room."""
        return self._room.code

    @property
    def user_id(self) -> str:
        """The person who listens."""
        return self._caller.user_id

    @property
    def session_id(self) -> str:
        """The session that listens."""
        return self._caller.session_id

    def wake(self) -> None:
        """Say that there may be something due."""
        self._woken.set()

    def stop(self) -> None:
        """Say that this server stops."""
        self._stopping = True
        self.wake()

    def open(self, after_seq: int, epoch: str) -> game_pb2.Snapshot | None:
        """Begin where a client left off, or else with the snapshot that is returned."""
        if after_seq > 0 and epoch == self._epoch and self._room.events_after(after_seq) is not None:
            self.last_seq = after_seq
            return None
        self.last_seq = self.state.seq
        return messages.snapshot(self.state, self.player)

    def take_events(self) -> Sequence[Numbered]:
        """Return the events that are due, and count them as sent."""
        events = self._room.events_after(self.last_seq) or ()
        if events:
            self.last_seq = events[-1].seq
        return events

    def reconnect(self) -> game_pb2.Reconnect | None:
        """Return why the stream has to end here, if it has to."""
        cause = None
        if self.state.game_id != self._epoch or self.state.seq < self.last_seq:
            cause = game_pb2.Reconnect.CAUSE_LOG_LOST
        elif self._room.events_after(self.last_seq) is None:
            cause = game_pb2.Reconnect.CAUSE_TOO_SLOW
        elif self._stopping:
            cause = game_pb2.Reconnect.CAUSE_SERVER_STOPS
        return None if cause is None else game_pb2.Reconnect(cause=cause, last_seq=self.last_seq)

    async def wait(self) -> bool:
        """Wait until something may be due. Returns False when it is time for a heartbeat.

        Raises:
            Unauthenticated: The caller's token has run out, or their session has ended.
            mesh.errors.Unavailable: Nobody has been able to tell for too long whether it has.
        """
        self.admit(reads=True)
        left = self._caller.expires_at - self._clock()
        if left <= timedelta():
            raise Unauthenticated("TOKEN_EXPIRED", "Your session has run out. Refresh it and connect again.")
        try:
            async with asyncio.timeout(min(left, self._heartbeat).total_seconds()):
                await self._woken.wait()
        except TimeoutError:
            self._room.look()
            return False
        self._woken.clear()
        self.admit(reads=True)  # before anything that has come meanwhile is sent
        return True

    def admit(self, *, reads: bool) -> None:
        """Let the stream go on, or what it wants to change happen, while its session does.

        Raises:
            SessionRevoked: It has ended.
            mesh.errors.Unavailable: Nobody can tell. See `mesh.revocations`.
        """
        self._sessions.check(self._caller.session_id, reads=reads)


class Streams:
    """All streams of this replica."""

    def __init__(
        self, rooms: Rooms, films: Films, sessions: Revocations, *, clock: Clock, heartbeat: timedelta
    ) -> None:
        self._rooms = rooms
        self._films = films
        self._sessions = sessions
        self._clock = clock
        self._heartbeat = heartbeat
        self._feeds: set[Feed] = set()
        self._all_closed = asyncio.Event()
        sessions.on_change(self._wake_ended)

    async def watch(
        self, room: Room, caller: Identity, after: tuple[int, str], context: WatchContext
    ) -> None:
        """Serve a `WatchGame` stream from (number, epoch) on, until one side ends it."""
        feed = self._feed(room, caller)
        async with self._open(feed, room):
            snapshot = feed.open(*after)
            first = game_pb2.WatchGameResponse(snapshot=snapshot, resumed=snapshot is None)
            await _write(context, first)
            try:
                await self._watch(feed, caller, context)
            except TooSlow:
                raise  # whoever does not read would not read that either
            except Exception as error:  # whatever it is: after the first message REST has no status to give
                await _write(context, game_pb2.WatchGameResponse(error=errors.to_status(error)))
                raise

    async def _watch(self, feed: Feed, caller: Identity, context: WatchContext) -> None:
        while True:
            events = [messages.event(numbered) for numbered in feed.take_events()]
            if events:
                await _write(context, game_pb2.WatchGameResponse(events=events))
            reconnect = feed.reconnect()
            if reconnect is not None:
                await _write(context, game_pb2.WatchGameResponse(reconnect=reconnect))
                return
            if feed.state.member(caller.user_id) is None:
                return
            if not await feed.wait():
                heartbeat = game_pb2.Heartbeat(last_seq=feed.last_seq)
                await _write(context, game_pb2.WatchGameResponse(heartbeat=heartbeat))

    async def play(
        self,
        incoming: AsyncIterator[game_pb2.PlayRequest],
        caller: Identity,
        locale: Locale,
        context: PlayContext,
    ) -> None:
        """Serve a `Play` stream until one side ends it.

        Raises:
            HelloExpected: It did not begin with a hello in time.
            GameNotFound: There is no such room, or the caller is not in it.
        """
        code, after_seq, epoch = requests.resume_point(await _hello(incoming))
        room, _ = await self._rooms.visit(code, caller.user_id)
        feed = self._feed(room, caller)
        async with self._open(feed, room):
            play = _Play(feed, room, caller, films=self._films, locale=locale)
            await play.run(incoming, context, (after_seq, epoch))

    @property
    def audience(self) -> Sequence[tuple[str, str]]:
        """Who listens to which room through this replica: (code, user id) for each stream."""
        return [(feed.code, feed.user_id) for feed in tuple(self._feeds)]

    async def stop(self) -> None:
        """Tell every stream to connect again elsewhere, and return when all have been told."""
        for feed in tuple(self._feeds):
            feed.stop()
        if self._feeds:
            _log.info("streams.closing", streams=len(self._feeds))
            await self._all_closed.wait()

    def _feed(self, room: Room, caller: Identity) -> Feed:
        return Feed(room, caller, self._sessions, clock=self._clock, heartbeat=self._heartbeat)

    def _wake_ended(self, session_ids: frozenset[str]) -> None:
        for feed in self._feeds:
            if feed.session_id in session_ids:
                feed.wake()

    @asynccontextmanager
    async def _open(self, feed: Feed, room: Room) -> AsyncIterator[None]:
        self._feeds.add(feed)
        self._all_closed.clear()
        try:
            async with self._rooms.listening(room, feed.wake):
                yield
        finally:
            self._feeds.discard(feed)
            if not self._feeds:
                self._all_closed.set()


class _Play:
    """One `Play` stream: a task reads swipes, this one writes what is due."""

    def __init__(self, feed: Feed, room: Room, caller: Identity, *, films: Films, locale: Locale) -> None:
        self._feed = feed
        self._room = room
        self._caller = caller
        self._films = films
        self._locale = locale
        self._unanswered: deque[tuple[str, asyncio.Future[Committed]]] = deque()
        self._slots = asyncio.Semaphore(MOST_UNANSWERED)
        self._failure: Exception | None = None
        self._cards_due = True
        self._shown: set[int] = set()
        self._fetching: asyncio.Task[None] | None = None
        self._tried: frozenset[int] = frozenset()

    async def run(
        self, incoming: AsyncIterator[game_pb2.PlayRequest], context: PlayContext, after: tuple[int, str]
    ) -> None:
        reading = asyncio.create_task(self._read(incoming), name="play: read swipes")
        try:
            snapshot = self._feed.open(*after)
            await self._write(context, game_pb2.PlayResponse(snapshot=snapshot, resumed=snapshot is None))
            while True:
                if self._failure is not None:
                    raise self._failure
                reconnect = self._feed.reconnect()
                if reconnect is not None:
                    reading.cancel()
                    await self._finish(context, reconnect)
                    return
                if self._feed.state.member(self._caller.user_id) is None:
                    return
                if not await self._feed.wait():
                    heartbeat = game_pb2.Heartbeat(last_seq=self._feed.last_seq)
                    await _write(context, game_pb2.PlayResponse(heartbeat=heartbeat))
                await self._write(context, game_pb2.PlayResponse())
        finally:
            tasks = {reading} if self._fetching is None else {reading, self._fetching}
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for _, answer in self._unanswered:
                answer.add_done_callback(_look_away)

    async def _read(self, incoming: AsyncIterator[game_pb2.PlayRequest]) -> None:
        """Take swipes to the room, in their order. A client that sends no more may still listen."""
        async for request in incoming:
            if request.WhichOneof("message") != "swipe":
                self._fail(HelloExpected())
                return
            await self._slots.acquire()
            try:
                answer = self._submit(request.swipe)
            except SessionRevoked as error:
                self._fail(error)
                return
            self._unanswered.append((request.swipe.swipe_id, answer))
            answer.add_done_callback(lambda _: self._feed.wake())

    def _fail(self, error: Exception) -> None:
        """End the stream with an error."""
        self._failure = error
        self._feed.wake()

    def _submit(self, swipe: game_pb2.PlaySwipe) -> asyncio.Future[Committed]:
        try:
            self._feed.admit(reads=False)
            return self._room.submit(requests.verdict(swipe, user_id=self._caller.user_id))
        except (InvalidInput, errors.Unavailable) as error:
            refused: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
            refused.set_exception(error)
            return refused

    async def _write(self, context: PlayContext, response: game_pb2.PlayResponse) -> None:
        """Send what is due at this moment in one message, together with what is in it already."""
        acks = self._take_acks()
        events = self._feed.take_events()
        response.acks.extend(acks)
        response.events.extend(messages.event(numbered) for numbered in events)
        if any(ack.seq for ack in acks) or any(isinstance(one.event, SwipingStarted) for one in events):
            self._cards_due = True
        if self._cards_due:
            self._deal(response)
        if response.ByteSize():
            await _write(context, response)

    async def _finish(self, context: PlayContext, reconnect: game_pb2.Reconnect) -> None:
        """Acknowledge what was taken to the room, and ask the client to connect again."""
        if self._unanswered:
            await asyncio.wait([answer for _, answer in self._unanswered], timeout=WRITE_SECONDS)
        self._cards_due = False
        response = game_pb2.PlayResponse(reconnect=reconnect, acks=self._take_acks())
        response.events.extend(messages.event(numbered) for numbered in self._feed.take_events())
        response.reconnect.last_seq = self._feed.last_seq
        await _write(context, response)

    def _take_acks(self) -> list[game_pb2.SwipeAck]:
        acks = []
        while self._unanswered and self._unanswered[0][1].done():
            swipe_id, answer = self._unanswered.popleft()
            self._slots.release()
            acks.append(self._ack(swipe_id, answer))
        return acks

    def _ack(self, swipe_id: str, answer: asyncio.Future[Committed]) -> game_pb2.SwipeAck:
        error = answer.exception()
        if error is not None:
            refusal = errors.to_status(error, method="/popcorn.game.v1.GameService/Play")
            return game_pb2.SwipeAck(swipe_id=swipe_id, refusal=refusal)
        seq = swipe_seq(answer.result().state, self._caller.user_id, swipe_id)
        return game_pb2.SwipeAck(swipe_id=swipe_id, seq=seq)

    def _deal(self, response: game_pb2.PlayResponse) -> None:
        """Put the next cards into a message, or fetch their films first if they are not at hand."""
        state, player = self._feed.state, self._feed.state.member(self._caller.user_id)
        if player is None or self._fetching is not None:
            return
        cards = [film.movie_id for film in next_cards(state, player, limit=CARDS_AHEAD)]
        new = frozenset(cards) - self._shown
        found = self._films.remembered(new, self._locale)
        if new - found.keys() - self._tried:
            self._fetching = asyncio.create_task(self._fetch(new), name="play: fetch films")
            return
        self._cards_due = False
        self._tried = frozenset()
        self._shown |= found.keys()
        response.cards.extend(
            game_pb2.Card(movie_id=movie_id, movie=found.get(movie_id)) for movie_id in cards
        )
        response.remaining = remaining(state, player)
        if found:
            response.attribution.CopyFrom(self._films.attribution)

    async def _fetch(self, movie_ids: frozenset[int]) -> None:
        await self._films.movies(sorted(movie_ids), self._locale)
        self._tried = movie_ids
        self._fetching = None
        self._feed.wake()


def swipe_seq(state: State, user_id: str, swipe_id: str) -> int:
    """Return the number of the event of a swipe that was accepted."""
    player = state.player_of(user_id)
    assert player is not None, "an accepted swipe has a player"
    return player.swipes[player.swipe_ids[swipe_id]].seq


async def _hello(incoming: AsyncIterator[game_pb2.PlayRequest]) -> game_pb2.Hello:
    try:
        async with asyncio.timeout(HELLO_SECONDS):
            first = await anext(incoming)
    except (TimeoutError, StopAsyncIteration) as error:
        raise HelloExpected from error
    if first.WhichOneof("message") != "hello":
        raise HelloExpected
    return first.hello


async def _write(context: grpc.aio.ServicerContext[Any, Any], message: Any) -> None:
    try:
        async with asyncio.timeout(WRITE_SECONDS):
            await context.write(message)
    except TimeoutError as error:
        raise TooSlow from error


def _look_away(answer: asyncio.Future[Committed]) -> None:
    """Take note of an answer that nobody waits for any more."""
    if not answer.cancelled():
        answer.exception()
