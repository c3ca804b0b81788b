"""What can happen in a room. A game is the list of these; everything else about it is derived.

Events are kept for as long as the room lives and read by newer versions of this code: a field may be added
with a default, never renamed, and its meaning never changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

SEATS = 20
"""How many players a room holds."""

LARGEST_DECK = 500
"""How many cards a deck has at most."""

PICKS_EACH = 100
"""How many films one player may pick."""

SWIPES_EACH = 5_000
"""How many verdicts one player may give in a game, those taken back included: a log has to end somewhere."""


class Verdict(StrEnum):
    """What a player thinks of a film."""

    LIKE = "like"
    PASS = "pass"  # noqa: S105 - a verdict, not a password
    SUPERLIKE = "superlike"
    SEEN_IT = "seen_it"

    @property
    def likes(self) -> bool:
        """Whether it counts towards a match."""
        return self in (Verdict.LIKE, Verdict.SUPERLIKE)

    @property
    def tells_taste(self) -> bool:
        """Whether it says what somebody likes: that they have seen a film does not."""
        return self is not Verdict.SEEN_IT


class MatchRule(StrEnum):
    """How many of those present must like a film."""

    EVERYBODY = "everybody"
    MAJORITY = "majority"
    COUNT = "count"


class AfterMatch(StrEnum):
    """What a match does to the game."""

    GO_ON = "go_on"
    END = "end"


class DeckSource(StrEnum):
    """Where films of a deck come from."""

    PICKS = "picks"
    BACKLOGS = "backlogs"
    DISCOVER = "discover"
    TRENDING = "trending"


class EndCause(StrEnum):
    """Why a game ended."""

    MATCH = "match"
    HOST = "host"
    EMPTY = "empty"
    DRAW = "draw"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which films `DeckSource.DISCOVER` takes. All that is set must hold; 0 and empty mean any."""

    genre_ids: tuple[int, ...] = ()
    """TMDB's genres: films that have all of them."""
    year_from: int = 0
    year_to: int = 0
    max_runtime_minutes: int = 0
    min_rating: float = 0.0
    """0 to 10."""
    provider_ids: tuple[int, ...] = ()
    """TMDB's providers: films that one of them has in `region`."""
    region: str = ""
    """Where `provider_ids` count, ISO 3166-1."""
    original_language: str = ""
    """ISO 639-1."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a room plays."""

    match_rule: MatchRule = MatchRule.EVERYBODY
    likes_needed: int = 0
    """With `MatchRule.COUNT`: how many likes, 1 to `SEATS`. Otherwise 0."""
    after_match: AfterMatch = AfterMatch.GO_ON
    deck_sources: tuple[DeckSource, ...] = (DeckSource.PICKS,)
    max_movies: int = 100
    """How many cards at most, 1 to `LARGEST_DECK`."""
    discover: Filter = Filter()
    leave_out_watched: bool = False
    """Whether films that somebody present has watched stay out of the deck."""


@dataclass(frozen=True, slots=True)
class Film:
    """What the rules know of a film."""

    movie_id: int
    rating: float
    """Its public rating, 0 to 10; 0 when nobody has voted. It orders cards that are otherwise equal."""
    genres: tuple[int, ...] = ()
    """TMDB's genres, as far as they are known."""
    appeal: float | None = None
    """How much the room is expected to like it, in log-odds (`taste.appeals`): known once it is in a deck."""


@dataclass(frozen=True, slots=True)
class RoomOpened:
    """Always the first event."""

    game_id: str
    """Which game this is, for good: a code is used again one day. It is the log's epoch, too."""
    code: str
    name: str
    settings: Settings


@dataclass(frozen=True, slots=True)
class PlayerJoined:
    """Somebody is there: for the first time, or again."""

    player_id: str
    user_id: str
    name: str
    swipes: int
    """How many cards they have swiped: not 0 for somebody who comes back."""
    picked_movies: int
    """How many films all players present have picked now, each counted once."""
    guest: bool = False
    """Whether they play without an account: a guest has no backlog."""


