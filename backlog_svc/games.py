"""Finished games, as their players saw them at the end."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

MOST_PLAYERS: Final = 20
"""A room has no more seats."""
MOST_MOVIES: Final = 500
"""A deck has no more cards, so no list of a game's films is longer."""
MOST_GENRES: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Player:
    """Somebody who played, and how."""

    user_id: str | None
    """None once they have deleted their account."""
    display_name: str | None
    """The name they played under; None together with the id."""
    guest: bool
    swipes: int
    liked_percent: int
    """How many percent of their swipes were likes."""
    with_majority_percent: int
    """How many percent of their verdicts were those of most."""


@dataclass(frozen=True, slots=True)
class NearMiss:
    """A film that nearly matched."""

    movie_id: int
    percent: int
    """How many percent of the players like it."""


@dataclass(frozen=True, slots=True)
class GenreTaste:
    """What the group thinks of a genre."""

    genre_id: int
    """TMDB's id."""
    swipes: int
    """How often one of them swiped a film of it."""
    likes: int
    """How many of these were likes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedGame:
    """A game that has ended. Times are aware, in microseconds."""

    game_id: str
    game_name: str
    start_time: datetime
    end_time: datetime
    players: tuple[Player, ...]
    matched_movie_ids: tuple[int, ...]
    """The matches that stood at the end, the first first."""
    near_misses: tuple[NearMiss, ...]
    """The best of the rest, the nearest first."""
    genres: tuple[GenreTaste, ...]


@dataclass(frozen=True, slots=True)
class GamePosition:
    """A place in somebody's list, the latest first: right after the game with this end and id."""

    end_time: datetime
    game_id: str


@dataclass(frozen=True, slots=True)
class GamePage:
    """A stretch of somebody's list."""

    games: tuple[FinishedGame, ...]
    next: GamePosition | None
    """Where the list goes on; None at its end."""
    total_size: int
    """How many there are over all pages, at the same moment as the page."""
