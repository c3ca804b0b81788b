"""A room's state: the fold of its events. `evolve` is pure, and trusts the log, since `decide` wrote it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from operator import attrgetter
from typing import Final

from game_svc.events import (
    CardsRanOut,
    CardSwiped,
    DoorChanged,
    EndCause,
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
    PlayerRemoved,
    RoomChanged,
    RoomOpened,
    RunOffStarted,
    Settings,
    SwipeUndone,
    SwipingStarted,
    Verdict,
    WinnerDrawn,
)


class Phase(StrEnum):
    """Where a room is in its life."""

    LOBBY = "lobby"
    PLAYING = "playing"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Swipe:
    """A verdict."""

    movie_id: int
    verdict: Verdict
    swipe_id: str
    seq: int
    """The number of its event."""
    undone: int = 0
    """The number of the event that took it back; 0 when it was not."""


@dataclass(frozen=True, slots=True)
class Player:
    """Somebody who is, or was, in the room."""

    player_id: str
    user_id: str
    """Empty once they have deleted their account, as their name is."""
    name: str
    joined: datetime
    guest: bool = False
    present: bool = True
    removed: bool = False
    """Whether the host has taken them out, for good."""
    picks: Mapping[int, Film] = field(default_factory=dict)
    """By film, in the order they were picked."""
    swipes: Mapping[int, Swipe] = field(default_factory=dict)
    """The verdicts that stand in this round, by film, in the order they were given."""
    swipe_ids: Mapping[str, Swipe] = field(default_factory=dict)
    """Every swipe they ever made here, by its id: those taken back and those of earlier rounds, too."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What several people think of a film or of a genre: as a rule those present."""

    swiped: int = 0
    """How many verdicts there are."""
    likes: int = 0
    """How many of them like it."""
    loved: int = 0
    """How many of those with a superlike."""


@dataclass(frozen=True, slots=True)
class Round:
    """A deck that was swiped through before a run-off began."""

    deck: tuple[Film, ...]
    swipes: Mapping[str, Mapping[int, Swipe]]
    """The verdicts that stood at its end, by player id and film."""


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
    locked: bool = False
    """Whether strangers are kept out."""
    opened: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    end_cause: EndCause | None = None
    host_id: str = ""
    players: Mapping[str, Player] = field(default_factory=dict)
    """Everybody who was ever there, by player id, in the order they first joined."""
    deck: tuple[Film, ...] = ()
    """What is swiped, what appeals most first."""
    cards: Mapping[int, Film] = field(default_factory=dict)
    """The deck, by film."""
    tallies: Mapping[int, Tally] = field(default_factory=dict)
    """By film, for films that somebody present has swiped. Kept, since every deal looks at all of them."""
    genres: Mapping[int, Tally] = field(default_factory=dict)
    """By genre, what those present think of the films they have swiped; of all films under `EVERY_GENRE`.
    Whoever has seen a film is left out: that says nothing about their taste."""
    matches: Mapping[int, datetime] = field(default_factory=dict)
    """The matches that stand, by film, the first first."""
    out_of_cards: bool = False
    """Whether everybody present has swiped all cards, and all have been told."""
    earlier: tuple[Round, ...] = ()
    """The rounds before this one, the first first: one for each run-off."""
    drawn: WinnerDrawn | None = None
    """What chance has decided on, if it was asked."""
    last_there: frozenset[str] = frozenset()
    """Who was there when the game ended: player ids. Everybody whom the host has not taken out, when it ended
    because all had left."""

    def tally(self, movie_id: int) -> Tally:
        """Return what those present think of a film."""
        return self.tallies.get(movie_id, NOBODY)

    @property
    def present(self) -> tuple[Player, ...]:
        """Who is there, in the order they first joined."""
        return tuple(player for player in self.players.values() if player.present)

    def player_of(self, user_id: str) -> Player | None:
        """Return who this user is in the room, present or not; None for a stranger."""
        for player in self.players.values():
            if player.user_id == user_id:
                return player
        return None

    def member(self, user_id: str) -> Player | None:
        """Return who this user is in the room, if they are there."""
        player = self.player_of(user_id)
        return player if player is not None and player.present else None

    def witness(self, user_id: str) -> Player | None:
        """Return who this user is in the room, if they are there or were when the game ended."""
        player = self.player_of(user_id)
        if player is None or not (player.present or player.player_id in self.last_there):
            return None
        return player

    @property
    def everybody_done(self) -> bool:
        """Whether nobody present has a card left."""
        cards = len(self.deck)
        return any(self.present) and all(len(player.swipes) >= cards for player in self.present)

    @property
    def picked(self) -> Mapping[int, Film]:
        """What those present have picked, each film once, in the order they joined and picked."""
        return {film.movie_id: film for player in self.present for film in player.picks.values()}


