"""How an event lies in the log: one JSON object an event, `{"is": kind, "at": milliseconds, ...fields}`.

The names of kinds and fields are the log's format. Fields that a newer version added and this one does not
know are left aside, so that two versions can serve one room during an update.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any, Final

from game_svc.events import (
    AfterMatch,
    CardsRanOut,
    CardSwiped,
    DeckSource,
    DoorChanged,
    EndCause,
    Event,
    Film,
    Filter,
    GameEnded,
    HostChanged,
    MatchFound,
    MatchRule,
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

_KINDS: Final[Mapping[str, Callable[..., Event]]] = {
    "opened": RoomOpened,
    "joined": PlayerJoined,
    "left": PlayerLeft,
    "removed": PlayerRemoved,
    "erased": PlayerErased,
    "host": HostChanged,
    "changed": RoomChanged,
    "door": DoorChanged,
    "pick": PickAdded,
    "unpick": PickRemoved,
    "started": SwipingStarted,
    "swiped": CardSwiped,
    "unswiped": SwipeUndone,
    "match": MatchFound,
    "unmatch": MatchWithdrawn,
    "no_cards": CardsRanOut,
    "run_off": RunOffStarted,
    "drawn": WinnerDrawn,
    "ended": GameEnded,
}
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}


def _film(value: Mapping[str, Any]) -> Film:
    return Film(value["movie_id"], value["rating"], tuple(value.get("genres", ())), value.get("appeal"))


def _settings(value: Mapping[str, Any]) -> Settings:
    return Settings(
        match_rule=MatchRule(value["match_rule"]),
        likes_needed=value["likes_needed"],
        after_match=AfterMatch(value["after_match"]),
        deck_sources=_sources(value["deck_sources"]),
        max_movies=value["max_movies"],
        discover=_filter(value.get("discover", {})),
        leave_out_watched=value.get("leave_out_watched", False),
    )


def _filter(value: Mapping[str, Any]) -> Filter:
    lists = {name: tuple(value.get(name, ())) for name in ("genre_ids", "provider_ids")}
    known = {field.name for field in fields(Filter)}
    return Filter(**{**{name: given for name, given in value.items() if name in known}, **lists})


def _sources(value: list[str]) -> tuple[DeckSource, ...]:
    return tuple(DeckSource(source) for source in value)


# How fields that JSON has no word for are read back. Their names mean the same in every kind.
_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "settings": _settings,
    "film": _film,
    "deck": lambda value: tuple(_film(film) for film in value),
    "empty_sources": _sources,
    "verdict": Verdict,
    "cause": EndCause,
    "present": tuple,
    "among": tuple,
}


_FIELDS: Final = {kind: tuple(field.name for field in fields(kind)) for kind in _NAMES}  # type: ignore[arg-type]
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, default=asdict)


def to_entry(event: Event, at: datetime) -> bytes:
    """Return an event as the log keeps it. Times are kept to the millisecond."""
    kind = type(event)
    entry: dict[str, Any] = {"is": _NAMES[kind], "at": round(at.timestamp() * 1000)}
    for name in _FIELDS[kind]:
        entry[name] = getattr(event, name)
    return _ENCODER.encode(entry).encode()


def from_entry(seq: int, entry: bytes) -> Numbered:
    """Return the event of an entry.

    Raises:
        ValueError: When the entry is not one of ours.
    """
    try:
        values = json.loads(entry)
        kind = _KINDS[values["is"]]
        at = datetime.fromtimestamp(values["at"] / 1000, UTC)
        known = {
            field.name: _READERS.get(field.name, _as_it_is)(values[field.name])
            for field in fields(kind)  # type: ignore[arg-type]  # every kind is a dataclass
            if field.name in values
        }
        return Numbered(seq, at, kind(**known))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"entry {seq} of the log is not an event") from error


def _as_it_is(value: Any) -> Any:
    return value
