"""What a client may say to a room. Each function raises InvalidInput with everything that is wrong."""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Any, Final

from game_svc.codes import read_code
from game_svc.events import LARGEST_DECK, SEATS, AfterMatch, Filter, MatchRule, Settings
from game_svc.messages import AFTER_MATCHES, DECK_SOURCES, MATCH_RULES, VERDICTS
from game_svc.rules import Change, GiveVerdict, Undo
from mesh.checks import Checks
from mesh.locale import Locale, parse_region
from mesh.page_tokens import PageTokens
from popcorn.game.v1 import game_pb2

MY_GAMES: Final = "game.my_games"
"""The kind of list that the page tokens of a player's rooms are for."""

_LONGEST_NAME = 60
_LONGEST_NUMBER = 16
_LONGEST_SWIPE_ID = 64
_LONGEST_PLAYER_ID = 16
_DEFAULT_NAME = "Movie night"
_DEFAULT_DECK = 100
_MOST_GENRES = 10
_MOST_PROVIDERS = 20
_YEARS = (1870, 2200)
_LONGEST_MINUTES = 1_000
_LANGUAGE = re.compile("[a-z]{2}")
_ALL_SETTINGS: Final[Set[str]] = frozenset(game_pb2.GameSettings.DESCRIPTOR.fields_by_name)


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


def name_and_settings(request: game_pb2.CreateGameRequest, locale: Locale) -> tuple[str, Settings]:
    """Return a new room's name and how it shall play."""
    checks = Checks()
    name = _name(checks, "name", request.name)
    how = Settings(**_settings(checks, "settings", request.settings, locale, _ALL_SETTINGS))
    counted = how.match_rule is MatchRule.COUNT
    checks.require(
        counted == bool(how.likes_needed),
        "settings.likes_needed",
        "OUT_OF_RANGE",
        f"Must be 1 to {SEATS} with MATCH_RULE_COUNT, and left out otherwise.",
    )
    checks.done()
    return name, how


def change(request: game_pb2.UpdateGameRequest, locale: Locale, *, user_id: str) -> tuple[str, Change]:
    """Return a room's code and what shall change in it: the fields that the mask names."""
    checks = Checks()
    read = _code(checks, request.code)
    fields: set[str] = set()
    for path in request.update_mask.paths:
        if path == "settings":
            fields |= _ALL_SETTINGS
        elif path != "name":
            field = path.removeprefix("settings.").partition(".")[0]
            known = path.startswith("settings.") and field in _ALL_SETTINGS
            checks.require(known, "update_mask", "UNKNOWN_FIELD", "Must be name, settings, or its fields.")
            fields.add(field)
    checks.require(
        bool(request.update_mask.paths), "update_mask", "REQUIRED", "Must name the fields to change."
    )
    named = "name" in request.update_mask.paths
    name = _name(checks, "game.name", request.game.name) if named else None
    values = _settings(checks, "game.settings", request.game.settings, locale, fields)
    checks.done()
    return read, Change(user_id, name, values)


def code_and_trial(request: game_pb2.CountDeckRequest, locale: Locale) -> tuple[str, Settings | None]:
    """Return a room's code and the settings to try, None for the room's own."""
    checks = Checks()
    read = _code(checks, request.code)
    values = _settings(checks, "settings", request.settings, locale, _ALL_SETTINGS)
    checks.done()
    return read, Settings(**values) if request.HasField("settings") else None


def code_and_player(
    request: game_pb2.RemovePlayerRequest | game_pb2.TransferHostRequest,
) -> tuple[str, str]:
    """Return a room's code and somebody's player id."""
    checks = Checks()
    read = _code(checks, request.code)
    player_id = checks.text("player_id", request.player_id, shortest=1, longest=_LONGEST_PLAYER_ID)
    checks.done()
    return read, player_id