# `replace` in a third of its time, where it matters.
_FIELDS: Final = tuple(field.name for field in fields(State))
_values: Final = attrgetter(*_FIELDS)
_PLAYER_FIELDS: Final = tuple(field.name for field in fields(Player))
_values_of_player: Final = attrgetter(*_PLAYER_FIELDS)
_SWIPES, _SWIPE_IDS = map(_PLAYER_FIELDS.index, ("swipes", "swipe_ids"))
_SEQ, _PLAYERS, _TALLIES, _GENRES = map(_FIELDS.index, ("seq", "players", "tallies", "genres"))

NOBODY = Tally()
EVERY_GENRE = 0
"""Stands for all genres together: TMDB's begin with 12."""
EMPTY = State()


def evolve(state: State, numbered: Numbered) -> State:
    """Return the state after one more event."""
    event, at = numbered.event, numbered.at
    if isinstance(event, CardSwiped):  # nine events of ten: one copy of the state, and not one a field
        return _after_swipe(state, event, numbered.seq)
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
            state = counted_anew(_with_player(state, player))
            return replace(state, out_of_cards=state.out_of_cards and state.everybody_done)
        case PlayerLeft():
            player = replace(state.players[event.player_id], present=False)
            return counted_anew(_with_player(state, player))
        case PlayerRemoved():
            player = replace(state.players[event.player_id], present=False, removed=True)
            return counted_anew(_with_player(state, player))
        case PlayerErased():
            player = replace(state.players[event.player_id], user_id="", name="", present=False)
            return counted_anew(_with_player(state, player))
        case HostChanged():
            return replace(state, host_id=event.player_id)
        case RoomChanged():
            return replace(state, name=event.name, settings=event.settings)
        case DoorChanged():
            return replace(state, locked=event.locked)
        case PickAdded(player_id=player_id, film=film):
            player = state.players[player_id]
            return _with_player(state, replace(player, picks={**player.picks, film.movie_id: film}))
        case PickRemoved(player_id=player_id, movie_id=movie_id):
            player = state.players[player_id]
            kept = {picked: film for picked, film in player.picks.items() if picked != movie_id}
            return _with_player(state, replace(player, picks=kept))
        case SwipingStarted(deck=deck):
            return replace(_with_deck(state, deck), phase=Phase.PLAYING, started=at)
        case SwipeUndone():
            player = _undone(state.players[event.player_id], event, numbered.seq)
            return counted_anew(replace(_with_player(state, player), out_of_cards=False))
        case MatchFound(movie_id=movie_id):
            return replace(state, matches={**state.matches, movie_id: at})
        case MatchWithdrawn(movie_id=movie_id):
            standing = {film: when for film, when in state.matches.items() if film != movie_id}
            return replace(state, matches=standing)
        case CardsRanOut():
            return replace(state, out_of_cards=True)
        case RunOffStarted(deck=deck):
            ended = Round(state.deck, {player.player_id: player.swipes for player in state.players.values()})
            players = {known: replace(player, swipes={}) for known, player in state.players.items()}
            state = replace(state, players=players, tallies={}, genres={}, earlier=(*state.earlier, ended))
            return replace(_with_deck(state, deck), out_of_cards=False)
        case WinnerDrawn():
            return replace(state, drawn=event)
        case GameEnded(cause=cause):
            # When the last have left, everybody was there to some end.
            some = cause is EndCause.EMPTY
            there = frozenset(
                player.player_id
                for player in state.players.values()
                if player.present or (some and not player.removed)
            )
            return replace(state, phase=Phase.ENDED, ended=at, end_cause=cause, last_there=there)


