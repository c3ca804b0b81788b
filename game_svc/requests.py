"""What a client may say to a room. Each function raises InvalidInput with everything that is wrong."""

from __future__ import annotations

from game_svc.codes import read_code
from game_svc.events import LARGEST_DECK, SEATS, MatchRule, Settings
from game_svc.messages import AFTER_MATCHES, DECK_SOURCES, MATCH_RULES, VERDICTS
from game_svc.rules import GiveVerdict
from mesh.checks import Checks
from mesh.errors import NotImplementedYet
from popcorn.game.v1 import game_pb2

_LONGEST_NAME = 60
_LONGEST_SWIPE_ID = 64
_DEFAULT_NAME = "Movie night"
_DEFAULT_DECK = 100


def code(text: str) -> str:
    """Return a room's code in its one spelling."""
    checks = Checks()
    read = _code(checks, text)
    checks.done()
    return read


def code_and_movie(request: game_pb2.AddPickRequest | game_pb2.RemovePickRequest) -> tuple[str, int]:
    """Return a room's code and a film's id."""
    checks = Checks()
    read = _code(checks, request.code)
    movie_id = checks.movie_id("movie_id", request.movie_id)
    checks.done()
    return read, movie_id


def code_and_page_size(request: game_pb2.GetDeckRequest) -> tuple[str, int]:
    """Return a room's code and how many cards are wanted."""
    checks = Checks()
    read = _code(checks, request.code)
    page_size = checks.page_size("page_size", request.page_size, default=10, most=20)
    checks.done()
    return read, page_size


def name_and_settings(request: game_pb2.CreateGameRequest) -> tuple[str, Settings]:
    """Return a new room's name and how it shall play.

    Raises:
        NotImplementedYet: It asks for something that the contract has and this version has not.
    """
    checks = Checks()
    name = checks.text("name", request.name, longest=_LONGEST_NAME) or _DEFAULT_NAME
    asked = request.settings
    rule = checks.choice(
        "settings.match_rule", asked.match_rule, game_pb2.MatchRule, default=game_pb2.MATCH_RULE_EVERYBODY
    )
    after = checks.choice(
        "settings.after_match", asked.after_match, game_pb2.AfterMatch, default=game_pb2.AFTER_MATCH_GO_ON
    )
    sources = [
        checks.choice(f"settings.deck_sources[{index}]", source, game_pb2.DeckSource)
        for index, source in enumerate(asked.deck_sources)
    ] or [game_pb2.DECK_SOURCE_PICKS]
    counted = rule == game_pb2.MATCH_RULE_COUNT
    checks.require(
        1 <= asked.likes_needed <= SEATS if counted else asked.likes_needed == 0,
        "settings.likes_needed",
        "OUT_OF_RANGE",
        f"Must be 1 to {SEATS} with MATCH_RULE_COUNT, and left out otherwise.",
    )
    checks.require(
        0 <= asked.max_movies <= LARGEST_DECK,
        "settings.max_movies",
        "OUT_OF_RANGE",
        f"Must be 1 to {LARGEST_DECK}, or 0 for {_DEFAULT_DECK}.",
    )
    checks.done()
    if missing := [
        *(
            f"settings.deck_sources[{index}]"
            for index, source in enumerate(sources)
            if source not in DECK_SOURCES
        ),
        *(["settings.discover"] if asked.HasField("discover") else []),
        *(["settings.leave_out_watched"] if asked.leave_out_watched else []),
    ]:
        raise NotImplementedYet(missing)
    return name, Settings(
        match_rule=MATCH_RULES[rule],
        likes_needed=asked.likes_needed if MATCH_RULES[rule] is MatchRule.COUNT else 0,
        after_match=AFTER_MATCHES[after],
        deck_sources=tuple(dict.fromkeys(DECK_SOURCES[source] for source in sources)),
        max_movies=asked.max_movies or _DEFAULT_DECK,
    )


def code_and_verdict(request: game_pb2.SwipeRequest, *, user_id: str) -> tuple[str, GiveVerdict]:
    """Return a room's code and the swipe."""
    checks = Checks()
    read = _code(checks, request.code)
    _check_swipe(checks, request)
    checks.done()
    return read, _command(request, user_id=user_id)


def verdict(swipe: game_pb2.PlaySwipe, *, user_id: str) -> GiveVerdict:
    """Return a swipe that came over `Play`."""
    checks = Checks()
    _check_swipe(checks, swipe)
    checks.done()
    return _command(swipe, user_id=user_id)


def resume_point(request: game_pb2.WatchGameRequest | game_pb2.Hello) -> tuple[str, int, str]:
    """Return a room's code, the number to go on after, and the epoch it belongs to."""
    checks = Checks()
    read = _code(checks, request.code)
    checks.require(request.after_seq >= 0, "after_seq", "OUT_OF_RANGE", "Must be 0 or more.")
    epoch = checks.text("epoch", request.epoch, longest=64)
    checks.done()
    return read, request.after_seq, epoch


def _code(checks: Checks, text: str) -> str:
    read = read_code(text)
    checks.require(
        read is not None, "code", "INVALID_CODE", "Must be the 8 symbols of a room's code, like 7K3MXQ2A."
    )
    return read or ""


def _check_swipe(checks: Checks, swipe: game_pb2.SwipeRequest | game_pb2.PlaySwipe) -> None:
    checks.text("swipe_id", swipe.swipe_id, shortest=1, longest=_LONGEST_SWIPE_ID)
    checks.movie_id("movie_id", swipe.movie_id)
    checks.choice("verdict", swipe.verdict, game_pb2.Verdict)


def _command(swipe: game_pb2.SwipeRequest | game_pb2.PlaySwipe, *, user_id: str) -> GiveVerdict:
    return GiveVerdict(user_id, swipe.swipe_id, swipe.movie_id, VERDICTS[swipe.verdict])
