"""Streams into a room: what a `WatchGame` or a `Play` stream has sent, and what is due on it.

A stream keeps no queue of events: it remembers the number of the last one it sent, and takes what came
after from the room. A client that reads slowly costs nothing but that number; one that falls further behind
than the room remembers, or does not take a message for `WRITE_SECONDS`, is cut off with the number to
resume from. Swipes that wait for their acknowledgement are bounded by not reading further ones.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Final, TypeAlias

import grpc
import structlog
from google.api import httpbody_pb2
from google.protobuf.message import Message

from game_svc import messages, requests
from game_svc.alarm import Alarm
from game_svc.deck import remaining
from game_svc.events import (
    CardSwiped,
    Numbered,
    PlayerErased,
    PlayerJoined,
    PlayerLeft,
    PlayerRemoved,
    RunOffStarted,
    SwipeUndone,
    SwipingStarted,
)
from game_svc.films import Films
from game_svc.frames import (
    Frames,
    bare_card,
    event_id,
    play_event,
    sent_event,
    server_sent,
    watch_event,
)
from game_svc.presence import Presence
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

REORDER_SECONDS: Final = 0.3
"""How long cards stay as they were dealt at least, while others swipe and the player does not."""

FEW_CARDS: Final = 3
"""With fewer cards in hand a player is dealt more at once."""

DEALS_APART: Final = 1.9
"""How many beats of a busy replica lie between two deals to a player who has more: every second is one."""

FILMS_AHEAD: Final = 20
"""For how many cards films are fetched when one is missing."""

MOST_UNANSWERED: Final = 64
"""How many swipes of a stream may wait for their acknowledgement before the next is read."""

PlayContext: TypeAlias = grpc.aio.ServicerContext[game_pb2.PlayRequest, game_pb2.PlayResponse]
WatchContext: TypeAlias = grpc.aio.ServicerContext[game_pb2.WatchGameRequest, game_pb2.WatchGameResponse]

EventsContext: TypeAlias = grpc.aio.ServicerContext[game_pb2.StreamEventsRequest, httpbody_pb2.HttpBody]

# How soon a browser connects again by itself; left alone some wait for 3 s.
_RETRY: Final = b"retry: 500\n"

_log = structlog.get_logger("game_svc.streams")


class Feed:
    """One stream's place in a room's log, and its way to the client."""

    def __init__(
        self,
        room: Room,
        caller: Identity,
        sessions: Revocations,
        context: grpc.aio.ServicerContext[Any, Any],
        *,
        clock: Clock,
        heartbeat: timedelta,
    ) -> None:
        self._room = room
        self._caller = caller
        self._sessions = sessions
        self._context = context
        self._clock = clock
        self._heartbeat_seconds = heartbeat.total_seconds()
        self._silence = Alarm(self._be_silent)
        self._silent = False
        self._patience = Alarm(self._lose_patience)
        self._lost_patience = False
        self._writer = asyncio.current_task()
        self._woken = False
        self._sleeping: asyncio.Future[None] | None = None
        self.epoch = room.state.game_id
        """Which log its numbers belong to."""
        self._losses = room.losses
        self._stopping = False
        self._connected: frozenset[str] | None = None
        self.last_seq = 0
        """The number of the last event sent."""
        self.gone = False
        """Whether the one who listens has left, and nothing more is due to them."""
        self._player_id = ""

    @property
    def state(self) -> State:
        """The room's newest state."""
        return self._room.state

    @property
    def member(self) -> Player | None:
        """Who listens, while they are in the room."""
        return self.state.member(self._caller.user_id)

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
        self._woken = True
        if self._sleeping is not None and not self._sleeping.done():
            self._sleeping.set_result(None)

    def stop(self) -> None:
        """Say that this server stops."""
        self._stopping = True
        self.wake()

    def close(self) -> None:
        """Let go of the timers."""
        self._silence.close()
        self._patience.close()

    def open(self, after_seq: int, epoch: str) -> game_pb2.Snapshot | None:
        """Begin where a client left off, or else with the snapshot that is returned.

        Raises:
            GameNotFound: They are not in the room any more.
        """
        member = self.member
        if member is None:
            raise GameNotFound(code=self._room.code)
        self._player_id = member.player_id
        if after_seq > 0 and epoch == self.epoch and self._room.events_after(after_seq) is not None:
            self.last_seq = after_seq
            return None
        self.last_seq = self.state.seq
        self._connected = self._room.connected
        return messages.snapshot(self.state, member, connected=self._connected)

    def take_events(self) -> Sequence[Numbered]:
        """Return the events that are due, and count them as sent. Who goes hears nothing after that."""
        if self.last_seq == self.state.seq or self.gone or self._room.losses != self._losses:
            return ()
        events = self._room.events_after(self.last_seq) or ()
        if events and self.member is None:
            self.gone = True
            events = _until_gone(events, self._player_id)
        if events:
            self.last_seq = events[-1].seq
        return events

    def take_presence(self) -> game_pb2.Presence | None:
        """Return who is connected, if that has changed since it was last told."""
        connected = self._room.connected
        if self.gone or connected is self._connected or connected == self._connected:
            return None
        self._connected = connected
        return messages.presence(self.state, connected)

    def reconnect(self) -> game_pb2.Reconnect | None:
        """Return why the stream has to end here, if it has to."""
        cause = None
        if self._room.losses != self._losses:
            cause = game_pb2.Reconnect.CAUSE_LOG_LOST
        elif self.last_seq != self.state.seq and self._room.events_after(self.last_seq) is None:
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
        if not self._woken:
            self.admit(reads=True)
            left = (self._caller.expires_at - self._clock()).total_seconds()
            if left <= 0:
                raise Unauthenticated(
                    "TOKEN_EXPIRED", "Your session has run out. Refresh it and connect again."
                )
            self._silence.set(min(left, self._heartbeat_seconds))
            self._sleeping = asyncio.get_running_loop().create_future()
            await self._sleeping
            self._silence.off()
        self._woken = False
        if self._silent:
            self._silent = False
            self._room.look()
            return False
        self.admit(reads=True)  # before anything that has come meanwhile is sent
        return True

    def admit(self, *, reads: bool) -> None:
        """Let the stream go on, or what it wants to change happen, while its session does.

        Raises:
            SessionRevoked: It has ended.
            mesh.errors.Unavailable: Nobody can tell. See `mesh.revocations`.
        """
        self._sessions.check(self._caller.session_id, reads=reads)

    async def write(self, message: Message | bytes) -> None:
        """Send a message, as it is or as its bytes.

        Raises:
            TooSlow: The client has not taken it for `WRITE_SECONDS`.
        """
        self._patience.set(WRITE_SECONDS)
        try:
            await self._context.write(message)
        except asyncio.CancelledError:
            if not self._lost_patience:
                raise
            assert self._writer is not None, "a feed is made in the task of its call"
            self._writer.uncancel()
            raise TooSlow(last_seq=str(self.last_seq)) from None
        finally:
            self._patience.off()

    def _be_silent(self) -> None:
        self._silent = True
        self.wake()

    def _lose_patience(self) -> None:
        self._lost_patience = True
        assert self._writer is not None, "a feed is made in the task of its call"
        self._writer.cancel()


