"""One room a player at a time.

A player's seat and their room are two things in Redis that no one statement covers, so a seat is taken
first and the room entered then. A seat that leads nowhere (its room is over or gone, or the player is not
in it) is void. What comes between taking a seat and entering is given `ENTERING`; a seat that leads nowhere
for longer was left behind by a crash.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from game_svc.events import Settings
from game_svc.log import RoomLogs, Seat
from game_svc.refusals import AlreadyPlaying, CodeTaken, GameRefusal
from game_svc.rooms import Rooms
from game_svc.rules import Join, Leave, Open
from game_svc.state import Phase, State
from game_svc.wrong_codes import WrongCodes
from mesh.clock import Clock
from mesh.errors import Unavailable
from mesh.identity import Identity

ENTERING: Final = timedelta(seconds=10)
"""How long it may take from taking a seat to being in the room."""

_MOST_CODES: Final = 3


class Seating:
    """Who sits where."""

    def __init__(
        self,
        logs: RoomLogs,
        rooms: Rooms,
        wrong_codes: WrongCodes,
        *,
        clock: Clock,
        new_code: Callable[[], str],
        new_id: Callable[[], str],
    ) -> None:
        self._logs = logs
        self._rooms = rooms
        self._wrong_codes = wrong_codes
        self._clock = clock
        self._new_code = new_code
        self._new_id = new_id

    async def open(self, host: Identity, room_name: str, settings: Settings) -> State:
        """Open a room and seat its host.

        Raises:
            AlreadyPlaying: They sit in another room.
            Unavailable: Redis does not answer.
        """
        for _ in range(_MOST_CODES):
            code = self._new_code()
            taken = await self._take(host.user_id, code)
            command = Open(
                self._new_id(), code, host.user_id, host.name, room_name, settings, guest=host.guest
            )
            try:
                return (await self._rooms.room(code).submit(command)).state
            except CodeTaken:
                await self._logs.stand_up(host.user_id, code, taken_by=taken)
        raise Unavailable("room codes")

    async def enter(self, player: Identity, code: str) -> State:
        """Seat a player in a room; where they sit already, nothing changes.

        Raises:
            AlreadyPlaying: They sit in another room.
            TooManyWrongCodes: They have tried several that did not let them in.
            GameRefusal: The room does not let them in.
            Unavailable: Redis does not answer.
        """
        attempt = self._new_id()
        await self._wrong_codes.count(player.user_id, attempt)
        wrong = False
        try:
            return await self._enter(player, code)
        except AlreadyPlaying:
            raise
        except GameRefusal:
            wrong = True
            raise
        finally:
            if not wrong:
                with suppress(Unavailable):  # then it counts for a minute, which one more try survives
                    await self._wrong_codes.was_right(player.user_id, attempt)

    async def _enter(self, player: Identity, code: str) -> State:
        taken = await self._take(player.user_id, code)
        join = Join(player.user_id, player.name, guest=player.guest)
        try:
            return (await self._rooms.room(code).submit(join)).state
        except GameRefusal:
            await self._logs.stand_up(player.user_id, code, taken_by=taken)
            raise

    async def leave(self, user_id: str, code: str) -> None:
        """Take a player out of a room.

        Raises:
            GameNotFound: They are not in it.
            Unavailable: Redis does not answer.
        """
        leaving = self._clock()
        await self._rooms.room(code).submit(Leave(user_id))
        await self._logs.stand_up(user_id, code, taken_by=leaving)

    async def _take(self, user_id: str, code: str) -> datetime:
        """Take a seat. Returns when."""
        now = self._clock()
        held = await self._logs.sit_down(user_id, code, at=now)
        if held is not None and await self._is_void(held, user_id):
            now = self._clock()
            held = await self._logs.sit_down(user_id, code, at=now, instead_of=held)
        if held is not None:
            raise AlreadyPlaying(code=held.code)
        return now

    async def _is_void(self, seat: Seat, user_id: str) -> bool:
        state = await self._rooms.room(seat.code).refresh()
        player = state.player_of(user_id)
        if player is not None:
            return not player.present or state.phase is Phase.ENDED
        return self._clock().timestamp() * 1000 - seat.taken_ms > ENTERING.total_seconds() * 1000
