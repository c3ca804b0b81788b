"""The rules of the game: which events a command brings about, given the state.

    decide(state, command) -> events, or a refusal
    evolve(state, event)   -> state                     (state.py)

Both are pure: no clock, no randomness, no store. A command that changes nothing brings about no events, so
doing a thing twice is doing it once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from game_svc.events import (
    PICKS_EACH,
    SEATS,
    AfterMatch,
    CardSwiped,
    DeckSource,
    EndCause,
    Event,
    Film,
    GameEnded,
    HostChanged,
    MatchFound,
    MatchRule,
    MatchWithdrawn,
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
from game_svc.refusals import (
    AlreadySwiped,
    CodeTaken,
    GameNotFound,
    GameNotStarted,
    NoMovies,
    NotEnoughPlayers,
    NotHost,
    NotInDeck,
    RoomFull,
    SwipeIdReused,
    TooManyPicks,
)
from game_svc.refusals import GameEnded as GameIsOver
from game_svc.refusals import GameStarted as GameHasStarted
from game_svc.state import Phase, Player, State, counted_anew
from game_svc.taste import in_order_of_appeal


@dataclass(frozen=True, slots=True)
class Open:
    """Open a room, with oneself as host."""

    game_id: str
    code: str
    user_id: str
    user_name: str
    room_name: str
    settings: Settings


@dataclass(frozen=True, slots=True)
class Join:
    """Come in, or come back."""

    user_id: str
    user_name: str


@dataclass(frozen=True, slots=True)
class Leave:
    """Go."""

    user_id: str


@dataclass(frozen=True, slots=True)
class Erase:
    """Forget who somebody is, and take them out if they are there."""

    user_id: str


@dataclass(frozen=True, slots=True)
class AddPick:
    """Put a film in."""

    user_id: str
    film: Film


@dataclass(frozen=True, slots=True)
class RemovePick:
    """Take one's film back."""

    user_id: str
    movie_id: int


@dataclass(frozen=True, slots=True)
class Start:
    """Fix the deck and begin to swipe."""

    user_id: str
    trending: tuple[Film, ...]
    """What is popular, for a room that wants it and for one without films of its own."""
    appeals: Mapping[int, float] = field(default_factory=dict)
    """What is known of films' appeal to the room (`taste.appeals`); the rating stands in where nothing is."""


@dataclass(frozen=True, slots=True)
class GiveVerdict:
    """Swipe a card."""

    user_id: str
    swipe_id: str
    movie_id: int
    verdict: Verdict


Command = Open | Join | Leave | Erase | AddPick | RemovePick | Start | GiveVerdict


def decide(state: State, command: Command) -> tuple[Event, ...]:
    """Return what a command brings about.

    Args:
        state: The room; `state.EMPTY` when there is none.
        command: What somebody wants.

    Raises:
        GameRefusal: The rules do not allow it; see refusals.py for each.
    """
    match command:
        case Open():
            return _open(state, command)
        case Join():
            return _join(state, command)
        case Leave():
            return _leave(state, _member(state, command.user_id))
        case Erase():
            return _erase(state, command.user_id)
        case AddPick():
            return _add_pick(state, _member(state, command.user_id), command.film)
        case RemovePick():
            return _remove_pick(state, _member(state, command.user_id), command.movie_id)
        case Start():
            return _start(state, _member(state, command.user_id), command)
        case GiveVerdict():
            return _give_verdict(state, _member(state, command.user_id), command)


def _member(state: State, user_id: str) -> Player:
    member = state.member(user_id)
    if member is None:
        raise GameNotFound(code=state.code)
    return member


def _open(state: State, command: Open) -> tuple[Event, ...]:
    if state.seq:
        raise CodeTaken(code=command.code)
    return (
        RoomOpened(command.game_id, command.code, command.room_name, command.settings),
        PlayerJoined("p1", command.user_id, command.user_name, swipes=0, picked_movies=0),
        HostChanged("p1"),
    )


def _join(state: State, command: Join) -> tuple[Event, ...]:
    if not state.seq:
        raise GameNotFound(code=state.code)
    known = state.player_of(command.user_id)
    if known is not None and known.present:
        return ()
    if state.phase is Phase.ENDED:
        raise GameIsOver
    if known is None and state.phase is not Phase.LOBBY:
        raise GameHasStarted
    if len(state.present) >= SEATS:
        raise RoomFull(seats=str(SEATS))
    if known is None:
        # A stranger comes in from the lobby only, where there are no verdicts to look at again.
        newcomer = f"p{len(state.players) + 1}"
        return (PlayerJoined(newcomer, command.user_id, command.user_name, 0, len(state.picked)),)
    after = _with_presence(state, known, present=True)
    back = PlayerJoined(
        known.player_id, command.user_id, command.user_name, len(known.swipes), len(after.picked)
    )
    return (back, *_reconsidered(state, after))


