"""Rooms in the memory of this replica: each the fold of its log, kept up with what other replicas append.

Commands to a room are decided one after the other by its one worker, so order needs no lock. What arrives
together is appended together. When another replica was faster the append writes nothing, and everything is
decided again on the newer state. A decision that appends nothing stands only if the log has not grown in
the meantime.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from weakref import WeakValueDictionary

import structlog

from game_svc.deck import Ranking
from game_svc.events import CardSwiped, MatchFound, Numbered
from game_svc.keeping import Keeping
from game_svc.log import Head, RoomLogs
from game_svc.outbox import Outbox, concerns_archive
from game_svc.refusals import GameNotFound, GameRefusal
from game_svc.rules import Command, GiveVerdict, decide, likes_needed
from game_svc.state import Player, State, fold
from mesh.clock import Clock
from mesh.errors import Unavailable
from mesh.running import start_detached

MOST_ROOMS: Final = 1_000
"""How many rooms this replica remembers beside those in use; those unused for longest are forgotten first.

A room that four have played takes some 145 KB, so these take about 145 of the 512 MiB that a pod has. The
rest is for the rooms in use, their streams, films and the interpreter.
"""

UNUSED: Final = timedelta(minutes=10)
"""After how long a room is forgotten that nobody here has asked for, commanded or listened to."""

MOST_WAITING: Final = 1_000
"""How many commands may wait in a room; more are answered UNAVAILABLE."""

MOST_TOGETHER: Final = 64
"""How many commands are appended together."""

MOST_RECENT: Final = 2_000
"""How many events a room keeps for streams to catch up with; who is further behind starts from a snapshot."""

SNAPSHOT_EVERY: Final = 250
"""How many events lie between two snapshots of a room: what opening it has to fold at most."""

_MOST_ATTEMPTS: Final = 50

Appended = Callable[[Sequence[Numbered], State], None]

_log = structlog.get_logger("game_svc.rooms")


@dataclass(frozen=True, slots=True)
class Committed:
    """A command that was accepted."""

    events: tuple[Numbered, ...]
    """What it brought about; nothing when it changed nothing."""
    state: State
    """The room after it."""


_Waiting = tuple[Command | None, "asyncio.Future[Committed]"]
"""A command and its answer; None asks for nothing but the newest state."""


class Pace:
    """How much this replica gathers before it does something: nothing while it has time for everything.

    It goes by the lag of the event loop: how long what is ready to run waits for its turn, on average. When
    that grows, each room does what can wait once a beat and for everybody: it appends the swipes that have
    come, tells what has happened, acknowledgements among it, and deals. That lowers the load and the lag.
    What is not a swipe, a match above all, is told at once all the same.
    """

    BUSY: Final = 0.0005
    """From which lag on, in seconds, there is too little time for everything."""

    BEAT: Final = 0.33
    """How long a busy replica gathers, in seconds."""

    _LEAST_WEIGHT: Final = 0.02
    _LONGEST_SAMPLE: Final = 0.5
    _FORGOTTEN_AFTER: Final = 1.0

    def __init__(self) -> None:
        self._lag = 0.0  # seconds, a moving average
        self._waited_at = 0.0

    def now(self) -> float:
        """Return the time by a clock that never goes back, in seconds."""
        return time.monotonic()

    def waited(self, seconds: float) -> None:
        """Take note of how long something that was ready has waited for its turn."""
        now = self.now()
        weight = max(self._LEAST_WEIGHT, min((now - self._waited_at) / self._FORGOTTEN_AFTER, 1.0))
        self._waited_at = now
        self._lag += weight * (min(seconds, self._LONGEST_SAMPLE) - self._lag)

    @property
    def busy(self) -> bool:
        """Whether there is too little time for everything. Without news for a second there is enough."""
        return self._lag > self.BUSY and self.now() < self._waited_at + self._FORGOTTEN_AFTER

    @property
    def beat(self) -> float:
        """How many seconds lie between two beats of a room; 0 while nothing has to wait."""
        return self.BEAT if self.busy else 0.0


class Room:
    """One room. Made and found by `Rooms`."""

    def __init__(
        self,
        code: str,
        *,
        logs: RoomLogs,
        outbox: Outbox,
        clock: Clock,
        pace: Pace,
        keeping: Keeping,
        owed: Callable[[str], None],
        appended: Appended,
    ) -> None:
        self.code = code
        self._nothing = State(code=code)
        self.state = self._nothing
        """The newest state this replica knows."""
        self.losses = 0
        """How often its log was found to be another one, or to have lost its end: numbers from before that
        mean something else."""
        self._recent: deque[Numbered] = deque(maxlen=MOST_RECENT)
        self._logs = logs
        self._outbox = outbox
        self._clock = clock
        self._appended = appended
        self.pace = pace
        """How busy this replica is."""
        self._keeping = keeping
        self._owed = owed
        self._waiting: deque[_Waiting] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._rumoured = False
        self._rumour: Head | None = None
        self.listeners: set[Callable[[], None]] = set()
        """Called whenever the state or the presence has changed. They must not block. See
        `Rooms.listening`."""
        self.connected: frozenset[str] = frozenset()
        """The ids of the players who are connected, as far as this replica knows; see `presence.py`."""
        self._ranking = Ranking(self.state)
        self._likes_under_way: Counter[int] = Counter()  # by film: not yet in the state
        self._hurried = False
        self._soon: asyncio.TimerHandle | None = None
        self._started = 0.0  # when the worker was last called for
        self._told_at = 0.0
        self._told_seq = 0
        self._urgent_seq = 0
        self._telling: asyncio.TimerHandle | None = None

    @property
    def ranking(self) -> Ranking:
        """The order of the cards at the newest state. Whoever is dealt some shares it."""
        if self._ranking.state is not self.state:
            self._ranking = Ranking(self.state)
        return self._ranking

    def submit(self, command: Command, *, patient: bool = False) -> asyncio.Future[Committed]:
        """Decide a command and append what it brings about; commands are decided in the order of the calls.

        Args:
            command: What somebody wants.
            patient: Whether nobody waits for it. A busy replica gathers such swipes for a moment, unless they
                complete a match.

        Raises:
            GameRefusal: The rules do not allow it.
            Unavailable: Redis does not answer, or too much waits. It may have been done all the same:
                repeat it.
        """
        matches = self._may_match(command)
        return self._enqueue(command, hurry=matches or not patient)

    async def refresh(self) -> State:
        """Return the newest state there is.

        Raises:
            Unavailable: Redis does not answer.
        """
        return (await self._enqueue(None, hurry=True)).state

    def look(self, rumour: Head | None = None) -> None:
        """Catch up in the background, unless the log is rumoured to end where we know it to."""
        if rumour is not None and self._knows(rumour):
            return
        self._rumoured, self._rumour = True, rumour
        self._start()

    async def remember(self, seq: int) -> None:
        """Have the events after a number at hand, unless that is too many. See `events_after`.

        Raises:
            Unavailable: Redis does not answer.
        """
        state = self.state
        first = state.seq - len(self._recent)  # the number before the first that is remembered
        if not max(0, state.seq - MOST_RECENT) <= seq < first:
            return
        older = await self._logs.read(self.code, after=seq, up_to=first)
        unchanged = self.state.game_id == state.game_id and self.state.seq - len(self._recent) == first
        room_left = len(older) <= MOST_RECENT - len(self._recent)  # a full deque would drop its latest
        if unchanged and room_left and older and older[0].seq == seq + 1 and older[-1].seq == first:
            self._recent.extendleft(reversed(older))

    @property
    def beat_in(self) -> float:
        """In how many seconds this replica does what can wait; 0 for at once."""
        beat = self.pace.beat
        return max(0.0, self._told_at + beat - self.pace.now()) if beat else 0.0

    def wake(self) -> None:
        """Have who listens look at what is new: at a beat, or because it cannot wait for one."""
        self._told_at, self._told_seq = self.pace.now(), self.state.seq
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        for wake in tuple(self.listeners):
            wake()

    def _tell(self) -> None:
        """Have who listens look: at once or, with only swipes to tell, at the next beat."""
        left = 0.0 if self._urgent_seq > self._told_seq else self.beat_in
        if left <= 0:
            self.wake()
        elif self._telling is None and self._soon is None:  # else what is appended then is told with it
            self._telling = asyncio.get_running_loop().call_later(left, self._tell_now)

    def _tell_now(self) -> None:
        self._telling = None
        self.wake()

    def events_after(self, seq: int) -> Sequence[Numbered] | None:
        """Return the events after a number, or None when they are not all remembered."""
        missing = self.state.seq - seq
        if self.state is self._nothing or missing < 0 or missing > len(self._recent):
            return None
        return [self._recent[index] for index in range(len(self._recent) - missing, len(self._recent))]

    def _enqueue(self, command: Command | None, *, hurry: bool) -> asyncio.Future[Committed]:
        if len(self._waiting) >= MOST_WAITING:
            raise Unavailable("room", timedelta(seconds=1))
        answer: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        self._waiting.append((command, answer))
        left = 0.0 if hurry else self.beat_in
        if not hurry and self._worker is not None:
            left = max(left, self.pace.beat)  # what comes in the middle of a beat waits for the next one
        if left <= 0:
            self._start_now()
        elif self._soon is None:
            self._soon = asyncio.get_running_loop().call_later(left, self._start_now)
            if self._telling is not None:
                self._telling.cancel()
                self._telling = None
        return answer

    def _may_match(self, command: Command) -> bool:
        """Return whether a command completes a match, as far as one can tell before it is decided."""
        if not isinstance(command, GiveVerdict) or not command.verdict.likes:
            return False
        self._likes_under_way[command.movie_id] += 1
        likes = self.state.tally(command.movie_id).likes + self._likes_under_way[command.movie_id]
        return likes >= likes_needed(self.state)

    def _start_now(self) -> None:
        self._hurried = True
        self._start()

    def _next_batch(self) -> list[_Waiting]:
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_TOGETHER))]
        self._hurried = bool(self._waiting)
        return batch

    def _start(self) -> None:
        if self._worker is None:
            self._started = self.pace.now()
            # Detached: the room's work must not end with the call that happened to start it.
            self._worker = start_detached(self._work(), name=f"room {self.code}")

    async def _work(self) -> None:
        self.pace.waited(self.pace.now() - self._started)
        try:
            while self._hurried or self._heard_of_more():
                batch = self._next_batch()
                outcomes: Sequence[Committed | Exception]
                try:
                    if self._heard_of_more():
                        await self._follow_rumour()
                    outcomes = await self._commit([command for command, _ in batch]) if batch else []
                except Exception as error:  # whatever it was belongs to those who wait for it
                    outcomes = [error] * len(batch)
                    if not batch:
                        _log.info("room.look_failed", code=self.code, error=type(error).__name__)
                # First the answers, then who listens: so that both travel in one message.
                for (_, answer), outcome in zip(batch, outcomes, strict=True):
                    _answer(answer, outcome)
                self._likes_under_way = Counter(
                    command.movie_id
                    for command, _ in self._waiting
                    if isinstance(command, GiveVerdict) and command.verdict.likes
                )
                if self.state.seq != self._told_seq or self._urgent_seq > self._told_seq:
                    self._tell()
        finally:
            self._worker = None

    async def _follow_rumour(self) -> None:
        """Read what another replica is said to have appended. What is heard meanwhile is another rumour."""
        rumour, self._rumoured, self._rumour = self._rumour, False, None
        if rumour is None or rumour.epoch != self.state.game_id:
            rumour = await self._logs.head(self.code)
        if not self._knows(rumour):
            await self._catch_up(rumour)

    def _heard_of_more(self) -> bool:
        """Return whether another replica may have appended something. One's own appends are rumoured, too."""
        if self._rumoured and self._rumour is not None and self._knows(self._rumour):
            self._rumoured, self._rumour = False, None
        return self._rumoured

    def _knows(self, head: Head) -> bool:
        return head.epoch == self.state.game_id and head.seq <= self.state.seq

    async def _commit(self, commands: Sequence[Command | None]) -> list[Committed | Exception]:
        for _ in range(_MOST_ATTEMPTS):
            outcomes, events, state = self._decide(commands)
            head = Head(self.state.game_id, self.state.seq)
            if events:
                owes = any(concerns_archive(numbered.event) for numbered in events)
                appended, newest = await self._logs.append(
                    self.code,
                    after=head,
                    epoch=state.game_id,
                    events=[numbered.event for numbered in events],
                    at=events[0].at,
                    first=self._outbox.owing(self.code) if owes else None,
                    on_disk=_has_match(events),
                )
                if appended:
                    self._appended(events, state)
                    self._keep_now_and_then(state)
                    if owes:
                        self._owed(self.code)
                    self._learn(events, state)
                    return outcomes
            else:
                newest = await self._logs.head(self.code)
                if newest == head:
                    return outcomes
            await self._catch_up(newest)
        _log.error("room.contended", code=self.code)
        raise Unavailable("room", timedelta(seconds=1))

    def _decide(
        self, commands: Sequence[Command | None]
    ) -> tuple[list[Committed | Exception], list[Numbered], State]:
        """Return each command's outcome, all their events, and the state after them."""
        at = _to_the_millisecond(self._clock())
        state = self.state
        outcomes: list[Committed | Exception] = []
        all_events: list[Numbered] = []
        for command in commands:
            try:
                decided = decide(state, command) if command is not None else ()
            except GameRefusal as refusal:
                # With its traceback it would hold this list, and so the room, until garbage is looked for.
                outcomes.append(refusal.with_traceback(None))
                continue
            events = tuple(Numbered(state.seq + n, at, event) for n, event in enumerate(decided, start=1))
            state = fold(state, events)
            all_events += events
            outcomes.append(Committed(events, state))
        return outcomes, all_events, state

    async def _catch_up(self, newest: Head) -> None:
        known = self.state
        if newest.epoch != known.game_id or newest.seq < known.seq:
            # Another game has the code now, or Redis has lost this one, or the end of it.
            if known.seq:
                _log.warning("room.log_lost", code=self.code, known=known.seq, found=newest.seq)
                self.losses += 1
            known = self._nothing
        if known is self._nothing:
            self._recent.clear()
            known = await self._logs.snapshot(self.code, newest) or known
        events = await self._logs.read(self.code, after=known.seq) if newest.seq else []
        if _has_match(events):
            await self._logs.settle(self.code)
        self._learn(events, fold(known, events))

    def _keep_now_and_then(self, state: State) -> None:
        if state.seq // SNAPSHOT_EVERY > self.state.seq // SNAPSHOT_EVERY:
            self._keeping.keep(self.code, state)

    def _learn(self, events: Sequence[Numbered], state: State) -> None:
        """Take events of the log over, so that everybody hears of them: of a match once it is on disk."""
        self._recent.extend(events)
        known, self.state = self.state, state
        follows = bool(events) and state.game_id == known.game_id and events[0].seq == known.seq + 1
        if not follows or not all(isinstance(numbered.event, CardSwiped) for numbered in events):
            self._urgent_seq = state.seq
        if not follows:  # its numbers say nothing about what was told
            self._told_seq = -1
        if follows and self._ranking.state is known:
            self._ranking.follow((numbered.event for numbered in events), state)


