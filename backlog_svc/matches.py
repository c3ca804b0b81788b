"""Movie nights: the films that games ended with, and what "we watched it" means for whom.

Plain values and rules; nothing here knows of gRPC or of PostgreSQL.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

MOST_PARTICIPANTS: Final = 20
"""A room has no more seats."""
LONGEST_NAME: Final = 512
"""Code points. Names of people and games come checked, by stricter rules than this bound."""


class MovieNightNotFound(Exception):
    """There is no such movie night, or the person who asks was not there: the answer does not tell which."""

    status = "NOT_FOUND"
    reason = "MOVIE_NIGHT_NOT_FOUND"

    def __init__(self, game_id: str, movie_id: int) -> None:
        super().__init__("You have no movie night with this game and film.")
        self.metadata = {"game_id": game_id, "movie_id": str(movie_id)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """Somebody who was there."""

    user_id: str | None
    """None once they have deleted their account."""
    display_name: str | None
    """The name they played under; None together with the id."""
    guest: bool = False
    """Whether they played without an account, and so have no backlog."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One film that a game ended with. Times are aware, in microseconds."""

    game_id: str
    movie_id: int
    game_name: str
    match_time: datetime
    participants: tuple[Participant, ...]
    watch_time: datetime | None = None
    """When they watched it, as the first of them said; None until then."""


@dataclass(frozen=True, slots=True)
class MatchPosition:
    """A place in somebody's list, the latest first: right after the match with this time, game and film."""

    match_time: datetime
    game_id: str
    movie_id: int


@dataclass(frozen=True, slots=True)
class MatchPage:
    """A stretch of somebody's list."""

    matches: tuple[Match, ...]
    next: MatchPosition | None
    """Where the list goes on; None at its end."""
    total_size: int
    """How many there are over all pages, at the same moment as the page."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What "we watched it" has done."""

    match: Match
    """As it is now."""
    moved: int
    """How many people's entries were moved or added just now."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A participant, and whether "we watched it" has been carried into their backlog."""

    participant: Participant
    moved: bool


def to_move(seats: Iterable[Seat], *, said_by: str) -> list[str]:
    """Return whose entries "we watched it" moves now, sorted.

    Each participant's entry is moved once; what they do with it afterwards is theirs. Somebody erased is
    nobody any more. A guest has no backlog; one who says so themselves has an account by now, since guests
    may not.
    """
    return sorted(
        user_id
        for seat in seats
        if not seat.moved
        and (user_id := seat.participant.user_id) is not None
        and (not seat.participant.guest or user_id == said_by)
    )
