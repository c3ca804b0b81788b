"""The rules of the game: which events a command brings about, given the state.

    decide(state, command) -> events, or a refusal
    evolve(state, event)   -> state                     (state.py)

Both are pure: no clock, no randomness, no store. A command that changes nothing brings about no events, so
doing a thing twice is doing it once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any, Final

from game_svc.events import (
    PICKS_EACH,
    SEATS,
    SWIPES_EACH,
    AfterMatch,
    CardsRanOut,
    CardSwiped,
    DeckSource,
    DoorChanged,
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
from game_svc.refusals import (
    AlreadySwiped,
    CardsLeft,
    CodeTaken,
    GameNotFound,
    GameNotStarted,
    HostStays,
    LikesNeededMissing,
    NoMovies,
    NotEnoughPlayers,
    NotHost,
    NotInDeck,
    PlayerNotFound,
    RemovedFromGame,
    RoomFull,
    RoomLocked,
    SwipeIdReused,
    TooManyPicks,
    TooManySwipes,
)
from game_svc.refusals import GameEnded as GameIsOver
from game_svc.refusals import GameStarted as GameHasStarted
from game_svc.state import Phase, Player, State, counted_anew
from game_svc.taste import in_order_of_appeal

RUN_OFF_CARDS: Final = 5
"""How many films a run-off is between, at most."""


@dataclass(frozen=True, slots=True)
class Open:
    """Open a room, with oneself as host."""

    game_id: str
    code: str
    user_id: str
    user_name: str
    room_name: str
    settings: Settings
    guest: bool = False


@dataclass(frozen=True, slots=True)
class Join:
    """Come in, or come back."""

    user_id: str
    user_name: str
    guest: bool = False


@dataclass(frozen=True, slots=True)
class Leave:
    """Go."""

    user_id: str


@dataclass(frozen=True, slots=True)
class Erase:
    """Forget who somebody is, and take them out if they are there."""

    user_id: str


@dataclass(frozen=True, slots=True)
class Change:
    """Give the room another name, or other settings."""

    user_id: str
    name: str | None = None
    """None leaves it as it is."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """New values of fields of `Settings`, by name; the others stay as they are."""


@dataclass(frozen=True, slots=True)
class Lock:
    """Close the door, or open it."""

    user_id: str
    locked: bool


@dataclass(frozen=True, slots=True)
class TransferHost:
    """Make somebody else host: the host's decision, and anybody's while the host is away."""

    user_id: str
    player_id: str
    absent_host: str = ""
    """Who was seen to be away, if they are host: their player id."""


@dataclass(frozen=True, slots=True)
class Remove:
    """Take somebody out, for good."""

    user_id: str
    player_id: str


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
    found: Mapping[DeckSource, Sequence[Film]]
    """What the sources other than picks have given, each in its own order."""
    left_out: frozenset[int] = frozenset()
    """Films that shall not be in the deck."""
    appeals: Mapping[int, float] = field(default_factory=dict)
    """What is known of films' appeal to the room (`taste.appeals`); the rating stands in where nothing is."""


@dataclass(frozen=True, slots=True)
class End:
    """End the game."""

    user_id: str


@dataclass(frozen=True, slots=True)
class GiveVerdict:
    """Swipe a card."""

    user_id: str
    swipe_id: str
    movie_id: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Undo:
    """Take a swipe back: the one with this id, or whichever stands for this film."""

    user_id: str
    swipe_id: str = ""
    movie_id: int = 0


@dataclass(frozen=True, slots=True)
class StartRunOff:
    """Swipe once more, through the best films."""

    user_id: str


@dataclass(frozen=True, slots=True)
class Draw:
    """Let chance decide between the films that are nearest to a match."""

    user_id: str
    seed: str
    """What decides; nobody can have known it before."""


Command = (
    Open
    | Join
    | Leave
    | Erase
    | Change
    | Lock
    | TransferHost
    | Remove
    | AddPick
    | RemovePick
    | Start
    | End
    | GiveVerdict
    | Undo
    | StartRunOff
    | Draw
)


HostCommand = Change | Lock | Remove | Start | End | StartRunOff | Draw
"""What only the host may do. (Who was host just before may repeat a `TransferHost`.)"""