def _has_match(events: Iterable[Numbered]) -> bool:
    """Return whether there is anything that nobody may hear of before it is on disk."""
    return any(isinstance(numbered.event, MatchFound) for numbered in events)


def _answer(future: asyncio.Future[Committed], outcome: Committed | Exception) -> None:
    if future.done():
        return  # whoever asked has gone
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def _to_the_millisecond(at: datetime) -> datetime:
    # As the log keeps it: all replicas see the same time.
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def _ignore(_code: str, _replica: str) -> None:
    """Do nothing."""


class Rooms:
    """All rooms this replica knows."""

    def __init__(self, logs: RoomLogs, outbox: Outbox, *, clock: Clock) -> None:
        self._logs = logs
        self._outbox = outbox
        self._clock = clock
        self.appended: Appended = lambda _events, _state: None
        """Called with what this replica, and no other, has appended to a room, and the state after it."""
        self.pace = Pace()
        self._keeping = Keeping(logs)
        self.owed: Callable[[str], None] = lambda _: None
        """Called with the code of a room to whose log something was appended that the archive has to hear."""
        # Who uses a room holds it: a stream, its worker, a call. To forget it does not take it from them.
        self._rooms: WeakValueDictionary[str, Room] = WeakValueDictionary()
        self._used: OrderedDict[str, tuple[Room, datetime]] = OrderedDict()  # the last to be used at the end
        self.came_or_went: Callable[[str, str], None] = _ignore
        """Called when somebody's presence in a followed room may have changed: with the room's code, and the
        replica that says so or ""."""
        self._wakeups = logs.wakeups(
            appended=self._heard, came_or_went=lambda code, replica: self.came_or_went(code, replica)
        )
        self._listening: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to hear of what other replicas append."""
        self._listening = asyncio.create_task(self._wakeups.run(), name="room wakeups")

    async def stop(self) -> None:
        """Hear no more, and keep no more."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait({self._listening})
        await self._keeping.stop()

    def room(self, code: str) -> Room:
        """Return the room with a code, whether or not there is one: its state tells."""
        room = self._rooms.get(code)
        if room is None:
            room = self._rooms[code] = Room(
                code,
                logs=self._logs,
                outbox=self._outbox,
                clock=self._clock,
                pace=self.pace,
                keeping=self._keeping,
                owed=lambda code: self.owed(code),
                appended=lambda events, state: self.appended(events, state),
            )
        self._use(room)
        return room

    async def visit(self, code: str, user_id: str) -> tuple[Room, Player]:
        """Return a room, as fresh as it gets, and who the user is in it.

        Raises:
            GameNotFound: There is no such room, or the user is not in it.
            Unavailable: Redis does not answer.
        """
        room = self.room(code)
        member = (await room.refresh()).member(user_id)
        if member is None:
            raise GameNotFound(code=code)
        return room, member

    @asynccontextmanager
    async def listening(self, room: Room, wake: Callable[[], None]) -> AsyncIterator[None]:
        """Keep a room up with other replicas, and call `wake` whenever its state has changed."""
        room.listeners.add(wake)
        try:
            await self._wakeups.follow(room.code)
            yield
        finally:
            room.listeners.discard(wake)
            self._use(room)
            if not room.listeners:
                await self._wakeups.unfollow(room.code)

    def _heard(self, code: str, newest: Head | None) -> None:
        room = self._rooms.get(code)
        if room is not None:
            room.look(newest)

    def _use(self, room: Room) -> None:
        """Remember a room, and forget those that have not been used for long or are too many."""
        now = self._clock()
        self._used[room.code] = room, now
        self._used.move_to_end(room.code)
        while self._used and (len(self._used) > MOST_ROOMS or now - self._used_longest_ago() >= UNUSED):
            self._used.popitem(last=False)

    def _used_longest_ago(self) -> datetime:
        return next(iter(self._used.values()))[1]
