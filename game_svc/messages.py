"""A room in the contract's words: the rules' events and states as messages, and settings from messages.

What leaves here is for everybody in the room, so verdicts and picks stay behind: an event says who has
swiped and how far they are, not what they think of what.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from game_svc import events
from game_svc.events import (
    AfterMatch,
    DeckSource,
    EndCause,
    Filter,
    MatchRule,
    Numbered,
    Settings,
    Verdict,
)
from game_svc.results import habits, near_misses, taste
from game_svc.state import Phase, Player, State
from popcorn.game.v1 import game_pb2
from popcorn.movie.v1 import movie_pb2

_VERDICT_NUMBERS: Final = {
    Verdict.LIKE: game_pb2.VERDICT_LIKE,
    Verdict.PASS: game_pb2.VERDICT_PASS,
    Verdict.SUPERLIKE: game_pb2.VERDICT_SUPERLIKE,
    Verdict.SEEN_IT: game_pb2.VERDICT_SEEN_IT,
}
_MATCH_RULE_NUMBERS: Final = {
    MatchRule.EVERYBODY: game_pb2.MATCH_RULE_EVERYBODY,
    MatchRule.MAJORITY: game_pb2.MATCH_RULE_MAJORITY,
    MatchRule.COUNT: game_pb2.MATCH_RULE_COUNT,
}
_AFTER_MATCH_NUMBERS: Final = {
    AfterMatch.GO_ON: game_pb2.AFTER_MATCH_GO_ON,
    AfterMatch.END: game_pb2.AFTER_MATCH_END,
}
_DECK_SOURCE_NUMBERS: Final = {
    DeckSource.PICKS: game_pb2.DECK_SOURCE_PICKS,
    DeckSource.BACKLOGS: game_pb2.DECK_SOURCE_BACKLOGS,
    DeckSource.DISCOVER: game_pb2.DECK_SOURCE_DISCOVER,
    DeckSource.TRENDING: game_pb2.DECK_SOURCE_TRENDING,
}
_PHASES = {
    Phase.LOBBY: game_pb2.GAME_STATE_LOBBY,
    Phase.PLAYING: game_pb2.GAME_STATE_PLAYING,
    Phase.ENDED: game_pb2.GAME_STATE_ENDED,
}
_END_CAUSES = {
    EndCause.MATCH: game_pb2.END_CAUSE_MATCH,
    EndCause.HOST: game_pb2.END_CAUSE_HOST,
    EndCause.EMPTY: game_pb2.END_CAUSE_EMPTY,
    EndCause.DRAW: game_pb2.END_CAUSE_DRAW,
}

VERDICTS: Final[Mapping[int, Verdict]] = {number: verdict for verdict, number in _VERDICT_NUMBERS.items()}
MATCH_RULES: Final[Mapping[int, MatchRule]] = {number: rule for rule, number in _MATCH_RULE_NUMBERS.items()}
AFTER_MATCHES: Final[Mapping[int, AfterMatch]] = {
    number: after for after, number in _AFTER_MATCH_NUMBERS.items()
}
DECK_SOURCES: Final[Mapping[int, DeckSource]] = {
    number: source for source, number in _DECK_SOURCE_NUMBERS.items()
}


def settings(value: Settings) -> game_pb2.GameSettings:
    """Return how a room plays."""
    return game_pb2.GameSettings(
        match_rule=_MATCH_RULE_NUMBERS[value.match_rule],
        likes_needed=value.likes_needed,
        after_match=_AFTER_MATCH_NUMBERS[value.after_match],
        deck_sources=[_DECK_SOURCE_NUMBERS[source] for source in value.deck_sources],
        discover=movie_filter(value.discover) if value.discover != Filter() else None,
        max_movies=value.max_movies,
        leave_out_watched=value.leave_out_watched,
        region=value.discover.region,
    )


def movie_filter(value: Filter) -> movie_pb2.MovieFilter:
    """Return what films are discovered by. The region is not part of it."""
    return movie_pb2.MovieFilter(
        genre_ids=value.genre_ids,
        year_from=value.year_from,
        year_to=value.year_to,
        max_runtime_minutes=value.max_runtime_minutes,
        min_rating=value.min_rating,
        provider_ids=value.provider_ids,
        original_language=value.original_language,
    )


def end_cause(state: State) -> game_pb2.EndCause.ValueType:
    """Return why a game is over; unspecified while it is not."""
    return _END_CAUSES[state.end_cause] if state.end_cause else game_pb2.END_CAUSE_UNSPECIFIED


def game(state: State, viewer: Player, *, connected: Collection[str]) -> game_pb2.Game:
    """Return a room as one of its players sees it.

    Args:
        state: The room.
        viewer: Who sees it.
        connected: The ids of the players who are connected.
    """
    return game_pb2.Game(
        code=state.code,
        name=state.name,
        state=_PHASES[state.phase],
        settings=settings(state.settings),
        players=[
            game_pb2.Player(
                player_id=player.player_id,
                display_name=player.name,
                host=player.player_id == state.host_id,
                swipes=len(player.swipes),
                join_time=_timestamp(player.joined),
                connected=player.player_id in connected,
            )
            for player in state.present
        ],
        picked_movies=len(state.picked),
        deck_size=len(state.deck),
        matches=matches(state),
        locked=state.locked,
        create_time=_timestamp(state.opened) if state.opened else None,
        own_player_id=viewer.player_id,
        seq=state.seq,
        epoch=state.game_id,
        out_of_cards=state.out_of_cards and state.phase is Phase.PLAYING,
        round=len(state.earlier) + 1 if state.deck else 0,
        end_cause=end_cause(state),
        end_time=_timestamp(state.ended) if state.ended else None,
    )


def matches(state: State) -> list[game_pb2.Match]:
    """Return the matches that stand, the first first."""
    return [
        game_pb2.Match(movie_id=movie_id, match_time=_timestamp(at)) for movie_id, at in state.matches.items()
    ]


def winner(drawn: events.WinnerDrawn) -> game_pb2.WinnerDrawn:
    """Return what chance has decided on."""
    return game_pb2.WinnerDrawn(movie_id=drawn.movie_id, seed=drawn.seed, among=drawn.among)


def snapshot(state: State, viewer: Player, *, connected: Collection[str]) -> game_pb2.Snapshot:
    """Return everything one needs to show a room. See `game`."""
    return game_pb2.Snapshot(
        game=game(state, viewer, connected=connected),
        own_swipes=[
            game_pb2.OwnSwipe(movie_id=swipe.movie_id, verdict=_VERDICT_NUMBERS[swipe.verdict])
            for swipe in viewer.swipes.values()
        ],
    )


def presence(state: State, connected: Collection[str]) -> game_pb2.Presence:
    """Return who of those in the room is connected."""
    return game_pb2.Presence(
        connected_player_ids=[player.player_id for player in state.present if player.player_id in connected]
    )


def deck_count(cards: int, sources: Iterable[tuple[DeckSource, int | None]]) -> game_pb2.CountDeckResponse:
    """Return how many cards a deck would have, and each source films; None for one that does not answer."""
    return game_pb2.CountDeckResponse(
        movies=cards,
        sources=[
            game_pb2.CountDeckResponse.SourceCount(
                source=_DECK_SOURCE_NUMBERS[source], movies=movies or 0, unavailable=movies is None
            )
            for source, movies in sources
        ],
    )


def results(state: State) -> game_pb2.GetResultsResponse:
    """Return what became of an evening, without films. Statistics come when it is over."""
    answer = game_pb2.GetResultsResponse
    over = state.phase is Phase.ENDED
    return answer(
        matches=matches(state),
        near_misses=[
            answer.NearMiss(movie_id=miss.movie_id, percent=miss.percent) for miss in near_misses(state)
        ],
        players=[
            answer.PlayerStatistics(
                player_id=own.player.player_id,
                swipes=own.swipes,
                liked_percent=own.liked_percent,
                with_majority_percent=own.with_majority_percent,
            )
            for own in (habits(state) if over else ())
        ],
        genres=[
            answer.GenreTaste(genre_id=genre_id, percent=percent)
            for genre_id, percent in (taste(state) if over else {}).items()
        ],
        winner=winner(state.drawn) if state.drawn else None,
        run_offs=len(state.earlier),
        end_cause=end_cause(state),
    )


def named_movies(answer: game_pb2.GetResultsResponse) -> Sequence[int]:
    """Return the films that results name, each once."""
    named = [match.movie_id for match in answer.matches] + [miss.movie_id for miss in answer.near_misses]
    drawn = [answer.winner.movie_id] if answer.HasField("winner") else []
    return list(dict.fromkeys([*drawn, *named]))


def event(numbered: Numbered) -> game_pb2.GameEvent:
    """Return an event as everybody in the room may see it."""
    message = game_pb2.GameEvent(seq=numbered.seq, event_time=_timestamp(numbered.at))
    match numbered.event:
        case events.RoomOpened(name=name, settings=how):
            message.created.CopyFrom(game_pb2.GameCreated(name=name, settings=settings(how)))
        case events.PlayerJoined() as joined:
            player = game_pb2.Player(
                player_id=joined.player_id,
                display_name=joined.name,
                swipes=joined.swipes,
                join_time=_timestamp(numbered.at),
            )
            message.joined.CopyFrom(game_pb2.PlayerJoined(player=player, picked_movies=joined.picked_movies))
        case events.PlayerLeft(player_id=player_id, picked_movies=picked):
            message.left.CopyFrom(game_pb2.PlayerLeft(player_id=player_id, picked_movies=picked))
        case events.PlayerRemoved(player_id=player_id, picked_movies=picked):
            message.removed.CopyFrom(game_pb2.PlayerRemoved(player_id=player_id, picked_movies=picked))
        case events.PlayerErased(player_id=player_id):
            message.erased.player_id = player_id
        case events.RoomChanged(name=name, settings=how):
            message.updated.CopyFrom(game_pb2.GameUpdated(name=name, settings=settings(how)))
        case events.DoorChanged(locked=locked):
            message.lock_changed.CopyFrom(game_pb2.LockChanged(locked=locked))
        case events.HostChanged(player_id=player_id):
            message.host_changed.player_id = player_id
        case events.PickAdded(picked_movies=picked) | events.PickRemoved(picked_movies=picked):
            message.picks_changed.CopyFrom(game_pb2.PicksChanged(picked_movies=picked))
        case events.SwipingStarted(deck=deck, empty_sources=empty):
            message.started.CopyFrom(
                game_pb2.GameStarted(
                    deck_size=len(deck), empty_sources=[_DECK_SOURCE_NUMBERS[source] for source in empty]
                )
            )
        case events.CardSwiped(player_id=player_id, swipes=swipes):
            message.swiped.CopyFrom(game_pb2.CardSwiped(player_id=player_id, swipes=swipes))
        case events.SwipeUndone(player_id=player_id, swipes=swipes):
            message.swipe_undone.CopyFrom(game_pb2.SwipeUndone(player_id=player_id, swipes=swipes))
        case events.CardsRanOut():
            message.cards_ran_out.SetInParent()
        case events.RunOffStarted(deck=deck, round=number):
            message.run_off_started.CopyFrom(game_pb2.RunOffStarted(deck_size=len(deck), round=number))
        case events.WinnerDrawn() as drawn:
            message.winner_drawn.CopyFrom(winner(drawn))
        case events.MatchFound(movie_id=movie_id):
            message.match.movie_id = movie_id
        case events.MatchWithdrawn(movie_id=movie_id):
            message.match_withdrawn.movie_id = movie_id
        case events.GameEnded(cause=cause):
            message.ended.cause = _END_CAUSES[cause]
    return message


def set_time(timestamp: Timestamp, at: datetime) -> None:
    """Set a timestamp to a time of the log, which is kept to the millisecond."""
    milliseconds = round(at.timestamp() * 1000)
    timestamp.seconds, timestamp.nanos = milliseconds // 1000, milliseconds % 1000 * 1_000_000


def _timestamp(at: datetime) -> Timestamp:
    timestamp = Timestamp()
    set_time(timestamp, at)
    return timestamp