def decide(state: State, command: Command) -> tuple[Event, ...]:
    """Return what a command brings about.

    Args:
        state: The room; `state.EMPTY` when there is none.
        command: What somebody wants.

    Raises:
        GameRefusal: The rules do not allow it; see refusals.py for each.
    """
    if isinstance(command, HostCommand):
        require_host(state, _member(state, command.user_id))
    match command:
        case Open():
            return _open(state, command)
        case Join():
            return _join(state, command)
        case Leave():
            return _leave(state, _member(state, command.user_id))
        case Erase():
            return _erase(state, command.user_id)
        case Change():
            return _change(state, command)
        case Lock():
            return _lock(state, command.locked)
        case TransferHost():
            return _transfer_host(state, _member(state, command.user_id), command)
        case Remove():
            return _remove(state, command.player_id)
        case AddPick():
            return _add_pick(state, _member(state, command.user_id), command.film)
        case RemovePick():
            return _remove_pick(state, _member(state, command.user_id), command.movie_id)
        case Start():
            return _start(state, command)
        case End():
            return _end(state)
        case GiveVerdict():
            return _give_verdict(state, _member(state, command.user_id), command)
        case Undo():
            return _undo(state, _member(state, command.user_id), command)
        case StartRunOff():
            return _start_run_off(state)
        case Draw():
            return _draw(state, command.seed)


def _member(state: State, user_id: str) -> Player:
    member = state.member(user_id)
    if member is None:
        raise GameNotFound(code=state.code)
    return member


def require_host(state: State, player: Player) -> None:
    """Raise NotHost unless a player is the room's host."""
    if player.player_id != state.host_id:
        raise NotHost


def _open(state: State, command: Open) -> tuple[Event, ...]:
    if state.seq:
        raise CodeTaken(code=command.code)
    return (
        RoomOpened(command.game_id, command.code, command.room_name, command.settings),
        PlayerJoined(
            "p1", command.user_id, command.user_name, swipes=0, picked_movies=0, guest=command.guest
        ),
        HostChanged("p1"),
    )


def _join(state: State, command: Join) -> tuple[Event, ...]:
    if not state.seq:
        raise GameNotFound(code=state.code)
    known = state.player_of(command.user_id)
    if known is not None and known.present:
        return ()
    if known is not None and known.removed:
        raise RemovedFromGame
    if state.phase is Phase.ENDED:
        raise GameIsOver
    if known is None and state.phase is not Phase.LOBBY:
        raise GameHasStarted
    if known is None and state.locked:
        raise RoomLocked
    if len(state.present) >= SEATS:
        raise RoomFull(seats=str(SEATS))
    if known is None:
        # A stranger comes in from the lobby only, where there are no verdicts to look at again.
        player_id, swipes, after = f"p{len(state.players) + 1}", 0, state
    else:
        player_id, swipes = known.player_id, len(known.swipes)
        after = _with_presence(state, known, present=True)
    joined = PlayerJoined(
        player_id, command.user_id, command.user_name, swipes, len(after.picked), guest=command.guest
    )
    return (joined, *_reconsidered(state, after))


def _leave(state: State, player: Player) -> tuple[Event, ...]:
    gone = _with_presence(state, player, present=False)
    left = PlayerLeft(player.player_id, len(gone.picked))
    if state.phase is Phase.ENDED:
        return (left,)
    if not gone.present:
        return (left, GameEnded(EndCause.EMPTY))
    heir = (HostChanged(gone.present[0].player_id),) if state.host_id == player.player_id else ()
    return (left, *heir, *_reconsidered(state, gone))


def _erase(state: State, user_id: str) -> tuple[Event, ...]:
    player = state.player_of(user_id)
    if player is None:
        return ()
    leaving = _leave(state, player) if player.present else ()
    return (*leaving, PlayerErased(player.player_id))


def _change(state: State, command: Change) -> tuple[Event, ...]:
    _require_lobby(state)
    name = state.name if command.name is None else command.name
    settings = replace(state.settings, **command.settings)
    if settings.match_rule is not MatchRule.COUNT:
        settings = replace(settings, likes_needed=0)
    elif not settings.likes_needed:
        raise LikesNeededMissing
    if (name, settings) == (state.name, state.settings):
        return ()
    return (RoomChanged(name, settings),)


def _lock(state: State, locked: bool) -> tuple[Event, ...]:
    _require_running(state)
    return () if locked == state.locked else (DoorChanged(locked),)


