"""What the rooms hold about a person: all of it for themselves, none of it once they are gone."""

from __future__ import annotations

from dataclasses import dataclass

from game_svc.archive import Archive
from game_svc.log import RoomLogs
from game_svc.rooms import Rooms
from game_svc.rules import Erase
from game_svc.state import Player, State


@dataclass(frozen=True, slots=True)
class Stay:
    """Somebody's part in a room."""

    room: State
    player: Player


class People:
    """Export and erasure, over all rooms that live."""

    def __init__(self, logs: RoomLogs, rooms: Rooms, archive: Archive) -> None:
        self._logs = logs
        self._rooms = rooms
        self._archive = archive

    async def stays(self, user_id: str) -> list[Stay]:
        """Return a user's part in every room they are or were in.

        Raises:
            Unavailable: Redis does not answer.
        """
        states = [await self._rooms.room(code).refresh() for code in await self._logs.rooms_of(user_id)]
        return [Stay(state, player) for state in states if (player := state.player_of(user_id)) is not None]

    async def erase(self, user_id: str) -> int:
        """Erase a user from every room. What a crash leaves undone, the next call does.

        The event tells every replica and every client that listens; then the id and the name are taken out of
        what was written before. When this returns nothing is on its way to the archive any more that names
        them. The list of rooms goes last, since it is the way to find them.

        Returns:
            How many rooms they were erased from.

        Raises:
            Unavailable: Redis does not answer.
        """
        erased = 0
        for code in await self._logs.rooms_of(user_id):
            committed = await self._rooms.room(code).submit(Erase(user_id))
            await self._logs.scrub(code, user_id)
            await self._archive.quiet(code)
            erased += bool(committed.events)
        await self._logs.forget_player(user_id)
        return erased
