"""What is held about a person: all of it for themselves, none of it once they are gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from game_svc.archive import Archive
from game_svc.log import RoomLogs
from game_svc.rooms import Rooms
from game_svc.rules import Erase
from game_svc.state import Player, State, Tally
from game_svc.taste_store import TasteStore
from game_svc.wrong_codes import WrongCodes


@dataclass(frozen=True, slots=True)
class Stay:
    """Somebody's part in a room."""

    room: State
    player: Player


class People:
    """Export and erasure, over all rooms that live."""

    def __init__(
        self,
        logs: RoomLogs,
        rooms: Rooms,
        wrong_codes: WrongCodes,
        archive: Archive,
        tastes: TasteStore,
    ) -> None:
        self._logs = logs
        self._rooms = rooms
        self._wrong_codes = wrong_codes
        self._archive = archive
        self._tastes = tastes

    async def stays(self, user_id: str) -> list[Stay]:
        """Return a user's part in every room they are or were in.

        Raises:
            Unavailable: Redis does not answer.
        """
        states = [await self._rooms.room(code).refresh() for code in await self._logs.rooms_of(user_id)]
        return [Stay(state, player) for state in states if (player := state.player_of(user_id)) is not None]

    async def taste(self, user_id: str) -> Mapping[int, Tally]:
        """Return what is counted of a user's verdicts, by genre.

        Raises:
            Unavailable: Redis does not answer.
        """
        return await self._tastes.of_person(user_id)

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
        await self._archive.forget(user_id)
        erased = 0
        for code in await self._logs.rooms_of(user_id):
            committed = await self._rooms.room(code).submit(Erase(user_id))
            await self._logs.scrub(code, user_id)
            await self._archive.quiet(code)
            erased += bool(committed.events)
        await self._tastes.forget(user_id)
        await self._wrong_codes.forget(user_id)
        await self._logs.forget_player(user_id)
        return erased