def _until_gone(events: Sequence[Numbered], player_id: str) -> Sequence[Numbered]:
    """Return events up to the one by which a player has gone for good, or none when there is no such one."""
    told = 0
    for place, numbered in enumerate(events, start=1):
        match numbered.event:
            case PlayerLeft(player_id=who) | PlayerRemoved(player_id=who) | PlayerErased(player_id=who):
                if who == player_id and not told:
                    told = place
            case PlayerJoined(player_id=who) if who == player_id:
                told = 0
    return events[:told]


@dataclass(slots=True)
class _Audience:
    """The streams into a room, and what they share."""

    epoch: str
    feeds: set[Feed] = field(default_factory=set)
    play: Frames = field(default_factory=lambda: Frames(play_event))
    watch: Frames = field(default_factory=lambda: Frames(watch_event))
    sent: Frames = field(init=False)

    def __post_init__(self) -> None:
        """Have ids that belong to the room's log."""
        self.sent = Frames(partial(sent_event, self.epoch))


class Streams:
    """All streams of this replica."""

    def __init__(
        self,
        rooms: Rooms,
        films: Films,
        sessions: Revocations,
        presence: Presence,
        *,
        clock: Clock,
        heartbeat: timedelta,
    ) -> None:
        self._rooms = rooms
        self._films = films
        self._sessions = sessions
        self._presence = presence
        self._clock = clock
        self._heartbeat = heartbeat
        self._audiences: dict[tuple[Room, str, int], _Audience] = {}
        self._feeds: set[Feed] = set()
        self._all_closed = asyncio.Event()
        self._stopping = False
        sessions.on_change(self._wake_ended)

    async def watch(
        self, room: Room, caller: Identity, after: tuple[int, str], context: WatchContext
    ) -> None:
        """Serve a `WatchGame` stream from (number, epoch) on, until one side ends it."""
        await room.remember(after[0])
        async with self._open(room, caller, context) as (feed, audience):
            await _watch(feed, after, _Plain(feed, audience.watch))

    async def send_events(
        self, room: Room, caller: Identity, after: tuple[int, str], context: EventsContext
    ) -> None:
        """Serve a `StreamEvents` stream from (number, epoch) on, until one side ends it."""
        await room.remember(after[0])
        async with self._open(room, caller, context) as (feed, audience):
            await _watch(feed, after, _ServerSent(feed, audience.sent))

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
        await room.remember(after_seq)
        async with self._open(room, caller, context) as (feed, audience):
            play = _Play(feed, room, caller, audience.play, films=self._films, locale=locale)
            await play.run(incoming, (after_seq, epoch))

    @property
    def audience(self) -> Sequence[tuple[str, str]]:
        """Who listens to which room through this replica: (code, user id) for each stream."""
        return [(feed.code, feed.user_id) for feed in tuple(self._feeds)]

    async def stop(self) -> None:
        """Tell every stream to connect again elsewhere, and return when all have been told."""
        self._stopping = True
        for feed in tuple(self._feeds):
            feed.stop()
        if self._feeds:
            _log.info("streams.closing", streams=len(self._feeds))
            await self._all_closed.wait()

    def _wake_ended(self, session_ids: frozenset[str]) -> None:
        for feed in self._feeds:
            if feed.session_id in session_ids:
                feed.wake()

    @asynccontextmanager
    async def _open(
        self, room: Room, caller: Identity, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[tuple[Feed, _Audience]]:
        feed = Feed(room, caller, self._sessions, context, clock=self._clock, heartbeat=self._heartbeat)
        member = feed.member
        if member is None:
            raise GameNotFound(code=room.code)
        # By log, too: when it is another one or has lost its end, the numbers mean something else.
        key = (room, room.state.game_id, room.losses)
        audience = self._audiences.setdefault(key, _Audience(room.state.game_id))
        audience.feeds.add(feed)
        self._feeds.add(feed)
        self._all_closed.clear()
        if self._stopping:  # it was let in just before
            feed.stop()
        try:
            async with self._rooms.listening(room, feed.wake), self._presence.of(room, member.player_id):
                yield feed, audience
        finally:
            feed.close()
            audience.feeds.discard(feed)
            if not audience.feeds and self._audiences.get(key) is audience:
                del self._audiences[key]
            self._feeds.discard(feed)
            if not self._feeds:
                self._all_closed.set()


class _Plain:
    """Messages as gRPC clients get them."""

    def __init__(self, feed: Feed, frames: Frames) -> None:
        self._feed = feed
        self._frames = frames

    async def tell(self, message: game_pb2.WatchGameResponse) -> None:
        await self._feed.write(message)

    async def tell_events(self, events: Sequence[Numbered]) -> None:
        await self._feed.write(self._frames.of(events))


class _ServerSent:
    """The same as server-sent events."""

    def __init__(self, feed: Feed, frames: Frames) -> None:
        self._feed = feed
        self._frames = frames

    async def tell(self, message: game_pb2.WatchGameResponse) -> None:
        beginning = b""
        own_id = ""
        if message.resumed or message.HasField("snapshot"):
            beginning = _RETRY
            own_id = event_id(self._feed.last_seq, self._feed.epoch)
        await self._send(beginning + server_sent(message, event_id=own_id))

    async def tell_events(self, events: Sequence[Numbered]) -> None:
        await self._send(self._frames.of(events))

    async def _send(self, data: bytes) -> None:
        await self._feed.write(httpbody_pb2.HttpBody(content_type="text/event-stream", data=data))


async def _watch(feed: Feed, after: tuple[int, str], client: _Plain | _ServerSent) -> None:
    snapshot = feed.open(*after)
    await client.tell(game_pb2.WatchGameResponse(snapshot=snapshot, resumed=snapshot is None))
    try:
        await _tell_what_happens(feed, client)
    except TooSlow:
        raise  # whoever does not read would not read that either
    except Exception as error:  # whatever it is: after the first message REST has no status to give
        await client.tell(game_pb2.WatchGameResponse(error=errors.to_status(error)))
        raise


async def _tell_what_happens(feed: Feed, client: _Plain | _ServerSent) -> None:
    while True:
        events = feed.take_events()
        if events:
            await client.tell_events(events)
        if feed.gone:
            return
        reconnect = feed.reconnect()
        if reconnect is not None:
            await client.tell(game_pb2.WatchGameResponse(reconnect=reconnect))
            return
        presence = feed.take_presence()
        if presence is not None:
            await client.tell(game_pb2.WatchGameResponse(presence=presence))
        if not await feed.wait():
            await client.tell(
                game_pb2.WatchGameResponse(heartbeat=game_pb2.Heartbeat(last_seq=feed.last_seq))
            )


@dataclass(frozen=True, slots=True)
class _Asked:
    """A swipe, or an undo, on its way through the room."""

    swipe_id: str
    answer: asyncio.Future[Committed]
    undo: bool = False


class _Play:
    """One `Play` stream: a task reads swipes, this one writes what is due."""

    def __init__(
        self, feed: Feed, room: Room, caller: Identity, frames: Frames, *, films: Films, locale: Locale
    ) -> None:
        self._feed = feed
        self._room = room
        self._caller = caller
        self._frames = frames
        self._films = films
        self._locale = locale
        self._unanswered: deque[_Asked] = deque()
        self._slots = asyncio.Semaphore(MOST_UNANSWERED)
        self._failure: Exception | None = None
        self._cards_due = True
        self._order_moved = False
        self._dealt: list[int] = []
        self._dealt_at = 0.0
        self._in_hand: set[int] = set()
        self._later = Alarm(feed.wake)
        self._shown: set[int] = set()
        self._fetching: asyncio.Task[None] | None = None
        self._tried: frozenset[int] = frozenset()

    async def run(self, incoming: AsyncIterator[game_pb2.PlayRequest], after: tuple[int, str]) -> None:
        """Serve the stream from (number, epoch) on."""
        feed = self._feed
        reading = asyncio.create_task(self._read(incoming), name="play: read swipes")
        try:
            snapshot = feed.open(*after)
            beginning = game_pb2.PlayResponse(snapshot=snapshot, resumed=snapshot is None)
            await self._write_due(beginning.SerializeToString())
            while True:
                if self._failure is not None:
                    raise self._failure
                if feed.gone:
                    return
                reconnect = feed.reconnect()
                if reconnect is not None:
                    reading.cancel()
                    await self._finish(reconnect)
                    return
                if not await feed.wait():
                    heartbeat = game_pb2.Heartbeat(last_seq=feed.last_seq)
                    await feed.write(game_pb2.PlayResponse(heartbeat=heartbeat))
                await self._write_due()
        finally:
            self._later.close()
            tasks = {reading} if self._fetching is None else {reading, self._fetching}
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for asked in self._unanswered:
                asked.answer.add_done_callback(_look_away)

    async def _read(self, incoming: AsyncIterator[game_pb2.PlayRequest]) -> None:
        """Take swipes and undos to the room, in their order. A client that sends no more may still listen."""
        async for request in incoming:
            await self._slots.acquire()
            try:
                match request.WhichOneof("message"):
                    case "swipe":
                        self._in_hand.discard(request.swipe.movie_id)
                        asked = _Asked(request.swipe.swipe_id, self._submit(request))
                    case "undo":
                        asked = _Asked(request.undo.swipe_id, self._submit(request), undo=True)
                    case _:
                        raise HelloExpected
            except (HelloExpected, SessionRevoked) as error:
                self._fail(error)
                return
            self._unanswered.append(asked)
            asked.answer.add_done_callback(self._answered)

    def _answered(self, _: asyncio.Future[Committed]) -> None:
        """Send an acknowledgement: with the room's next beat, while the player has a card to look at."""
        left = self._room.beat_in
        if left > 0 and (self._in_hand or not all(asked.answer.done() for asked in self._unanswered)):
            self._later.set(left)
        else:
            self._feed.wake()

    def _fail(self, error: Exception) -> None:
        """End the stream with an error."""
        self._failure = error
        self._feed.wake()

    def _submit(self, request: game_pb2.PlayRequest) -> asyncio.Future[Committed]:
        """Take what a message asks for to the room."""
        try:
            self._feed.admit(reads=False)
            command = requests.play(request, user_id=self._caller.user_id)
            return self._room.submit(command, patient=bool(self._in_hand))
        except (InvalidInput, errors.Unavailable) as error:
            refused: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
            refused.set_exception(error)
            return refused

    async def _write_due(self, beginning: bytes = b"") -> None:
        """Send what is due at this moment in one message, behind its beginning."""
        self._later.off()
        acks = self._take_acks()
        events = self._feed.take_events()
        presence = self._feed.take_presence()
        if any(ack.seq for ack in acks) or _has_started(events):
            self._cards_due = True
        self._order_moved = self._order_moved or any(map(self._moves_cards, events))
        parts = [beginning]
        if acks or presence is not None:
            own = game_pb2.PlayResponse(acks=acks, presence=presence)
            parts.append(own.SerializeToString())
        parts.append(self._frames.of(events))
        # Who sends swipes without waiting gets cards when the last of them is answered, and not after each.
        if (self._cards_due or self._order_moved) and not self._unanswered and self._may_deal():
            parts += self._deal()
        message = b"".join(parts)
        if message:
            await self._feed.write(message)

    async def _finish(self, reconnect: game_pb2.Reconnect) -> None:
        """Acknowledge what was taken to the room, and ask the client to connect again."""
        if self._unanswered:
            await asyncio.wait([asked.answer for asked in self._unanswered], timeout=WRITE_SECONDS)
        acks = self._take_acks()
        events = self._frames.of(self._feed.take_events())
        reconnect.last_seq = self._feed.last_seq
        response = game_pb2.PlayResponse(reconnect=reconnect, acks=acks)
        await self._feed.write(response.SerializeToString() + events)

    def _take_acks(self) -> list[game_pb2.SwipeAck]:
        acks = []
        while self._unanswered and self._unanswered[0].answer.done():
            acks.append(self._ack(self._unanswered.popleft()))
            self._slots.release()
        return acks

    def _ack(self, asked: _Asked) -> game_pb2.SwipeAck:
        ack = game_pb2.SwipeAck(swipe_id=asked.swipe_id, undo=asked.undo)
        error = asked.answer.exception()
        if error is not None:
            ack.refusal.CopyFrom(errors.to_status(error, method="/popcorn.game.v1.GameService/Play"))
        else:
            seq_of = undo_seq if asked.undo else swipe_seq
            ack.seq = seq_of(asked.answer.result().state, self._caller.user_id, asked.swipe_id)
        return ack

    def _may_deal(self) -> bool:
        """Return whether it is time for another deal: at once for who has few cards left, else not too often.

        What others swipe moves the order more often than anybody looks at a new card.
        """
        if len(self._in_hand) < FEW_CARDS:
            return True
        pause = 0.0 if self._cards_due else REORDER_SECONDS
        pause = max(pause, DEALS_APART * self._room.pace.beat)
        left = self._dealt_at + pause - self._room.pace.now()
        if left > 0:
            self._later.set(left)
        return left <= 0

    def _deal(self) -> Iterable[bytes]:
        """Return the next cards, or fetch their films first if they are not at hand."""
        state, player = self._feed.state, self._feed.member
        if player is None or self._fetching is not None:
            return ()
        ranking = self._room.ranking
        cards = [film.movie_id for film in ranking.next_cards(player, limit=CARDS_AHEAD)]
        self._order_moved = False
        self._dealt_at = self._room.pace.now()
        if not self._cards_due and cards == self._dealt:
            return ()
        self._cards_due = True
        found = {
            movie_id: card
            for movie_id in cards
            if movie_id not in self._shown and (card := self._films.card(movie_id, self._locale)) is not None
        }
        missing = frozenset(cards) - self._shown - found.keys()
        if missing - self._tried:
            soon = [film.movie_id for film in ranking.next_cards(player, limit=FILMS_AHEAD)]
            self._fetching = asyncio.create_task(self._fetch(missing, soon), name="play: fetch films")
            return ()
        self._cards_due = False
        self._dealt = cards
        self._in_hand = set(cards)
        self._tried = frozenset()
        self._shown |= found.keys()
        attribution = self._films.attribution if found else None
        rest = game_pb2.PlayResponse(remaining=remaining(state, player), attribution=attribution)
        dealt = [found.get(movie_id) or bare_card(movie_id) for movie_id in cards]
        return (*dealt, rest.SerializeToString())

    def _moves_cards(self, numbered: Numbered) -> bool:
        """Return whether an event may change which cards come next: what others like, or pass on, does.

        Few swipes need that: what somebody has just liked is the next card of all others, not the one after.
        """
        match numbered.event:
            case CardSwiped(movie_id=movie_id, verdict=verdict):
                return verdict.likes or movie_id in self._dealt
            case SwipeUndone() | PlayerJoined() | PlayerLeft() | PlayerRemoved() | PlayerErased():
                return bool(self._dealt)
            case _:
                return False

    async def _fetch(self, missing: frozenset[int], soon: Sequence[int]) -> None:
        await self._films.movies(soon, self._locale)
        self._tried = missing
        self._fetching = None
        self._feed.wake()


def _has_started(events: Sequence[Numbered]) -> bool:
    return any(isinstance(one.event, SwipingStarted | RunOffStarted) for one in events)


def swipe_seq(state: State, user_id: str, swipe_id: str) -> int:
    """Return the number of the event of a swipe that was accepted."""
    player = state.player_of(user_id)
    assert player is not None, "an accepted swipe has a player"
    return player.swipe_ids[swipe_id].seq


def undo_seq(state: State, user_id: str, swipe_id: str) -> int:
    """Return the number of the event that took a swipe back; 0 when none did."""
    player = state.player_of(user_id)
    assert player is not None, "an accepted undo has a player"
    swipe = player.swipe_ids.get(swipe_id)
    return 0 if swipe is None else swipe.undone


async def _hello(incoming: AsyncIterator[game_pb2.PlayRequest]) -> game_pb2.Hello:
    try:
        async with asyncio.timeout(HELLO_SECONDS):
            first = await anext(incoming)
    except (TimeoutError, StopAsyncIteration) as error:
        raise HelloExpected from error
    if first.WhichOneof("message") != "hello":
        raise HelloExpected
    return first.hello


def _look_away(answer: asyncio.Future[Committed]) -> None:
    """Take note of an answer that nobody waits for any more."""
    if not answer.cancelled():
        answer.exception()
