"""The rooms somebody is in, and those they were in to the end, as long as the rooms live."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from game_svc.log import RoomLogs
from game_svc.rooms import Rooms
from game_svc.state import Player, State

_TOGETHER: Final = 64

Position = tuple[int, str]
"""A place in somebody's list: when a room was opened, in milliseconds, and its code."""


@dataclass(frozen=True, slots=True)
class Visits:
    """A page of somebody's rooms."""

    visits: Sequence[tuple[State, Player]]
    """The rooms, and who they are in each: the latest first."""
    total: int
    """How many there are over all pages."""
    next: Position | None
    """After which the next page begins; None on the last."""


class History:
    """Where people have been."""

    def __init__(self, logs: RoomLogs, rooms: Rooms) -> None:
        self._logs = logs
        self._rooms = rooms

    async def visits(self, user_id: str, *, size: int, after: Position | None) -> Visits:
        """Return a page of somebody's rooms, and forget those that are gone.

        Raises:
            Unavailable: Redis does not answer.
        """
        states: list[State] = []
        codes = await self._logs.rooms_of(user_id)
        for start in range(0, len(codes), _TOGETHER):
            some = codes[start : start + _TOGETHER]
            states += await asyncio.gather(*(self._rooms.room(code).refresh() for code in some))
        if gone := [state.code for state in states if not state.seq]:
            await self._logs.forget_rooms(user_id, gone)
        found = [(state, player) for state in states if (player := state.witness(user_id)) is not None]
        found.sort(key=lambda visit: _position(visit[0]), reverse=True)
        rest = [visit for visit in found if after is None or _position(visit[0]) < after]
        page = rest[:size]
        return Visits(page, len(found), _position(page[-1][0]) if len(rest) > size else None)


def _position(room: State) -> Position:
    assert room.opened is not None, "a room that somebody is in was opened"
    return round(room.opened.timestamp() * 1000), room.code
