"""Our own export as JSON: everything that a backlog says, so that it can be taken in again.

    {"format": "eveningpopcorn.dev/backlog", "version": 1, "exportTime": "...", "entries": [
    {"movieId": 129, "title": "...", "status": "watched", "rating": 4.5, ...},
    ...
    ]}

Times are ISO 8601 in UTC, to the microsecond. What is empty is left out.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from backlog_svc.entries import Entry, Status, stars
from backlog_svc.imports.claims import (
    BadLine,
    Claim,
    Problem,
    half_stars_of,
    line_of_text,
    movie_id_of,
    note_of,
    tags_of,
    time_of,
    year_of,
)

FORMAT: Final = "eveningpopcorn.dev/backlog"
VERSION: Final = 1
END: Final = "\n]}\n"


@dataclass(frozen=True, slots=True)
class Titled:
    """An entry, and what people call its film."""

    entry: Entry
    title: str
    """Empty when unknown."""
    year: int
    """Of release; 0 when unknown."""


def beginning(now: datetime) -> str:
    """Return what stands before the first entry."""
    head = {"format": FORMAT, "version": VERSION, "exportTime": _time(now)}
    return json.dumps(head)[:-1] + ', "entries": ['


def item(film: Titled) -> str:
    """Return an entry as a line of JSON; title and year are for whoever reads the file."""
    entry = film.entry
    said: dict[str, object] = {
        "movieId": entry.movie_id,
        "title": film.title,
        "year": film.year,
        "status": entry.status,
        "rating": None if entry.half_stars is None else stars(entry.half_stars),
        "note": entry.note,
        "tags": entry.tags,
        "addTime": _time(entry.add_time),
        "updateTime": _time(entry.update_time),
        "watchTime": entry.watch_time and _time(entry.watch_time),
        "source": entry.source,
    }
    return json.dumps({name: value for name, value in said.items() if value}, ensure_ascii=False)


def claim(said: object, *, line: int, file: str, now: datetime) -> Claim:
    """Read an entry. Whatever it says of its source, its coming is an import.

    Raises:
        BadLine: It is no entry.
    """
    if not isinstance(said, Mapping):
        raise BadLine(Problem.INVALID_ITEM)
    try:
        status = Status(said.get("status", Status.WANT_TO_WATCH))
    except ValueError:
        raise BadLine(Problem.INVALID_ITEM) from None
    given: Any = said.get("tags")
    names = given if isinstance(given, list) else []
    tags, tags_cut = tags_of(name for name in names if isinstance(name, str))
    note, note_cut = note_of(_text(said.get("note")))
    return Claim(
        line=line,
        file=file,
        movie_id=movie_id_of(said.get("movieId")),
        title=line_of_text(_text(said.get("title"))),
        year=year_of(said.get("year")),
        status=status,
        half_stars=half_stars_of(said.get("rating"), of_ten=False),
        note=note,
        tags=tags,
        add_time=time_of(said.get("addTime"), now=now),
        watch_time=time_of(said.get("watchTime"), now=now),
        state_time=time_of(said.get("updateTime"), now=now),
        shortened=note_cut or tags_cut,
    )


def _time(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
