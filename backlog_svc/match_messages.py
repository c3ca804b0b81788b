"""Between the contract's messages of movie nights and the domain's values; what is read is checked."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from google.protobuf import json_format

from backlog_svc.entries import CLOCK_SKEW
from backlog_svc.matches import LONGEST_NAME, MOST_PARTICIPANTS, Match, MatchPosition, Participant
from backlog_svc.messages import DEFAULT_PAGE_SIZE, LARGEST_PAGE_SIZE, is_id, read_user_id
from backlog_svc.timestamps import from_number, read_time, timestamp, to_number
from mesh.checks import Checks
from mesh.page_tokens import PageTokens
from popcorn.backlog.v1 import backlog_pb2

_LIST_KIND: Final = "backlog.matches"


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchQuery:
    """A ListMatchesRequest, checked."""

    user_id: str
    page_size: int
    after: MatchPosition | None

    def token_for(self, position: MatchPosition | None, tokens: PageTokens) -> str:
        """The page token for going on after `position`; empty at the list's end."""
        if position is None:
            return ""
        at = [to_number(position.match_time), position.game_id, position.movie_id]
        return tokens.seal(_LIST_KIND, _binding(self.user_id), at)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedNight:
    """A MarkMatchWatchedRequest, checked."""

    user_id: str
    game_id: str
    movie_id: int
    watch_time: datetime


def read_match_query(
    checks: Checks, request: backlog_pb2.ListMatchesRequest, *, tokens: PageTokens
) -> MatchQuery:
    """Whose movie nights, and from where on. Raises InvalidInput; nothing is left to check."""
    user_id = read_user_id(checks, request.user_id)
    page_size = checks.page_size(
        "page_size", request.page_size, default=DEFAULT_PAGE_SIZE, most=LARGEST_PAGE_SIZE
    )
    position = checks.page_token(
        "page_token", request.page_token, tokens=tokens, kind=_LIST_KIND, query=_binding(user_id)
    )
    checks.done()
    return MatchQuery(user_id=user_id, page_size=page_size, after=_position(position))


def read_match(checks: Checks, field: str, match: backlog_pb2.Match) -> Match:
    """A match as the game tells it; `field` is its own path."""
    return Match(
        game_id=read_game_id(checks, f"{field}.game_id", match.game_id),
        movie_id=checks.movie_id(f"{field}.movie_id", match.movie_id),
        game_name=checks.text(f"{field}.game_name", match.game_name, longest=LONGEST_NAME),
        match_time=read_required_time(
            checks, f"{field}.match_time", match.match_time if match.HasField("match_time") else None
        ),
        participants=read_people(
            checks,
            f"{field}.participants",
            match.participants,
            most=MOST_PARTICIPANTS,
        ),
    )


def read_watched_night(
    checks: Checks, request: backlog_pb2.MarkMatchWatchedRequest, *, now: datetime
) -> WatchedNight:
    """Who watched what, and when. Raises InvalidInput; nothing is left to check."""
    watch_time = now
    if request.HasField("watch_time"):
        watch_time = read_time(checks, "watch_time", request.watch_time)
        checks.require(
            watch_time <= now + CLOCK_SKEW, "watch_time", "IN_THE_FUTURE", "Must not be in the future."
        )
    night = WatchedNight(
        user_id=read_user_id(checks, request.user_id),
        game_id=read_game_id(checks, "game_id", request.game_id),
        movie_id=checks.movie_id("movie_id", request.movie_id),
        watch_time=min(watch_time, now),
    )
    checks.done()
    return night


def read_game_id(checks: Checks, field: str, game_id: str) -> str:
    """A game's id."""
    checks.require(
        is_id(game_id),
        field,
        "INVALID_GAME_ID",
        "Must be a game's id: 1 to 64 letters, digits, hyphens and underscores.",
    )
    return game_id


def read_game_seq(checks: Checks, field: str, game_seq: int) -> int:
    """The number of a game's event."""
    checks.require(game_seq >= 0, field, "NEGATIVE", "Must be 0 or more.")
    return game_seq


def read_required_time(checks: Checks, field: str, given: Any) -> datetime:
    """A time that must be there."""
    if given is None:
        checks.require(False, field, "REQUIRED", "Must not be empty.")
        return from_number(0)
    return read_time(checks, field, given)


def read_people(checks: Checks, field: str, people: Iterable[Any], *, most: int) -> tuple[Participant, ...]:
    """Who was there: 1 to `most` messages with user_id, display_name and guest, each user once."""
    given = list(people)
    checks.require(len(given) > 0, field, "REQUIRED", "Must not be empty.")
    checks.require(len(given) <= most, field, "TOO_MANY", f"Must have at most {most} items.")
    known: set[str] = set()
    found = []
    for index, one in enumerate(given[:most]):
        erased = not one.user_id and not one.display_name
        checks.require(
            erased or is_id(one.user_id),
            f"{field}[{index}].user_id",
            "INVALID_USER_ID",
            "Must be a user id, or empty together with the name.",
        )
        checks.require(
            one.user_id not in known, f"{field}[{index}].user_id", "REPEATED", "Must be there once."
        )
        name = checks.text(f"{field}[{index}].display_name", one.display_name, longest=LONGEST_NAME)
        if erased:
            found.append(Participant(user_id=None, display_name=None, guest=one.guest))
        else:
            known.add(one.user_id)
            found.append(Participant(user_id=one.user_id, display_name=name, guest=one.guest))
    return tuple(found)


def match_message(match: Match) -> backlog_pb2.Match:
    """A match, for an answer."""
    return backlog_pb2.Match(
        game_id=match.game_id,
        game_name=match.game_name,
        movie_id=match.movie_id,
        match_time=timestamp(match.match_time),
        participants=[
            backlog_pb2.Match.Participant(
                user_id=one.user_id or "", display_name=one.display_name or "", guest=one.guest
            )
            for one in match.participants
        ],
        watch_time=None if match.watch_time is None else timestamp(match.watch_time),
    )


def match_data(match: Match, user_id: str) -> dict[str, Any]:
    """A match, for the export of one of those who were there: others are there by name alone."""
    message = match_message(match)
    for one in message.participants:
        if one.user_id != user_id:
            one.ClearField("user_id")
    return json_format.MessageToDict(message)


def _binding(user_id: str) -> Mapping[str, object]:
    """What a page token is good for: this list of this person, and no other."""
    return {"user": user_id}


def _position(position: list[Any]) -> MatchPosition | None:
    if not position:
        return None
    number, game_id, movie_id = position
    return MatchPosition(from_number(number), game_id, movie_id)
