"""A room's state: the fold of its events. `evolve` is pure, and trusts the log, since `decide` wrote it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from game_svc.events import (
    CardSwiped,
    Film,
    GameEnded,
    HostChanged,
    MatchFound,
    MatchWithdrawn,
    Numbered,
    PickAdded,
    PickRemoved,
    PlayerErased,
    PlayerJoined,
    PlayerLeft,
    RoomOpened,
    Settings,
    SwipingStarted,
    Verdict,
)


class Phase(StrEnum):
    """Where a room is in its life."""

    LOBBY = "lobby"
    PLAYING = "playing"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Swipe:
    """A verdict that stands."""

    movie_id: int
    verdict: Verdict
    swipe_id: str
    seq: int
    """The number of its event."""


@dataclass(frozen=True, slots=True)
class Player:
    """Somebody who is, or was, in the room."""

    player_id: str
    user_id: str
    """Empty once they have deleted their account, as their name is."""
    name: str
    joined: datetime
    present: bool = True
    picks: Mapping[int, Film] = field(default_factory=dict)
    """By film, in the order they were picked."""
    swipes: Mapping[int, Swipe] = field(default_factory=dict)
    """By film, in the order they were made."""
    swipe_ids: Mapping[str, int] = field(default_factory=dict)
    """Which film each swipe id was for."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What those present think of a film, all of them together."""

    swiped: int = 0
    """How many have swiped it."""
    likes: int = 0
    """How many of them like it."""
    loved: int = 0
    """How many of those with a superlike."""


@dataclass(frozen=True, slots=True)
class State:
    """A room. The one before its first event is `EMPTY`."""

    seq: int = 0
    """The number of the last event."""
    game_id: str = ""
    code: str = ""
    name: str = ""
    settings: Settings = field(default_factory=Settings)
    phase: Phase = Phase.LOBBY
    opened: datetime | None = None
    started: datetime | None = None
    host_id: str = ""
    players: Mapping[str, Player] = field(default_factory=dict)
    """Everybody who was ever there, by player id, in the order they first joined."""
    deck: tuple[Film, ...] = ()
    deck_ids: frozenset[int] = frozenset()
    tallies: Mapping[int, Tally] = field(default_factory=dict)
    """By film, for films that somebody present has swiped. Kept, since every deal looks at all of them."""
    matches: Mapping[int, datetime] = field(default_factory=dict)
    """The matches that stand, by film, the first first."""

    def tally(self, movie_id: int) -> Tally:
        """Return what those present think of a film."""
        return self.tallies.get(movie_id, NOBODY)

    @property
    def present(self) -> tuple[Player, ...]:
        """Who is there, in the order they first joined."""
        return tuple(player for player in self.players.values() if player.present)

    def player_of(self, user_id: str) -> Player | None:
        """Return who this user is in the room, present or not; None for a stranger."""
        return next((player for player in self.players.values() if player.user_id == user_id), None)

    def member(self, user_id: str) -> Player | None:
        """Return who this user is in the room, if they are there."""
        player = self.player_of(user_id)
        return player if player is not None and player.present else None

    @property
    def picked(self) -> Mapping[int, Film]:
        """What those present have picked, each film once, in the order they joined and picked."""
        return {film.movie_id: film for player in self.present for film in player.picks.values()}


NOBODY = Tally()
EMPTY = State()


def evolve(state: State, numbered: Numbered) -> State:
    """Return the state after one more event."""
    event, at = numbered.event, numbered.at
    state = replace(state, seq=numbered.seq)
    match event:
        case RoomOpened():
            return replace(
                state,
                game_id=event.game_id,
                code=event.code,
                name=event.name,
                settings=event.settings,
                opened=at,
            )
        case PlayerJoined():
            player = _joined(state.players.get(event.player_id), event, at)
            return counted_anew(_with_player(state, player))
        case PlayerLeft():
            player = replace(state.players[event.player_id], present=False)
            return counted_anew(_with_player(state, player))
        case PlayerErased():
            player = replace(state.players[event.player_id], user_id="", name="", present=False)
            return counted_anew(_with_player(state, player))
        case HostChanged():
            return replace(state, host_id=event.player_id)
        case PickAdded(player_id=player_id, film=film):
            player = state.players[player_id]
            return _with_player(state, replace(player, picks={**player.picks, film.movie_id: film}))
        case PickRemoved(player_id=player_id, movie_id=movie_id):
            player = state.players[player_id]
            kept = {picked: film for picked, film in player.picks.items() if picked != movie_id}
            return _with_player(state, replace(player, picks=kept))
        case SwipingStarted(deck=deck):
            ids = frozenset(film.movie_id for film in deck)
            return replace(state, phase=Phase.PLAYING, started=at, deck=deck, deck_ids=ids)
        case CardSwiped():
            player = _swiped(state.players[event.player_id], event, numbered.seq)
            tally = _one_more(state.tally(event.movie_id), event.verdict)
            tallies = {**state.tallies, event.movie_id: tally}
            return replace(_with_player(state, player), tallies=tallies)
        case MatchFound(movie_id=movie_id):
            return replace(state, matches={**state.matches, movie_id: at})
        case MatchWithdrawn(movie_id=movie_id):
            standing = {film: when for film, when in state.matches.items() if film != movie_id}
            return replace(state, matches=standing)
        case GameEnded():
            return replace(state, phase=Phase.ENDED)


def fold(state: State, events: Iterable[Numbered]) -> State:
    """Return the state after several more events."""
    for event in events:
        state = evolve(state, event)
    return state


def counted_anew(state: State) -> State:
    """Return the state with the tallies of those present: after somebody has come or gone."""
    tallies: dict[int, Tally] = {}
    for player in state.present:
        for swipe in player.swipes.values():
            tallies[swipe.movie_id] = _one_more(tallies.get(swipe.movie_id, NOBODY), swipe.verdict)
    return replace(state, tallies=tallies)


def _one_more(tally: Tally, verdict: Verdict) -> Tally:
    return Tally(
        swiped=tally.swiped + 1,
        likes=tally.likes + verdict.likes,
        loved=tally.loved + (verdict is Verdict.SUPERLIKE),
    )


def _with_player(state: State, player: Player) -> State:
    return replace(state, players={**state.players, player.player_id: player})


def _joined(before: Player | None, event: PlayerJoined, at: datetime) -> Player:
    if before is None:
        return Player(player_id=event.player_id, user_id=event.user_id, name=event.name, joined=at)
    return replace(before, present=True, name=event.name)


def _swiped(player: Player, event: CardSwiped, seq: int) -> Player:
    swipe = Swipe(event.movie_id, event.verdict, event.swipe_id, seq)
    return replace(
        player,
        swipes={**player.swipes, event.movie_id: swipe},
        swipe_ids={**player.swipe_ids, event.swipe_id: event.movie_id},
    )
