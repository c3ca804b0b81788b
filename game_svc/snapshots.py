"""A room's state as bytes, so that opening a long game does not mean folding all of its log.

A snapshot is nothing but a shortcut: whoever cannot read one folds the log. So its format needs no care
across versions: `SCHEMA` is a digest of everything a state consists of, and what bears another one is left
aside.

JSON: a dataclass is the list of its fields, in their order; a mapping a list of keys and one of values.
Verdicts, most of what there is, stand apart, each once and column by column, and are referred to by their
place: several parts of a state share them. The whole is compressed: Redis writes it to its disk, keeps it in
memory, and writes all of that anew when its append-only file has grown.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from game_svc.state import State, Swipe

MEANING: Final = 2
"""To be raised when a field of the state means something else than before, under the same name and type, or
is written in another way."""

_QUICKEST: Final = 1
# Level of zlib: a quarter of the size, for a quarter of the time the snapshot takes. Level 6 takes another
# tenth off and takes twice as long.

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)

_Write = Callable[[Any, "_Pool"], Any]
_Read = Callable[[Any, list[Any]], Any]


class _Pool:
    """Verdicts, each once."""

    def __init__(self) -> None:
        self._swipes: list[Swipe] = []
        self._places: dict[int, int] = {}

    def place(self, swipe: Swipe) -> int:
        """Return where a verdict stands."""
        place = self._places.get(id(swipe))
        if place is None:
            place = self._places[id(swipe)] = len(self._swipes)
            self._swipes.append(swipe)
        return place

    def columns(self) -> list[list[Any]]:
        """Return all verdicts, column by column."""
        return [[getattr(swipe, column.name) for swipe in self._swipes] for column in fields(Swipe)]


def to_snapshot(state: State) -> bytes:
    """Return a state as bytes."""
    pool = _Pool()
    value = _writer(State)(state, pool)
    text = json.dumps([pool.columns(), value], separators=(",", ":"), ensure_ascii=False)
    return zlib.compress(text.encode(), _QUICKEST)


def from_snapshot(snapshot: bytes) -> State:
    """Return the state that these bytes are of.

    Raises:
        ValueError: They are not a snapshot of this `SCHEMA`.
    """
    try:
        columns, value = json.loads(zlib.decompress(snapshot))
        hints = get_type_hints(Swipe)
        for place, column in enumerate(fields(Swipe)):
            read = _reader(hints[column.name])
            if read is not _as_it_is:
                columns[place] = [read(one, []) for one in columns[place]]
        state: State = _reader(State)(value, list(map(Swipe, *columns)))
    except (zlib.error, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise ValueError("not a snapshot of a room's state") from error
    return state


def _writer(kind: Any) -> _Write:
    """Return what turns a value of a type into JSON's values."""
    if kind is Swipe:
        return lambda value, pool: pool.place(value)
    if isinstance(kind, type) and is_dataclass(kind):
        return _row_of(kind)
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        write = _writer(_but_none(parts))
        return lambda value, pool: None if value is None else write(value, pool)
    if origin is not None and issubclass(origin, Mapping):
        keys, values = (_writer(part) for part in parts)
        return lambda value, pool: [
            [keys(key, pool) for key in value],
            [values(one, pool) for one in value.values()],
        ]
    if origin in (tuple, frozenset):
        write = _writer(parts[0])
        return lambda value, pool: [write(one, pool) for one in value]
    if kind is datetime:
        return lambda value, _: (value - _EPOCH) // _MILLISECOND
    return _as_it_is


@cache
def _row_of(kind: type) -> _Write:
    hints = get_type_hints(kind)
    columns = [(field.name, _writer(hints[field.name])) for field in fields(kind)]
    return lambda value, pool: [write(getattr(value, name), pool) for name, write in columns]


def _reader(kind: Any) -> _Read:
    """Return the way back."""
    if kind is Swipe:
        return lambda value, pool: pool[value]
    if isinstance(kind, type) and is_dataclass(kind):
        return _reader_of_rows(kind)
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        read = _reader(_but_none(parts))
        return lambda value, pool: None if value is None else read(value, pool)
    if origin is not None and issubclass(origin, Mapping):
        keys, values = (_reader(part) for part in parts)
        return lambda value, pool: {
            keys(key, pool): values(one, pool) for key, one in zip(*value, strict=True)
        }
    if origin in (tuple, frozenset):
        read = _reader(parts[0])
        return lambda value, pool: origin(read(one, pool) for one in value)
    if kind is datetime:
        return lambda value, _: _EPOCH + value * _MILLISECOND
    if issubclass(kind, Enum):
        known = {member.value: member for member in kind}
        return lambda value, _: known[value]
    return _as_it_is


@cache
def _reader_of_rows(kind: type) -> _Read:
    hints = get_type_hints(kind)
    readers = [_reader(hints[field.name]) for field in fields(kind)]
    if all(read is _as_it_is for read in readers):
        return lambda value, _: kind(*value)
    return lambda value, pool: kind(*[read(one, pool) for read, one in zip(readers, value, strict=True)])


def _as_it_is(value: Any, _pool: Any) -> Any:
    return value


def _but_none(parts: tuple[Any, ...]) -> Any:
    (part,) = (part for part in parts if part is not NoneType)
    return part


def _anatomy(kind: Any, seen: dict[Any, str]) -> str:
    """Return what a type consists of, in words."""
    if is_dataclass(kind) and isinstance(kind, type):
        if kind not in seen:
            seen[kind] = ""
            hints = get_type_hints(kind)
            parts = (f"{field.name}:{_anatomy(hints[field.name], seen)}" for field in fields(kind))
            seen[kind] = f"{kind.__name__}({','.join(parts)})"
        return kind.__name__
    if get_args(kind):
        return f"{get_origin(kind)}[{','.join(_anatomy(part, seen) for part in get_args(kind))}]"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"{kind.__name__}[{','.join(str(member.value) for member in kind)}]"
    return str(kind)


def _schema() -> str:
    seen: dict[Any, str] = {}
    _anatomy(State, seen)
    return hashlib.sha256(f"{MEANING} {sorted(seen.values())}".encode()).hexdigest()[:16]


SCHEMA: Final = _schema()
"""What snapshots of this version bear."""
