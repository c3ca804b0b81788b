"""Who is connected to a room right now, over all replicas.

Each replica notes in Redis whom it serves, under a name of its own, and renews that every `RENEW`; what a
replica that dies has noted is over after `LIFE`. Who comes or goes is told to the other replicas at once; who
goes counts as connected for another `GRACE`, so that nobody sees a phone change from one network, or from one
replica, to another. None of this is in a room's log, and none of it has to survive.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import structlog

from game_svc.alarm import Alarm
from game_svc.log import RoomLogs
from game_svc.rooms import Room, Rooms
from mesh.errors import Unavailable
from mesh.running import start_detached

RENEW: Final = timedelta(seconds=5)
"""How often a replica says that its players are still there."""

LIFE: Final = timedelta(seconds=12)
"""How long that holds."""

GRACE: Final = timedelta(seconds=3)
"""How long somebody whose last stream has ended still counts as connected."""

AWAY: Final = timedelta(minutes=2)
"""After how long without a stream somebody has put the phone away, or has no battery left."""

_log = structlog.get_logger("game_svc.presence")


@dataclass(slots=True)
class _Attendance:
    """A room with streams on this replica."""

    room: Room
    alarm: Alarm
    streams: Counter[str] = field(default_factory=Counter)
    """How many streams each player has here."""
    gone: set[str] = field(default_factory=set)
    """Who has gone from here since that was last told."""
    tell: bool = False
    """Whether the other replicas have to hear of a change."""
    asking: asyncio.Task[None] | None = None
    again: bool = False
    """Whether something has changed since `asking` began."""


class Presence:
    """Who is connected to the rooms that have streams on this replica."""

    def __init__(self, logs: RoomLogs, rooms: Rooms, *, replica: str) -> None:
        """Describe it.

        Args:
            logs: Where presence is kept.
            rooms: Where `Room.connected` is set.
            replica: A name that no other replica has.
        """
        self._logs = logs
        self._replica = replica
        self._attendances: dict[str, _Attendance] = {}
        self._renewing: asyncio.Task[None] | None = None
        rooms.came_or_went = self._heard

    async def start(self) -> None:
        """Renew from now on."""
        self._renewing = asyncio.create_task(self._renew(), name="presence")

    async def stop(self) -> None:
        """Renew no more."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait({self._renewing})

    @asynccontextmanager
    async def of(self, room: Room, player_id: str) -> AsyncIterator[None]:
        """Have a player count as connected. Nobody waits for Redis here."""
        attendance = self._attendances.get(room.code)
        if attendance is None:
            attendance = _Attendance(room, Alarm(lambda: self._look(room.code)))
            self._attendances[room.code] = attendance
        attendance.room = room
        attendance.streams[player_id] += 1
        attendance.gone.discard(player_id)
        if attendance.streams[player_id] == 1:
            attendance.tell = True
            _show(room, room.connected | {player_id})
            self._ask(attendance)
        try:
            yield
        finally:
            attendance.streams[player_id] -= 1
            if not attendance.streams[player_id]:
                del attendance.streams[player_id]
                attendance.gone.add(player_id)
                attendance.tell = True
                self._ask(attendance)

    async def connected(self, code: str) -> frozenset[str]:
        """Return the ids of a room's players who are connected.

        Raises:
            Unavailable: Redis does not answer.
        """
        attendance = self._attendances.get(code)
        if attendance is not None:
            return attendance.room.connected
        return frozenset(_players(await self._logs.presence(code, {})))

    async def is_away(self, code: str, player_id: str) -> bool:
        """Return whether a player was connected once and has not been for `AWAY`.

        Who never has a stream, and asks now and then instead, is not known to be away.

        Raises:
            Unavailable: Redis does not answer.
        """
        ago = await self._logs.last_seen(code, player_id)
        return ago is not None and ago >= AWAY

    def _heard(self, code: str, replica: str) -> None:
        if replica != self._replica:
            self._look(code)

    def _look(self, code: str) -> None:
        attendance = self._attendances.get(code)
        if attendance is not None:
            self._ask(attendance)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW.total_seconds())
            for attendance in tuple(self._attendances.values()):
                self._ask(attendance)

    def _ask(self, attendance: _Attendance) -> None:
        """Tell and ask in the background, one question a room at a time."""
        attendance.again = True
        if attendance.asking is None:
            attendance.asking = start_detached(self._exchange(attendance), name="presence of a room")

    async def _exchange(self, attendance: _Attendance) -> None:
        room = attendance.room
        try:
            while attendance.again:
                attendance.again = False
                tell, attendance.tell = attendance.tell, False
                gone, attendance.gone = attendance.gone, set()
                renewed = {
                    **{self._member(player_id): GRACE for player_id in gone},
                    **{self._member(player_id): LIFE for player_id in attendance.streams},
                }
                try:
                    found = await self._logs.presence(
                        room.code, renewed, tell_as=self._replica if tell else None
                    )
                except Unavailable:
                    # What was known stays shown: that Redis is away says nothing about people.
                    attendance.gone |= gone - attendance.streams.keys()
                    attendance.tell |= tell
                    break
                self._learn(attendance, found)
        finally:
            attendance.asking = None
        if not attendance.streams and not attendance.gone:
            attendance.alarm.close()
            room.connected = frozenset()
            if self._attendances.get(room.code) is attendance:
                del self._attendances[room.code]

    def _learn(self, attendance: _Attendance, found: Mapping[str, timedelta]) -> None:
        left = _players(found)
        _show(attendance.room, frozenset(left) | attendance.streams.keys())
        # Who is here stays until they go; of the others the first may be over then.
        ends = [life for player_id, life in left.items() if player_id not in attendance.streams]
        if ends:
            attendance.alarm.set(min(ends).total_seconds() + 0.01)
        else:
            attendance.alarm.off()

    def _member(self, player_id: str) -> str:
        return f"{player_id}|{self._replica}"


def _players(found: Mapping[str, timedelta]) -> dict[str, timedelta]:
    """Return how long each player counts as connected, through whichever replica longest."""
    left: dict[str, timedelta] = {}
    for member, life in found.items():
        player_id = member.partition("|")[0]
        left[player_id] = max(life, left.get(player_id, life))
    return left


def _show(room: Room, connected: frozenset[str]) -> None:
    if connected != room.connected:
        room.connected = connected
        room.wake()
