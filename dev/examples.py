"""A request that makes sense for every method, in protobuf's JSON: made from the descriptors.

What a field looks like is said once, by its name, in `VALUES`. An enum is its first value that means
something, a message is its fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dev.contract import Contract, Field, Message, Rpc, is_list, type_of
from dev.openapi.words import camel

Json = dict[str, Any]

_USER: Final = "0b4d1f7e-5c1a-4c7e-9d7e-2f1f5a3c9b11"
_TIME: Final = "2026-06-12T20:15:00Z"
_ABSENT: Final = None

VALUES: Final[Mapping[str, Any]] = {
    "after_seq": "8",
    "all_sessions": False,
    "authorization_code": _ABSENT,
    "client_id": _ABSENT,
    "code": "7K3MXQ2A",
    "code_verifier": _ABSENT,
    "content_type": "text/csv",
    "data": "RGF0ZSxOYW1lLFllYXIsTGV0dGVyYm94ZCBVUkkKMjAyNi0wMS0wMixBbGllbiwxOTc5LAo=",
    "decade": 1980,
    "discover": _ABSENT,
    "display_name": "Ada",
    "dry_run": True,
    "end_cause": _ABSENT,
    "end_time": _TIME,
    "epoch": "4f1c8a",
    "etag": _ABSENT,
    "extensions": _ABSENT,
    "format": _ABSENT,
    "game_id": "01J0EVENINGPOPCORN",
    "game_name": "Friday",
    "game_seq": "10",
    "genre_id": 878,
    "genre_ids": 878,
    "guest": False,
    "id_token": "eyJhbGciOi...",
    "imdb_id": "tt0133093",
    "import_id": "3f0c2a52-8f0e-4b43-a3ab-8b6d2f7f7e10",
    "kind": _ABSENT,
    "language": "de",
    "languages": "de",
    "leave_out_watched": _ABSENT,
    "liked_percent": 40,
    "likes": 4,
    "likes_needed": _ABSENT,
    "limit": 20,
    "locked": True,
    "matched_movie_ids": 129,
    "max_movies": 60,
    "max_runtime_minutes": 150,
    "min_rating": 6.5,
    "movie_id": 129,
    "movie_ids": 129,
    "name": "Friday",
    "near_misses": _ABSENT,
    "nonce": _ABSENT,
    "note": "for a rainy day",
    "original_language": "en",
    "page_size": 10,
    "page_token": _ABSENT,
    "payload": "eyJhbGciOi...",
    "percent": 75,
    "plain_status": _ABSENT,
    "player_id": "p2",
    "prefix": "spir",
    "provider_ids": 8,
    "query": "spirited away",
    "rating": 4.5,
    "redirect_uri": _ABSENT,
    "refresh_token": "the one of the latest answer",
    "region": "DE",
    "row": 3,
    "session_id": "5a8a7c0e-43f7-4d6a-9e5f-0d6a6f0a1c22",
    "since": _TIME,
    "skip": False,
    "source": _ABSENT,
    "start_time": _TIME,
    "swipe_id": "a1",
    "swipes": 10,
    "tag": "family",
    "tags": "family",
    "text": "ghibli",
    "title": "The Matrix",
    "update_mask": _ABSENT,
    "user_id": _USER,
    "user_ids": _USER,
    "wanted_by_at_least": 1,
    "watch_time": _TIME,
    "with_majority_percent": 60,
    "year": 1999,
    "year_from": 1970,
    "year_to": 1999,
    "match_time": _TIME,
}
"""What fields look like, by name: a list's value is that of its one item, None leaves the field out."""

_EXACTLY: Final[Mapping[str, Any]] = {"popcorn.game.v1.UpdateGameRequest.update_mask": "name"}
"""What single fields look like, where it is not what their name makes one think."""

_ONLY: Final[Mapping[str, tuple[str, ...]]] = {
    "popcorn.gateway.v1.Account": ("display_name", "language", "region"),
    "popcorn.gateway.v1.SearchMoviesRequest": ("query", "page_size"),
    "popcorn.gateway.v1.DiscoverMoviesRequest": ("genre_ids", "year_from", "year_to", "min_rating"),
    "popcorn.gateway.v1.ListBacklogRequest": ("status", "page_size"),
    "popcorn.movie.v1.SearchMoviesRequest": ("query", "page_size", "locale"),
    "popcorn.backlog.v1.EntryFilter": ("status",),
    "popcorn.game.v1.Game": ("name",),
    "popcorn.game.v1.GameSettings": ("match_rule", "deck_sources", "max_movies"),
}
"""Messages of which an example shows some fields only: the others are not for clients to set, or too many."""


def of(contract: Contract, rpc: Rpc) -> Json:
    """Returns a request of a method."""
    return of_message(contract, rpc.request)


def of_message(contract: Contract, message: str) -> Json:
    """Returns an example of a message that clients send, by its full name."""
    return dict(_fields(contract, message, contract.messages[message]))


def unknown(contract: Contract) -> set[str]:
    """Returns the fields that examples would show, as `message.field`, and that have no value here."""
    waiting = [rpc.request for service in contract.services for rpc in service.rpcs]
    seen: set[str] = set()
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for field in _shown(name, contract.messages[name]):
            if field.name in VALUES or field.type == Field.TYPE_ENUM:
                continue
            if field.type != Field.TYPE_MESSAGE:
                found.add(f"{name}.{field.name}")
            elif _has_fields_of_its_own(field):
                waiting.append(type_of(field))
    return found


def _shown(name: str, message: Message) -> list[Field]:
    """The fields of which an example has a value: of each `oneof` the first."""
    only = _ONLY.get(name)
    firsts = {field.oneof_index: field.name for field in reversed(message.field) if _is_alternative(field)}
    return [
        field
        for field in message.field
        if (only is None or field.name in only)
        and (not _is_alternative(field) or firsts[field.oneof_index] == field.name)
    ]


def _fields(contract: Contract, name: str, message: Message) -> list[tuple[str, Any]]:
    values = [(field, _value(contract, name, field)) for field in _shown(name, message)]
    return [
        (camel(field.name), [value] if is_list(field) else value)
        for field, value in values
        if value is not None
    ]


def _value(contract: Contract, message: str, field: Field) -> Any:
    if (exactly := f"{message}.{field.name}") in _EXACTLY:
        return _EXACTLY[exactly]
    if field.name in VALUES:
        return VALUES[field.name]
    if field.type == Field.TYPE_ENUM:
        return contract.enums[type_of(field)].value[1].name
    if field.type == Field.TYPE_MESSAGE and _has_fields_of_its_own(field):
        return of_message(contract, type_of(field))
    return None


def _has_fields_of_its_own(field: Field) -> bool:
    """Whether a message is printed field by field, and not as a text."""
    return not type_of(field).startswith("google.protobuf.")


def _is_alternative(field: Field) -> bool:
    return field.HasField("oneof_index") and not field.proto3_optional