def _transfer_host(state: State, player: Player, command: TransferHost) -> tuple[Event, ...]:
    _require_running(state)
    if command.player_id == state.host_id:
        return ()  # a repeated command finds its caller not to be host any more
    if command.absent_host != state.host_id:
        require_host(state, player)
    heir = state.players.get(command.player_id)
    if heir is None or not heir.present:
        raise PlayerNotFound(player_id=command.player_id)
    return (HostChanged(command.player_id),)


def _remove(state: State, player_id: str) -> tuple[Event, ...]:
    _require_running(state)
    player = state.players.get(player_id)
    if player is None:
        raise PlayerNotFound(player_id=player_id)
    if player_id == state.host_id:
        raise HostStays
    if player.removed:
        return ()
    gone = _with_presence(state, player, present=False)
    return (PlayerRemoved(player_id, len(gone.picked)), *_reconsidered(state, gone))


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


def _start(state: State, command: Start) -> tuple[Event, ...]:
    if not may_start(state, _member(state, command.user_id)):
        return ()
    found = {DeckSource.PICKS: tuple(state.picked.values()), **command.found}
    deck, empty = mixed(state.settings, found, command.left_out)
    if not deck:
        raise NoMovies
    return (SwipingStarted(in_order_of_appeal(deck, command.appeals), empty),)


def may_start(state: State, player: Player) -> bool:
    """Return whether a player may start the game now; False when it has been started.

    Raises:
        GameRefusal: They may not.
    """
    require_host(state, player)
    if state.phase is Phase.PLAYING:
        return False
    _require_lobby(state)
    if len(state.present) < 2:
        raise NotEnoughPlayers
    return True


def mixed(
    settings: Settings, found: Mapping[DeckSource, Sequence[Film]], left_out: frozenset[int]
) -> tuple[tuple[Film, ...], tuple[DeckSource, ...]]:
    """Return a deck and the sources that gave it nothing, whose place is taken by what is trending.

    Picks come first. The other sources take turns, each in its own order, so that a long one does not keep a
    short one out.
    """
    given = {
        source: [film for film in found.get(source, ()) if film.movie_id not in left_out]
        for source in DeckSource
    }
    wanted = settings.deck_sources
    empty = tuple(source for source in wanted if source is not DeckSource.TRENDING and not given[source])
    picks = given[DeckSource.PICKS] if DeckSource.PICKS in wanted else []
    others = [
        given[source]
        for source in DeckSource
        if source is not DeckSource.PICKS
        and (source in wanted or (source is DeckSource.TRENDING and bool(empty)))
    ]
    in_turns = (film for turn in zip_longest(*others) for film in turn if film is not None)
    deck = {film.movie_id: film for film in (*picks, *in_turns)}
    return tuple(deck.values())[: settings.max_movies], empty


def _end(state: State) -> tuple[Event, ...]:
    return () if state.phase is Phase.ENDED else (GameEnded(EndCause.HOST),)


def _give_verdict(state: State, player: Player, command: GiveVerdict) -> tuple[Event, ...]:
    before = player.swipe_ids.get(command.swipe_id)
    if before is not None:
        if (before.movie_id, before.verdict) != (command.movie_id, command.verdict):
            raise SwipeIdReused
        return ()
    _require_playing(state)
    movie_id = command.movie_id
    if movie_id not in state.cards:
        raise NotInDeck(movie_id=str(movie_id))
    if movie_id in player.swipes:
        raise AlreadySwiped(movie_id=str(movie_id))
    if len(player.swipe_ids) >= SWIPES_EACH:
        raise TooManySwipes(most=str(SWIPES_EACH))
    swipes = len(player.swipes) + 1
    swiped = CardSwiped(player.player_id, movie_id, command.verdict, command.swipe_id, swipes)
    # Only this film's likes can have grown: the others' matches stand as they did.
    likes = state.tally(movie_id).likes + command.verdict.likes
    new_match = command.verdict.likes and movie_id not in state.matches and likes >= likes_needed(state)
    events = (swiped, *_found([movie_id] if new_match else [], state))
    cards = len(state.deck)
    if _over(events) or swipes < cards:
        return events
    done = all(other is player or len(other.swipes) >= cards for other in state.present)
    return (*events, CardsRanOut()) if done else events