def _leave(state: State, player: Player) -> tuple[Event, ...]:
    gone = _with_presence(state, player, present=False)
    events: list[Event] = [PlayerLeft(player.player_id, len(gone.picked))]
    if state.phase is Phase.ENDED:
        return tuple(events)
    if not gone.present:
        return (*events, GameEnded(EndCause.EMPTY))
    if state.host_id == player.player_id:
        events.append(HostChanged(gone.present[0].player_id))
    return (*events, *_reconsidered(state, gone))


def _erase(state: State, user_id: str) -> tuple[Event, ...]:
    player = state.player_of(user_id)
    if player is None:
        return ()
    leaving = _leave(state, player) if player.present else ()
    return (*leaving, PlayerErased(player.player_id))


def _add_pick(state: State, player: Player, film: Film) -> tuple[Event, ...]:
    _require_lobby(state)
    if film.movie_id in player.picks:
        return ()
    if len(player.picks) >= PICKS_EACH:
        raise TooManyPicks(most=str(PICKS_EACH))
    return (PickAdded(player.player_id, film, len({*state.picked, film.movie_id})),)


def _remove_pick(state: State, player: Player, movie_id: int) -> tuple[Event, ...]:
    _require_lobby(state)
    if movie_id not in player.picks:
        return ()
    others = (other.picks for other in state.present if other.player_id != player.player_id)
    still_picked = {*player.picks} - {movie_id} | {film for picks in others for film in picks}
    return (PickRemoved(player.player_id, movie_id, len(still_picked)),)


def _start(state: State, player: Player, command: Start) -> tuple[Event, ...]:
    if state.phase is Phase.PLAYING and state.host_id == player.player_id:
        return ()
    _require_lobby(state)
    if state.host_id != player.player_id:
        raise NotHost
    if len(state.present) < 2:
        raise NotEnoughPlayers
    picks = tuple(state.picked.values()) if DeckSource.PICKS in state.settings.deck_sources else ()
    empty = (DeckSource.PICKS,) if DeckSource.PICKS in state.settings.deck_sources and not picks else ()
    more = command.trending if empty or DeckSource.TRENDING in state.settings.deck_sources else ()
    deck = tuple({film.movie_id: film for film in (*picks, *more)}.values())[: state.settings.max_movies]
    if not deck:
        raise NoMovies
    return (SwipingStarted(in_order_of_appeal(deck, command.appeals), empty),)


def _give_verdict(state: State, player: Player, command: GiveVerdict) -> tuple[Event, ...]:
    used_for = player.swipe_ids.get(command.swipe_id)
    if used_for is not None:
        before = player.swipes.get(used_for)
        if before is None or (before.movie_id, before.verdict) != (command.movie_id, command.verdict):
            raise SwipeIdReused
        return ()
    if state.phase is Phase.LOBBY:
        raise GameNotStarted
    if state.phase is Phase.ENDED:
        raise GameIsOver
    if command.movie_id not in state.cards:
        raise NotInDeck(movie_id=str(command.movie_id))
    if command.movie_id in player.swipes:
        raise AlreadySwiped(movie_id=str(command.movie_id))
    swiped = CardSwiped(
        player.player_id, command.movie_id, command.verdict, command.swipe_id, len(player.swipes) + 1
    )
    if not command.verdict.likes:
        return (swiped,)
    # Only this film's likes have grown: the others' matches stand as they did.
    liked = state.tally(command.movie_id).likes + 1
    if command.movie_id in state.matches or liked < likes_needed(state):
        return (swiped,)
    return (swiped, *_found([command.movie_id], state))


def _require_lobby(state: State) -> None:
    if state.phase is Phase.PLAYING:
        raise GameHasStarted
    if state.phase is Phase.ENDED:
        raise GameIsOver


def likes_needed(state: State) -> int:
    """Return how many of those present must like a film for a match, at least 2: nobody matches alone."""
    present = len(state.present)
    match state.settings.match_rule:
        case MatchRule.EVERYBODY:
            return max(present, 2)
        case MatchRule.MAJORITY:
            return max(present // 2 + 1, 2)
        case MatchRule.COUNT:
            return max(min(state.settings.likes_needed, present), 2)


def _with_presence(state: State, player: Player, *, present: bool) -> State:
    players = {**state.players, player.player_id: replace(player, present=present)}
    return counted_anew(replace(state, players=players))


def _reconsidered(before: State, after: State) -> tuple[Event, ...]:
    """Return what a change of those present does to the matches, in both directions.

    With fewer than two left nothing changes: two people who have found their film and put their phones away
    do not lose it.
    """
    if after.phase is not Phase.PLAYING or len(after.present) < 2:
        return ()
    needed = likes_needed(after)
    matching = [film.movie_id for film in after.deck if after.tally(film.movie_id).likes >= needed]
    withdrawn = [MatchWithdrawn(movie_id) for movie_id in before.matches if movie_id not in matching]
    return (*withdrawn, *_found([movie_id for movie_id in matching if movie_id not in before.matches], after))


def _found(movie_ids: Iterable[int], state: State) -> tuple[Event, ...]:
    found = tuple(MatchFound(movie_id) for movie_id in movie_ids)
    if found and state.settings.after_match is AfterMatch.END:
        return (*found, GameEnded(EndCause.MATCH))
    return found