def code_and_format(request: game_pb2.GetQrCodeRequest) -> tuple[str, bool]:
    """Return a room's code and whether its QR code shall be made of pixels."""
    checks = Checks()
    read = _code(checks, request.code)
    formats = game_pb2.GetQrCodeRequest.Format
    chosen = checks.choice("format", request.format, formats, default=formats.FORMAT_SVG)
    checks.done()
    return read, chosen == formats.FORMAT_PNG


def page(
    request: game_pb2.ListMyGamesRequest, tokens: PageTokens, *, user_id: str
) -> tuple[int, tuple[int, str] | None]:
    """Return how many rooms are wanted, and after which: when that was opened (ms) and its code."""
    checks = Checks()
    size = checks.page_size("page_size", request.page_size, default=20, most=100)
    position = checks.page_token(
        "page_token", request.page_token, tokens=tokens, kind=MY_GAMES, query={"user": user_id}
    )
    checks.done()
    return size, (int(position[0]), str(position[1])) if position else None


def token_for(position: tuple[int, str] | None, tokens: PageTokens, *, user_id: str) -> str:
    """Return the token for the page after a position; "" where there is none."""
    return "" if position is None else tokens.seal(MY_GAMES, {"user": user_id}, position)


def _name(checks: Checks, field: str, text: str) -> str:
    return checks.text(field, text, longest=_LONGEST_NAME) or _DEFAULT_NAME


def _settings(
    checks: Checks, field: str, asked: game_pb2.GameSettings, locale: Locale, wanted: Set[str]
) -> dict[str, Any]:
    """Return those of the settings that are wanted, as values of `Settings` by name."""
    values: dict[str, Any] = {}
    if "match_rule" in wanted:
        rule = checks.choice(
            f"{field}.match_rule", asked.match_rule, game_pb2.MatchRule, default=game_pb2.MATCH_RULE_EVERYBODY
        )
        values["match_rule"] = MATCH_RULES.get(rule, MatchRule.EVERYBODY)
    if "likes_needed" in wanted:
        values["likes_needed"] = _within(checks, f"{field}.likes_needed", asked.likes_needed, 1, SEATS)
    if "after_match" in wanted:
        after = checks.choice(
            f"{field}.after_match", asked.after_match, game_pb2.AfterMatch, default=game_pb2.AFTER_MATCH_GO_ON
        )
        values["after_match"] = AFTER_MATCHES.get(after, AfterMatch.GO_ON)
    if "deck_sources" in wanted:
        sources = [
            checks.choice(f"{field}.deck_sources[{index}]", source, game_pb2.DeckSource)
            for index, source in enumerate(asked.deck_sources[: len(DECK_SOURCES)])
        ] or [game_pb2.DECK_SOURCE_PICKS]
        checks.require(
            len(asked.deck_sources) <= len(DECK_SOURCES),
            f"{field}.deck_sources",
            "TOO_MANY",
            f"Must be at most {len(DECK_SOURCES)}, each source once.",
        )
        values["deck_sources"] = tuple(
            dict.fromkeys(DECK_SOURCES[source] for source in sources if source in DECK_SOURCES)
        )
    if "max_movies" in wanted:
        most = _within(checks, f"{field}.max_movies", asked.max_movies, 1, LARGEST_DECK)
        values["max_movies"] = most or _DEFAULT_DECK
    if "leave_out_watched" in wanted:
        values["leave_out_watched"] = asked.leave_out_watched
    if wanted & {"discover", "region"}:
        values["discover"] = _filter(checks, field, asked, locale)
    return values