@dataclass(frozen=True, slots=True)
class PlayerLeft:
    """Somebody has left. Their swipes stay in the log, and do not count until they come back."""

    player_id: str
    picked_movies: int


@dataclass(frozen=True, slots=True)
class PlayerRemoved:
    """The host has taken somebody out, who cannot come back. Their swipes stay in the log, uncounted."""

    player_id: str
    picked_movies: int


@dataclass(frozen=True, slots=True)
class PlayerErased:
    """Somebody has deleted their account: they have neither id nor name any more, and cannot come back."""

    player_id: str


@dataclass(frozen=True, slots=True)
class HostChanged:
    """Somebody is host now."""

    player_id: str


@dataclass(frozen=True, slots=True)
class RoomChanged:
    """The room has another name, or plays differently."""

    name: str
    settings: Settings


@dataclass(frozen=True, slots=True)
class DoorChanged:
    """The door is closed to strangers, or open again."""

    locked: bool


@dataclass(frozen=True, slots=True)
class PickAdded:
    """Somebody put a film in."""

    player_id: str
    film: Film
    picked_movies: int
    """How many films all players present have picked now, each counted once."""


@dataclass(frozen=True, slots=True)
class PickRemoved:
    """Somebody took their film back."""

    player_id: str
    movie_id: int
    picked_movies: int


@dataclass(frozen=True, slots=True)
class SwipingStarted:
    """The deck is fixed."""

    deck: tuple[Film, ...]
    empty_sources: tuple[DeckSource, ...]
    """Sources that gave nothing, so that trending films took their place."""


@dataclass(frozen=True, slots=True)
class CardSwiped:
    """Somebody gave their verdict on a film."""

    player_id: str
    movie_id: int
    verdict: Verdict
    swipe_id: str
    swipes: int
    """How many cards they have swiped now."""


@dataclass(frozen=True, slots=True)
class SwipeUndone:
    """Somebody took their verdict on a film back: the card is in front of them again."""

    player_id: str
    movie_id: int
    swipe_id: str
    """The swipe that was taken back."""
    swipes: int
    """How many cards they have swiped now."""


@dataclass(frozen=True, slots=True)
class MatchFound:
    """Enough of those present like a film."""

    movie_id: int
    present: tuple[str, ...] = ()
    """Who was there: player ids. Logs from before this was written down have none."""


@dataclass(frozen=True, slots=True)
class MatchWithdrawn:
    """Not enough of those present like it any more."""

    movie_id: int


@dataclass(frozen=True, slots=True)
class CardsRanOut:
    """Everybody present has swiped all cards."""


@dataclass(frozen=True, slots=True)
class RunOffStarted:
    """The best films are the deck now, and everybody gives their verdicts anew."""

    deck: tuple[Film, ...]
    round: int
    """Which round begins: 2 after the first deck, then 3, ..."""


@dataclass(frozen=True, slots=True)
class WinnerDrawn:
    """Chance has decided. `rules.drawn` gives the same film for the same seed."""

    movie_id: int
    seed: str
    among: tuple[int, ...]
    """The films that were as near to a match as any."""


@dataclass(frozen=True, slots=True)
class GameEnded:
    """Nothing happens any more."""

    cause: EndCause


Event = (
    RoomOpened
    | PlayerJoined
    | PlayerLeft
    | PlayerRemoved
    | PlayerErased
    | HostChanged
    | RoomChanged
    | DoorChanged
    | PickAdded
    | PickRemoved
    | SwipingStarted
    | CardSwiped
    | SwipeUndone
    | MatchFound
    | MatchWithdrawn
    | CardsRanOut
    | RunOffStarted
    | WinnerDrawn
    | GameEnded
)


@dataclass(frozen=True, slots=True)
class Numbered:
    """An event in its place in the log."""

    seq: int
    """1, 2, 3, ... without gaps."""
    at: datetime
    event: Event