def _undo(state: State, player: Player, command: Undo) -> tuple[Event, ...]:
    named = command.swipe_id
    swipe = player.swipe_ids.get(named) if named else player.swipes.get(command.movie_id)
    standing = player.swipes.get(swipe.movie_id) if swipe is not None else None
    if swipe is None or standing is None or standing.swipe_id != swipe.swipe_id:
        return ()  # never given, taken back before, or of a round that is over
    _require_playing(state)
    undone = SwipeUndone(player.player_id, swipe.movie_id, swipe.swipe_id, len(player.swipes) - 1)
    likes = state.tally(swipe.movie_id).likes - swipe.verdict.likes
    lost = swipe.verdict.likes and swipe.movie_id in state.matches and likes < likes_needed(state)
    return (undone, MatchWithdrawn(swipe.movie_id)) if lost else (undone,)


def _start_run_off(state: State) -> tuple[Event, ...]:
    if state.earlier and not any(player.swipes for player in state.present):
        return ()  # it has just begun: a command that comes twice
    _require_out_of_cards(state)
    deck = tuple(contenders(state))
    withdrawn = [MatchWithdrawn(movie_id) for movie_id in state.matches]
    return (*withdrawn, RunOffStarted(deck, len(state.earlier) + 2))


def contenders(state: State) -> Sequence[Film]:
    """Return the films that come nearest to what everybody wants, the nearest first.

    That is those with most likes and superlikes, the better rated first among equals: up to `RUN_OFF_CARDS`
    that somebody likes, and at least two as long as the deck has them.
    """
    ranked = sorted(state.deck, key=lambda film: _nearness(state, film), reverse=True)
    liked = sum(bool(state.tally(film.movie_id).likes) for film in ranked)
    return ranked[: max(2, min(liked, RUN_OFF_CARDS))]


def _nearness(state: State, film: Film) -> tuple[int, int, float]:
    tally = state.tally(film.movie_id)
    return tally.likes, tally.loved, film.rating


def _draw(state: State, seed: str) -> tuple[Event, ...]:
    if state.drawn is not None:
        return ()
    _require_out_of_cards(state)
    most = max(state.tally(film.movie_id).likes for film in state.deck)
    between = state.deck if most else contenders(state)
    among = tuple(film.movie_id for film in between if state.tally(film.movie_id).likes == most)
    return (WinnerDrawn(drawn(seed, among), seed, among), GameEnded(EndCause.DRAW))


def drawn(seed: str, among: Sequence[int]) -> int:
    """Return what a seed draws: the SHA-256 of its UTF-8 bytes, as a big-endian number, modulo how many."""
    return among[int.from_bytes(hashlib.sha256(seed.encode()).digest()) % len(among)]


def _require_lobby(state: State) -> None:
    if state.phase is Phase.PLAYING:
        raise GameHasStarted
    _require_running(state)


def _require_playing(state: State) -> None:
    if state.phase is Phase.LOBBY:
        raise GameNotStarted
    _require_running(state)


def _require_running(state: State) -> None:
    if state.phase is Phase.ENDED:
        raise GameIsOver


def _require_out_of_cards(state: State) -> None:
    _require_playing(state)
    if not state.out_of_cards:
        raise CardsLeft


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
    """Return what a change of those present does to the matches, in both directions, and to the cards.

    With fewer than two left no match changes: two people who have found their film and put their phones away
    do not lose it.
    """
    if after.phase is not Phase.PLAYING:
        return ()
    events: tuple[Event, ...] = ()
    if len(after.present) >= 2:
        needed = likes_needed(after)
        matching = [film.movie_id for film in after.deck if after.tally(film.movie_id).likes >= needed]
        withdrawn = [MatchWithdrawn(movie_id) for movie_id in before.matches if movie_id not in matching]
        new = [movie_id for movie_id in matching if movie_id not in before.matches]
        events = (*withdrawn, *_found(new, after))
    if after.everybody_done and not before.out_of_cards and not _over(events):
        events = (*events, CardsRanOut())
    return events


def _found(movie_ids: Iterable[int], state: State) -> tuple[Event, ...]:
    there = tuple(player.player_id for player in state.present)
    found = tuple(MatchFound(movie_id, there) for movie_id in movie_ids)
    if found and state.settings.after_match is AfterMatch.END:
        return (*found, GameEnded(EndCause.MATCH))
    return found


def _over(events: Sequence[Event]) -> bool:
    return bool(events) and isinstance(events[-1], GameEnded)