def _filter(checks: Checks, field: str, asked: game_pb2.GameSettings, locale: Locale) -> Filter:
    film, path = asked.discover, f"{field}.discover"
    for name, ids, most in (
        ("genre_ids", film.genre_ids, _MOST_GENRES),
        ("provider_ids", film.provider_ids, _MOST_PROVIDERS),
    ):
        good = len(ids) <= most and all(number > 0 for number in ids)
        checks.require(good, f"{path}.{name}", "OUT_OF_RANGE", f"Must be at most {most} ids from 1.")
    for name, year in (("year_from", film.year_from), ("year_to", film.year_to)):
        _within(checks, f"{path}.{name}", year, *_YEARS)
    checks.require(
        not (film.year_from and film.year_to) or film.year_from <= film.year_to,
        f"{path}.year_to",
        "OUT_OF_RANGE",
        "Must not come before year_from.",
    )
    _within(checks, f"{path}.max_runtime_minutes", film.max_runtime_minutes, 1, _LONGEST_MINUTES)
    checks.require(0 <= film.min_rating <= 10, f"{path}.min_rating", "OUT_OF_RANGE", "Must be 0 to 10.")
    checks.require(
        not film.original_language or bool(_LANGUAGE.fullmatch(film.original_language)),
        f"{path}.original_language",
        "INVALID_LANGUAGE",
        "Must be a language of ISO 639-1, like fr.",
    )
    region = parse_region(asked.region) if asked.region else locale.region if film.provider_ids else None
    checks.require(
        not asked.region or region is not None,
        f"{field}.region",
        "INVALID_REGION",
        "Must be a region of ISO 3166-1, like DE.",
    )
    return Filter(
        genre_ids=tuple(dict.fromkeys(film.genre_ids)),
        year_from=film.year_from,
        year_to=film.year_to,
        max_runtime_minutes=film.max_runtime_minutes,
        min_rating=film.min_rating,
        provider_ids=tuple(dict.fromkeys(film.provider_ids)),
        region=region or "",
        original_language=film.original_language,
    )


def _within(checks: Checks, field: str, value: int, least: int, most: int) -> int:
    """Return a number that may be left out: 0 stands for that."""
    good = value == 0 or least <= value <= most
    checks.require(good, field, "OUT_OF_RANGE", f"Must be {least} to {most}, or left out.")
    return value


def code_and_verdict(request: game_pb2.SwipeRequest, *, user_id: str) -> tuple[str, GiveVerdict]:
    """Return a room's code and the swipe."""
    checks = Checks()
    read = _code(checks, request.code)
    _check_swipe(checks, request)
    checks.done()
    return read, _command(request, user_id=user_id)


def code_and_undo(request: game_pb2.UndoSwipeRequest, *, user_id: str) -> tuple[str, Undo]:
    """Return a room's code and what to take back."""
    checks = Checks()
    read = _code(checks, request.code)
    movie_id = checks.movie_id("movie_id", request.movie_id)
    swipe_id = checks.text("swipe_id", request.swipe_id, longest=_LONGEST_SWIPE_ID)
    checks.done()
    return read, Undo(user_id, swipe_id, movie_id)


def play(request: game_pb2.PlayRequest, *, user_id: str) -> GiveVerdict | Undo:
    """Return the swipe, or the undo, that came over `Play`."""
    checks = Checks()
    if request.WhichOneof("message") == "undo":
        swipe_id = checks.text("swipe_id", request.undo.swipe_id, shortest=1, longest=_LONGEST_SWIPE_ID)
        checks.done()
        return Undo(user_id, swipe_id)
    _check_swipe(checks, request.swipe)
    checks.done()
    return _command(request.swipe, user_id=user_id)


def resume_point_of_browser(
    request: game_pb2.StreamEventsRequest, last_event_id: str | None
) -> tuple[str, int, str]:
    """Return a room's code, and where to go on: after the last server-sent event, if one is named.

    An id that is not one of ours stands for nothing: the stream then starts with a snapshot.
    """
    point = resume_point(request)
    if last_event_id is None:
        return point
    seq, _, epoch = last_event_id.partition("-")
    known = seq.isascii() and seq.isdecimal() and len(seq) < _LONGEST_NUMBER
    return (point[0], int(seq), epoch) if known else (point[0], 0, "")


def resume_point(
    request: game_pb2.WatchGameRequest | game_pb2.StreamEventsRequest | game_pb2.Hello,
) -> tuple[str, int, str]:
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
