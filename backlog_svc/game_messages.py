"""Between the contract's messages of finished games and the domain's values; what is read is checked."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import json_format

from backlog_svc.games import (
    MOST_GENRES,
    MOST_MOVIES,
    MOST_PLAYERS,
    FinishedGame,
    GamePosition,
    GenreTaste,
    NearMiss,
    Player,
)
from backlog_svc.match_messages import read_game_id, read_people, read_required_time
from backlog_svc.matches import LONGEST_NAME
from backlog_svc.messages import DEFAULT_PAGE_SIZE, LARGEST_PAGE_SIZE, read_user_id
from backlog_svc.timestamps import from_number, timestamp, to_number
from mesh.checks import Checks
from mesh.page_tokens import PageTokens
from popcorn.backlog.v1 import backlog_pb2

_LIST_KIND: Final = "backlog.games"


@dataclass(frozen=True, slots=True, kw_only=True)
class GameQuery:
    """A ListGamesRequest, checked."""

    user_id: str
    page_size: int
    after: GamePosition | None

    def token_for(self, position: GamePosition | None, tokens: PageTokens) -> str:
        """The page token for going on after `position`; empty at the list's end."""
        if position is None:
            return ""
        at = [to_number(position.end_time), position.game_id]
        return tokens.seal(_LIST_KIND, _binding(self.user_id), at)


def read_game_query(
    checks: Checks, request: backlog_pb2.ListGamesRequest, *, tokens: PageTokens
) -> GameQuery:
    """Whose games, and from where on. Raises InvalidInput; nothing is left to check."""
    user_id = read_user_id(checks, request.user_id)
    page_size = checks.page_size(
        "page_size", request.page_size, default=DEFAULT_PAGE_SIZE, most=LARGEST_PAGE_SIZE
    )
    position = checks.page_token(
        "page_token", request.page_token, tokens=tokens, kind=_LIST_KIND, query=_binding(user_id)
    )
    checks.done()
    return GameQuery(user_id=user_id, page_size=page_size, after=_position(position))


def read_finished_game(checks: Checks, field: str, game: backlog_pb2.FinishedGame) -> FinishedGame:
    """A game as game_svc tells it; `field` is its own path."""
    start_time = read_required_time(
        checks, f"{field}.start_time", game.start_time if game.HasField("start_time") else None
    )
    end_time = read_required_time(
        checks, f"{field}.end_time", game.end_time if game.HasField("end_time") else None
    )
    return FinishedGame(
        game_id=read_game_id(checks, f"{field}.game_id", game.game_id),
        game_name=checks.text(f"{field}.game_name", game.game_name, longest=LONGEST_NAME),
        start_time=start_time,
        end_time=end_time,
        players=_players(checks, f"{field}.players", game.players),
        matched_movie_ids=tuple(
            checks.movie_id(path, movie_id)
            for path, movie_id in _bounded(
                checks, f"{field}.matched_movie_ids", game.matched_movie_ids, most=MOST_MOVIES
            )
        ),
        near_misses=tuple(
            NearMiss(
                checks.movie_id(f"{path}.movie_id", film.movie_id),
                _percent(checks, f"{path}.percent", film.percent),
            )
            for path, film in _bounded(checks, f"{field}.near_misses", game.near_misses, most=MOST_MOVIES)
        ),
        genres=tuple(
            GenreTaste(
                _at_least(1, checks, f"{path}.genre_id", genre.genre_id),
                _at_least(0, checks, f"{path}.swipes", genre.swipes),
                _at_least(0, checks, f"{path}.likes", genre.likes),
            )
            for path, genre in _bounded(checks, f"{field}.genres", game.genres, most=MOST_GENRES)
        ),
    )


def game_message(game: FinishedGame) -> backlog_pb2.FinishedGame:
    """A finished game, for an answer."""
    return backlog_pb2.FinishedGame(
        game_id=game.game_id,
        game_name=game.game_name,
        start_time=timestamp(game.start_time),
        end_time=timestamp(game.end_time),
        players=[
            backlog_pb2.FinishedGame.Player(
                user_id=player.user_id or "",
                display_name=player.display_name or "",
                guest=player.guest,
                swipes=player.swipes,
                liked_percent=player.liked_percent,
                with_majority_percent=player.with_majority_percent,
            )
            for player in game.players
        ],
        matched_movie_ids=game.matched_movie_ids,
        near_misses=[
            backlog_pb2.FinishedGame.NearMiss(movie_id=film.movie_id, percent=film.percent)
            for film in game.near_misses
        ],
        genres=[
            backlog_pb2.FinishedGame.GenreTaste(
                genre_id=genre.genre_id, swipes=genre.swipes, likes=genre.likes
            )
            for genre in game.genres
        ],
    )


def game_data(game: FinishedGame, user_id: str) -> dict[str, Any]:
    """A finished game, for the export of one of its players: others are there by name alone."""
    message = game_message(game)
    for player in message.players:
        if player.user_id != user_id:
            player.ClearField("user_id")
    return json_format.MessageToDict(message)


def _players(
    checks: Checks, field: str, given: Sequence[backlog_pb2.FinishedGame.Player]
) -> tuple[Player, ...]:
    people = read_people(checks, field, given, most=MOST_PLAYERS)
    return tuple(
        Player(
            user_id=who.user_id,
            display_name=who.display_name,
            guest=who.guest,
            swipes=_at_least(0, checks, f"{field}[{index}].swipes", player.swipes),
            liked_percent=_percent(checks, f"{field}[{index}].liked_percent", player.liked_percent),
            with_majority_percent=_percent(
                checks, f"{field}[{index}].with_majority_percent", player.with_majority_percent
            ),
        )
        for index, (who, player) in enumerate(zip(people, given, strict=False))
    )


def _bounded(checks: Checks, field: str, given: Sequence[Any], *, most: int) -> Iterable[tuple[str, Any]]:
    """The first `most` items, each with its path; more than that is noted."""
    checks.require(len(given) <= most, field, "TOO_MANY", f"Must have at most {most} items.")
    return ((f"{field}[{index}]", item) for index, item in enumerate(given[:most]))


def _percent(checks: Checks, field: str, value: int) -> int:
    checks.require(0 <= value <= 100, field, "OUT_OF_RANGE", "Must be 0 to 100.")
    return value


def _at_least(least: int, checks: Checks, field: str, value: int) -> int:
    checks.require(value >= least, field, "OUT_OF_RANGE", f"Must be {least} or more.")
    return value


def _binding(user_id: str) -> Mapping[str, object]:
    """What a page token is good for: this list of this person, and no other."""
    return {"user": user_id}


def _position(position: list[Any]) -> GamePosition | None:
    if not position:
        return None
    number, game_id = position
    return GamePosition(from_number(number), game_id)
