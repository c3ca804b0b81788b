"""What games leave behind goes to backlog_svc, for good: matches, the summary, films somebody had seen.

Nobody who plays waits for it. The replica that has appended an event tells the archive at once; whatever it
cannot tell (a crash, backlog_svc away, Redis restarted) stays owed (`outbox.py`) until some replica has. When
Redis loses a room before that, the replica that has appended the event tells it from memory (`debts.py`). So
everything is told at least once and possibly twice, which is told with the number of its event: the archive
keeps what was said last, in whatever order it comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import grpc
import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from game_svc import results
from game_svc.backlogs import Backlogs
from game_svc.debts import Debt, Debts
from game_svc.events import (
    CardSwiped,
    GameEnded,
    MatchFound,
    MatchWithdrawn,
    Numbered,
    WinnerDrawn,
)
from game_svc.log import Head, RoomLogs
from game_svc.outbox import Due, Outbox, concerns_archive
from game_svc.rooms import Rooms
from game_svc.state import Player, State
from game_svc.taste import lessons
from game_svc.taste_store import TasteStore
from mesh.clock import Clock
from mesh.errors import Unavailable
from popcorn.backlog.v1 import backlog_pb2

MOST_PARTICIPANTS: Final = 20
"""How many people a match or a summary names."""

MOST_GENRES: Final = 100
"""How many genres a summary names."""

_TOGETHER: Final = 8
_SWEEP: Final = 100
_SWEEP_EVERY: Final = timedelta(seconds=1)
_STEP: Final = 20
_LOST: Final = "lost"  # no room's code: whoever tells of rooms that Redis has lost holds its lease
_BUSY_SECONDS: Final = 0.05
_QUIET_LOOKS: Final = 60
_PATIENCE_SECONDS: Final = 3.0
_FIRST_PAUSE: Final = timedelta(milliseconds=100)
_LONGEST_PAUSE: Final = timedelta(seconds=2)

# What no repetition helps against: it is logged and left. Anything else is tried again.
_HOPELESS: Final = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)

_log = structlog.get_logger("game_svc.archive")


class Archive:
    """Tells backlog_svc what it has to keep."""

    def __init__(
        self,
        rooms: Rooms,
        logs: RoomLogs,
        outbox: Outbox,
        backlogs: Backlogs,
        tastes: TasteStore,
        *,
        name: str,
        clock: Clock,
    ) -> None:
        """Take the parts.

        Args:
            rooms: The rooms.
            logs: Their logs.
            outbox: What they owe.
            backlogs: Where it goes.
            tastes: What learns from it.
            name: This replica's own, for its leases.
            clock: The present.
        """
        self._rooms = rooms
        self._logs = logs
        self._outbox = outbox
        self._backlogs = backlogs
        self._tastes = tastes
        self._name = name
        self._clock = clock
        self._hurried: dict[str, int] = {}
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._news = asyncio.Event()
        self._debts = Debts()
        self._telling_lost = asyncio.Lock()  # one lease holds them all

    def note(self, events: Sequence[Numbered], state: State) -> None:
        """Remember what this replica has appended to a room; `state` is the one after it."""
        self._debts.note(events, state)

    def hurry(self, code: str) -> None:
        """Say that a room owes something, right now."""
        self._hurried.setdefault(code, 0)
        self._news.set()

    async def run(self) -> None:
        """Archive until cancelled."""
        next_sweep = self._clock()
        try:
            while True:
                self._news.clear()
                self._start_hurried()
                if self._clock() >= next_sweep:
                    await self._sweep()
                    next_sweep = self._clock() + _SWEEP_EVERY
                with suppress(TimeoutError):
                    async with asyncio.timeout(_SWEEP_EVERY.total_seconds()):
                        await self._news.wait()
        finally:
            for task in self._under_way.values():
                task.cancel()

    async def quiet(self, code: str) -> None:
        """Return when no replica tells anything about a room that it knew before this was called.

        Raises:
            Unavailable: One still does, or Redis does not answer.
        """
        whoever = f"{self._name} waits"
        for _ in range(_QUIET_LOOKS):
            if await self._outbox.take(code, whoever):
                await self._outbox.give_back(code, whoever)
                return
            await asyncio.sleep(_BUSY_SECONDS)
        raise Unavailable("archive", timedelta(seconds=1))

    async def forget(self, user_id: str) -> None:
        """Return when no replica tells anything that names a user of rooms that Redis has lost.

        Raises:
            Unavailable: One still does, or Redis does not answer.
        """
        await self._outbox.note_erased(user_id)
        await self.quiet(_LOST)

    def _start_hurried(self) -> None:
        for code in tuple(self._hurried):
            if len(self._under_way) >= _TOGETHER:
                return  # the next to end makes room
            if code not in self._under_way:
                attempts = self._hurried.pop(code)
                task = asyncio.create_task(self._settle(code, attempts), name=f"archive room {code}")
                self._under_way[code] = task
                task.add_done_callback(lambda _, code=code: self._ended(code))  # type: ignore[misc]

    def _ended(self, code: str) -> None:
        del self._under_way[code]
        self._news.set()

    async def _settle(self, code: str, attempts: int) -> None:
        """Tell what a room owes; come back to it when that does not work now."""
        try:
            if await self._tell(code):
                return
            pause = timedelta(seconds=_BUSY_SECONDS)  # another replica is at it, and may not know the newest
        except Unavailable:
            pause = _pause_after(attempts)  # Redis, and the log says so
        except grpc.aio.AioRpcError as error:
            pause = _pause_after(attempts)
            _log.warning("archive.put_off", code=code, status=error.code().name, attempts=attempts + 1)
        except Exception as error:  # a mistake of ours must not end the archive
            pause = _LONGEST_PAUSE
            _log.error("archive.failed", code=code, exc_info=error)
        await asyncio.sleep(pause.total_seconds())
        self._hurried.setdefault(code, attempts + 1)

    async def _sweep(self) -> None:
        """Look at rooms that have owed for long, whoever should have told."""
        try:
            dues = await self._outbox.overdue(most=_SWEEP)
            await asyncio.gather(*(self._look_at(due) for due in dues))
        except Unavailable:
            pass  # Redis, and the log says so; the list is there when it is back
        except Exception as error:  # a mistake of ours must not end the archive
            _log.error("archive.sweep_failed", exc_info=error)

    async def _look_at(self, due: Due) -> None:
        told = await self._outbox.archived(due.code)
        state = await self._rooms.room(due.code).refresh()
        if not state.seq or (told.epoch == state.game_id and told.seq >= state.seq):
            await self._outbox.strike_off(due)
        else:
            self.hurry(due.code)

    async def _tell(self, code: str) -> bool:
        """Tell everything that a room owes. Returns False when another replica has the room."""
        lease = await self._outbox.lease(code, self._name)
        if lease is None:
            return False
        try:
            state = await self._rooms.room(code).refresh()
            self._debts.look(state)
            debt = self._debts.of(code)
            if debt is not None and debt.state.game_id != state.game_id:
                async with self._telling_lost:
                    await self._tell_lost(debt)
            told = await self._outbox.archived(code)
            after = told.seq if told.epoch == state.game_id else 0
            events = [one for one in await self._events(code, state, after) if concerns_archive(one.event)]
            for number, numbered in enumerate(events, start=1):
                if not await lease.held():  # somebody may have been erased since, and the state names them
                    return False
                await self._tell_one(state, numbered)
                if number % _STEP == 0:
                    await self._outbox.advance(code, Head(state.game_id, numbered.seq))
            if state.seq > after:
                await self._outbox.advance(code, Head(state.game_id, state.seq))
            self._debts.told(code, Head(state.game_id, state.seq))
            return True
        finally:
            with suppress(Unavailable):  # then the lease ends by itself
                await lease.give_back()

    async def _tell_lost(self, debt: Debt) -> None:
        """Tell what a room owed that Redis has lost.

        Raises:
            Unavailable: Another replica does the like, or Redis does not answer.
        """
        lease = await self._outbox.lease(_LOST, self._name)
        if lease is None:
            raise Unavailable("archive")
        try:
            # No log tells any more who was erased since.
            state = await self._without_the_erased(debt.state)
            events = debt.events
            for numbered in events:
                if not await lease.held():
                    raise Unavailable("archive")
                await self._tell_one(state, numbered)
            self._debts.told(state.code, Head(state.game_id, events[-1].seq))
            _log.warning("archive.told_from_memory", code=state.code, events=len(events))
        finally:
            with suppress(Unavailable):
                await lease.give_back()

    async def _without_the_erased(self, state: State) -> State:
        players = {
            player_id: replace(player, user_id="", name="")
            if player.user_id and await self._outbox.erased(player.user_id)
            else player
            for player_id, player in state.players.items()
        }
        return replace(state, players=players)

    async def _events(self, code: str, state: State, after: int) -> Sequence[Numbered]:
        events = self._rooms.room(code).events_after(after)
        if events is None:
            events = await self._logs.read(code, after=after)
        return [numbered for numbered in events if numbered.seq <= state.seq]

    async def _tell_one(self, state: State, numbered: Numbered) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._deliver(state, numbered)
        except grpc.aio.AioRpcError as error:
            if error.code() not in _HOPELESS:
                raise
            _log.error(
                "archive.refused",
                code=state.code,
                seq=numbered.seq,
                status=error.code().name,
                details=error.details(),
            )

    async def _deliver(self, state: State, numbered: Numbered) -> None:
        seq = numbered.seq
        match numbered.event:
            case MatchFound(movie_id=movie_id, present=present):
                night = _movie_night(state, movie_id, present, numbered.at)
                await self._backlogs.record_match(night, game_seq=seq)
            case WinnerDrawn(movie_id=movie_id) if movie_id not in state.matches:
                night = _movie_night(state, movie_id, tuple(state.last_there), numbered.at)
                await self._backlogs.record_match(night, game_seq=seq)
            case MatchWithdrawn(movie_id=movie_id):
                await self._backlogs.withdraw_match(state.game_id, movie_id, game_seq=seq)
            case CardSwiped(player_id=player_id, movie_id=movie_id, swipe_id=swipe_id):
                player = state.players[player_id]
                taken_back = player.swipe_ids[swipe_id].undone
                if player.user_id and not player.guest and not taken_back:
                    await self._backlogs.mark_watched(player.user_id, movie_id)
            case GameEnded() if state.started is not None:
                await self._tastes.learn(state.game_id, lessons(state))
                await self._backlogs.record_game(summary(state), game_seq=seq)


def _movie_night(state: State, movie_id: int, present: Sequence[str], at: datetime) -> backlog_pb2.Match:
    there = [player for player in state.players.values() if not present or player.player_id in present]
    return backlog_pb2.Match(
        game_id=state.game_id,
        game_name=state.name,
        movie_id=movie_id,
        match_time=_timestamp(at),
        participants=[
            backlog_pb2.Match.Participant(
                user_id=player.user_id, display_name=player.name, guest=player.guest
            )
            for player in there[:MOST_PARTICIPANTS]
        ],
    )


def summary(state: State) -> backlog_pb2.FinishedGame:
    """Return what is kept of a game that is over. It tells no more than its results do."""
    assert state.started is not None, "a game that has never begun leaves nothing"
    assert state.ended is not None, "it is over"
    games, voices = backlog_pb2.FinishedGame, results.habits(state)
    # Whoever was there to the end first: a room seats twenty, and more may have come and gone.
    voices = sorted(voices, key=lambda habits: habits.player.player_id not in state.last_there)
    drawn = [] if state.drawn is None or state.drawn.movie_id in state.matches else [state.drawn.movie_id]
    return backlog_pb2.FinishedGame(
        game_id=state.game_id,
        game_name=state.name,
        start_time=_timestamp(state.started),
        end_time=_timestamp(state.ended),
        players=[_played(habits) for habits in voices[:MOST_PARTICIPANTS]],
        matched_movie_ids=[*state.matches, *drawn],
        near_misses=[
            games.NearMiss(movie_id=miss.movie_id, percent=miss.percent)
            for miss in results.near_misses(state)
            if miss.movie_id not in drawn
        ],
        genres=[
            games.GenreTaste(genre_id=genre, swipes=swipes, likes=likes)
            for genre, (swipes, likes) in list(results.genre_counts(state).items())[:MOST_GENRES]
        ],
    )


def _played(habits: results.Habits) -> backlog_pb2.FinishedGame.Player:
    player: Player = habits.player
    return backlog_pb2.FinishedGame.Player(
        user_id=player.user_id,
        display_name=player.name,
        guest=player.guest,
        swipes=habits.swipes,
        liked_percent=habits.liked_percent,
        with_majority_percent=habits.with_majority_percent,
    )


def _pause_after(attempts: int) -> timedelta:
    return min(_FIRST_PAUSE * (1 << min(attempts, 10)), _LONGEST_PAUSE)


def _timestamp(at: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(at)
    return timestamp
