"""What this replica has appended and the archive has not heard yet, in memory: for when Redis loses the log.

The log is what is told from (`archive.py`). When a room's log is gone before that, as when Redis is emptied
while backlog_svc is away, the replica that announced a match still knows it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from game_svc.events import GameEnded, MatchFound, MatchWithdrawn, Numbered, WinnerDrawn
from game_svc.log import Head
from game_svc.state import State

MOST_ROOMS: Final = 1000
"""How many rooms' debts are kept; of more, the room that has owed longest is left to its log alone."""

_log = structlog.get_logger("game_svc.debts")


@dataclass(slots=True)
class Debt:
    """What one room owes."""

    state: State
    """The newest known: whoever was erased has no name in it."""
    newest: dict[tuple[str, int], Numbered] = field(default_factory=dict)
    """By what it is about, as only what was said last about a film counts: so a room's deck bounds them."""

    @property
    def events(self) -> Sequence[Numbered]:
        """The events to tell, in their order."""
        return sorted(self.newest.values(), key=lambda numbered: numbered.seq)


class Debts:
    """The debts of all rooms."""

    def __init__(self) -> None:
        self._rooms: OrderedDict[str, Debt] = OrderedDict()

    def of(self, code: str) -> Debt | None:
        """Return what a room owes, as far as this replica has appended it."""
        return self._rooms.get(code)

    def note(self, events: Sequence[Numbered], state: State) -> None:
        """Remember what was appended to a room; `state` is the one after it."""
        self.look(state)
        owed = {about: numbered for numbered in events if (about := _about(numbered)) is not None}
        if not owed:
            return
        debt = self._rooms.get(state.code)
        if debt is None or debt.state.game_id != state.game_id:
            debt = self._rooms[state.code] = Debt(state)
        debt.newest |= owed
        if len(self._rooms) > MOST_ROOMS:
            code, _ = self._rooms.popitem(last=False)
            _log.warning("debts.left_to_the_log", code=code, most=MOST_ROOMS)

    def look(self, state: State) -> None:
        """See a room's newest state."""
        debt = self._rooms.get(state.code)
        if debt is not None and debt.state.game_id == state.game_id and debt.state.seq < state.seq:
            debt.state = state

    def told(self, code: str, heard: Head) -> None:
        """Forget what the archive has heard."""
        debt = self._rooms.get(code)
        if debt is None or debt.state.game_id != heard.epoch:
            return
        debt.newest = {about: one for about, one in debt.newest.items() if one.seq > heard.seq}
        if not debt.newest:
            del self._rooms[code]


def _about(numbered: Numbered) -> tuple[str, int] | None:
    match numbered.event:
        case MatchFound(movie_id=movie_id) | MatchWithdrawn(movie_id=movie_id):
            return "match", movie_id
        case WinnerDrawn(movie_id=movie_id):
            return "drawn", movie_id
        case GameEnded():
            return "ended", 0
        case _:
            return None