def fold(state: State, events: Iterable[Numbered]) -> State:
    """Return the state after several more events."""
    for event in events:
        state = evolve(state, event)
    return state


def counted_anew(state: State) -> State:
    """Return the state with the tallies of those present: after somebody has come or gone."""
    tallies: dict[int, Tally] = {}
    genres: dict[int, Tally] = {}
    for player in state.present:
        for swipe in player.swipes.values():
            count(tallies, [swipe.movie_id], swipe.verdict)
            count(genres, taste_of(state.cards[swipe.movie_id], swipe.verdict), swipe.verdict)
    return replace(state, tallies=tallies, genres=genres)


def count(tallies: dict[int, Tally], keys: Iterable[int], verdict: Verdict) -> None:
    """Count a verdict once more under each of the keys."""
    likes, loved = int(verdict.likes), int(verdict is Verdict.SUPERLIKE)
    for key in keys:
        tally = tallies.get(key, NOBODY)
        tallies[key] = _tally(tally.swiped + 1, tally.likes + likes, tally.loved + loved)


# Most are small and seen before: one that is there need not be made, nor be looked through for garbage.
_tally: Final = lru_cache(maxsize=10_000)(Tally)


def taste_of(film: Film, verdict: Verdict) -> tuple[int, ...]:
    """Return the genres that a verdict on a film says something about, `EVERY_GENRE` among them."""
    return (EVERY_GENRE, *film.genres) if verdict.tells_taste else ()


def _with_deck(state: State, deck: tuple[Film, ...]) -> State:
    return replace(state, deck=deck, cards={film.movie_id: film for film in deck})


def _with_player(state: State, player: Player) -> State:
    return replace(state, players={**state.players, player.player_id: player})


def _joined(before: Player | None, event: PlayerJoined, at: datetime) -> Player:
    if before is None:
        return Player(event.player_id, event.user_id, event.name, joined=at, guest=event.guest)
    return replace(before, present=True, name=event.name, guest=event.guest)


def _after_swipe(state: State, event: CardSwiped, seq: int) -> State:
    player = _swiped(state.players[event.player_id], event, seq)
    tallies, genres = dict(state.tallies), dict(state.genres)
    count(tallies, [event.movie_id], event.verdict)
    count(genres, taste_of(state.cards[event.movie_id], event.verdict), event.verdict)
    values = list(_values(state))
    values[_SEQ], values[_TALLIES], values[_GENRES] = seq, tallies, genres
    values[_PLAYERS] = {**state.players, player.player_id: player}
    return State(*values)


def _swiped(player: Player, event: CardSwiped, seq: int) -> Player:
    swipe = Swipe(event.movie_id, event.verdict, event.swipe_id, seq)
    values = list(_values_of_player(player))
    values[_SWIPES] = {**player.swipes, event.movie_id: swipe}
    values[_SWIPE_IDS] = {**player.swipe_ids, event.swipe_id: swipe}
    return Player(*values)


def _undone(player: Player, event: SwipeUndone, seq: int) -> Player:
    undone = replace(player.swipe_ids[event.swipe_id], undone=seq)
    return replace(
        player,
        swipes={movie_id: kept for movie_id, kept in player.swipes.items() if movie_id != event.movie_id},
        swipe_ids={**player.swipe_ids, event.swipe_id: undone},
    )
